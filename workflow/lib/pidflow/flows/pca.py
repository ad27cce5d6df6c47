"""Principal components of one block of activations, in float64 with a deterministic sign."""

from dataclasses import dataclass

import numpy as np

from pidflow import arguments, arrays
from pidflow.errors import DataError, NumericsError

# Directions below this share of the leading variance are rounding noise of half-precision storage.
_NOISE = 1e-6


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

    def scores(self, activations: np.ndarray) -> np.ndarray:
        """Coordinates (n, k) of activations (n, width) in this basis.

        Raises
        ------
        DataError
            When the activations have another width, or are no finite numbers.
        """
        data = arrays.rows(activations, "activations")
        if data.shape[1] != len(self.mean):
            raise DataError(f"activations have {data.shape[1]} columns, this basis was fitted to {len(self.mean)}")
        return (data - self.mean) @ self.components.T


def fit_pca(activations: np.ndarray, *, variance: float, max_components: int) -> PrincipalBasis:
    """The fewest principal components that hold a share of the variance, up to a cap.

    The basis sees one block alone, so it can neither find nor overfit a dependence between blocks: no cross-fitting is
    needed for it.

    Parameters
    ----------
    activations
        (n, width), any float type; centred and computed in float64.
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
    data = arrays.rows(activations, "activations")
    variance = arguments.number(variance, "variance", above=0.0, at_most=1.0)
    max_components = arguments.count(max_components, "max_components", least=1, most=10**6)
    n, width = data.shape
    if not width:
        raise DataError(f"activations have no columns (shape {data.shape}), expected at least one")
    if n < 2:
        raise NumericsError(f"{n} rows are too few for principal components, expected at least 2")
    mean = data.mean(axis=0)
    mean += (data - mean).mean(axis=0)
    if arrays.constant_columns(data).all():
        return PrincipalBasis(mean, np.zeros((0, width)), np.zeros(0))
    # Squares of what is not centred lose what varies little beside its offset; those of a large unit overflow.
    centred = data - mean
    centred /= np.abs(centred).max()
    centred -= centred.mean(axis=0)
    variances, directions = _principal(centred, most=max_components)
    ratio = variances / variances.sum()
    enough = int(np.searchsorted(np.cumsum(ratio), variance * (1 - 1e-12))) + 1
    alive = int(np.sum(ratio > _NOISE * ratio[0]))
    kept = min(enough, alive, max_components)
    components = directions[:kept]
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    return PrincipalBasis(mean, components * np.sign(largest), ratio[:kept])


def _principal(centred: np.ndarray, *, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Variances, largest first, and the directions ``(k, width)`` that have the ``most`` largest of them.

    Both come from the smaller of the two matrices of products. Its eigenvalues are exact to 1e-16 of the largest, far
    below what counts as noise; a singular value decomposition of wide data takes three times as long.
    """
    n, width = centred.shape
    products = centred.T @ centred if n > width else centred @ centred.T
    values, vectors = np.linalg.eigh(products / (n - 1))
    variances, leading = np.maximum(values[::-1], 0.0), vectors.T[::-1][:most]
    if n > width:
        return variances, leading
    directions = leading @ centred
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    return variances, directions / np.where(lengths > 0, lengths, 1.0)
