"""The shipped model whose ways are known: sweeps find them, and exactly nothing where it has no edge."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tests.captured import on_edge

from pidflow import estimate_pid
from pidflow.analysis.planted import open_blocks
from pidflow.data import scenes
from pidflow.flows.pca import fit_pca
from pidflow.interventions.conditions import passes
from pidflow.interventions.edges import edge_of
from pidflow.interventions.probes import probes
from pidflow.interventions.sweep import measure
from pidflow.models.answers import Expected
from pidflow.models.capture import BLOCKS
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


def components(states, most):
    """Principal scores as the workflow has them."""
    return fit_pca(states, variance=0.95, max_components=most).scores(states)


def test_the_decomposition_shows_both_stages_and_what_a_cut_traps(loaded, many):
    """Vision-unique bits leave in blocks 1 to 3, or never; the last position learns nothing before block 5."""
    intact, trapped, target, own = many

    def atoms(states, layer, language, target=target):
        blocks = list(BLOCKS)
        vision, text = (components(states[layer, blocks.index(name)], 10) for name in ("vision", language))
        return estimate_pid(vision, text, target)["broja"]

    early, late = atoms(intact, 1, "text"), atoms(intact, 4, "text")
    assert early.unique_1 > 0.1
    assert early.unique_2 < 0.1
    assert late.unique_1 < 0.05
    assert late.unique_2 > 0.5
    kept = atoms(trapped, 4, "text")
    assert kept.unique_1 > 0.7 * early.unique_1
    assert kept.mi_2 < 0.1
    # What the cut model says itself is which of the six questions was asked, and the picture tells nothing alone.
    said = atoms(trapped, 4, "text", own)
    assert said.mi_12 == pytest.approx(np.log2(6), abs=0.1)
    assert abs(said.unique_1) < 0.05
    last = list(BLOCKS).index("last")
    assert all(np.ptp(intact[layer, last], axis=0).max() < 1e-4 for layer in range(6))  # nothing until block 5 ...
    assert atoms(intact, 6, "last").unique_2 > 1  # ... and then the answer


@pytest.fixture(scope="module")
def many(loaded):
    """Pooled states ``(L + 1, 4, n, width)`` of questions where an object is, intact and cut; then the two targets."""
    examples, pictures = [], []
    for seed in range(scenes.FIRST_EVALUATION_SEED + 2 * 10**6, scenes.FIRST_EVALUATION_SEED + 2 * 10**6 + 400):
        rng = np.random.default_rng(seed)
        scene = scenes.sample_scene(rng)
        question = scenes.ask(scene, "query-attr", rng)
        if question is not None:
            examples.append(Example(question.text))
            pictures.append(scenes.render(scene))
    conditions = [[], [on_edge("image", "question", (1, 2, 3))]]
    parts = {0: [], 1: []}
    for start in range(0, len(examples), 50):
        part = slice(start, start + 50)
        batch = encode(loaded, examples[part], pictures[part])
        names = [str(place) for place in range(len(batch))]
        for each in passes(loaded, batch, conditions, names=names):
            parts[each.condition].append(each.captured)
    states = [torch.cat([each.states for each in parts[place]], 2).numpy() for place in (0, 1)]
    return *states, *(components(torch.cat([each.final for each in parts[place]]).numpy(), 4) for place in (0, 1))
