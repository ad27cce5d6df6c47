"""A model that was trained without some edges of attention never has them, and further cuts come on top."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.captured import on_edge

from pidflow.errors import NumericsError
from pidflow.interventions.conditions import earlier_states_stand, passes
from pidflow.interventions.edges import Edge
from pidflow.interventions.intervention import entered
from pidflow.interventions.probes import probes
from pidflow.interventions.self_check import self_check
from pidflow.interventions.sweep import measure
from pidflow.models.answers import Expected
from pidflow.models.capture import capture
from pidflow.models.inputs import encode

ALWAYS = (
    on_edge("image", "template+last"),
    on_edge("image", "question", (0,)),
    on_edge("question", "last", (0, 1)),
)
CONDITIONS = {
    "intact": [],
    "cut": [on_edge("image", "question")],
    "late": [on_edge("question", "last", (2,))],
    "closed-already": [on_edge("image", "last", (0, 2))],
    "random": [on_edge("image", "question", None, "random", seed=3)],
}
NAMES = list("abcdef")


@pytest.fixture(params=["tiny_llava", "tiny_llava_next"])
def open_model(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def closed(open_model):
    return replace(open_model, always=ALWAYS)


@pytest.fixture
def batch(open_model, asked):
    examples, pictures, _ = asked(6)
    return encode(open_model, examples, pictures)


def under(loaded, interventions, batch):
    with entered(loaded, interventions, batch.spans, NAMES):
        return capture(loaded, batch)


def test_conditions_are_those_of_a_model_without_the_edges(open_model, closed, batch):
    assert earlier_states_stand(closed, batch)
    for stands in (True, False):
        found = list(passes(closed, batch, list(CONDITIONS.values()), names=NAMES, prefix_stands=stands))
        for each in found:
            interventions = list(CONDITIONS.values())[each.condition]
            expected = under(open_model, [*ALWAYS, *interventions], batch)
            torch.testing.assert_close(each.captured.states, expected.states, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(each.captured.logits, expected.logits, atol=1e-5, rtol=1e-4)
    opened = under(open_model, [], batch)
    intact = next(each for each in found if each.condition == 0)
    assert (intact.captured.logits - opened.logits).abs().max() > 1e-4


def test_a_sweep_finds_exactly_nothing_where_an_edge_is_closed(closed, batch):
    wanted = probes([Edge("image", "last"), Edge("image", "question"), Edge("question", "last")], depth=3, window=1)
    expected = [Expected("red") for _ in NAMES]
    outcome = measure(closed, batch, wanted, expected=expected, names=NAMES, answer_tokens=3)
    moved = {
        (str(probe.edge), probe.window.first): float(np.abs(outcome.change_first[place]).max())
        for place, probe in enumerate(wanted)
    }
    shut = {
        (f"{edge}->last", block) for edge, blocks in (("image", (0, 1, 2)), ("question", (0, 1))) for block in blocks
    }
    shut |= {("image->question", 0)}
    unmoved = {key for key, change in moved.items() if change == 0.0}
    assert unmoved - {("image->question", 2)} == shut  # what the last block writes there, nothing reads
    assert all(
        (outcome.kl_bits[place] == 0).all()
        for place, probe in enumerate(wanted)
        if (str(probe.edge), probe.window.first) in shut
    )


def test_the_self_check_knows_the_edges(closed, batch):
    assert self_check(closed, batch).moved > 0
    blind = replace(closed, always=(on_edge("image", "text"),))
    with pytest.raises(NumericsError, match="moved the logits by 0"):
        self_check(blind, batch)
