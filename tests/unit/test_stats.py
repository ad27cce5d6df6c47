"""Laws of the errors: jackknife against textbook formulas, propagation, verdicts."""

import numpy as np
import pytest

from pidflow import stats
from pidflow.errors import DataError


def deleted_means(values, groups):
    return np.array([values[groups != g].mean() for g in np.unique(groups)])


def test_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).standard_normal(60)
    found = stats.jackknife(values.mean(), deleted_means(values, np.arange(60)))
    assert found.se == pytest.approx(values.std(ddof=1) / np.sqrt(60))
    assert found.df == 59


def test_interval_is_students():
    low, high = stats.Estimate(1.0, 0.1, 19).interval()
    assert (low, high) == pytest.approx((1 - 0.2093024, 1 + 0.2093024))
    assert stats.Estimate(0.0, 1.0, np.inf).interval()[1] == pytest.approx(1.959964)


def test_interval_takes_arrays():
    low, high = stats.interval(np.zeros(3), np.ones(3), 19)
    assert low.shape == (3,)
    np.testing.assert_allclose(low, -high)


def test_clustered_mean_of_single_rows_is_the_plain_error():
    values = np.random.default_rng(1).standard_normal(50)
    found = stats.clustered_mean(values, np.arange(50))
    assert found.se == pytest.approx(values.std(ddof=1) / np.sqrt(50))


def test_clustered_mean_of_copies_counts_clusters():
    """Three copies of a row hold no more information than one."""
    values = np.random.default_rng(2).standard_normal(40)
    once = stats.clustered_mean(values, np.arange(40))
    thrice = stats.clustered_mean(np.repeat(values, 3), np.repeat(np.arange(40), 3))
    assert thrice == once or thrice.se == pytest.approx(once.se)
    assert thrice.df == 39


def test_clustered_mean_of_one_image_has_no_error():
    assert np.isnan(stats.clustered_mean([0.0, 1.0], ["a", "a"]).se)


@pytest.mark.parametrize(("values", "sentence"), [([], "needs rows"), ([1.0, np.nan], "values is not finite at row 1")])
def test_clustered_mean_refuses(values, sentence):
    with pytest.raises(DataError, match=sentence):
        stats.clustered_mean(values, np.arange(len(values)))


def test_independent_errors_add_in_quadrature():
    a, b = stats.Estimate(1.0, 0.3, 19), stats.Estimate(3.0, 0.4, 19)
    mean = stats.mean_of_independent([a, b])
    assert mean.value == 2.0
    assert mean.se == pytest.approx(0.25)
    assert 19 < mean.df < 38


def test_satterthwaite_of_equal_errors_adds_degrees():
    assert stats.mean_of_independent([stats.Estimate(0.0, 0.1, 19)] * 4).df == pytest.approx(76)


def test_mean_without_any_error_keeps_degrees():
    assert stats.mean_of_independent([stats.Estimate(0.0, 0.0, 19)] * 2) == stats.Estimate(0.0, 0.0, 19)


def samples(seed, shift=0.0):
    rng = np.random.default_rng(seed)
    return np.array([2.0, 3.0]) + shift, np.array([2.0, 3.0]) + shift + 0.1 * rng.standard_normal((20, 2))


def ratio(a, b):
    return a[..., 0] / b[..., 1]


def test_paired_propagation_recomputes_per_group():
    a, b = samples(0), samples(1)
    found = stats.propagate(ratio, [a, b], paired=True)
    assert found == stats.jackknife(2 / 3, a[1][:, 0] / b[1][:, 1])


def test_paired_difference_of_a_sample_with_itself_has_no_error():
    a = samples(0)
    assert stats.propagate(lambda x, y: (x - y)[..., 0], [a, a], paired=True).se == 0.0
    alone = stats.jackknife(a[0][0], a[1][:, 0])
    unpaired = stats.propagate(lambda x, y: (x - y)[..., 0], [a, a], paired=False)
    assert unpaired.se == pytest.approx(np.sqrt(2) * alone.se)


def test_unpaired_propagation_takes_different_numbers_of_groups():
    a, b = samples(0), samples(1)
    found = stats.propagate(ratio, [a, (b[0], b[1][:15])], paired=False)
    assert found.value == pytest.approx(2 / 3)
    assert found.se > stats.propagate(lambda x: x[..., 0] / 3, [a], paired=True).se


def test_correlation_is_pearson():
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 5, 30))
    expected = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(stats.correlation(a, b), expected)


def test_correlation_with_a_constant_is_unknown():
    assert np.isnan(stats.correlation(np.ones(4), np.arange(4.0)))


def test_fisher_is_finite_at_the_ends():
    z = stats.fisher(np.array([-1.0, 0.0, 1.0]))
    assert np.isfinite(z).all()
    assert z[1] == 0


@pytest.mark.parametrize(
    ("low", "high", "above", "expected"),
    [
        (0.1, 0.2, True, stats.SUPPORTED),
        (0.1, 0.2, False, stats.NOT_SUPPORTED),
        (-0.2, -0.1, True, stats.NOT_SUPPORTED),
        (-0.2, -0.1, False, stats.SUPPORTED),
        (-0.1, 0.1, True, stats.UNDETERMINED),
        (0.1, 0.1, True, stats.UNDETERMINED),
        (0.1, 0.1 + 1e-15, True, stats.UNDETERMINED),
        (np.nan, np.nan, True, stats.UNDETERMINED),
    ],
)
def test_verdict(low, high, above, expected):
    assert stats.verdict(low, high, threshold=0.0, above=above) == expected


@pytest.mark.parametrize("df", [4, 19, np.inf])
@pytest.mark.parametrize("value", [-0.3, 0.18, 0.22, 1.0])
def test_a_p_value_below_5_percent_is_an_interval_beside_the_threshold(value, df):
    found = stats.Estimate(value, 0.1, df)
    low, high = found.interval()
    assert (stats.p_value(found, threshold=0.0) < 0.05) == (low > 0 or high < 0)
    assert stats.p_value(found, threshold=value) == pytest.approx(1.0)


@pytest.mark.parametrize("found", [(np.nan, 0.1), (1.0, 0.0), (1.0, np.inf), (1.0, np.nan)])
def test_what_is_not_known_has_no_p_value(found):
    assert np.isnan(stats.p_value(stats.Estimate(*found, 19), threshold=0.0))


def test_holm_is_the_textbook_procedure():
    """Sorted p-values times how many are left, never falling; what was not tested counts for nothing."""
    given = [0.01, np.nan, 0.04, 0.03, 0.005]
    np.testing.assert_allclose(stats.holm(given), [0.03, np.nan, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert stats.holm([]).size == 0


def test_holm_rarely_errs_in_a_whole_family():
    """Of 40 true hypotheses 2 are rejected one by one; of families of 40, one in twenty has any rejection."""
    p = np.random.default_rng(0).random((2000, 40))
    assert np.mean([(stats.holm(family) < 0.05).any() for family in p]) == pytest.approx(0.05, abs=0.015)
    assert (p < 0.05).any(axis=1).mean() > 0.8
