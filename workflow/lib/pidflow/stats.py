"""Errors of estimates, and what an interval states about a threshold.

Everything here starts from delete-group jackknife replicates: the estimate recomputed without each of G groups of
images. A statistic of several estimates (a share, a contrast of layers, a correlation) gets its error by recomputing it
per deleted group, which carries the dependence between layers and conditions that share the images. Twenty groups give
few degrees of freedom, so intervals use Student's t, not 1.96.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from pidflow import arrays
from pidflow.errors import DataError

LEVEL = 0.95
ROUNDING = 1e-9
SUPPORTED, NOT_SUPPORTED, UNDETERMINED = "supported", "not supported", "undetermined"

_Claim = TypeVar("_Claim", bound=Any)


@dataclass(frozen=True)
class Estimate:
    """A number and its error.

    Attributes
    ----------
    value, se
        In the unit of the quantity; NaN where unknown.
    df
        Degrees of freedom of `se`; infinity where the error is known.
    """

    value: float
    se: float
    df: float

    def interval(self) -> tuple[float, float]:
        """95 % interval, Student's t."""
        low, high = interval(self.value, self.se, self.df)
        return float(low), float(high)


def interval(
    value: np.ndarray, se: np.ndarray, df: np.ndarray, *, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Interval ``value ± t se``, Student's t of `df` degrees of freedom; arrays of one shape or scalars."""
    half = stdtrit(np.asarray(df, dtype=float), 0.5 + level / 2) * se
    return value - half, value + half


def jackknife(value: float, replicates: np.ndarray) -> Estimate:
    """`value` with the error of its delete-group replicates, shape ``(G,)``."""
    return Estimate(float(value), float(jackknife_se(replicates)), len(replicates) - 1)


def difference(a: Estimate, b: Estimate) -> Estimate:
    """``a - b`` of independent estimates; degrees of freedom after Satterthwaite."""
    se, df = _combined([a.se, b.se], [a.df, b.df])
    return Estimate(a.value - b.value, se, df)


def mean_of_independent(estimates: Sequence[Estimate]) -> Estimate:
    """Unweighted mean of independent estimates (tasks have their own images).

    The error is that of the mean of **these** tasks; it does not speak of tasks that were not measured.
    """
    se, df = _combined([e.se for e in estimates], [e.df for e in estimates])
    return Estimate(float(np.mean([e.value for e in estimates])), se / len(estimates), df)


def propagate(
    statistic: Callable[..., np.ndarray],
    samples: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    paired: bool,
) -> Estimate:
    """A statistic of several samples, its error from their replicates.

    Parameters
    ----------
    statistic
        Takes one array ``(..., k)`` per sample and reduces the last axis.
    samples
        For each sample the values ``(k,)`` and their replicates ``(G, k)``.
    paired
        Whether group g is the same set of images in every sample. If so groups are deleted from all samples at once;
        otherwise one sample at a time, and the variances add up.

    Returns
    -------
    Estimate
    """
    values = [value for value, _ in samples]
    estimate = float(statistic(*values))
    if paired:
        return jackknife(estimate, statistic(*(replicates for _, replicates in samples)))
    parts = []
    for i, (_, replicates) in enumerate(samples):
        varied = [np.broadcast_to(value, (len(replicates), *np.shape(value))) for value in values]
        varied[i] = replicates
        parts.append(jackknife(estimate, statistic(*varied)))
    return Estimate(estimate, *_combined([p.se for p in parts], [p.df for p in parts]))


def clustered_mean(values: np.ndarray, groups: np.ndarray) -> Estimate:
    """Mean over rows with the error over groups of rows: questions about one image are not independent.

    Parameters
    ----------
    values : array_like, shape (n,)
    groups : array_like, shape (n,)
        Group (image) of each row.

    Raises
    ------
    DataError
        When there are no rows, a value is not finite or a group has no label.
    """
    values = arrays.numbers(values, "values")
    if values.ndim != 1 or not values.size:
        raise DataError(f"a mean needs rows, shape (n,), found shape {values.shape}")
    member = arrays.group_index(groups, len(values))
    count = int(member.max()) + 1
    residual = np.bincount(member, weights=values - values.mean())
    if count < 2:
        return Estimate(float(values.mean()), float("nan"), 0)
    se = np.sqrt(count / (count - 1) * np.square(residual).sum()) / len(values)
    return Estimate(float(values.mean()), float(se), count - 1)


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation over the last axis; NaN where one side is constant."""
    a = a - a.mean(axis=-1, keepdims=True)
    b = b - b.mean(axis=-1, keepdims=True)
    scale = np.sqrt(np.square(a).sum(axis=-1) * np.square(b).sum(axis=-1))
    product = (a * b).sum(axis=-1)
    return np.divide(product, scale, out=np.full_like(product, np.nan), where=scale > 0)


def shared_error(a: np.ndarray, b: np.ndarray) -> float:
    """Covariance of the errors of two numbers, from replicates ``(G,)`` that deleted the same groups."""
    count = len(a)
    return float((count - 1) / count * np.sum((a - a.mean()) * (b - b.mean())))


def correlation_of_measured(a: np.ndarray, b: np.ndarray, shared: np.ndarray) -> Estimate:
    """Fisher's z of the correlation over units of two numbers that were measured with errors in common.

    The units are the sample. The error of z is ``1 / sqrt(n - 3)``, as for normal numbers, or that of the jackknife
    over units where it is larger: a correlation that a single outlying unit makes is not established.

    Errors in common (both numbers of a unit come from the same rows) would pass for a correlation: their mean
    covariance is taken off, unless that would make the correlation stronger than it was seen. Errors that only one
    number has pull the correlation to zero and are left in, so a correlation that is found is found in spite of them.

    Parameters
    ----------
    a, b
        The two numbers of each unit, shape ``(n,)``, at least four.
    shared
        Covariance of their errors in each unit, shape ``(n,)``; zeros where nothing is shared.

    Returns
    -------
    Estimate
        NaN where one of the numbers does not vary; of infinite error where it varies by one unit alone.
    """
    count = len(a)
    without = ~np.eye(count, dtype=bool)
    found = _less_shared(a, b, shared)
    if not np.isfinite(found):
        return Estimate(np.nan, np.nan, np.nan)
    spread = jackknife_se(np.array([_less_shared(a[rest], b[rest], shared[rest]) for rest in without]))
    return Estimate(found, max(1 / np.sqrt(count - 3), float(np.nan_to_num(spread, nan=np.inf))), np.inf)


def _less_shared(a: np.ndarray, b: np.ndarray, shared: np.ndarray) -> float:
    """Fisher's z of a correlation from which the covariance of errors is taken off; NaN where one side is constant."""
    scale = np.sqrt(np.var(a, ddof=1) * np.var(b, ddof=1))
    if not scale > 0:
        return float("nan")
    seen = float(np.cov(a, b)[0, 1])
    return float(fisher(min(seen, seen - float(np.mean(shared)), key=abs) / scale))


def fisher(r: np.ndarray) -> np.ndarray:
    """Fisher's z of a correlation; ±1 is moved inside by one rounding step, where z is finite."""
    return np.arctanh(np.clip(r, -1 + 1e-15, 1 - 1e-15))


def verdict(low: float, high: float, *, threshold: float, above: bool) -> str:
    """What a 95 % interval states about the claim that a quantity lies above (or below) `threshold`.

    Supported when the whole interval lies on the claimed side, not supported when all of it lies on the other,
    undetermined otherwise. An interval of width zero, up to rounding, says nothing: its error was not measured.
    """
    if not high - low > ROUNDING:
        return UNDETERMINED
    if low > threshold:
        return SUPPORTED if above else NOT_SUPPORTED
    if high < threshold:
        return NOT_SUPPORTED if above else SUPPORTED
    return UNDETERMINED


def p_value(estimate: Estimate, *, threshold: float) -> float:
    """Two-sided p-value of the number lying at `threshold`; below 5 % where the 95 % interval leaves it out.

    NaN where the number or its error is not known, and so nothing can be tested.
    """
    if not (np.isfinite(estimate.value) and ROUNDING < estimate.se < np.inf):
        return float("nan")
    return float(2 * stdtr(estimate.df, -abs(estimate.value - threshold) / estimate.se))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjusted p-values of a family of tests, NaN where a test could not be made.

    Rejecting what is adjusted below a level wrongly rejects any true hypothesis with at most that probability, whatever
    the dependence between the tests (Holm 1979, *A simple sequentially rejective multiple test procedure*).
    """
    given = np.asarray(p_values, dtype=float)
    adjusted = np.full_like(given, np.nan)
    made = np.flatnonzero(np.isfinite(given))
    order = made[np.argsort(given[made], kind="stable")]
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(given[order] * np.arange(len(order), 0, -1)))
    return adjusted


def family_wise(claims: Sequence[_Claim]) -> list[_Claim]:
    """The claims with ``p_holm`` and ``verdict_holm``: what stands when all are judged together, by :func:`holm`.

    Dataclasses with the fields ``p_value`` and ``verdict``, and these two.
    """
    adjusted = holm([claim.p_value for claim in claims])
    return [
        replace(claim, p_holm=float(p), verdict_holm=claim.verdict if p < 1 - LEVEL else UNDETERMINED)
        for claim, p in zip(claims, adjusted, strict=True)
    ]


def _combined(errors: Sequence[float], degrees: Sequence[float]) -> tuple[float, float]:
    """Error of a sum of independent terms, and its degrees of freedom after Satterthwaite."""
    variances = np.square(np.asarray(errors, dtype=float))
    total = float(variances.sum())
    spread = float((np.square(variances) / np.asarray(degrees, dtype=float)).sum())
    return float(np.sqrt(total)), total**2 / spread if spread > 0 else float(np.min(degrees))


def jackknife_se(replicates: np.ndarray) -> np.ndarray:
    """Delete-group jackknife standard error over the first axis, ``sqrt((G-1)/G sum (r_g - mean)^2)``.

    Parameters
    ----------
    replicates : array_like, shape (G, ...)
        The estimate without each of G groups of nearly equal size.

    Returns
    -------
    ndarray, shape (...)
        NaN where a replicate is.

    Raises
    ------
    DataError
        When there is no replicate.
    """
    replicates = arrays.numbers(replicates, "replicates", finite=False)
    if not replicates.ndim or not len(replicates):
        raise DataError(f"an error needs replicates of shape (G, ...), found shape {replicates.shape}")
    count = len(replicates)
    return np.sqrt((count - 1) / count * np.square(replicates - replicates.mean(axis=0)).sum(axis=0))


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Van der Waerden scores of each column, ``Phi^-1(rank / (n + 1))``, ties at their mean rank.

    Parameters
    ----------
    values : ndarray, shape (n, d)

    Returns
    -------
    ndarray, shape (n, d)
    """
    values = arrays.rows(values, "values")
    out = np.empty_like(values)
    for j, column in enumerate(values.T):
        _, level, count = np.unique(column, return_inverse=True, return_counts=True)
        rank = np.cumsum(count) - 0.5 * (count - 1)
        out[:, j] = ndtri(rank / (len(column) + 1))[level]
    return out


# Bits that an estimate may be off beyond its 95 % interval before it counts as wrong.
TOLERANCE = 0.1


def within(bits: float, truth: float, *, se: float, df: float, tolerance: float = TOLERANCE) -> bool:
    """Whether the 95 % interval of an estimate, widened by `tolerance` on both sides, holds the truth.

    The interval is Student's t of `df` degrees of freedom, as everywhere (:func:`interval`).
    """
    low, high = interval(bits, se, df)
    return bool(low - tolerance <= truth <= high + tolerance)
