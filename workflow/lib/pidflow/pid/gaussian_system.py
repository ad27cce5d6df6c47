"""Geometry of jointly Gaussian variables: whitening, conditional covariances, mutual information.

Everything a decomposition of a Gaussian system needs is in two matrices, the covariances ``C1 = Cov(Y | X1)`` and
``C2 = Cov(Y | X2)`` of the target once a source is known, written in coordinates in which ``Cov(Y)`` is the identity,
plus the joint information ``I(X1, X2; Y)``. :func:`whiten_system` computes them for a whole batch of covariances.

Work is done on correlations, so results do not depend on units. float64 throughout; every function is batched over the
leading axes of its covariance argument.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pidflow.errors import DataError, NumericsError

LN2 = float(np.log(2.0))
EPS = float(np.finfo(np.float64).eps)

# A block whose correlation matrix has a smaller eigenvalue ratio than this has lost its rank in float64 arithmetic.
SINGULAR_BLOCK = 1e-10
# A direction of the target whose unexplained fraction of variance is smaller (15 bits) is a function of the source.
UNEXPLAINED = 1e-9
# Directions with a smaller joint variance than this are the same direction seen from both sources.
SHARED = 1e-12
# Above this condition number the last digits of the answer are lost, and the result says so.
ILL_CONDITIONED = 1e8


@dataclass(frozen=True)
class GaussianSystem:
    """A batch of Gaussian systems (X1, X2, Y) in coordinates in which Y is white.

    Attributes
    ----------
    factor_1, factor_2 : ndarray, shape (..., m, m)
        ``F`` with ``F F^T = Cov(Y | Xi)``, the part of the target source i leaves unexplained.
    inverse_1, inverse_2 : ndarray, shape (..., m, m)
        Inverses of the factors; ``F^-T F^-1`` is the precision of the target given the source.
    mi_1, mi_2, mi_12 : ndarray, shape (...)
        ``I(X1;Y)``, ``I(X2;Y)``, ``I(X1,X2;Y)`` in bits.
    shared_directions : ndarray of int, shape (...)
        Number of directions in which X1 and X2 are copies of each other; the joint information is then taken on the
        range of ``Cov(X1, X2)``.
    condition : ndarray, shape (...)
        Largest condition number among the correlation matrices of the three blocks.
    """

    factor_1: np.ndarray
    factor_2: np.ndarray
    inverse_1: np.ndarray
    inverse_2: np.ndarray
    mi_1: np.ndarray
    mi_2: np.ndarray
    mi_12: np.ndarray
    shared_directions: np.ndarray
    condition: np.ndarray


def gaussian_mi(cov: np.ndarray, dims: Sequence[int]) -> np.ndarray:
    """Mutual information of two jointly Gaussian blocks, in bits.

    Parameters
    ----------
    cov : array_like, shape (..., p + q, p + q)
        Covariances, ordered ``[x, y]``.
    dims : (p, q)
        Sizes of the two blocks.

    Returns
    -------
    ndarray, shape (...)
        ``-1/2 sum log2(1 - rho_k^2)`` over the canonical correlations.

    Raises
    ------
    NumericsError
        When a block is singular or one block is a function of the other.
    """
    flat, lead = _checked(cov, dims, names=("x", "y"))
    p, _ = dims
    white_x, kappa_x = _whitener(flat[:, :p, :p], "x", lead)
    white_y, kappa_y = _whitener(flat[:, p:, p:], "y", lead)
    channel = white_x @ flat[:, :p, p:] @ white_y.swapaxes(-1, -2)
    _, _, info = _unexplained(channel, np.maximum(kappa_x, kappa_y), "x", lead)
    return info.reshape(lead)


def whiten_system(cov: np.ndarray, dims: Sequence[int]) -> GaussianSystem:
    """Conditional covariances and informations of a batch of Gaussian systems.

    Parameters
    ----------
    cov : array_like, shape (..., D, D)
        Covariances, ordered ``[x1, x2, y]``, ``D = d1 + d2 + m``.
    dims : (d1, d2, m)
        Sizes of the three blocks.

    Returns
    -------
    GaussianSystem

    Raises
    ------
    DataError
        When `cov` is not a stack of finite symmetric matrices of the stated size.
    NumericsError
        When a block is singular, `cov` is not positive semi-definite, or the target is a function of a source.
    """
    flat, lead = _checked(cov, dims, names=("x1", "x2", "y"))
    d1, d2, m = dims
    one, two, target = slice(0, d1), slice(d1, d1 + d2), slice(d1 + d2, None)
    white_1, kappa_1 = _whitener(flat[:, one, one], "x1", lead)
    white_2, kappa_2 = _whitener(flat[:, two, two], "x2", lead)
    white_y, kappa_y = _whitener(flat[:, target, target], "y", lead)
    kappa = np.maximum(np.maximum(kappa_1, kappa_2), kappa_y)

    channel_1 = white_1 @ flat[:, one, target] @ white_y.swapaxes(-1, -2)
    channel_2 = white_2 @ flat[:, two, target] @ white_y.swapaxes(-1, -2)
    factor_1, inverse_1, mi_1 = _unexplained(channel_1, kappa, "x1", lead)
    factor_2, inverse_2, mi_2 = _unexplained(channel_2, kappa, "x2", lead)

    between = white_1 @ flat[:, one, two] @ white_2.swapaxes(-1, -2)
    both = np.broadcast_to(np.eye(d1 + d2), (len(flat), d1 + d2, d1 + d2)).copy()
    both[:, :d1, d1:] = between
    both[:, d1:, :d1] = between.swapaxes(-1, -2)
    values, vectors = np.linalg.eigh(both)
    rounding = np.maximum(SHARED, 64 * EPS * kappa)[:, None]
    _refuse(
        values[:, 0] < -1e3 * rounding[:, 0],
        lead,
        "cov is not positive semi-definite: no joint distribution of x1 and x2 has these covariances; "
        "check that one set of rows produced every block",
    )
    kept = values > rounding
    scale = np.where(kept, 1.0 / np.sqrt(np.where(kept, values, 1.0)), 0.0)
    channel_12 = (vectors * scale[:, None, :]).swapaxes(-1, -2) @ np.concatenate([channel_1, channel_2], axis=1)
    _, _, mi_12 = _unexplained(channel_12, kappa, "(x1, x2)", lead)

    return GaussianSystem(
        factor_1=factor_1.reshape(*lead, m, m),
        factor_2=factor_2.reshape(*lead, m, m),
        inverse_1=inverse_1.reshape(*lead, m, m),
        inverse_2=inverse_2.reshape(*lead, m, m),
        mi_1=mi_1.reshape(lead),
        mi_2=mi_2.reshape(lead),
        mi_12=mi_12.reshape(lead),
        shared_directions=(~kept).sum(axis=-1).reshape(lead),
        condition=kappa.reshape(lead),
    )


def _checked(cov: np.ndarray, dims: Sequence[int], *, names: Sequence[str]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Correlation matrices as one flat batch, and the leading shape they came in."""
    cov = np.asarray(cov, dtype=np.float64)
    expected = f"dims=({', '.join(names)})"
    if len(dims) != len(names) or any(int(d) != d or d < 1 for d in dims):
        raise DataError(f"{expected} must be {len(names)} positive integers, found {tuple(dims)}")
    total = int(sum(dims))
    if cov.ndim < 2 or cov.shape[-2:] != (total, total):
        raise DataError(f"cov must have shape (..., {total}, {total}) for {expected}={tuple(dims)}, found {cov.shape}")
    if not np.isfinite(cov).all():
        raise DataError("cov holds values that are not finite; remove the rows with NaN or infinity before")
    lead = cov.shape[:-2]
    flat = cov.reshape(-1, total, total)
    variance = np.einsum("bii->bi", flat)
    if (variance <= 0).any():
        problem, column = np.argwhere(variance <= 0)[0]
        block = int(np.searchsorted(np.cumsum(dims), column, side="right"))
        raise NumericsError(
            f"{names[block]} is degenerate: its column {column - sum(dims[:block])} has variance "
            f"{variance[problem, column]:.3g}{_where(problem, lead)}; drop constant columns"
        )
    deviation = np.sqrt(variance)
    flat = flat / (deviation[:, :, None] * deviation[:, None, :])
    if np.abs(flat - flat.swapaxes(-1, -2)).max(initial=0.0) > 1e-8:
        raise DataError("cov is not symmetric; pass a covariance matrix ordered " + ", ".join(names))
    return 0.5 * (flat + flat.swapaxes(-1, -2)), lead


def _whitener(block: np.ndarray, name: str, lead: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """``W`` with ``W block W^T = I`` and the condition number of the block."""
    values, vectors = np.linalg.eigh(block)
    lost = values < SINGULAR_BLOCK * values[:, -1:]
    problem = int(np.argmax(lost.any(axis=-1)))
    _refuse(
        lost.any(axis=-1),
        lead,
        f"{name} is degenerate: its covariance has rank {int((~lost[problem]).sum())} of {block.shape[-1]}; "
        "drop duplicate columns or reduce it with PCA",
    )
    return vectors.swapaxes(-1, -2) / np.sqrt(values)[:, :, None], values[:, -1] / values[:, 0]


def _unexplained(
    channel: np.ndarray, kappa: np.ndarray, name: str, lead: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Factor of ``I - K^T K``, its inverse, and the information in bits, of a whitened cross-covariance ``K``."""
    values, vectors = np.linalg.eigh(np.eye(channel.shape[-1]) - channel.swapaxes(-1, -2) @ channel)
    floor = np.maximum(UNEXPLAINED, 64 * EPS * kappa)
    count = (values < floor[:, None]).sum(axis=-1)
    _refuse(
        count > 0,
        lead,
        f"I({name}; y) is infinite: y is a function of {name} in {int(count[np.argmax(count > 0)])} of "
        f"{channel.shape[-1]} directions (or cov is not positive semi-definite); remove the copied columns",
    )
    root = np.sqrt(values)
    return (
        vectors * root[:, None, :],
        vectors.swapaxes(-1, -2) / root[:, :, None],
        -0.5 * np.log(values).sum(axis=-1) / LN2,
    )


def _refuse(bad: np.ndarray, lead: tuple[int, ...], message: str) -> None:
    if bad.any():
        raise NumericsError(message + _where(int(np.argmax(bad)), lead))


def _where(problem: int, lead: tuple[int, ...]) -> str:
    if not lead:
        return ""
    return f" (problem {tuple(int(i) for i in np.unravel_index(problem, lead))} of a batch of shape {lead})"
