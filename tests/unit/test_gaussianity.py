"""Normality tests: level on normal data, power on departures, invariance, agreement with definitions."""

import numpy as np
import pytest
from scipy import stats

from pidflow.errors import NumericsError
from pidflow.flows.normality import gaussianity


def normal(n, d, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d))


def test_false_alarms_stay_at_the_level():
    found = [gaussianity(normal(300, 6, seed)) for seed in range(200)]
    for p in ([f.skewness_p for f in found], [f.kurtosis_p for f in found], [f.anderson_darling_p[0] for f in found]):
        assert stats.binomtest(int(np.sum(np.array(p) < 0.05)), len(p), 0.05).pvalue > 1e-3


@pytest.mark.parametrize(
    ("name", "warp"),
    [
        ("skewness_p", lambda z: np.column_stack([np.exp(z[:, 0]), z[:, 1:]])),
        ("kurtosis_p", lambda z: z * np.sqrt(5 / np.random.default_rng(9).chisquare(5, size=(len(z), 1)))),
        ("anderson_darling_p", lambda z: z**3),
    ],
)
def test_departures_are_seen(name, warp):
    sample = warp(np.random.default_rng(1).standard_normal((500, 4)))
    assert np.min(getattr(gaussianity(sample), name)) < 1e-6


def test_normal_marginals_do_not_hide_a_bend_in_the_joint():
    z = np.random.default_rng(2).standard_normal((1000, 3))
    z[:, 2] = np.abs(z[:, 2]) * np.sign(z[:, 0] * z[:, 1])
    found = gaussianity(z)
    assert found.anderson_darling_p.min() > 1e-3
    assert found.skewness_p < 1e-6


def test_multivariate_statistics_match_their_definition_over_pairs():
    sample = normal(60, 3, 3) ** 3
    centred = sample - sample.mean(axis=0)
    pairs = centred @ np.linalg.inv(np.cov(sample.T, ddof=0)) @ centred.T
    found = gaussianity(sample)
    assert found.skewness == pytest.approx((pairs**3).mean())
    assert found.kurtosis == pytest.approx((np.diag(pairs) ** 2).mean() / (15 * 59 / 61))


def test_multivariate_statistics_do_not_depend_on_the_coordinates():
    sample = normal(200, 4, 4) ** 3
    found, mapped = gaussianity(sample), gaussianity(sample @ normal(4, 4, 5) + 7)
    assert mapped.skewness == pytest.approx(found.skewness)
    assert mapped.kurtosis == pytest.approx(found.kurtosis)


def test_anderson_darling_matches_the_textbook_sum():
    z = np.sort(np.random.default_rng(6).standard_normal(80))
    u = stats.norm.cdf((z - z.mean()) / z.std(ddof=1))
    i = np.arange(1, 81)
    expected = -80 - np.mean((2 * i - 1) * (np.log(u) + np.log(1 - u[::-1])))
    statistic = gaussianity(z[:, None]).anderson_darling[0]
    assert statistic == pytest.approx(expected * (1 + 0.75 / 80 + 2.25 / 80**2))


def test_a_copied_column_changes_nothing_but_its_own_entry():
    sample = normal(200, 3, 7) ** 3
    found, copied = gaussianity(sample), gaussianity(np.column_stack([sample, sample[:, 0]]))
    assert copied.skewness == pytest.approx(found.skewness)
    assert copied.kurtosis_p == pytest.approx(found.kurtosis_p)


def test_refuses_fewer_rows_than_columns():
    with pytest.raises(NumericsError, match="at least 6 rows, found 3"):
        gaussianity(np.ones((3, 4)))
