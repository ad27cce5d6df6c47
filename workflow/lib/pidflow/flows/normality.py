"""How far a sample is from a multivariate normal: each column alone, and all columns together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from pidflow import arrays
from pidflow.errors import NumericsError


@dataclass(frozen=True)
class Gaussianity:
    """Departures from normality with mean and covariance estimated; small p-values speak against normality.

    Attributes
    ----------
    anderson_darling, anderson_darling_p
        Anderson-Darling statistic of each column, corrected for sample size, and its p-value, shape ``(d,)``.
    skewness, skewness_p
        Mardia's multivariate skewness (0 for a normal) and its p-value.
    kurtosis, kurtosis_p
        Mardia's multivariate kurtosis relative to its expectation under normality (1 for a normal) and its p-value.
    """

    anderson_darling: np.ndarray
    anderson_darling_p: np.ndarray
    skewness: float
    skewness_p: float
    kurtosis: float
    kurtosis_p: float


def gaussianity(sample: np.ndarray) -> Gaussianity:
    """Tests of normality of a sample of shape ``(n, d)``.

    Dependent columns are no obstacle: the multivariate tests then speak about the directions that vary.

    Raises
    ------
    DataError
        When the sample is no array of finite numbers.
    NumericsError
        When there are no more rows than columns, no column, or a constant one.

    References
    ----------
    Mardia (1970), Measures of multivariate skewness and kurtosis with applications; small samples: Mardia (1974).
    D'Agostino, Stephens (1986), Goodness-of-fit techniques, table 4.9.
    """
    sample = arrays.rows(sample, "sample")
    n, d = sample.shape
    if n < d + 2:
        raise NumericsError(f"a normality test of {d} columns needs at least {d + 2} rows, found {n}")
    constant = np.flatnonzero(arrays.constant_columns(sample))
    if constant.size or not d:
        raise NumericsError(f"a normality test needs columns that vary, found {constant.size} of {d} constant")
    centred = sample - sample.mean(axis=0)
    centred /= np.abs(centred).max(axis=0)
    scaled = centred / centred.std(axis=0, ddof=1)
    statistic, p_value = _anderson_darling(scaled)
    variance, directions = np.linalg.eigh(scaled.T @ scaled / n)
    varies = variance > 1e-10 * variance[-1]
    white = scaled @ (directions[:, varies] / np.sqrt(variance[varies]))
    d = white.shape[1]

    # The sum over pairs of rows of (w_i . w_j)^3 is the squared norm of the third-moment tensor: d^3 n, not n^2 d.
    third = 0.0
    for column in white.T:
        third += float(np.square((white * column[:, None]).T @ white / n).sum())
    factor_n = (d + 1) * (n + 1) * (n + 3) / (n * ((n + 1) * (d + 1) - 6))
    degrees = d * (d + 1) * (d + 2) / 6
    fourth = float(np.square(np.square(white).sum(axis=1)).mean())
    expected = d * (d + 2) * (n - 1) / (n + 1)
    z = (fourth - expected) / np.sqrt(8 * d * (d + 2) / n)
    return Gaussianity(
        anderson_darling=statistic,
        anderson_darling_p=p_value,
        skewness=third,
        skewness_p=float(special.chdtrc(degrees, n * third * factor_n / 6)),
        kurtosis=fourth / expected,
        kurtosis_p=float(2 * special.ndtr(-abs(z))),
    )


def _anderson_darling(standardised: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Statistic and p-value of each column, mean and variance estimated (the statistic is Stephens' modified one)."""
    n = len(standardised)
    ordered = np.sort(standardised, axis=0)
    weight = (2 * np.arange(1, n + 1) - 1)[:, None] / n
    tails = special.log_ndtr(ordered) + special.log_ndtr(-ordered[::-1])
    a = (-n - (weight * tails).sum(axis=0)) * (1 + 0.75 / n + 2.25 / n**2)
    p = np.select(
        [a < 0.2, a < 0.34, a < 0.6],
        [
            1 - np.exp(-13.436 + 101.14 * a - 223.73 * a**2),
            1 - np.exp(-8.318 + 42.796 * a - 59.938 * a**2),
            np.exp(0.9177 - 4.279 * a - 1.38 * a**2),
        ],
        np.exp(1.2937 - 5.709 * a + 0.0186 * np.minimum(a, 150.0) ** 2),
    )
    return a, np.clip(p, 0, 1)
