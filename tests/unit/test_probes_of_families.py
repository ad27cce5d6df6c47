"""Masked passes of every family: entered by hand they are the joint pass, and what is replaced tells nothing."""

import pytest
import torch
from tests.tiny_cases import CASES
from tests.tiny_checks import asked_of, examples, load_back

from pidflow.models.option_scores import OptionReader, score_options
from pidflow.models.probe_inputs import (
    check_entry,
    enter,
    enter_unasked,
    joint_pass,
    masked_pass,
    picture_parts,
    plain_pass,
    without_image,
)

OPTIONS = ("red", "blue circle", "blue square")


@pytest.fixture(scope="module", params=CASES)
def loaded(request, tmp_path_factory):
    return load_back(CASES[request.param], tmp_path_factory.mktemp(request.param))


@pytest.fixture
def batch(loaded):
    return asked_of(loaded)


def test_a_pass_that_replaces_nothing_is_the_joint_one(loaded, batch):
    assert check_entry(loaded, batch) <= 1e-5 * (1 + float(joint_pass(loaded, batch)[0].captured.logits.abs().max()))


def test_positions_are_those_of_the_joint_pass(loaded, batch):
    fed = enter(loaded, batch)
    new = {name: torch.zeros_like(part.values) for name, part in fed.parts().items()}
    arguments = fed.replaced(new)
    assert arguments["position_ids"] is fed.arguments["position_ids"]
    given = batch.inputs.get("position_ids")
    if given is not None and given.dim() == 3:  # M-RoPE: all axes
        assert torch.equal(arguments["position_ids"][-len(given) :], given)


def test_without_its_tokens_the_picture_says_nothing(loaded, batch):
    """With darker pictures masked passes say the same, joint passes do not."""
    mixed = dict(batch.inputs)
    for name, values in batch.inputs.items():
        if values.is_floating_point():  # pixels
            mixed[name] = 0.5 * values  # empty tiles stay empty
    other = type(batch)(mixed, batch.spans, batch.unknown, batch.shares)
    found = []
    for each in (batch, other):
        fed = enter(loaded, each)
        parts = fed.parts()
        names = picture_parts(parts)
        found.append(masked_pass(loaded, each, fed.replaced({n: torch.zeros_like(parts[n].values) for n in names})))
    torch.testing.assert_close(found[0].captured.logits, found[1].captured.logits, atol=1e-5, rtol=1e-5)
    joint = [joint_pass(loaded, each)[0].captured.logits for each in (batch, other)]
    assert (joint[0] - joint[1]).abs().max() > 1e-6


def test_options_are_scored_after_every_pass(loaded, batch):
    """After a joint, a masked and a pass without a picture: whole likelihoods are those of the tokens one by one."""
    options = [OptionReader(loaded)(OPTIONS, where="x")] * len(batch)
    fed = enter(loaded, batch)
    masked = masked_pass(loaded, batch, fed.replaced({"image": torch.zeros_like(fed.parts()["image"].values)}))
    alone = without_image(loaded, [each.question for each in examples()])
    for passed, output in (
        (batch, joint_pass(loaded, batch)[0]),
        (batch, masked),
        (alone, plain_pass(loaded, alone)),
    ):
        found = score_options(loaded, passed, output.captured.logits, output.cache, options, width=3)
        assert torch.isfinite(found.sequence).all()
        assert (found.begins.nan_to_num(-1.0) <= 0).all()
        assert (found.begins.exp().nansum(1) <= 1 + 1e-5).all()


def test_the_picture_is_read_without_the_question_where_it_is_read_with_it(loaded, batch):
    unasked = enter_unasked(loaded, batch)
    assert (unasked is not None) == loaded.family.reads_question
    if unasked is not None:
        assert not torch.equal(unasked.parts()["image"].values, enter(loaded, batch).parts()["image"].values)
