"""Every family end to end on a tiny random checkpoint: load from disk, spans, states, lens, cut, control, sweep."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from tests.tiny_cases import CASES as OWN
from tests.tiny_checks import EDGES, asked_of, examples, lens_error, load_back, pictures, prefix_error, row_alone, swept
from tests.tiny_rare import RARE
from tests.tiny_types import TYPES
from tests.tiny_vision import VISION_TYPES

from pidflow.errors import NumericsError
from pidflow.interventions.intervention import intervention_of
from pidflow.interventions.model_check import check_model
from pidflow.interventions.prefix import read_prefix
from pidflow.interventions.recompute import full_pass, recompute
from pidflow.interventions.self_check import self_check
from pidflow.models.capture import capture
from pidflow.models.inputs import encode
from pidflow.models.measured import measured_layout
from pidflow.models.painted import painted_boxes_move_their_tokens
from pidflow.plugins import registry

ELSEWHERE = {name.replace("_", "-") for name in VISION_TYPES}  # tests/unit/test_torchvision.py
FAMILIES = set(registry.available("models.families")) - {"generic"} - ELSEWHERE
SHARED = {name.replace("_", "-"): tiny for name, tiny in (TYPES | RARE).items()}
CASES = OWN | {name: replace(tiny, family=name) for name, tiny in SHARED.items() if name in FAMILIES}
EXACT = 1e-5  # of the largest logit, float32


@pytest.fixture(scope="module", params=CASES)
def loaded(request, tmp_path_factory):
    return load_back(CASES[request.param], tmp_path_factory.mktemp(request.param))


@lru_cache(maxsize=1)
def batch_of(loaded):
    return asked_of(loaded)


@pytest.fixture
def batch(loaded):
    return batch_of(loaded)


@pytest.fixture
def scale(loaded, batch):
    return max(1.0, float(capture(loaded, batch).logits.abs().max()))


def test_every_family_has_a_tiny_checkpoint():
    assert {tiny.family for tiny in CASES.values()} == FAMILIES
    assert len(FAMILIES) >= 24


def test_spans_say_what_the_question_says(loaded, batch):
    ids, spans = batch.inputs["input_ids"], batch.spans
    for row, example in enumerate(examples()):
        said = loaded.tokenizer.decode(ids[row][spans["question"][row]])
        assert said.replace(" ", "") == example.question.replace(" ", "")
        image = torch.nonzero(spans["image"][row])[:, 0]
        assert len(image) == image[-1] - image[0] + 1  # one run
        assert (ids[row][spans["image"][row] & ~spans["separators"][row]] == loaded.image_token_id).all()
        assert not (ids[row][~spans["image"][row] & spans.valid[row]] == loaded.image_token_id).any()


def test_a_row_alone_is_the_row_in_a_padded_batch(loaded, batch, scale):
    assert row_alone(loaded, batch) <= EXACT * scale


def test_the_lens_at_the_last_layer_is_the_models_own_answer(loaded, batch):
    assert lens_error(loaded, batch) <= EXACT


def test_what_is_recomputed_equals_full_passes(loaded, batch, scale):
    assert prefix_error(loaded, batch) <= EXACT * scale


REWRITTEN = (
    {"kind": "noise", "span": "question", "size": 1.0},
    {"kind": "swap", "span": "last", "blocks": [1, 1]},
    {"kind": "sublayer", "part": "mlp", "span": "question", "blocks": [1, 1]},
    {"kind": "sublayer", "part": "attention", "span": "last", "value": "mean", "blocks": [1, 2]},
    {"kind": "cut", "source": "image", "target": "question", "blocks": "all", "heads": [0, 1]},
    {
        "kind": "pathway",
        "kept": [{"edge": "question->last", "blocks": [1, 2]}],
        "among": ["image->last", "question->last"],
    },
)


@pytest.mark.parametrize("entry", REWRITTEN, ids=lambda entry: entry["kind"])
def test_what_else_can_be_changed_equals_full_passes_too(loaded, batch, scale, entry):
    names = [str(row) for row in range(len(batch))]
    plan = intervention_of(entry, depth=loaded.depth, seed=1).parts()
    others = {"donors": batch.take(np.roll(np.arange(len(batch)), 1)), "sample": [batch]}
    plan = [each.informed(loaded, others[each.needs]) if each.needs else each for each in plan]
    prefix = read_prefix(loaded, batch, [plan], names=names)
    (found,) = recompute(loaded, prefix, [plan], names=names)
    expected = full_pass(loaded, prefix, plan, names=names)
    assert float((found.logits[0] - expected).abs().max()) <= EXACT * scale
    assert float((expected - prefix.logits).abs().max()) > 0


def test_knockout_does_what_it_says(loaded, batch):
    assert self_check(loaded, batch).moved > 0


def test_the_check_at_load_finds_what_the_family_says(loaded, batch):
    found = check_model(loaded, batch)
    assert found.prefix == (loaded.sees != "prefix")
    assert (found.above > 0) == (loaded.sees != "causal")
    assert "none" not in found.blocks
    assert found.spans[0]["question"].strip() == examples()[0].question
    assert len(found.lines()) == 6
    assert found.places == ("unknown" if loaded.family.name in NOWHERE else "proven")


def test_a_family_that_says_something_else_is_found_out(loaded, batch):
    if loaded.sees == "causal":
        pytest.skip(f"nobody sees what comes later in family {loaded.family.name}")
    other = replace(loaded, family=replace(loaded.family, sees="causal"))
    wrong = asked_of(other)
    with pytest.raises(NumericsError, match=r"says that attention is 'causal', but \d+ pairs above"):
        check_model(other, wrong)


def test_a_sweep_runs_with_its_controls(loaded, batch):
    outcome = swept(loaded, batch)
    assert outcome.present.all()
    assert np.isfinite(outcome.change_first).all()
    moved = np.abs(outcome.change_first).max(1).reshape(len(EDGES), 2, loaded.depth)  # edge, cut or control, window
    assert (moved[:, 0].max(1) > 0).all()


def test_states_are_those_that_the_library_gives_out(loaded, batch):
    found = capture(loaded, batch)
    assert found.states.shape == (loaded.depth + 1, 4, len(batch), loaded.width)
    assert torch.isfinite(found.states).all()
    assert not torch.equal(found.states[0], found.states[-1])


def test_a_batch_taken_apart_is_encoded_alike(loaded, batch):
    part = batch.take(torch.tensor([2, 0]))
    again = encode(loaded, [examples()[2], examples()[0]], [pictures()[2], pictures()[0]])
    for name, tensor in again.inputs.items():
        assert tensor.shape[1:] == part.inputs[name].shape[1:] or name in part.shares or part.inputs[name].dim() >= 2
        if tensor.shape == part.inputs[name].shape:
            assert torch.equal(tensor, part.inputs[name]), name


# Each image token hears of the whole picture, as a query of a Q-Former or a resampler, or stands for all of it.
NOWHERE = {"blip-2", "instructblip", "idefics2", "chameleon"}
# Orders of tokens that ramps do not tell: newlines between tiles, pools of patches, or none of a tower.
UNMEASURED = {"llava-next", "llava-onevision", "gemma4", "paddleocr-vl", "fuyu", "mllama"}
SIZES = ((48, 48), (64, 40), (36, 70), (111, 47), (53, 125), (81, 79))


def test_a_painted_box_moves_the_tokens_marked_object(loaded):
    nowhere = loaded.family.name in NOWHERE
    assert loaded.places != nowhere
    assert painted_boxes_move_their_tokens(loaded) is (None if nowhere else True)


def test_what_the_processor_does_to_ramps_is_the_familys_geometry(loaded):
    if loaded.family.name in NOWHERE | UNMEASURED:
        pytest.skip(f"image tokens of family {loaded.family.name} are in an order that ramps do not tell")
    for size in SIZES:
        found = measured_layout(loaded.processor, loaded.model.config, size)
        expected = loaded.family.layout(loaded.processor, loaded.model.config, size)
        sides = np.tile(expected.rectangle[:, 2:] - expected.rectangle[:, :2], 2)
        assert np.abs((found.rectangle - expected.rectangle) / sides).max() < 0.03  # of a patch
        assert np.array_equal(found.kind, expected.kind)
