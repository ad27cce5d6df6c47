"""A planted twin (parametric bootstrap sample): rows that look like the real ones and whose truth is known.

Latents are drawn from a Gaussian like that of the real latents and sent backwards through the flow of one fold. The
twin thus has the rows, the dimensions, the spectrum, the ties between sources and the warped columns of the real data,
and, being the image of a Gaussian under a product of diffeomorphisms, a decomposition that is known exactly. What an
estimator loses in it says how much to give back to what the same estimator found in the real rows
(:mod:`pidflow.pid.correction`), and how far to believe it. A twin knows nothing of dependence that its flow could not
make Gaussian: of that, only missed information speaks.

What a flow has learned from few rows is milder than what is there, in its maps as in the dependence that it leaves: a
twin of that alone would be easier than the real rows. So both are strengthened in proportion to the columns for each
training row (:func:`strength_of`): bends and twists are made as much stronger, and each canonical correlation between
sources and target is raised until it carries as much more information.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pidflow import arguments
from pidflow.flows.weights import invert, strengthened
from pidflow.pid.covariances import covariance

# Chosen by tests/benchmarks/study_correction.py, docs/correction.md has the numbers.
SHRINKAGE = 7.0


@dataclass(frozen=True)
class Twin:
    """Rows with a known decomposition.

    Attributes
    ----------
    x1, x2, y
        Rows in the space of the real ones, ``(n, d1)``, ``(n, d2)``, ``(n, m)``.
    z1, z2, zy
        The latents they were made from, of the same shapes: a perfect estimator would find these.
    covariance
        Of the Gaussian they come from, ordered ``[x1, x2, y]``, ``(d1 + d2 + m,) * 2``: the truth is its decomposition.
    """

    x1: np.ndarray
    x2: np.ndarray
    y: np.ndarray
    z1: np.ndarray
    z2: np.ndarray
    zy: np.ndarray
    covariance: np.ndarray


def strength_of(n: int, columns: int, folds: int) -> float:
    """How much stronger than what a flow has learned a twin is drawn: ``1 + SHRINKAGE columns / training rows``."""
    return 1.0 + SHRINKAGE * columns * folds / (n * (folds - 1))


def another_start(seed: int) -> int:
    """Random state of the flows that are trained on a twin.

    From the start of the flow that it went through, flows would find their way back more easily than they found it.
    """
    return (arguments.seed_of(seed) + 1) % (arguments.LARGEST_SEED + 1)


def planted_twin(
    z1: np.ndarray,
    z2: np.ndarray,
    y: np.ndarray,
    weights: Mapping[str, Tensor],
    *,
    held_out_loss: np.ndarray,
    seed: int = 0,
    strength: float | None = None,
) -> Twin:
    """The twin of one layer, with as many rows.

    Parameters
    ----------
    z1, z2, y
        Latents of the real rows, of shapes ``(n, d1)``, ``(n, d2)``, ``(n, m)``.
    weights
        The flows that made them, as :func:`pidflow.flows.gaussianize.gaussianize` returns them.
    held_out_loss
        Their losses, ``(K, E)`` (:class:`pidflow.flows.gaussianize.FlowInfo`): the twin goes through the flow of the
        fold that learned most. One that learned nothing would make a Gaussian of it.
    seed
        Random state of the draw.
    strength
        How much stronger than what was learned; that of :func:`strength_of` when omitted.
    """
    latents = np.concatenate([z1, z2, y], axis=1)
    labels = weights["fold_labels"].tolist()
    if strength is None:
        strength = strength_of(len(latents), latents.shape[1], len(labels))
    sources = z1.shape[1] + z2.shape[1]
    truth = more_informative(covariance(latents), sources, by=strength)
    rng = np.random.default_rng([arguments.seed_of(seed), len(latents)])
    drawn = rng.standard_normal(latents.shape) @ _root(truth).T + latents.mean(axis=0)
    parts = np.split(drawn, [z1.shape[1], sources], axis=1)
    best = labels[int(np.argmin(np.nanmin(held_out_loss, axis=1)))]
    rows = invert(strengthened(weights, by=strength), *parts, folds=np.full(len(drawn), best))
    return Twin(rows.x1, rows.x2, rows.y, *parts, truth)


def more_informative(cov: np.ndarray, sources: int, *, by: float) -> np.ndarray:
    """The covariance in which every canonical correlation of sources and target carries `by` times its information.

    Covariances within the sources and within the target stay as they are.

    Parameters
    ----------
    cov
        Ordered ``[x1, x2, y]``, ``(D, D)``.
    sources
        Columns of x1 and x2 together.
    by
        At least 0; 1 changes nothing.
    """
    if not 0 < sources < len(cov):
        return cov
    (root, within), (root_y, within_y) = (_white(cov[part, part]) for part in (slice(sources), slice(sources, None)))
    left, rho, right = np.linalg.svd(within @ cov[:sources, sources:] @ within_y.T, full_matrices=False)
    # -log(1 - rho^2) is twice the information; what is all but certain stays so.
    raised = np.sqrt(-np.expm1(by * np.log1p(-(np.minimum(rho, 1 - 1e-9) ** 2))))
    out = cov.copy()
    out[:sources, sources:] = root @ (left * raised) @ right @ root_y.T
    out[sources:, :sources] = out[:sources, sources:].T
    return out


def _white(cov: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``F`` with ``F F^T = cov`` and ``W`` with ``W F = 1``, over the directions in which `cov` varies."""
    values, vectors = np.linalg.eigh(cov)
    kept = values > 1e-12 * values[-1]
    root = np.sqrt(values[kept])
    return vectors[:, kept] * root, (vectors[:, kept] / root).T


def _root(cov: np.ndarray) -> np.ndarray:
    """``F`` with ``F F^T = cov``, also where the sources are copies of each other in some directions."""
    try:
        return np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(cov)
        return vectors * np.sqrt(np.maximum(values, 0.0))
