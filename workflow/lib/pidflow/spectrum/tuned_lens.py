"""A lens that is fitted: what a layer's readout, moved affinely among the labels, states about the model's own answer.

Through the logit lens a layer that writes the answer in other directions, or with another offset, looks ignorant. The
tuned lens here maps the log-probabilities that the logit lens gives the labels, by one matrix and one offset a layer,
so that they come as close as they can to what the model says in the end, on the training part and over all passes
together. (The map acts among the labels, behind the head. A map of the state before the head, as in Belrose et al.
2023, can find more.)
"""

import numpy as np

from pidflow.errors import DataError
from pidflow.groups import grouped_folds
from pidflow.spectrum.decompose import PredictedRows

# Strength of the pull towards the logit lens itself, per question.
RIDGE = 1e-2
_CALIBRATION_RIDGE = 1e-4
# Smaller probabilities are no surer.
_LEAST = 1e-6


def fit_lens(scores: np.ndarray, final: np.ndarray, *, ridge: float = RIDGE) -> tuple[np.ndarray, np.ndarray]:
    """Matrix ``(ky, ky)`` and offset ``(ky,)`` of one layer.

    Parameters
    ----------
    scores : ndarray, shape (n, ky)
        Log-probabilities of the labels through the logit lens; NaN where a question does not offer a label.
    final : ndarray, shape (n, ky)
        What the model says in the end, rows sum to one.

    Raises
    ------
    DataError
        When there is no question to fit it on.
    """
    from scipy.optimize import minimize

    if not len(scores):
        raise DataError("the tuned lens needs questions of the training part, found none; raise items")
    centred, offered = _centred(scores)
    n, labels = centred.shape
    identity = np.eye(labels)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        matrix, offset = flat[:-labels].reshape(labels, labels), flat[-labels:]
        logits = np.where(offered, centred @ matrix + offset, -np.inf)
        top = logits.max(axis=1, keepdims=True)
        total = np.log(np.exp(logits - top).sum(axis=1, keepdims=True)) + top
        log_p = np.where(offered, logits - total, 0.0)
        slope = np.where(offered, np.exp(log_p), 0.0) - final
        pull = ridge * (np.square(matrix - identity).sum() + np.square(offset).sum())
        gradient = np.concatenate(
            [
                (centred.T @ slope / n + 2 * ridge * (matrix - identity)).ravel(),
                slope.mean(axis=0) + 2 * ridge * offset,
            ]
        )
        return float(-(final * log_p).sum() / n + pull), gradient

    start = np.concatenate([identity.ravel(), np.zeros(labels)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    return found[:-labels].reshape(labels, labels), found[-labels:]


def through_lens(scores: np.ndarray, lens: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Probabilities over labels ``(n, ky)`` that a fitted lens reads from log-probabilities of the same shape."""
    centred, offered = _centred(scores)
    logits = np.where(offered, centred @ lens[0] + lens[1], -np.inf)
    found = np.exp(logits - logits.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


def calibrated(rows: PredictedRows, *, seed: int = 0, folds: int = 5) -> PredictedRows:
    """Predictions of single sources as what they tell about the joint prediction, cross-fitted over images.

    A model that lacks half of its input may be sure of something else than what it says with all of it. The information
    of such predictions, taken by themselves, is their confidence. Here each is mapped affinely, on its logarithms and
    as a lens is, to come close to the joint predictions of other images: a guess that has nothing to do with these
    becomes their mean.
    """
    fold = grouped_folds(len(rows), folds=folds, groups=rows.images, seed=seed)
    found = []
    for given in (rows.vision, rows.language):
        scores, out = np.log(np.maximum(given, _LEAST)), np.empty_like(given)
        for held_out in range(folds):
            here = fold == held_out
            out[here] = through_lens(scores[here], fit_lens(scores[~here], rows.joint[~here], ridge=_CALIBRATION_RIDGE))
        found.append(out)
    return PredictedRows(found[0], found[1], rows.joint, rows.images)


def _centred(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores less their mean over a question's labels, zero where there is none; and where there is one."""
    offered = ~np.isnan(scores)
    known = np.where(offered, scores, 0.0)
    mean = known.sum(axis=1, keepdims=True) / np.maximum(offered.sum(axis=1, keepdims=True), 1)
    return np.where(offered, known - mean, 0.0), offered
