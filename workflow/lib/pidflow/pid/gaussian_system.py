"""Geometry of jointly Gaussian variables: whitening, conditional covariances, mutual information.

Everything a decomposition of a Gaussian system needs is in two matrices, the covariances ``C1 = Cov(Y | X1)`` and
``C2 = Cov(Y | X2)`` of the target once a source is known, written in coordinates in which ``Cov(Y)`` is the identity,
plus the joint information ``I(X1, X2; Y)``. :func:`whiten_system` computes them for a whole batch of covariances.

Work is done on correlations, so results do not depend on units. float64 throughout; every function is batched over the
leading axes of its covariance argument.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from pidflow import arguments, arrays
from pidflow.errors import DataError, NumericsError, UnboundedError

LN2 = float(np.log(2.0))
EPS = float(np.finfo(np.float64).eps)

# A block whose correlation matrix has a smaller eigenvalue ratio than this has lost its rank in float64 arithmetic.
SINGULAR_BLOCK = 1e-10
# A direction of the target whose unexplained fraction of variance is smaller (15 bits) is a function of the source.
UNEXPLAINED = 1e-9
# Directions with a smaller joint variance than this are the same direction seen from both sources.
SHARED = 1e-12
# A covariance may contradict itself by so many times the rounding of its blocks before it is refused.
CONTRADICTION = 16.0
# Bits by which I(X1, X2; Y) may fall below I(X1; Y) or I(X2; Y): the directions that were dropped, and rounding.
LOST = 1e-5
# Entries of one matrix per slice of a batch: bounds memory, and leaves every system's arithmetic as it is.
SLICE = 2_000_000
# A correlation may exceed 1 by this much: the rounding of covariances in single precision.
BEYOND_ONE = 1e-6
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
        Sizes of the two blocks; a block of no columns carries no information.

    Returns
    -------
    ndarray, shape (...)
        ``-1/2 sum log2(1 - rho_k^2)`` over the canonical correlations.

    Raises
    ------
    DataError
        When `cov` is not a stack of finite symmetric matrices of the stated size.
    NumericsError
        When a block is singular; `UnboundedError` when one block is a function of the other.
    """
    batch = Batch.of(cov, dims, names=("x", "y"))
    return np.concatenate([_informations(part) for part in batch.slices()]).reshape(batch.lead)


def _informations(batch: "Batch") -> np.ndarray:
    p, _ = batch.dims
    flat = batch.correlations()
    white_x, kappa_x = _whitener(flat[:, :p, :p], "x", batch)
    white_y, kappa_y = _whitener(flat[:, p:, p:], "y", batch)
    channel = white_x @ flat[:, :p, p:] @ white_y.swapaxes(-1, -2)
    return _unexplained(channel, np.maximum(kappa_x, kappa_y), "x", batch)[2]


def whiten_system(cov: np.ndarray, dims: Sequence[int]) -> GaussianSystem:
    """Conditional covariances and informations of a batch of Gaussian systems.

    Parameters
    ----------
    cov : array_like, shape (..., D, D)
        Covariances, ordered ``[x1, x2, y]``, ``D = d1 + d2 + m``.
    dims : (d1, d2, m)
        Sizes of the three blocks; a block of no columns carries no information.

    Returns
    -------
    GaussianSystem

    Raises
    ------
    DataError
        When `cov` is not a stack of finite symmetric matrices of the stated size.
    NumericsError
        When a block is singular or `cov` is not positive semi-definite; `UnboundedError` when the target is a function
        of a source.
    """
    batch = Batch.of(cov, dims, names=("x1", "x2", "y"))
    system = whitened(batch)
    whole = {field.name: np.asarray(getattr(system, field.name)) for field in fields(system)}
    return GaussianSystem(**{name: v.reshape((*batch.lead, *v.shape[1:])) for name, v in whole.items()})


def whitened(batch: "Batch") -> GaussianSystem:
    """:func:`whiten_system` of a checked batch, along one axis."""
    d1, d2, _ = batch.dims
    flat = batch.correlations()
    one, two, target = slice(0, d1), slice(d1, d1 + d2), slice(d1 + d2, None)
    white_1, kappa_1 = _whitener(flat[:, one, one], "x1", batch)
    white_2, kappa_2 = _whitener(flat[:, two, two], "x2", batch)
    white_y, kappa_y = _whitener(flat[:, target, target], "y", batch)
    kappa = np.maximum(np.maximum(kappa_1, kappa_2), kappa_y)

    channel_1 = white_1 @ flat[:, one, target] @ white_y.swapaxes(-1, -2)
    channel_2 = white_2 @ flat[:, two, target] @ white_y.swapaxes(-1, -2)
    factor_1, inverse_1, mi_1 = _unexplained(channel_1, kappa, "x1", batch)
    factor_2, inverse_2, mi_2 = _unexplained(channel_2, kappa, "x2", batch)
    between = white_1 @ flat[:, one, two] @ white_2.swapaxes(-1, -2)
    mi_12, dropped = _joint(between, channel_1, channel_2, kappa, batch)
    if not d1 or not d2:
        mi_12 = mi_1 + mi_2
    batch.refuse(
        ~(mi_12 >= np.maximum(mi_1, mi_2) - LOST),
        lambda k: (
            "cov is not positive semi-definite: (x1, x2) would know less about y than a source alone "
            f"({mi_12[k]:.4g} against {mi_1[k]:.4g} and {mi_2[k]:.4g} bit); one set of rows must produce every block"
        ),
    )
    return GaussianSystem(factor_1, factor_2, inverse_1, inverse_2, mi_1, mi_2, mi_12, dropped, kappa)


def _joint(
    between: np.ndarray, channel_1: np.ndarray, channel_2: np.ndarray, kappa: np.ndarray, batch: "Batch"
) -> tuple[np.ndarray, np.ndarray]:
    """``I(X1, X2; Y)`` in bits and how many directions were dropped, from the blocks of whitened sources."""
    count, d1, d2 = between.shape
    both = np.broadcast_to(np.eye(d1 + d2), (count, d1 + d2, d1 + d2)).copy()
    both[:, :d1, d1:] = between
    both[:, d1:, :d1] = between.swapaxes(-1, -2)
    values, vectors = np.linalg.eigh(both)
    rounding = np.maximum(SHARED, 64 * EPS * kappa)[:, None]
    batch.refuse(
        (values < -1e3 * rounding).any(axis=-1),
        lambda k: (
            "cov is not positive semi-definite: no joint distribution of x1 and x2 has these covariances; "
            "check that one set of rows produced every block"
        ),
    )
    kept = values > rounding
    scale = np.where(kept, 1.0 / np.sqrt(np.where(kept, values, 1.0)), 0.0)
    projected = vectors.swapaxes(-1, -2) @ np.concatenate([channel_1, channel_2], axis=1)
    # A direction without variance has no covariance with anything (Cauchy, Schwarz).
    seen = np.where(kept, 0.0, np.square(projected).sum(axis=-1))
    batch.refuse(
        (seen > CONTRADICTION * rounding).any(axis=-1),
        lambda k: (
            "cov is not positive semi-definite: x1 and x2 are copies of each other in a direction in which their "
            f"covariances with y differ (by {np.sqrt(seen[k].max()):.2g}); one set of rows must produce every block"
        ),
    )
    _, _, mi_12 = _unexplained(projected * scale[:, :, None], kappa, "(x1, x2)", batch)
    return mi_12, (~kept).sum(axis=-1)


@dataclass(frozen=True)
class Batch:
    """Covariances that have the right form, as one flat batch or a slice of it.

    Attributes
    ----------
    flat : ndarray, shape (b, D, D)
    dims, names
        Sizes and names of the blocks.
    lead : tuple of int
        Leading shape the whole batch came in.
    first : int
        Place of the first covariance in the whole batch.
    """

    flat: np.ndarray
    dims: tuple[int, ...]
    names: Sequence[str]
    lead: tuple[int, ...]
    first: int = 0

    @classmethod
    def of(cls, cov: np.ndarray, dims: Sequence[int], *, names: Sequence[str]) -> "Batch":
        """The batch in `cov`.

        Raises
        ------
        DataError
            When `cov` is not a stack of finite matrices of the stated size.
        """
        dims = arguments.sizes(dims, names)
        cov = arrays.numbers(cov, "cov")
        total = sum(dims)
        if cov.ndim < 2 or cov.shape[-2:] != (total, total):
            expected = f"dims=({', '.join(names)})={dims}"
            raise DataError(f"cov must have shape (..., {total}, {total}) for {expected}, found {cov.shape}")
        lead = cov.shape[:-2]
        return cls(cov.reshape(math.prod(lead), total, total), dims, names, lead)

    def slices(self) -> Iterator["Batch"]:
        """The batch in parts that fit into memory together with what is computed from them; at least one."""
        size = max(1, SLICE // max(1, sum(self.dims)) ** 2)
        for first in range(0, max(1, len(self.flat)), size):
            yield replace(self, flat=self.flat[first : first + size], first=first)

    def correlations(self) -> np.ndarray:
        """Correlation matrices ``(b, D, D)``, symmetric to the last bit.

        Raises
        ------
        DataError
            When a covariance is not symmetric.
        NumericsError
            When a variance is not positive, or a correlation is beyond 1.
        """
        variance = np.einsum("bii->bi", self.flat)

        def degenerate(k: int) -> str:
            column = int(np.argmin(variance[k]))
            block = int(np.searchsorted(np.cumsum(self.dims), column, side="right"))
            return (
                f"{self.names[block]} is degenerate: its column {column - sum(self.dims[:block])} has variance "
                f"{variance[k, column]:.3g}; drop constant columns"
            )

        self.refuse((variance < 1.0 / arrays.LARGEST**2).any(axis=-1), degenerate)
        deviation = np.sqrt(variance)
        with np.errstate(over="ignore", invalid="ignore"):
            flat = self.flat / deviation[:, :, None] / deviation[:, None, :]
            askew = np.abs(flat - flat.swapaxes(-1, -2)) > 1e-8
        if askew.any():
            raise DataError("cov is not symmetric; pass a covariance matrix ordered " + ", ".join(self.names))
        self.refuse(
            (np.abs(flat) > 1.0 + BEYOND_ONE).any(axis=(-2, -1)),
            lambda k: (
                f"cov is not positive semi-definite: a correlation of {np.abs(flat[k]).max():.3g} is beyond 1; "
                "one set of rows must produce every block"
            ),
        )
        return 0.5 * (flat + flat.swapaxes(-1, -2))

    def refuse(
        self, bad: np.ndarray, message: Callable[[int], str], error: type[NumericsError] = NumericsError
    ) -> None:
        """Raise `message` of the first system that is `bad`, and say which it is."""
        if not bad.any():
            return
        k = int(np.argmax(bad))
        where = ""
        if self.lead:
            place = tuple(int(i) for i in np.unravel_index(self.first + k, self.lead))
            where = f" (problem {place} of a batch of shape {self.lead})"
        raise error(message(k) + where)


def _whitener(block: np.ndarray, name: str, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """``W`` with ``W block W^T = I`` and the condition number of the block; 1 for a block of no columns."""
    if not block.shape[-1]:
        return np.zeros(block.shape), np.ones(len(block))
    values, vectors = np.linalg.eigh(block)
    batch.refuse(
        values[:, 0] < -SINGULAR_BLOCK * values[:, -1],
        lambda k: f"cov is not positive semi-definite: the block of {name} has an eigenvalue of {values[k, 0]:.2g}",
    )
    lost = values < SINGULAR_BLOCK * values[:, -1:]
    batch.refuse(
        lost.any(axis=-1),
        lambda k: (
            f"{name} is degenerate: its covariance has rank {int((~lost[k]).sum())} of {block.shape[-1]}; "
            "drop duplicate columns or reduce it with PCA"
        ),
    )
    return vectors.swapaxes(-1, -2) / np.sqrt(values)[:, :, None], values[:, -1] / values[:, 0]


def _unexplained(
    channel: np.ndarray, kappa: np.ndarray, name: str, batch: Batch
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Factor of ``I - K^T K``, its inverse, and the information in bits, of a whitened cross-covariance ``K``."""
    values, vectors = np.linalg.eigh(np.eye(channel.shape[-1]) - channel.swapaxes(-1, -2) @ channel)
    floor = np.maximum(UNEXPLAINED, 64 * EPS * kappa)
    count = (values < floor[:, None]).sum(axis=-1)
    batch.refuse(
        count > 0,
        lambda k: (
            f"I({name}; y) is infinite: y is a function of {name} in {int(count[k])} of {channel.shape[-1]} directions "
            "(or cov is not positive semi-definite); remove the copied columns"
        ),
        error=UnboundedError,
    )
    root = np.sqrt(values)
    return (
        vectors * root[:, None, :],
        vectors.swapaxes(-1, -2) / root[:, :, None],
        0.0 - 0.5 * np.log(values).sum(axis=-1) / LN2,
    )
