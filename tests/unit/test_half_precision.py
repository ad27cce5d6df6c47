"""Families that keep parts in float32 whatever is asked for: the precision of a model is that of its language model."""

import torch
from tests.tiny_cases import CASES
from tests.tiny_checks import asked_of, swept
from tests.tiny_families import save

from pidflow.interventions.model_check import check_model, own_questions
from pidflow.models.loading import load


def test_a_q_former_in_float32_is_not_the_precision_of_the_model(tmp_path):
    tiny = CASES["blip-2"]
    save(tiny, tmp_path)
    loaded = load(tiny.family, str(tmp_path), prompt=tiny.prompt, dtype="float16", device="cpu")
    assert next(loaded.model.parameters()).dtype == torch.float32
    assert loaded.dtype == torch.float16
    together, *alone = own_questions(loaded)
    assert check_model(loaded, together, alone).moved > 0
    assert swept(loaded, asked_of(loaded)).present.all()
