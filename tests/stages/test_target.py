"""One target for all conditions: sources of a cut, decomposed against what the intact model says to the questions."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tests import synthetic_run as run

from pidflow import stats
from pidflow.analysis import claims, tables
from pidflow.analysis.decompositions import against
from pidflow.analysis.dependence import dependence_table
from pidflow.errors import DataError
from pidflow.files import store
from pidflow.names import INTACT, OWN, TARGETS, analysis_of, condition_and_target
from pidflow.pid.records import from_json, to_json
from pidflow.stages import bound_information, estimate_pid, fit_pca, plant_twin, train_flow

ROWS, CUT = 120, "cut"
MADE = store.Identity(*("m", "t"), revision="r", prompt="p", dtype="float32", items="i", settings="s")
PCA = {"correct_only": False, "language": "text", "variance": 0.99, "max_components": 2, "target_components": 2}


def write_activations(path, condition, seed, *, first="q0"):
    """States that know something of their own target."""
    rng = np.random.default_rng(seed)
    goal = rng.standard_normal((ROWS, 2))
    identity = replace(MADE, condition=condition)
    attrs = {"layers": 0, "model": "m", "task": "t", "condition": condition}
    with store.writing_h5(path, kind="activations", identity=identity, attrs=attrs) as file:
        for block in store.BLOCKS:
            store.put(file, f"layer-00/{block}", goal @ rng.standard_normal((2, 3)) + rng.standard_normal((ROWS, 3)))
        store.put(file, "target", goal)
        store.put(file, "item_id", [first, *(f"q{row}" for row in range(1, ROWS))])
        store.put(file, "image_id", [f"p{row // 2}" for row in range(ROWS)])
        store.put(file, "fold", np.arange(ROWS) // 2 % 3)


@pytest.fixture
def folder(tmp_path):
    write_activations(tmp_path / "intact.h5", INTACT, 0)
    write_activations(tmp_path / "cut.h5", CUT, 1)
    answers = pd.DataFrame({"item_id": [f"q{row}" for row in range(ROWS)], "correct": True})
    store.write_table(tmp_path / "answers.parquet", answers, identity=replace(MADE, condition=INTACT))
    return tmp_path


def reduced(folder, condition, target=OWN):
    """Principal scores of a condition, as the rule asks for them."""
    output = folder / f"pca-{analysis_of(condition, target)}.h5"
    fit_pca.run(
        activations=str(folder / f"{condition}.h5"),
        answers=str(folder / "answers.parquet"),
        output=str(output),
        target=None if target == OWN else str(folder / "intact.h5"),
        unit={"model": "m", "task": "t", "condition": analysis_of(condition, target)},
        seed=0,
        **PCA,
    )
    return output


def scores(path):
    with store.reading_h5(path, kind="pca") as file:
        names = ("layer-00/vision/scores", "layer-00/language/scores", "target/scores")
        return [store.take(file, name) for name in names], file.attrs["condition"], store.identity_of(file)


def test_names_of_analyses_can_be_read_back():
    for target in TARGETS:
        assert condition_and_target(analysis_of("image-question", target)) == ("image-question", target)
    assert analysis_of("image-question") == "image-question"


def test_sources_are_those_of_the_cut_and_the_target_that_of_the_intact_model(folder):
    intact, own, other = (scores(reduced(folder, *each)) for each in ((INTACT,), (CUT,), (CUT, INTACT)))
    for part in (0, 1):
        np.testing.assert_array_equal(other[0][part], own[0][part])
    np.testing.assert_array_equal(other[0][2], intact[0][2])
    assert not np.allclose(own[0][2], intact[0][2])
    assert (own[1], other[1]) == (CUT, "cut@intact")
    assert other[2].condition == "cut@intact"
    assert other[2].made_from != own[2].made_from


def test_other_questions_are_refused(folder):
    write_activations(folder / "intact.h5", INTACT, 0, first="another")
    with pytest.raises(DataError, match="not about the same questions in the same order"):
        reduced(folder, CUT, INTACT)


def test_a_target_of_another_condition_is_refused(folder):
    write_activations(folder / "intact.h5", "other", 0)
    with pytest.raises(DataError, match="was made for condition 'other'"):
        reduced(folder, CUT, INTACT)


def test_records_say_which_target_they_have(folder):
    before, unit = torch.get_num_threads(), {"model": "m", "task": "t", "condition": "cut@intact"}
    paths = {name: str(folder / f"{name}.h5") for name in ("flow", "twin", "bound")}
    paths["pca"], weights, settings = str(reduced(folder, CUT, INTACT)), str(folder / "w"), {"max_steps": 2}
    same = {"seed": 0, "threads": 1, "unit": unit}
    train_flow.run(pca=paths["pca"], output=paths["flow"], weights=weights, settings=settings, **same)
    plant_twin.run(
        pca=paths["pca"], flow=paths["flow"], weights=weights, output=paths["twin"], settings=settings, **same
    )
    bound_information.run(pca=paths["pca"], flow=paths["flow"], output=paths["bound"], **same)
    torch.set_num_threads(before)
    output = str(folder / "layer-00.json")
    asked = {"estimators": ["gaussian"], "definitions": ["broja"], "permutations": 20, "jackknife_groups": 20}
    estimate_pid.run(**paths, **asked, outputs=[output], seed=0, unit=unit)
    (found,) = from_json(store.read_json(output), where=output)
    assert (found.condition, found.target) == (CUT, INTACT)


def records(*, shift):
    """A run decomposed against both targets; against the intact one, all atoms of the cut are `shift` more."""
    own = run.records(estimators=("flow",), definitions=("broja",), tasks=run.TASKS[-5:])
    both = run.records(estimators=("flow",), definitions=("broja",), tasks=run.TASKS[-5:], conditions=(run.CUT,))
    moved = []
    for each in both:
        bits = {name: value + shift for name, value in each.bits.items() if name in run.ATOMS}
        record = run.record(each.model, each.task, each.condition, each.layer, bits)
        moved.append(replace(record, target=INTACT))
    return own, [*own, *moved]


def test_differences_stand_beside_each_other():
    own, both = records(shift=0.5)
    table = tables.difference_table(both)
    alone = tables.difference_table(own).reset_index(drop=True)
    by_own = table[table["target"] == OWN].reset_index(drop=True)
    pd.testing.assert_frame_equal(by_own, alone)
    other = table[table["target"] == INTACT]
    assert len(other) == len(alone)
    joint = (other["bits"].to_numpy() - by_own["bits"].to_numpy())[by_own["atom"] == "mi_joint"]
    assert joint.mean() == pytest.approx(2.0, abs=0.1)


def test_claims_about_cuts_are_judged_against_both_and_say_which():
    lost = {("standin", task): stats.Estimate(0.45, 0.01, 299) for task in run.TASKS}
    _, both = records(shift=-0.6)
    judged = {t: claims.judge(both, lost, knockout=run.CUT, target=t) for t in TARGETS}
    assert {claim.target for claim in judged[INTACT]} == {INTACT}
    assert INTACT not in {claim.condition for claim in judged[INTACT]}
    verdicts = {
        target: {claim.id: claim.verdict for claim in found if claim.task == "all"} for target, found in judged.items()
    }
    assert verdicts[OWN]["knockout-raises-cost"] == stats.SUPPORTED
    assert verdicts[INTACT]["knockout-raises-cost"] == stats.NOT_SUPPORTED
    assert "vision-decays" in verdicts[OWN]
    effects = {t: dependence_table(both, lost, knockout=run.CUT, target=t)["bits"] for t in TARGETS}
    assert (effects[INTACT] < effects[OWN]).all()


def test_the_intact_condition_has_one_target():
    own, both = records(shift=0.0)
    assert against(both, OWN) == own
    assert {(each.condition, each.target) for each in against(both, INTACT)} == {(INTACT, OWN), (run.CUT, INTACT)}
    with pytest.raises(DataError, match="target"):
        to_json([replace(own[0], condition=INTACT, target=INTACT)])
