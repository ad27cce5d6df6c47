"""Finite-sample bias, folds, null pairings, the consistency rule, the jackknife."""

import numpy as np
import pytest

from pidflow.errors import ConfigError, DataError, NumericsError
from pidflow.groups import grouped_folds, permuted_rows
from pidflow.pid.bias import consistent_union, mi_bias, reported_union
from pidflow.pid.gaussian_system import LN2, gaussian_mi
from pidflow.stats import jackknife_se


@pytest.mark.parametrize(("dim", "nats"), [(5, 0.014), (20, 0.228), (50, 1.474), (100, 6.278)])
def test_bias_at_900_rows(dim, nats):
    assert mi_bias(900, dim, dim) * LN2 == pytest.approx(nats, abs=5e-4)


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_bias_is_exact_for_every_covariance(rho):
    """Mean of 4000 plug-in estimates from 30 rows, against truth plus bias; five standard errors."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(4000, 30, 2))
    x = rng.normal(size=(4000, 30, 3))
    x[..., 0] = rho * y[..., 0] + np.sqrt(1 - rho**2) * x[..., 0]
    rows = np.concatenate([x, y], axis=-1)
    rows -= rows.mean(axis=1, keepdims=True)
    found = gaussian_mi(rows.swapaxes(-1, -2) @ rows / 29, (3, 2))
    truth = -0.5 * np.log2(1 - rho**2)
    assert found.mean() == pytest.approx(truth + mi_bias(30, 3, 2), abs=5 * found.std() / np.sqrt(4000))


def test_bias_needs_more_rows_than_columns():
    assert np.isfinite(mi_bias(6, 3, 2))
    with pytest.raises(NumericsError, match="more than 5 rows, found 5"):
        mi_bias(5, 3, 2)


class TestFolds:
    def test_rows_are_dealt_out_evenly(self):
        labels = grouped_folds(103, folds=5, seed=1)
        assert sorted(np.bincount(labels)) == [20, 20, 21, 21, 21]

    def test_groups_stay_whole_and_sizes_stay_close(self):
        rng = np.random.default_rng(0)
        groups = np.array([f"image-{i}" for i in rng.integers(0, 150, size=900)])
        labels = grouped_folds(900, folds=5, groups=groups)
        for group in np.unique(groups):
            assert len(set(labels[groups == group])) == 1
        assert np.ptp(np.bincount(labels)) <= 2

    def test_the_seed_decides(self):
        same = [grouped_folds(50, folds=3, seed=s) for s in (0, 0, 1)]
        assert (same[0] == same[1]).all()
        assert (same[0] != same[2]).any()

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"folds": 1}, ConfigError, "folds must be a whole number from 2"),
            ({"folds": 3, "groups": [0, 0, 1, 1]}, NumericsError, "at least 3 groups, found 2"),
            ({"folds": 5}, NumericsError, "at least 5 rows, found 4"),
            ({"folds": 2, "groups": [0, 1]}, DataError, r"shape \(4,\)"),
        ],
    )
    def test_refusals(self, arguments, error, message):
        with pytest.raises(error, match=message):
            grouped_folds(4, **arguments)


class TestPermutations:
    def test_each_is_a_permutation_and_they_differ(self):
        sources, targets = permuted_rows(40, 6, seed=3)
        assert (sources == np.arange(40)).all()
        assert (np.sort(targets, axis=1) == np.arange(40)).all()
        assert len({tuple(t) for t in targets}) == 6

    def test_whole_groups_move(self):
        """Groups of equal size: all rows of a source group meet all rows of one target group, in order."""
        groups = np.repeat(np.arange(12), 4)
        shuffle = np.random.default_rng(0).permutation(48)
        sources, targets = permuted_rows(48, 5, groups=groups[shuffle], seed=0)
        assert (np.sort(sources) == np.arange(48)).all()
        for target in targets:
            pairs = groups[shuffle][np.stack([sources, target])].reshape(2, 12, 4)
            assert (pairs == pairs[..., :1]).all()
            assert (pairs[0] != pairs[1]).any()

    def test_groups_keep_the_null_wide(self):
        """Rows repeated four times: row permutations understate chance correlation twofold, groups do not."""
        rng = np.random.default_rng(0)
        x, y = np.repeat(rng.normal(size=(2, 100)), 4, axis=1)
        groups = np.repeat(np.arange(100), 4)
        spread = []
        for labels in (None, groups):
            sources, targets = permuted_rows(400, 400, groups=labels, seed=1)
            spread.append(np.std([np.corrcoef(x[sources], y[t])[0, 1] for t in targets]))
        assert spread[0] == pytest.approx(1 / 20, rel=0.15)
        assert spread[1] == pytest.approx(1 / 10, rel=0.15)


class TestConsistentUnion:
    @pytest.mark.parametrize(
        ("union", "one", "two", "both", "expected", "clipped"),
        [
            (1.2, 1.0, 0.5, 2.0, 1.2, False),  # inside
            (0.9, 1.0, 0.5, 2.0, 1.0, True),  # below the larger source
            (1.7, 1.0, 0.5, 2.0, 1.5, True),  # above the sum of the sources
            (1.4, 1.0, 0.5, 1.3, 1.3, True),  # above the joint information
            (0.0, -0.1, 0.3, 0.4, 0.25, True),  # I1 + I2 < I2: middle of 0.3 and 0.2
            (1.0, 1.0, 0.5, 0.8, 0.9, True),  # I12 < I1: middle
        ],
    )
    def test_rule(self, union, one, two, both, expected, clipped):
        found, flag = consistent_union(union, one, two, both)
        assert found == pytest.approx(expected)
        assert bool(flag) is clipped

    def test_atoms_are_not_negative_whenever_that_is_possible(self):
        rng = np.random.default_rng(0)
        union, one, two, both = rng.uniform(-0.2, 1, size=(4, 5000))
        found, _ = consistent_union(union, one, two, both)
        atoms = np.stack([one + two - found, found - two, found - one, both - found])
        possible = np.maximum(one, two) <= np.minimum(one + two, both)
        assert 0.1 < possible.mean() < 0.9
        assert atoms[:, possible].min() > -1e-12
        assert (atoms[:, ~possible].min(axis=0) < 0).all()

    def test_it_is_continuous(self):
        one = np.linspace(-0.2, 0.2, 4001)
        found, _ = consistent_union(0.25, one, 0.3, 0.35)
        assert np.abs(np.diff(found)).max() < 2e-4


class TestJackknife:
    def test_mean_of_groups(self):
        """For a mean it is the textbook standard error of the group means."""
        values = np.random.default_rng(0).normal(size=(20, 7))
        replicates = (values.sum(axis=0) - values) / 19
        np.testing.assert_allclose(jackknife_se(replicates), values.std(axis=0, ddof=1) / np.sqrt(20), rtol=1e-12)


class TestReportedUnion:
    def test_replicates_are_not_clipped(self):
        mi = {"mi_1": np.array([1.0, 1.1]), "mi_2": np.array([0.5, 0.4]), "mi_12": np.array([1.2, 1.3])}
        np.testing.assert_allclose(reported_union(np.array([1.4, 1.5]), mi), [1.2, 1.5])

    def test_where_informations_contradict_each_other_replicates_are_the_same_function_as_the_estimate(self):
        """I12 below I1: whatever the union is estimated at, the middle of its bounds is reported, and scatters so."""
        mi = {"mi_1": np.array([0.02, 0.05]), "mi_2": np.array([0.01, -0.01]), "mi_12": np.array([0.01, 0.02])}
        np.testing.assert_allclose(reported_union(np.array([0.3, 0.9]), mi), [0.015, 0.035])
