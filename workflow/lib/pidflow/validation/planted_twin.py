"""A planted twin (parametric bootstrap sample): rows that look like the real ones and whose truth is known.

Latents are drawn from the Gaussian that was fitted to the real latents and sent backwards through the flow of one fold.
The twin thus has the rows, the dimensions, the spectrum, the ties between sources and the warped columns of the real
data, and, being the image of a Gaussian under a product of diffeomorphisms, a decomposition that is known exactly. What
an estimator finds in it says how far to believe what the same estimator found in the real rows. A twin knows nothing of
dependence that its flow could not make Gaussian: of that, only missed information speaks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pidflow import arguments
from pidflow.flows.weights import invert
from pidflow.pid.covariances import covariance


@dataclass(frozen=True)
class Twin:
    """Rows with a known decomposition.

    Attributes
    ----------
    x1, x2, y
        Rows in the space of the real ones, ``(n, d1)``, ``(n, d2)``, ``(n, m)``.
    covariance
        Of the Gaussian they come from, ordered ``[x1, x2, y]``, ``(d1 + d2 + m,) * 2``: the truth is its decomposition.
    """

    x1: np.ndarray
    x2: np.ndarray
    y: np.ndarray
    covariance: np.ndarray


def planted_twin(
    z1: np.ndarray, z2: np.ndarray, y: np.ndarray, weights: Mapping[str, Tensor], *, seed: int = 0
) -> Twin:
    """The twin of one layer, with as many rows.

    Parameters
    ----------
    z1, z2, y
        Latents of the real rows, of shapes ``(n, d1)``, ``(n, d2)``, ``(n, m)``.
    weights
        The flows that made them, as :func:`pidflow.flows.gaussianize.gaussianize` returns them.
    seed
        Random state of the draw.
    """
    latents = np.concatenate([z1, z2, y], axis=1)
    truth = covariance(latents)
    rng = np.random.default_rng([arguments.seed_of(seed), len(latents)])
    drawn = rng.standard_normal(latents.shape) @ _root(truth).T + latents.mean(axis=0)
    one_fold = np.full(len(drawn), int(weights["fold_labels"][0]))
    rows = invert(weights, *np.split(drawn, np.cumsum([z1.shape[1], z2.shape[1]]), axis=1), folds=one_fold)
    return Twin(rows.x1, rows.x2, rows.y, truth)


def _root(cov: np.ndarray) -> np.ndarray:
    """``F`` with ``F F^T = cov``, also where the sources are copies of each other in some directions."""
    try:
        return np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(cov)
        return vectors * np.sqrt(np.maximum(values, 0.0))
