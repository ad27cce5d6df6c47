r"""Couplings of the rows of two sources that keep what each tells about a discrete target.

A coupling is an array ``q`` of shape ``(ky, m, k)``: the mass of label y, row i of source 1 and row j of source 2. What
each source says is kept when ``sum_j q[y, i, j] = r[y, i]`` and ``sum_i q[y, i, j] = c[y, j]``, with ``r[y, i] = p(y |
x1_i) / m`` and ``c`` likewise. All informations are in nats here, and nothing knows where the couplings come from.
"""

import numpy as np

# Mean predictions may differ from the label frequencies by this much.
FEASIBLE = 1e-10
_NEWTON_STEPS = 60
_TINY = 1e-300
# Smaller masses drown in the rounding of a coupling, so nothing can be fitted to them.
_NEGLIGIBLE = 1e-20


def feasible(predictions: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Predictions with the given mean, as close to those given as they can be.

    Parameters
    ----------
    predictions : ndarray, shape (n, ky)
        Rows of probabilities.
    target : ndarray, shape (ky,)
        The mean they must have.

    Returns
    -------
    ndarray, shape (n, ky)
        The projection in relative entropy, ``p_iy exp(l_y)`` normalised over y. Where that cannot reach the mean (rows
        that are certain cannot be reweighted), the rest of the way is a mixture of all rows with one distribution.
    """
    kept = target > _TINY
    moved = np.where(kept, predictions, 0.0)
    mass = moved.sum(axis=1, keepdims=True)
    moved = np.where(mass > 0, moved / np.where(mass > 0, mass, 1.0), target)
    start, tilt, value = moved, np.zeros(len(target)), 0.0
    for _ in range(_NEWTON_STEPS):
        slope = moved.mean(axis=0) - target
        if np.abs(slope).max() <= FEASIBLE * 1e-2:
            break
        curvature = np.diag(moved.mean(axis=0)) - moved.T @ moved / len(moved)
        step = np.linalg.lstsq(curvature, slope, rcond=1e-12)[0]
        step *= min(1.0, 5.0 / max(np.abs(step).max(), _TINY))
        for _ in range(30):
            trial = start * np.exp(tilt - step - (tilt - step).max())
            total = trial.sum(axis=1, keepdims=True)
            next_value = np.log(total).mean() + (tilt - step).max() - target @ (tilt - step)
            if next_value <= value + 1e-15:
                break
            step *= 0.5
        else:
            break
        tilt, value, moved = tilt - step, next_value, trial / total
    mean = moved.mean(axis=0)
    share = np.max(1.0 - np.where(kept, target / np.where(mean > 0, mean, _TINY), 1.0), initial=0.0)
    if share <= FEASIBLE:
        return moved
    rest = np.maximum(target - (1.0 - share) * mean, 0.0) / share
    return (1.0 - share) * moved + share * rest / rest.sum()


def scaled(
    weights: np.ndarray, rows: np.ndarray, columns: np.ndarray, *, tolerance: float, max_iterations: int
) -> tuple[np.ndarray, float]:
    """Sinkhorn: the coupling with the given marginals closest in relative entropy to `weights`.

    Scaling is slow where the weights all but forbid what the marginals demand. It may then stop early: what is left is
    corrected exactly, so the result is a coupling in any case, and only no longer quite the closest.

    Parameters
    ----------
    weights : ndarray, shape (ky, m, k)
        Positive.
    rows, columns : ndarray, shapes (ky, m) and (ky, k)
        Marginals, of equal sum for each label; zeros are welcome.
    tolerance, max_iterations : float, int
        Scaling stops when no entry of a row marginal is off by more than ``tolerance / m``.

    Returns
    -------
    coupling : ndarray, shape (ky, m, k)
        Its marginals hold to rounding.
    error : float
        Largest error of a row marginal that was left to correct, times ``m``.
    """
    m = rows.shape[1]
    right = np.ones_like(columns)
    held = _summed_over_columns(weights, right)
    for iteration in range(max_iterations):
        left = rows / np.maximum(held, _TINY)
        right = columns / np.maximum(_summed_over_rows(weights, left), _TINY)
        held = _summed_over_columns(weights, right)
        if iteration % 5 == 0 and np.abs(left * held - rows).max() * m <= tolerance:
            break
    return completed(left[:, :, None] * weights * right[:, None, :], rows, columns)


def completed(coupling: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, float]:
    """A coupling whose column marginals hold, made one whose row marginals hold as well, and the error it had.

    Rows with too much are scaled down; what is then missing in rows and columns is filled in as if they were
    independent.

    Returns
    -------
    coupling : ndarray, shape (ky, m, k)
        Its marginals hold to rounding. The array given is overwritten.
    error : float
        Largest error of a row marginal before, times ``m``.
    """
    held = coupling.sum(axis=2)
    error = float(np.abs(held - rows).max()) * rows.shape[1]
    coupling *= np.where(held > rows, rows / np.maximum(held, _TINY), 1.0)[:, :, None]
    missing_rows, missing_columns = (
        np.maximum(marginal - coupling.sum(axis=axis), 0.0) for marginal, axis in ((rows, 2), (columns, 1))
    )
    share = missing_rows / np.maximum(missing_rows.sum(axis=1), _TINY)[:, None]
    coupling += share[:, :, None] * missing_columns[:, None, :]
    return coupling, error


def information(coupling: np.ndarray) -> tuple[float, np.ndarray]:
    """``I_q(X1, X2; Y)`` in nats, and ``log q(y | x1, x2)`` (zero where q is), of shape (ky, m, k)."""
    cell = coupling.sum(axis=0)
    posterior = np.log(np.maximum(coupling, _TINY)) - np.log(np.maximum(cell, _TINY))
    posterior[coupling <= _TINY] = 0.0
    return float(np.vdot(coupling, posterior)) + _entropy(coupling.sum(axis=(1, 2))), posterior


def slope(coupling: np.ndarray, posterior: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Derivative of the information of the scaled coupling by the logarithms of the weights, shape (ky, m, k).

    Scaling undoes any change ``a_i + b_j`` of the log-weights, so the derivative ``q (log q(y | x1, x2) - a_i - b_j)``
    is the one with vanishing marginals.
    """
    a, b = _marginal_fit(coupling, posterior, rows, columns, tolerance=1e-6, max_iterations=100)
    return coupling * (posterior - a[:, :, None] - b[:, None, :])


def lower_bound(coupling: np.ndarray, posterior: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> float:
    """A proven lower bound in nats on the information of every coupling with these marginals.

    It is the dual of :mod:`pidflow.pid.discrete` at ``a + b`` fitted to ``log q(y | x1, x2)``, which they equal on the
    support of the best coupling, then made feasible by the worst excess of each row, or of each column.
    """
    a, b = _marginal_fit(coupling, posterior, rows, columns, tolerance=1e-9, max_iterations=300)
    exponent = np.where((rows > 0)[:, :, None] & (columns > 0)[:, None, :], a[:, :, None] + b[:, None, :], -np.inf)
    top = exponent.max(axis=0)
    possible = np.isfinite(top)
    shifted = np.exp(exponent - np.where(possible, top, 0.0)).sum(axis=0)
    excess = np.where(possible, np.log(np.where(possible, shifted, 1.0)) + top, -np.inf)
    value = float(np.vdot(a, rows) + np.vdot(b, columns)) + _entropy(rows.sum(axis=1))
    by_row, by_column = rows.sum(axis=0) @ excess.max(axis=1), columns.sum(axis=0) @ excess.max(axis=0)
    return value - float(min(by_row, by_column))


def _marginal_fit(
    coupling: np.ndarray,
    values: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    *,
    tolerance: float,
    max_iterations: int,
) -> tuple[np.ndarray, np.ndarray]:
    """``a`` (ky, m) and ``b`` (ky, k): ``a_i + b_j`` fits `values` in least squares weighted by the coupling."""
    used_rows, used_columns = rows > _NEGLIGIBLE, columns > _NEGLIGIBLE
    per_row = np.divide(1.0, rows, out=np.zeros_like(rows), where=used_rows)
    per_column = np.divide(1.0, columns, out=np.zeros_like(columns), where=used_columns)
    weighted = coupling * values
    in_rows, in_columns = weighted.sum(axis=2), weighted.sum(axis=1)
    # What has next to no mass gets what it would tend to: any value fits it, and this one costs a bound nothing.
    b = np.where(used_columns, 0.0, np.log(_NEGLIGIBLE))
    for _ in range(max_iterations):
        a = (in_rows - _summed_over_columns(coupling, b)) * per_row
        a = np.where(used_rows, a, np.log(_NEGLIGIBLE))
        before, b = b, (in_columns - _summed_over_rows(coupling, a)) * per_column
        b = np.where(used_columns, b, np.log(_NEGLIGIBLE))
        if np.abs(b - before).max() <= tolerance:
            break
    return a, b


def _summed_over_columns(table: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """``sum_j table[y, i, j] factor[y, j]``."""
    return (table @ factor[:, :, None])[..., 0]


def _summed_over_rows(table: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """``sum_i table[y, i, j] factor[y, i]``."""
    return (factor[:, None, :] @ table)[:, 0]


def _entropy(p: np.ndarray) -> float:
    return -float((p * np.log(np.maximum(p, _TINY))).sum())
