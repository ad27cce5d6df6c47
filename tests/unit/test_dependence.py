"""What an effect depends on: numbers task by task, and a correlation that shared noise cannot make."""

import numpy as np
import pytest
from tests import synthetic_run as run

from pidflow import names, stats
from pidflow.analysis import dependence

ATOMS = dict(zip(names.ATOMS, (0.2, 0.5, 1.0, 0.3), strict=True))
LOST = {("m", "t"): stats.Estimate(0.4, 0.05, 99)}


def table(intact, cut, lost=LOST):
    """The dependence table of one task of three layers, given the atoms of each condition."""
    records = [
        run.record("m", "t", condition, layer, atoms if layer else dict.fromkeys(ATOMS, 9.0))
        for condition, atoms in (("intact", intact), (run.CUT, cut))
        for layer in range(3)
    ]
    return dependence.dependence_table(records, lost, knockout=run.CUT)


def test_numbers_of_one_task():
    """The embedding output, of nine bits an atom, enters nothing."""
    found = table(ATOMS, ATOMS | {"unique_vision": 0.9, "synergy": 0.2}).set_index("atom")
    assert tuple(found.reset_index()[list(dependence.COLUMNS)].columns) == dependence.COLUMNS
    assert list(found["bits"]) == pytest.approx([0.4, -0.1, 0.3])
    assert list(found["redundancy_share"]) == pytest.approx([0.1] * 3)
    assert list(found["accuracy_lost"]) == [0.4] * 3
    assert list(found["accuracy_lost_low"]) == pytest.approx([LOST["m", "t"].interval()[0]] * 3)
    assert (found["low"] < found["bits"]).all()
    assert (found["condition"] == run.CUT).all()


def test_shared_error_is_that_of_share_and_change():
    """The intact redundancy enters the share as it is and the change of the joint information turned round."""
    noise = np.linspace(-0.1, 0.1, run.GROUPS)
    still = {atom: np.full(run.GROUPS, value) for atom, value in ATOMS.items()}
    noisy = run.record("m", "t", "intact", 1, ATOMS, jackknife=still | {"redundancy": ATOMS["redundancy"] + noise})
    cut = run.record("m", "t", run.CUT, 1, ATOMS, jackknife=still)
    found = dependence.dependence_table([noisy, cut], LOST, knockout=run.CUT).set_index("atom")["shared_error"]
    share = (ATOMS["redundancy"] + noise) / (sum(ATOMS.values()) + noise)
    expected = -(run.GROUPS - 1) / run.GROUPS * np.sum((share - share.mean()) * (noise - noise.mean()))
    assert found["mi_joint"] == pytest.approx(expected)
    assert found["mi_joint"] < 0
    assert found["synergy"] == pytest.approx(0)


def test_a_task_that_lacks_a_number_keeps_the_others():
    nothing = dict.fromkeys(ATOMS, 0.0)
    row = table(nothing, ATOMS, lost={}).iloc[0]
    assert row["bits"] == pytest.approx(0.5)
    assert np.isnan(row["accuracy_lost"])
    assert np.isnan(row["redundancy_share"])


def test_a_warning_needs_half_of_the_layers():
    def flagged(layers):
        wrong = {"synergy": 0.5}
        records = [run.record("m", "t", "intact", layer, ATOMS) for layer in range(4)]
        records += [
            run.record("m", "t", run.CUT, layer, ATOMS, twin_errors=wrong if layer in layers else None)
            for layer in range(4)
        ]
        return dependence.dependence_table(records, {}, knockout=run.CUT).set_index("atom")["warning"]

    assert (flagged([1]) == "").all()
    found = flagged([1, 3])
    assert found["synergy"] == f"{run.CUT}: 2 of 4 layers carry warnings"
    assert found["unique_vision"] == ""


def test_no_knockout_no_rows():
    found = dependence.dependence_table([run.record("m", "t", "intact", 1, ATOMS)], LOST, knockout=None)
    assert found.empty
    assert tuple(found.columns) == dependence.COLUMNS


def covered(error, *, correct, tasks=12, runs=600):
    """How often the 95 % interval holds a correlation of zero, with errors shared by both numbers."""
    rng = np.random.default_rng(3)
    hits = []
    for _ in range(runs):
        noise = error * rng.standard_normal(tasks)
        a, b = rng.standard_normal(tasks) + noise, rng.standard_normal(tasks) - noise
        shared = np.full(tasks, -(error**2) if correct else 0.0)
        low, high = stats.correlation_of_measured(a, b, shared).interval()
        hits.append(low <= 0 <= high)
    return np.mean(hits)


def test_shared_errors_are_no_correlation():
    """Of numbers that have nothing but noise in common, the interval holds zero as often as it says."""
    assert covered(1.0, correct=True) > 0.93
    assert covered(1.0, correct=False) < 0.75
    assert 0.94 < covered(0.0, correct=True) < 0.99


def test_one_outlying_task_establishes_nothing():
    """Four tasks alike and one far out: a correlation near one that is not there without that task."""
    a, b = np.array([0.01, 0.03, 0.07, 0.1, 0.55]), np.array([0.0, 0.001, 0.006, -0.001, 0.115])
    found = stats.correlation_of_measured(a, b, np.zeros(5))
    assert np.tanh(found.value) > 0.98
    assert found.interval()[0] < 0
    alone = stats.correlation_of_measured(np.array([0.0, 0.0, 0.0, 0.0, 1.0]), b, np.zeros(5))
    assert alone.se == np.inf


def test_correction_never_strengthens():
    a = np.array([0.0, 1.0, 2.0, 3.5, 4.0])
    plain = stats.correlation_of_measured(a, 2 * a + 1, np.zeros(5))
    assert np.tanh(plain.value) == pytest.approx(1.0)
    assert plain.se >= 1 / np.sqrt(2)
    b = a + np.array([0.5, -1.0, 1.0, -0.5, 0.3])
    seen = stats.correlation_of_measured(a, b, np.zeros(5)).value
    assert stats.correlation_of_measured(a, b, np.full(5, -0.5)).value == pytest.approx(seen)
    assert stats.correlation_of_measured(a, b, np.full(5, 0.5)).value < seen
    assert np.isnan(stats.correlation_of_measured(a, np.ones(5), np.zeros(5)).value)
