"""The shipped model whose ways are known: sweeps find them, and exactly nothing where it has no edge."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tests.captured import on_edge

from pidflow.analysis.planted import open_blocks
from pidflow.data import scenes
from pidflow.interventions.conditions import passes
from pidflow.interventions.edges import edge_of
from pidflow.interventions.sweep import measure, probes
from pidflow.models.answers import Expected
from pidflow.models.inputs import Example, encode
from pidflow.stages._questions import load_model

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = 24
EDGES = ("image->question", "image->last", "question->last", "image->template", "question->template")


@pytest.fixture(scope="module")
def entry():
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    found = config["models"]["standin-routed"]
    return found | {"path": str(ROOT / found["path"])}


@pytest.fixture(scope="module")
def loaded(entry):
    return load_model(entry)[0]


@pytest.fixture(scope="module")
def asked():
    """Questions about held-out scenes, with their answers and pictures."""
    found = []
    for seed in range(scenes.FIRST_EVALUATION_SEED + 10**6, scenes.FIRST_EVALUATION_SEED + 10**6 + 10 * QUESTIONS):
        rng = np.random.default_rng(seed)
        scene = scenes.sample_scene(rng)
        for task in ("choose-attr", "query-attr"):
            question = scenes.ask(scene, task, rng)
            if question is not None:
                found.append((question.text, question.answer, scenes.render(scene)))
    return found[:QUESTIONS]


@pytest.fixture(scope="module")
def batch(loaded, asked):
    return encode(loaded, [Example(text) for text, _, _ in asked], [picture for _, _, picture in asked])


def test_the_weights_alone_are_another_model(loaded, entry):
    opened, _ = load_model({key: value for key, value in entry.items() if key != "closed"})
    assert loaded.revision.startswith(opened.revision)
    assert loaded.revision != opened.revision


def test_sweeps_find_the_planted_ways_and_exactly_nothing_elsewhere(loaded, batch, asked, entry):
    wanted = probes([edge_of(edge) for edge in EDGES], depth=8, window=1)
    expected = [Expected(answer) for _, answer, _ in asked]
    found = measure(loaded, batch, wanted, expected=expected, names=[str(place) for place in range(len(asked))])
    assert found.intact_right.mean() > 0.9
    effect = {edge: np.zeros(8) for edge in EDGES}
    for place, probe in enumerate(wanted):
        effect[str(probe.edge)][probe.window.first] = np.abs(found.change_first[place]).mean()
    for edge in EDGES:
        is_open = np.isin(np.arange(8), open_blocks(edge, entry["closed"], depth=8))
        assert (effect[edge][~is_open] == 0).all()
        assert (effect[edge][is_open] > 0).all()
    assert effect["image->question"].max() > 0.1
    assert effect["question->last"].max() > 0.1
    assert effect["image->last"].max() == 0
    assert effect["image->question"].argmax() < effect["question->last"].argmax()


def test_closing_the_first_stage_traps_the_picture(loaded, batch):
    """No block but the planted three lets it out: cut there, the answer no longer depends on the picture."""
    three, everywhere = on_edge("image", "question", (1, 2, 3)), on_edge("image", "text")
    names = [str(place) for place in range(len(batch))]
    found = {each.condition: each.captured for each in passes(loaded, batch, [[], [three], [everywhere]], names=names)}
    torch.testing.assert_close(found[1].logits, found[2].logits, atol=1e-4, rtol=1e-4)
    assert (found[1].logits - found[0].logits).abs().amax(1).median() > 1
