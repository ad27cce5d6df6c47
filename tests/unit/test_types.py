"""Image-text types of the library without a family of their own, through family ``generic``; and those refused."""

from dataclasses import replace

import pytest
from tests.tiny_cases import CASES
from tests.tiny_checks import asked_of, lens_error, load_back, prefix_error, row_alone
from tests.tiny_rare import RARE, UNSERVED
from tests.tiny_types import FAILS, TYPES
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as MAPPED

from pidflow.errors import ConfigError, NumericsError, PidflowError
from pidflow.interventions.model_check import check_model
from pidflow.interventions.self_check import self_check
from pidflow.models.families.generic import FAMILY as GENERIC
from pidflow.models.refused import REFUSED, check_type
from pidflow.plugins import registry

OTHERS = sorted(set(TYPES) - {name.replace("-", "_") for name in registry.available("models.families")})

# Convolutions carry what a patch shows to its neighbours; newlines between tiles are told by family llava-next alone.
PLACELESS = {"got_ocr2", "pp_chart2table", "llava_next_video", "aria", "deepseek_vl_hybrid"}


RARELY = sorted(set(RARE) - set(UNSERVED) - {name.replace("-", "_") for name in registry.available("models.families")})


@pytest.mark.parametrize("name", [*OTHERS, *(pytest.param(each, marks=pytest.mark.slow) for each in RARELY)])
def test_the_generic_family_serves_it(name, tmp_path):
    loaded = load_back(replace((TYPES | RARE)[name], family="generic"), tmp_path)
    batch = asked_of(loaded)
    assert self_check(loaded, batch).moved > 0
    assert row_alone(loaded, batch) <= 1e-5
    assert lens_error(loaded, batch) <= 1e-5
    assert prefix_error(loaded, batch) <= 1e-5
    assert loaded.places == (name not in PLACELESS)
    assert batch.spans["object"].any() == loaded.places


def test_at_least_forty_types_pass():
    passing = {tiny.model_type for tiny in CASES.values()} | set(TYPES)
    assert passing <= set(MAPPED)
    assert len(passing) >= 40


@pytest.mark.parametrize("name", FAILS)
def test_what_cannot_be_measured_is_named(name, tmp_path):
    tiny, message = FAILS[name]
    loaded = load_back(replace(tiny, family="generic"), tmp_path)
    batch = asked_of(loaded)
    with pytest.raises(NumericsError, match=message):
        self_check(loaded, batch)


@pytest.mark.parametrize("name", UNSERVED)
def test_what_the_check_at_load_refuses_is_named(name, tmp_path):
    def checked():
        loaded = load_back(replace(RARE[name], family="generic"), tmp_path)
        return check_model(loaded, asked_of(loaded), [asked_of(loaded, slice(row, row + 1)) for row in range(3)])

    with pytest.raises(PidflowError, match=UNSERVED[name]):
        checked()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("glm5_next", "chooses keys by an index of its own"),
        ("mistral_large4", "chooses keys by an index of its own"),
        ("kimi_k25", "keeps keys and values in fewer numbers"),
        ("mistral4", "keeps keys and values in fewer numbers"),
    ],
)
def test_attention_that_no_prefix_holds_is_refused_by_its_settings(name, why):
    with pytest.raises(ConfigError, match=f"of type '{name}', which is refused: its .* {why}"):
        check_type("hub/model", AutoConfig.for_model(name), GENERIC)


@pytest.mark.parametrize("name", sorted(set(REFUSED) & set(MAPPED)))
def test_refused_types_are_refused_by_name(name):
    class Config:
        model_type = name

        def get_text_config(self):
            return self

    with pytest.raises(ConfigError, match=f"is of type '{name}', which is refused: "):
        check_type("hub/model", Config(), GENERIC)


def test_a_language_model_that_encodes_is_refused():
    config = AutoConfig.for_model("instructblip", text_config={"model_type": "t5"})
    with pytest.raises(ConfigError, match="of type 'instructblip' over 't5', which is refused: an encoder reads"):
        check_type("hub/flan", config, GENERIC)


def test_internlm_is_refused_by_name():
    class Config:
        model_type = "internvl_chat"

        def get_text_config(self):
            return self

    with pytest.raises(ConfigError, match="code of their own, which is not run"):
        check_type("OpenGVLab/InternVL2-8B", Config(), GENERIC)
