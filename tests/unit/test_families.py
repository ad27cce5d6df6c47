"""Every family end to end on a tiny random checkpoint: load from disk, spans, states, lens, cut, control, sweep."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from tests.tiny_cases import CASES
from tests.tiny_checks import asked_of, examples, lens_error, load_back, pictures, prefix_error, row_alone, swept

from pidflow import plugins
from pidflow.interventions.self_check import self_check
from pidflow.models.capture import capture
from pidflow.models.inputs import encode

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
    without = set(plugins.available("models.families")) - {tiny.family for tiny in CASES.values()}
    assert without == {"generic"}
    assert len({tiny.family for tiny in CASES.values()}) >= 22


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


def test_knockout_does_what_it_says(loaded, batch):
    assert self_check(loaded, batch).moved > 0


def test_a_sweep_runs_with_its_controls(loaded, batch):
    outcome = swept(loaded, batch)
    assert outcome.present.all()
    assert np.isfinite(outcome.change_first).all()
    cut = np.array([kind is None for kind in outcome.control[:, 0]])
    assert (np.abs(outcome.change_first[cut]).max(1) > 0).all()


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
