"""What a source tells of a label: class probabilities of rows, each from rows of other folds, and from all rows.

Log-losses of rows that were fitted are too small, those of held-out rows too large, to first order by the same amount:
the information is taken from their mean.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

# Weight of the squared coefficients, those of standardised columns, in nats.
RIDGE = 1.0
# Rows of a cell that its own counts must outweigh; the best on held-out rows is taken.
PRIOR_ROWS = (0.5, 2.0, 8.0, 32.0, np.inf)
STEPS = 150
# Relative change of the loss at which the search for coefficients ends.
PRECISION = 1e-7


@dataclass(frozen=True)
class Posterior:
    """Natural log-probabilities of the classes of each row, ``(n, K)``.

    Attributes
    ----------
    fitted
        From all rows.
    held_out
        From the rows of other folds.
    """

    fitted: np.ndarray
    held_out: np.ndarray

    def scores(self, classes: np.ndarray) -> np.ndarray:
        """Log-probability of the class that each row has, bits, ``(n,)``."""
        own = np.arange(len(classes)), classes
        return 0.5 * (self.fitted[own] + self.held_out[own]) / np.log(2.0)


def posterior(columns: np.ndarray, cells: np.ndarray, classes: np.ndarray, folds: np.ndarray) -> Posterior:
    """Class probabilities from columns and cells.

    A multinomial logistic regression on the columns; where cells hold other shares of the classes than it says, its
    odds are multiplied until they fit, as far as rows of other folds support it.

    Parameters
    ----------
    columns : ndarray, shape (n, p)
        Standardised.
    cells : ndarray of int, shape (n,)
        Cell of each row, as a tuple of labels makes them; one cell where there are no labels.
    classes : ndarray of int, shape (n,)
        ``0 .. K - 1``.
    folds : ndarray of int, shape (n,)
    """
    count = int(classes.max()) + 1
    columns = np.column_stack([np.ones(len(columns)), columns])
    everything = np.ones(len(classes), dtype=bool)
    parts = [(folds != fold, folds == fold) for fold in np.unique(folds)]
    whole = _logistic(columns, classes, everything, count)
    fits = [*(_logistic(columns, classes, train, count, whole) for train, _ in parts), whole]
    base = [log_softmax(columns @ coefficients, axis=1) for coefficients in fits]
    found = {}
    for rows in PRIOR_ROWS if cells.max() else (np.inf,):
        held_out = np.empty((len(classes), count))
        for logits, (train, test) in zip(base, parts, strict=False):
            held_out[test] = _calibrated(logits, cells, classes, train, rows)[test]
        found[rows] = held_out
    own = np.arange(len(classes)), classes
    best = max(found, key=lambda rows: found[rows][own].mean())
    return Posterior(_calibrated(base[-1], cells, classes, everything, best), found[best])


def _logistic(
    columns: np.ndarray, classes: np.ndarray, train: np.ndarray, count: int, start: np.ndarray | None = None
) -> np.ndarray:
    """Coefficients ``(p, K)`` of a regression on the rows of `train`, looked for from `start`.

    Steps are taken in coordinates in which a bound of the curvature is round (Böhning 1992, *Multinomial logistic
    regression algorithm*).
    """
    x, hot = columns[train], np.eye(count)[classes[train]]
    weight = np.full(columns.shape[1], RIDGE)
    weight[0] = 1e-3
    root = np.linalg.inv(np.linalg.cholesky(0.25 * x.T @ x + np.diag(weight))).T
    rotated, shape = x @ root, (columns.shape[1], count)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        step = flat.reshape(shape)
        logits = rotated @ step
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        total = odds.sum(axis=1, keepdims=True)
        penalty = weight[:, None] * (root @ step)
        value = np.log(total).sum() - (hot * logits).sum() + 0.5 * (penalty * (root @ step)).sum()
        return value, (rotated.T @ (odds / total - hot) + root.T @ penalty).ravel()

    begun = np.zeros(shape) if start is None else np.linalg.solve(root, start)
    found = minimize(
        loss, begun.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS, "ftol": PRECISION, "maxcor": 20}
    )
    return root @ found.x.reshape(shape)


def _calibrated(
    logs: np.ndarray, cells: np.ndarray, classes: np.ndarray, train: np.ndarray, prior_rows: float
) -> np.ndarray:
    """Log-probabilities whose odds are multiplied, cell by cell, by those of the classes seen over those expected."""
    if np.isinf(prior_rows):
        return logs
    shape = (int(cells.max()) + 1, logs.shape[1])
    seen, expected = np.zeros(shape), np.zeros(shape)
    np.add.at(seen, (cells[train], classes[train]), 1.0)
    np.add.at(expected, cells[train], np.exp(logs[train]))
    rows = np.maximum(seen.sum(axis=1, keepdims=True), 1.0)
    prior = np.maximum(prior_rows * expected / rows, 1e-9)
    return log_softmax(logs + np.log((seen + prior) / (expected + prior))[cells], axis=1)
