"""Principal components of one block of activations, in float64 with a deterministic sign."""

from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA

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
        Orthonormal directions (k, width), by falling variance; the entry of largest magnitude is positive.
    explained_variance_ratio
        Share of the total variance along each direction (k,).
    """

    mean: np.ndarray
    components: np.ndarray
    explained_variance_ratio: np.ndarray

    def scores(self, activations: np.ndarray) -> np.ndarray:
        """Coordinates (n, k) of activations (n, width) in this basis."""
        return (np.asarray(activations, dtype=np.float64) - self.mean) @ self.components.T


def fit_pca(activations: np.ndarray, *, variance: float, max_components: int) -> PrincipalBasis:
    """The fewest principal components that hold a share of the variance, up to a cap.

    The basis sees one block alone, so it can neither find nor overfit a dependence between blocks: no cross-fitting is
    needed for it.

    Parameters
    ----------
    activations
        (n, width), any float type; computed in float64.
    variance
        Share of the variance to hold, in (0, 1].
    max_components
        Largest number of components. Directions that carry only rounding noise are never kept.

    Raises
    ------
    DataError
        If values are not finite.
    NumericsError
        If there are fewer than two rows or no variance at all.
    """
    data = np.asarray(activations, dtype=np.float64)
    if not np.isfinite(data).all():
        row = int(np.flatnonzero(~np.isfinite(data).all(axis=1))[0])
        raise DataError(f"row {row} holds values that are not finite; extract the activations again in float32")
    n, width = data.shape
    if n < 2:
        raise NumericsError(f"{n} rows are too few for principal components, expected at least 2")
    if np.ptp(data, axis=0).max() == 0.0:
        raise NumericsError(
            f"all {n} rows are the same (zero variance): this block is constant and carries no information"
        )
    fitted = PCA(svd_solver="covariance_eigh" if n > width else "full").fit(data)
    ratio = fitted.explained_variance_ratio_
    enough = int(np.searchsorted(np.cumsum(ratio), variance * (1 - 1e-12))) + 1
    alive = int(np.sum(ratio > _NOISE * ratio[0]))
    kept = min(enough, alive, max_components)
    components = fitted.components_[:kept]
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    return PrincipalBasis(fitted.mean_, components * np.sign(largest), ratio[:kept])
