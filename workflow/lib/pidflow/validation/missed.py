"""Information that a Gaussian estimate provably misses: a held-out bound beside it, row by row."""

import numpy as np

from pidflow import arrays
from pidflow.errors import DataError, UnboundedError
from pidflow.pid.bias import mi_bias
from pidflow.pid.covariances import standardised, varying
from pidflow.pid.gaussian_system import LN2, SHARED, whiten_system
from pidflow.pid.results import MissedInformation, PIDEstimate


def missed_information(z1: np.ndarray, z2: np.ndarray, y: np.ndarray, *, bound: np.ndarray) -> MissedInformation:
    """How much of ``I(X1,X2;Y)`` the Gaussian description of these rows misses at least.

    The difference is paired: each row contributes its share of the bound minus its Gaussian information density, so
    that luck common to both cancels. False alarms are rarer than `MISSED_LEVEL`, as the bound is conservative. Nothing
    is missed where the information has no bound: bits and error are NaN.

    Parameters
    ----------
    z1, z2, y
        Rows whose Gaussian decomposition is at stake (scores, normal scores, latents of a flow), of shapes ``(n, d1)``,
        ``(n, d2)``, ``(n, m)``.
    bound
        Contribution of each row to a held-out lower bound (:func:`pidflow.validation.critic.critic_information`),
        bits, ``(n,)``.

    Raises
    ------
    DataError
        When there is not one contribution for each row, or values are no finite numbers.
    NumericsError
        When a block is singular or rows are too few for a covariance.
    """
    z1, z2, y = (standardised(block) for block in varying(z1=z1, z2=z2, y=y)[0])
    bound = arrays.numbers(bound, "bound")
    if bound.shape != (len(y),):
        raise DataError(f"the bound has shape {bound.shape}, expected ({len(y)},): a contribution for each row")
    both = np.concatenate([z1, z2, y], axis=1)
    p, q = both.shape[1] - y.shape[1], y.shape[1]
    if not p or not q:
        return MissedInformation(gaussian_bits=0.0, bound=min(0.0, float(np.mean(bound))), se=0.0)
    covariance = np.cov(both.T, ddof=0)
    try:
        system = whiten_system(covariance, (z1.shape[1], z2.shape[1], q))
    except UnboundedError:
        return MissedInformation(gaussian_bits=np.nan, bound=float(np.mean(bound)), se=np.nan)
    # Directions in which the sources are copies of each other count once.
    p -= int(system.shared_directions)
    gaussian = max(0.0, float(system.mi_12) - mi_bias(len(y), p, q))
    spread = bound - _information_density(both - both.mean(axis=0), covariance, both.shape[1] - q)
    # Near independence densities all but vanish, and with them their spread; what the Gaussian estimate still scatters
    # by is that of a chi-square with p q degrees of freedom over 2 n.
    se = float(np.sqrt(spread.var(ddof=1) / len(y) + p * q / 2 / (len(y) * LN2) ** 2))
    return MissedInformation(gaussian_bits=gaussian, bound=float(np.mean(bound)), se=se)


def missed_beside(estimate: PIDEstimate, *, bound: np.ndarray) -> MissedInformation:
    """How much of ``I(X1,X2;Y)`` an estimate misses at least that describes no rows by a Gaussian.

    The errors of the two are added as if they were independent: without a density for each row nothing cancels.

    Parameters
    ----------
    estimate
        What was found, its error from deleted groups.
    bound
        As in :func:`missed_information`.
    """
    bound = arrays.numbers(bound, "bound")
    spread = bound.std(ddof=1) / np.sqrt(len(bound))
    return MissedInformation(
        gaussian_bits=float(np.maximum(0.0, estimate.mi_12)),
        bound=float(bound.mean()),
        se=float(np.hypot(spread, estimate.se["mi_12"])),
    )


def missed_after(missed: MissedInformation, corrected: PIDEstimate) -> MissedInformation:
    """What is still missed by an estimate that its twin corrected; the error of the correction comes on top.

    Parameters
    ----------
    missed
        What the uncorrected estimate misses.
    corrected
        The corrected one; where nothing could be corrected, nothing changes.
    """
    before = corrected.uncorrected
    if before is None:
        return missed
    back = corrected.mi_12 - before.bits["mi_12"]
    added = max(0.0, corrected.se["mi_12"] ** 2 - before.se["mi_12"] ** 2)
    return MissedInformation(
        gaussian_bits=max(0.0, missed.gaussian_bits + back),
        bound=missed.bound,
        se=float(np.sqrt(missed.se**2 + added)),
    )


def _information_density(rows: np.ndarray, covariance: np.ndarray, p: int) -> np.ndarray:
    """Gaussian ``log2 p(x, y) / (p(x) p(y))`` of each centred row up to a constant, ``(n,)``."""

    def distance(part: slice) -> np.ndarray:
        values, vectors = np.linalg.eigh(covariance[part, part])
        kept = values > SHARED * values[-1]
        return np.square(rows[:, part] @ (vectors[:, kept] / np.sqrt(values[kept]))).sum(axis=1)

    return (distance(slice(p)) + distance(slice(p, None)) - distance(slice(None))) / (2 * LN2)
