"""The best coupling: proven by its own gap, equal to the exact solver, and its duals are slopes."""

import numpy as np
import pytest
from tests.unit.test_batch import TRUTH, coins

from pidflow.errors import NumericsError
from pidflow.pid.coupling import couple
from pidflow.pid.discrete import discrete_pid
from pidflow.pid.gaussian_system import LN2
from pidflow.pid.predicted import divergence, entropy, predicted_information
from pidflow.pid.sinkhorn import completed, feasible


def soft(n, labels, *, seed, sharpness=1.5):
    """Masses of label and row of both sources, of predictions that are anything between sure and unsure."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.standard_normal((2, n, labels))
    given = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    target = given[0].mean(0)
    return [np.ascontiguousarray(feasible(p, target).T) / n for p in given]


def exact(rows, columns):
    """The union information of the two, by the solver for tables."""
    table = rows.T[:, None] * (columns.T / rows.sum(1))[None]
    return float(discrete_pid(table / table.sum()).union)


@pytest.mark.parametrize("labels", [2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_the_truth_lies_within_the_gap(labels, seed):
    rows, columns = soft(14, labels, seed=seed)
    found = couple(rows, columns, tolerance_bits=1e-4)
    truth = exact(rows, columns)
    assert found.gap_bits <= 2e-3
    assert truth - 1e-7 <= found.union_bits <= truth + found.gap_bits + 1e-7


def test_a_short_descent_still_proves_its_gap():
    rows, columns = soft(14, 3, seed=5)
    found, truth = couple(rows, columns, max_steps=3), exact(rows, columns)
    assert found.union_bits - truth > 1e-3
    assert found.union_bits - found.gap_bits <= truth <= found.union_bits


@pytest.mark.parametrize("name", TRUTH)
def test_textbook_systems_are_exact(name):
    *_, from_one, from_two, joint = coins(name, 400)
    target = joint.mean(0)
    found = couple(*(feasible(p, target).T / 400 for p in (from_one, from_two)))
    information = [predicted_information(p) for p in (from_one, from_two, joint)]
    atoms = (
        information[0] + information[1] - found.union_bits,
        found.union_bits - information[1],
        found.union_bits - information[0],
        information[2] - found.union_bits,
    )
    np.testing.assert_allclose(atoms, TRUTH[name], atol=1e-4)


def test_duals_bound_other_marginals_and_are_the_slope():
    rows, columns = soft(12, 3, seed=0)
    found = couple(rows, columns, tolerance_bits=1e-6, max_steps=20000)

    def bound(r, c):
        return (np.vdot(found.a, r) + np.vdot(found.b, c)) / LN2 + entropy(r.sum(1))

    assert bound(rows, columns) == pytest.approx(exact(rows, columns), abs=2e-4)
    weight = np.random.default_rng(1).dirichlet(np.full(12, 400.0)) * 12
    moved = rows * weight
    moved /= moved.sum()
    other = (feasible((columns / columns.sum(0)).T, moved.sum(1)) / 12).T
    assert bound(moved, other) <= exact(moved, other) + 1e-7
    change = exact(moved, other) - exact(rows, columns)
    assert bound(moved, other) - bound(rows, columns) == pytest.approx(change, abs=0.15 * abs(change) + 2e-4)


def test_labels_that_nobody_predicts_change_nothing():
    rows, columns = soft(20, 3, seed=3)
    wider = [np.concatenate([each, np.zeros((2, 20))]) for each in (rows, columns)]
    assert couple(*wider).union_bits == pytest.approx(couple(rows, columns).union_bits, abs=1e-9)


def test_swapping_the_sources_swaps_nothing_else():
    rows, columns = soft(20, 3, seed=4)
    one, two = couple(rows, columns, tolerance_bits=1e-4), couple(columns, rows, tolerance_bits=1e-4)
    assert abs(one.union_bits - two.union_bits) <= max(one.gap_bits, two.gap_bits)


def test_sources_that_disagree_on_the_labels_are_refused():
    rows, columns = soft(20, 2, seed=0)
    with pytest.raises(NumericsError, match="different label frequencies"):
        couple(rows, columns[::-1])


def test_a_coupling_is_completed():
    rows, columns = soft(9, 2, seed=0)
    rough = rows[:, :, None] * columns[:, None, :] * np.random.default_rng(0).uniform(0.5, 1, (2, 9, 9))
    rough *= (columns / rough.sum(1))[:, None, :]
    done, error = completed(rough, rows, columns)
    assert error > 1e-3
    np.testing.assert_allclose(done.sum(2), rows, atol=1e-15)
    np.testing.assert_allclose(done.sum(1), columns, atol=1e-15)


def test_divergence_is_the_excess_of_an_information_against_other_frequencies():
    p = np.array([[0.9, 0.1]] * 4)
    assert predicted_information(p) == 0
    assert divergence(p.mean(0), np.array([0.5, 0.5])) == pytest.approx(0.531, abs=1e-3)
    assert divergence(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == np.inf
