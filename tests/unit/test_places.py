"""Where image tokens lie in a picture: layouts that painted boxes refute, and what is not known."""

from dataclasses import replace

import numpy as np
import pytest
from tests.tiny_cases import CASES
from tests.tiny_checks import asked_of
from tests.tiny_families import built
from tests.tiny_types import TYPES

from pidflow.errors import ConfigError, NumericsError
from pidflow.interventions.model_check import check_model
from pidflow.models.inputs import Example
from pidflow.models.layout import Layout
from pidflow.models.loading import family_named, wrap
from pidflow.models.measured import measured_layout
from pidflow.models.painted import painted_boxes_move_their_tokens
from pidflow.stages._results import conditions_of


def in_memory(tiny, family):
    model, processor = built(tiny)
    family_named(family).prepare(processor)
    return wrap(family, model, processor, prompt=tiny.prompt)


@pytest.fixture(scope="module")
def convolved():
    """A model whose tower carries what a patch shows to its neighbours."""
    return in_memory(TYPES["got_ocr2"], "generic")


def one_off(layout, size):
    return Layout(kind=layout.kind, rectangle=np.roll(layout.rectangle, 1, axis=0))


def mirrored(layout, size):
    left, top, right, bottom = layout.rectangle.T
    return Layout(kind=layout.kind, rectangle=np.stack([size[1] - right, top, size[1] - left, bottom], axis=1))


@pytest.mark.parametrize("name", ["llava", "qwen2-vl", "internvl", "gemma4"])
@pytest.mark.parametrize("change", [one_off, mirrored])
def test_geometry_that_is_wrong_is_noticed(name, change):
    model = in_memory(CASES[name], CASES[name].family)
    right = model.family.layout
    wrong = replace(model.family, layout=lambda *given: change(right(*given), given[-1]))
    with pytest.raises(NumericsError, match=r"image token \d+ of \d+ lies at .* by its layout, but is not moved by"):
        painted_boxes_move_their_tokens(replace(model, family=wrong))
    assert not replace(model, family=replace(wrong, measured=True)).places  # unknown, where it is only measured


def test_crops_of_pan_and_scan_are_found():
    model = in_memory(CASES["gemma3"], "gemma3")
    kind = type(model.processor)

    class Scanning(kind):
        """As in a run with crops, which the library's processor makes for who asks in the call alone."""

        def __call__(self, *given, **named):
            return super().__call__(*given, do_pan_and_scan=True, pan_and_scan_min_crop_size=16, **named)

    model.processor.__class__ = Scanning
    layout = model.layout((100, 300))
    assert len(layout) == 4 * 4  # the whole picture, then three crops side by side, of four tokens each
    assert layout.rectangle[4].round().tolist() == [0, 0, 50, 50]
    assert layout.rectangle[-1].round().tolist() == [250, 50, 300, 100]
    assert painted_boxes_move_their_tokens(model)


def test_an_order_of_patches_that_ramps_do_not_tell_is_refuted():
    model = in_memory(CASES["gemma4"], "gemma4")
    assert not replace(model, family=replace(model.family, layout=measured_layout, measured=True)).places


def test_what_cannot_be_proven_is_unknown_or_the_familys_word(convolved):
    assert not convolved.places
    found = check_model(convolved, asked_of(convolved))
    assert found.places == "unknown"
    assert found.lines()[-1].startswith("image tokens show no known part of the picture")
    own = replace(convolved, family=replace(convolved.family, measured=False))
    assert check_model(own, asked_of(own)).places == "assumed"


@pytest.mark.parametrize("span", ["object", "other", "object+other"])
def test_a_condition_about_objects_is_refused_where_no_token_shows_one(convolved, span):
    entry = {"kind": "cut", "source": span, "target": "question", "blocks": "all"}
    (condition,) = conditions_of({"mine": {"intervention": entry, "answers": "a"}}, depth=convolved.depth, seed=0)
    with pytest.raises(ConfigError, match="mine: image tokens of family 'generic' show no known part of the picture"):
        condition.check_items([Example("Is it red?", boxes=((0, 0, 9, 9),))], convolved)
