"""Without image or question: under the shipped interventions nothing of it reaches what the model says."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from tests.captured import captured_under

from pidflow.interventions.intervention import intervention_of
from pidflow.models.inputs import encode

CONFIG = yaml.safe_load((Path(__file__).resolve().parents[2] / "config" / "config.yaml").read_text())
BLIND, UNASKED = (CONFIG["claims"][name] for name in ("blind", "unasked"))


def shipped(condition, model):
    """The intervention of a shipped condition in all blocks of a model."""
    entry = {key: value for key, value in CONFIG["interventions"][condition].items() if key != "title"}
    return intervention_of(entry | {"blocks": "all"}, depth=model.depth)


def said(model, asked, condition):
    """What the model is about to say to the same questions about two sets of pictures."""
    examples, pictures, _ = asked(6)
    _, others, _ = asked(6, first=2 * 10**9)
    chosen = [shipped(condition, model)]
    return [captured_under(chosen, model, encode(model, examples, shown)).logits for shown in (pictures, others)]


@pytest.mark.parametrize("family", ["tiny_llava", "tiny_llava_next"])
def test_blind_answers_do_not_depend_on_the_picture(family, asked, request):
    one, other = said(request.getfixturevalue(family), asked, BLIND)
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("condition", ["image-question", "image-question-only", "image-question-random"])
def test_under_other_interventions_they_do(tiny_llava, asked, condition):
    one, other = said(tiny_llava, asked, condition)
    assert (one - other).abs().amax(1).min() > 1e-4


def asked_backwards(model, asked, condition):
    """What the model is about to say to questions as they are and to the same words in another order."""
    examples, pictures, _ = asked(6)
    turned = [replace(each, question=" ".join(reversed(each.question.split()))) for each in examples]
    chosen = [shipped(condition, model)]
    return [captured_under(chosen, model, encode(model, some, pictures)).logits for some in (examples, turned)]


@pytest.mark.parametrize("family", ["tiny_llava", "tiny_llava_next"])
def test_unasked_answers_do_not_depend_on_the_words(family, asked, request):
    one, other = asked_backwards(request.getfixturevalue(family), asked, UNASKED)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_without_the_picture_they_do(tiny_llava, asked):
    one, other = asked_backwards(tiny_llava, asked, BLIND)
    assert (one - other).abs().amax(1).min() > 1e-4
