"""Principal components of one block of activations, in float64 with a deterministic sign, whatever its length.

Rows are read some at a time, twice: for their means, and for the covariance of what is centred. Where there are fewer
rows than columns all of them are in memory, which is no more than the covariance would be.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from pidflow import arguments, arrays
from pidflow.errors import DataError, NumericsError

# Directions below this share of the leading variance are rounding noise of half-precision storage.
_NOISE = 1e-6
_SLAB = 1 << 22  # numbers of which rows are in memory at once


@runtime_checkable
class Rows(Protocol):
    """Rows that lie somewhere: ``shape`` ``(n, width)``, and those from one to another when they are asked for."""

    shape: tuple[int, ...]

    def between(self, start: int, stop: int) -> np.ndarray: ...


@dataclass(frozen=True)
class PrincipalBasis:
    """An affine map from activations to principal scores.

    Attributes
    ----------
    mean
        Column means (width,).
    components
        Orthonormal directions (k, width), by falling variance; the entry of largest magnitude is positive. A constant
        block has none (k = 0).
    explained_variance_ratio
        Share of the total variance along each direction (k,).
    """

    mean: np.ndarray
    components: np.ndarray
    explained_variance_ratio: np.ndarray

    @property
    def note(self) -> str:
        """What a reader must know: that the block is constant; empty otherwise."""
        if len(self.components):
            return ""
        return "all rows are the same: this block is constant and carries no information (0 bits)"

    def scores(self, activations: "np.ndarray | Rows") -> np.ndarray:
        """Coordinates (n, k) of activations (n, width) in this basis.

        Raises
        ------
        DataError
            When the activations have another width, or are no finite numbers.
        """
        data = _rows(activations)
        if data.shape[1] != len(self.mean):
            raise DataError(f"activations have {data.shape[1]} columns, this basis was fitted to {len(self.mean)}")
        return np.concatenate([(slab - self.mean) @ self.components.T for slab in _slabs(data)])


def fit_pca(activations: "np.ndarray | Rows", *, variance: float, max_components: int) -> PrincipalBasis:
    """The fewest principal components that hold a share of the variance, up to a cap.

    The basis sees one block alone, so it can neither find nor overfit a dependence between blocks: no cross-fitting is
    needed for it.

    Parameters
    ----------
    activations
        (n, width), any float type, as an array or as :class:`Rows`; centred and computed in float64.
    variance
        Share of the variance to hold, in (0, 1].
    max_components
        Largest number of components. Directions that carry only rounding noise are never kept. A block whose rows are
        all the same gets no component: it carries no information.

    Raises
    ------
    ConfigError
        If a setting is out of range.
    DataError
        If values are not finite.
    NumericsError
        If there are fewer than two rows.
    """
    data = _rows(activations)
    variance = arguments.number(variance, "variance", above=0.0, at_most=1.0)
    max_components = arguments.count(max_components, "max_components", least=1, most=10**6)
    n, width = data.shape
    if not width:
        raise DataError(f"activations have no columns (shape {data.shape}), expected at least one")
    if n < 2:
        raise NumericsError(f"{n} rows are too few for principal components, expected at least 2")
    total, low, high = np.zeros(width), np.full(width, np.inf), np.full(width, -np.inf)
    for slab in _slabs(data):
        total += slab.sum(axis=0)
        low, high = np.minimum(low, slab.min(axis=0)), np.maximum(high, slab.max(axis=0))
    mean = total / n
    # Squares of what is not centred lose what varies little beside its offset; those of a large unit overflow.
    if arrays.constant_columns(np.stack([low, high])).all():
        return PrincipalBasis(mean, np.zeros((0, width)), np.zeros(0))
    scale = max(np.abs(high - mean).max(), np.abs(low - mean).max())
    mean, variances, directions = _principal(data, mean, scale, most=max_components)
    ratio = variances / variances.sum()
    enough = int(np.searchsorted(np.cumsum(ratio), variance * (1 - 1e-12))) + 1
    alive = int(np.sum(ratio > _NOISE * ratio[0]))
    kept = min(enough, alive, max_components)
    components = directions[:kept]
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    return PrincipalBasis(mean, components * np.sign(largest), ratio[:kept])


def _principal(data: Rows, mean: np.ndarray, scale: float, *, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean again, free of what its first sum lost; variances, largest first; directions of the ``most`` largest.

    All come from the smaller of the two matrices of products. Its eigenvalues are exact to 1e-16 of the largest, far
    below what counts as noise; a singular value decomposition of wide data takes three times as long.
    """
    n, width = data.shape
    if n <= width:
        centred = np.concatenate([slab - mean for slab in _slabs(data)]) / scale
        left = centred.mean(axis=0)
        centred -= left
        values, vectors = np.linalg.eigh(centred @ centred.T / (n - 1))
        directions = vectors.T[::-1][:most] @ centred
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        directions /= np.where(lengths > 0, lengths, 1.0)
    else:
        products, left = np.zeros((width, width)), np.zeros(width)
        for slab in _slabs(data):
            centred = (slab - mean) / scale
            products += centred.T @ centred
            left += centred.sum(axis=0)
        left /= n
        values, vectors = np.linalg.eigh((products - n * np.outer(left, left)) / (n - 1))
        directions = vectors.T[::-1][:most]
    return mean + left * scale, np.maximum(values[::-1], 0.0), directions


def _rows(values: "np.ndarray | Rows") -> Rows:
    """An array as numbers; what is read later stays as it is."""
    return values if isinstance(values, Rows) else _InMemory(arrays.rows(values, "activations"))


class _InMemory:
    """Rows of an array."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape = values, values.shape

    def between(self, start: int, stop: int) -> np.ndarray:
        return self.values[start:stop]


def _slabs(data: Rows) -> Iterator[np.ndarray]:
    """All rows in float64, some at a time, the same ones however they are read."""
    step = max(1, _SLAB // max(1, data.shape[1]))
    for start in range(0, data.shape[0], step):
        name = "activations" if start == 0 else f"activations, counted from row {start},"
        yield arrays.rows(data.between(start, start + step), name)
