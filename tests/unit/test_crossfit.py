"""Cross-fitted uniques: what they are made of, and that dividing the rows removes the bias it is meant to remove."""

import numpy as np
import pytest

from pidflow.pid.bias import mi_bias
from pidflow.pid.covariances import RowBlocks, jackknife_blocks
from pidflow.pid.crossfit import (
    CrossFit,
    _conditional_scatters,
    _independent_growth,
    _uniques_given_basis,
    can_crossfit,
    crossfit_uniques,
    split_plan,
)
from pidflow.pid.from_latents import estimate_pid_from_latents
from pidflow.pid.gaussian import gaussian_pid, independent_union
from pidflow.pid.gaussian_system import whiten_system
from pidflow.stats import jackknife_se


def tied_rows(n, d, *, seed):
    """Both sources see the target equally well: all they know is redundant, which plug-in estimates deny."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, d))
    return y + rng.normal(size=(n, d)), y + rng.normal(size=(n, d)), y


def uniques(statistics, dims, *, plan, without=None):
    """Both uniques, with all blocks or without one."""
    left_out = np.zeros((1, len(statistics.rows)), dtype=bool)
    if without is not None:
        left_out[0, without] = True
    return tuple(float(found[0]) for found in crossfit_uniques(statistics, dims, plan=plan, without=left_out))


class TestPlan:
    def test_parts_partition_the_blocks(self):
        test, train, first, second = split_plan(20, repeats=3, seed=0)
        assert test.shape == (12, 20)
        assert (test ^ train).all()
        assert ((first ^ second) == train).all()
        assert not (first & second).any()
        for repeat in range(3):
            assert (test[4 * repeat : 4 * repeat + 4].sum(axis=0) == 1).all()
        assert set(test.sum(axis=1)) == {5}
        assert set(first.sum(axis=1)) == {8}

    @pytest.mark.parametrize(
        ("n", "blocks", "dims", "possible"),
        [
            (900, 20, (50, 50, 50), True),
            (700, 20, (50, 50, 50), False),
            (900, 7, (2, 2, 2), False),
            (900, 8, (2, 2, 2), True),
            (900, 20, (2, 110, 20), False),
        ],
    )
    def test_what_can_be_divided(self, n, blocks, dims, possible):
        assert can_crossfit(n, blocks, dims) is possible


def test_scatter_of_unions_of_blocks():
    rows = np.random.default_rng(0).normal(size=(60, 3)) + 100
    blocks = np.arange(60) % 5
    member = np.array([[True, False, True, False, False], [True] * 5])
    scatter, count = RowBlocks.of(rows, blocks).scatter(member)
    for found, size, chosen in zip(scatter, count, member, strict=True):
        part = rows[chosen[blocks]]
        assert size == len(part)
        np.testing.assert_allclose(found, np.cov(part.T) * (size - 1), rtol=1e-10)


def test_large_samples_give_the_plug_in_uniques():
    """With 200,000 rows neither dividing them nor correcting matters any more."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(200_000, 3))
    x1 = y[:, :2] + rng.normal(size=(200_000, 2))
    x2 = 2 * y[:, 1:] @ rng.normal(size=(2, 3)) + rng.normal(size=(200_000, 3))
    rows = np.concatenate([x1, x2, y], axis=1)
    atoms = gaussian_pid(np.cov(rows.T), (2, 3, 3))
    statistics = RowBlocks.of(rows, jackknife_blocks(len(rows), 20, groups=None, seed=0))
    found = uniques(statistics, (2, 3, 3), plan=split_plan(20, repeats=2, seed=0))
    assert found == pytest.approx((float(atoms.unique_1), float(atoms.unique_2)), abs=2e-3)
    assert min(found) > 0.2


@pytest.mark.parametrize("below", [0, 1, 3, 4])
def test_bounds_of_a_fixed_basis_are_unbiased(below):
    """Any basis, 4000 test parts of 14 rows, against log-determinants of the population; five standard errors."""
    dims, rng = (2, 3, 4), np.random.default_rng(below)
    mix = rng.normal(size=(9, 9))
    basis = rng.normal(size=(4, 4))
    data = rng.normal(size=(4000, 14, 9)) @ mix
    statistics = RowBlocks(np.full(4000, 14), data.sum(axis=1), data.swapaxes(-1, -2) @ data)
    parts = _conditional_scatters(statistics, np.eye(4000, dtype=bool), dims)
    found = _uniques_given_basis(parts, (np.broadcast_to(basis, (4000, 4, 4)), np.full(4000, below)))

    cov = mix.T @ mix
    target = slice(5, None)
    seen = []
    for source in (slice(0, 2), slice(2, 5)):
        explained = cov[target, source] @ np.linalg.solve(cov[source, source], cov[source, target])
        seen.append(basis.T @ (cov[target, target] - explained) @ basis)
    best = _log_det(seen[0][below:, below:]) + _log_det(seen[1][:below, :below])
    for values, whole in zip(found, (seen[1], seen[0]), strict=True):
        expected = 0.5 * (_log_det(whole) - best)
        assert values.mean() == pytest.approx(expected, abs=5 * values.std() / np.sqrt(4000))


def _log_det(matrix):
    return np.linalg.slogdet(matrix)[1] if len(matrix) else 0.0


def test_leaving_out_a_block_is_not_having_it():
    rows = np.concatenate(tied_rows(400, 2, seed=0), axis=1)
    blocks = jackknife_blocks(400, 20, groups=None, seed=0)
    plan = split_plan(20, repeats=2, seed=0)
    without = uniques(RowBlocks.of(rows, blocks), (2, 2, 2), plan=plan, without=7)
    kept = np.delete(np.arange(20), 7)
    statistics = RowBlocks.of(rows, blocks)
    fewer = RowBlocks(statistics.rows[kept], statistics.sums[kept], statistics.outer[kept])
    assert without == pytest.approx(uniques(fewer, (2, 2, 2), plan=plan[..., kept]), abs=1e-12)


def test_estimates_do_not_see_each_other():
    rows = np.concatenate(tied_rows(400, 2, seed=0), axis=1)
    statistics = RowBlocks.of(rows, jackknife_blocks(400, 20, groups=None, seed=0))
    plan = split_plan(20, repeats=2, seed=0)
    together = crossfit_uniques(statistics, (2, 2, 2), plan=plan, without=np.eye(20, dtype=bool)[[3, 7]])
    alone = [uniques(statistics, (2, 2, 2), plan=plan, without=block) for block in (3, 7)]
    np.testing.assert_allclose(np.transpose(together), alone, atol=1e-12)


def test_errors_count_the_choice_of_bases_once():
    """Two directions tie: with bases chosen anew the jackknife shows 1.4 times the spread, with kept ones 0.84."""
    gains_1, gains_2 = np.array([1, 1, 1.5, 0]), np.array([1, 1, 0, 1.5])
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=(400, 4))
        rows = np.concatenate(
            [y * gains_1 + rng.normal(size=(400, 4)), y * gains_2 + rng.normal(size=(400, 4)), y], axis=1
        )
        blocks = jackknife_blocks(400, 20, groups=None, seed=seed)
        values = CrossFit.of(rows, blocks, (4, 4, 4), seed=seed).unique_1
        found.append((values[0], jackknife_se(values[1:])))
    values, errors = np.transpose(found)
    assert 0.9 < errors.mean() / values.std(ddof=1) < 1.3


def test_kept_bases_change_nothing_where_nothing_is_left_out():
    statistics = RowBlocks.of(np.concatenate(tied_rows(400, 2, seed=0), axis=1), np.arange(400) % 20)
    given = {"plan": split_plan(20, repeats=2, seed=0), "without": np.eye(21, 20, k=-1, dtype=bool)}
    anew, kept = (crossfit_uniques(statistics, (2, 2, 2), anew=anew, **given) for anew in (True, False))
    np.testing.assert_allclose(kept[:, 0], anew[:, 0], atol=1e-12)
    assert np.abs(kept[:, 1:] - anew[:, 1:]).max() > 1e-3


def test_ties_are_unbiased():
    """d = 5, n = 400, 40 data sets: the plug-in finds a quarter bit of unique information, there is none."""
    found, plug_in = [], []
    for seed in range(40):
        x1, x2, y = tied_rows(400, 5, seed=seed)
        rows = np.concatenate([x1, x2, y], axis=1)
        blocks = jackknife_blocks(400, 20, groups=None, seed=seed)
        statistics = RowBlocks.of(rows, blocks)
        found.append(uniques(statistics, (5, 5, 5), plan=split_plan(20, repeats=4, seed=seed)))
        plug_in.append(float(gaussian_pid(np.cov(rows.T), (5, 5, 5)).unique_1))
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert np.mean(plug_in) > 0.15
    np.testing.assert_array_less(np.abs(np.mean(found, axis=0)), 3 * error + 0.02)
    assert error.max() < 0.03


def uniques_of(channel_1, channel_2, *, n, sets):
    """Truth, and cross-fitted uniques of many data sets ``x_i = H_i y + noise``."""
    d1, d2, m = len(channel_1), len(channel_2), channel_1.shape[1]
    h = np.vstack([channel_1, channel_2])
    truth = gaussian_pid(np.block([[h @ h.T + np.eye(d1 + d2), h], [h.T, np.eye(m)]]), (d1, d2, m))
    plan = split_plan(20, repeats=4, seed=0)
    found = []
    for seed in range(sets):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=(n, m))
        rows = np.concatenate([y @ h.T + rng.normal(size=(n, d1 + d2)), y], axis=1)
        blocks = jackknife_blocks(n, 20, groups=None, seed=seed)
        found.append(uniques(RowBlocks.of(rows, blocks), (d1, d2, m), plan=plan))
    return np.array([float(truth.unique_1), float(truth.unique_2)]), np.array(found)


def test_the_loss_to_fewer_training_rows_is_made_good():
    """Generic channels, d = 8, n = 400: without the step to all rows the uniques are 0.15 bit too small."""
    rng = np.random.default_rng(0)
    truth, found = uniques_of(*(0.5 * rng.normal(size=(2, 8, 8))), n=400, sets=40)
    error = found.std(axis=0) / np.sqrt(len(found))
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - truth), 3 * error + 0.02)
    assert error.max() < 0.03


def test_the_step_does_not_overshoot():
    """Source 1 dominates, d = 20: half of the rows lose so much that the step would invent 0.3 bit for source 2."""
    truth, found = uniques_of(0.8 * np.eye(20), 0.3 * np.eye(20), n=900, sets=8)
    assert truth[1] == pytest.approx(0, abs=1e-12)
    assert found[:, 1].mean() < 0.06


def test_bias_of_the_independent_union_is_found_by_halving():
    """Predicted from one data set each, against the mean excess over the truth; d = 6, n = 300."""
    dims = (6, 6, 6)
    truth = 6 * 0.5 * np.log2(3)
    excess, predicted = [], []
    for seed in range(30):
        x1, x2, y = tied_rows(300, 6, seed=seed)
        rows = np.concatenate([x1, x2, y], axis=1)
        excess.append(float(independent_union(whiten_system(np.cov(rows.T), dims))) - truth)
        statistics = RowBlocks.of(rows, np.arange(300) % 20)
        predicted.append(_independent_growth(statistics, dims, seed=seed) * mi_bias(300, 12, 6))
    assert np.mean(predicted) == pytest.approx(np.mean(excess), abs=3 * np.std(excess) / np.sqrt(30))
    assert np.mean(predicted) > 0.1


def test_rows_that_cannot_be_divided():
    x1, x2, y = tied_rows(200, 2, seed=0)
    rows = np.concatenate([x1, x2, y], axis=1)
    assert CrossFit.of(rows, np.arange(200) % 6, (2, 2, 2), seed=0) is None
    # A column that differs in two rows does not vary within the parts that hold neither.
    rare = x1.copy()
    rare[:, 0] = np.isin(np.arange(200), [17, 18])
    rows = np.concatenate([rare, x2, y], axis=1)
    assert CrossFit.of(rows, np.arange(200) % 20, (2, 2, 2), seed=0) is None
    assert estimate_pid_from_latents(rare, x2, y)["broja"].union_correction == "permutation"


def test_ill_conditioned_columns_do_not_matter():
    x1, x2, y = tied_rows(400, 3, seed=0)
    change = np.array([[1, 0, 0], [1, 1e-3, 0], [1, 1, 1e-2]])
    blocks = jackknife_blocks(400, 20, groups=None, seed=0)
    plain = CrossFit.of(np.concatenate([x1, x2, y], axis=1), blocks, (3, 3, 3), seed=0)
    mixed = CrossFit.of(np.concatenate([x1 @ change, x2, 1e6 * y @ change], axis=1), blocks, (3, 3, 3), seed=0)
    for name in ("unique_1", "unique_2", "independent_bias"):
        np.testing.assert_allclose(getattr(mixed, name), getattr(plain, name), atol=1e-8)
