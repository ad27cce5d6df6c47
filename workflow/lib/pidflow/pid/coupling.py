r"""The BROJA union information of rows whose label is predicted: the best coupling, found without networks.

Rows i of source 1 and j of source 2 come with what each says about the label: masses ``r[y, i] = p(y | x1_i) / n`` and
``c[y, j]``. Among the couplings ``q[y, i, j]`` with these marginals the least ``I_q(X1, X2; Y)`` is wanted, that is,
the least ``f(q) = sum q log q(y | i, j)``.

**Descent.** ``f`` is the negative entropy of q plus the entropy of its cells ``w[i, j] = sum_y q[y, i, j]``, and the
latter is concave: relative to the negative entropy f is smooth with constant one, so that mirror descent may take steps
of size one. Such a step divides q by ``q(y | i, j)``, which leaves ``w`` for every label, and scales back to the
marginals (Sinkhorn). So an iterate is ``left[y, i] w[i, j] right[y, j]``: it never needs more memory than ``w``, one
step is a few matrix products, and the value falls in every one.

**Proof.** The logarithms ``a, b`` of the scalings are a candidate for the dual,

    max  sum a r + sum b c   subject to   log sum_y exp(a[y, i] + b[y, j]) <= 0 for every i, j,

whose left side is the growth of ``w[i, j]`` in that step. Growths of many steps add up to a logarithm, so the mean of
the candidates is better than its parts; taking off what is too much makes it feasible, and the bound is rigorous.
"""

from dataclasses import dataclass

import numpy as np

from pidflow.errors import NumericsError
from pidflow.pid.gaussian_system import LN2
from pidflow.pid.sinkhorn import completed, information

_TINY = 1e-300
# Scalings of rows and columns in one step: more brings no better value for the same time.
_SCALINGS = 2
# The first look at the bound; each later one comes after as many steps again.
_FIRST_LOOK = 25


@dataclass(frozen=True, eq=False)
class Coupled:
    """The union information of two sources' predictions.

    Attributes
    ----------
    union_bits
        Information of a coupling that keeps both predictions: not below the least one.
    gap_bits
        Proven: the least one is at most so much smaller.
    a, b
        ``(ky, n)``, ``(ky, m)``: duals in nats. ``sum a r + sum b c`` plus the entropy of the label is a lower bound
        for **any** marginals r and c, and the slope of the union information in them.
    steps
        Steps made.
    """

    union_bits: float
    gap_bits: float
    a: np.ndarray
    b: np.ndarray
    steps: int


def couple(rows: np.ndarray, columns: np.ndarray, *, tolerance_bits: float = 2e-3, max_steps: int = 1600) -> Coupled:
    """The best coupling of what two sources say about a label, and a proof of how good it is.

    Parameters
    ----------
    rows, columns : ndarray, shapes (ky, n) and (ky, m)
        Masses of label and row of each source, of equal sum for each label (:func:`pidflow.pid.sinkhorn.feasible`);
        zeros are welcome.
    tolerance_bits : float
        The descent stops when the gap is no larger.
    max_steps : int
        Or after so many steps; the gap says what that costs.

    Raises
    ------
    NumericsError
        When the two do not agree on the frequencies of the labels.
    """
    target = rows.sum(axis=1)
    if np.abs(target - columns.sum(axis=1)).max() > 1e-8:
        raise NumericsError("the two sources predict different label frequencies, so no coupling keeps both")
    entropy = -float((target * _log(target)).sum())
    w = rows.T @ (columns / np.where(target > 0, target, 1.0)[:, None])
    right = np.ones_like(columns)
    best, bound, duals = np.inf, -np.inf, (rows, columns)
    sums, count, look, step = [np.zeros_like(rows), np.zeros_like(columns)], 0, _FIRST_LOOK, 0
    for step in range(1, max_steps + 1):
        for _ in range(_SCALINGS):
            left = rows / np.maximum(right @ w.T, _TINY)
            right = columns / np.maximum(left @ w, _TINY)
        a, b = (np.log(np.maximum(each, _TINY)) for each in (left, right))
        sums, count = [sums[0] + a, sums[1] + b], count + 1
        if step in (look, max_steps):
            coupling, _ = completed(left[:, :, None] * w * right[:, None, :], rows, columns)
            best = min(best, information(coupling)[0])
            for pair in ((a, b), (sums[0] / count, sums[1] / count)):
                value, feasible = _bound(*pair, rows, columns)
                if value + entropy > bound:
                    bound, duals = value + entropy, feasible
            if best - bound <= tolerance_bits * LN2:
                break
            sums, count, look = [np.zeros_like(rows), np.zeros_like(columns)], 0, 2 * look
        w = w * (left.T @ right)
    return Coupled(best / LN2, max(best - bound, 0.0) / LN2, *duals, step)


def _bound(
    a: np.ndarray, b: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    """Value in nats of the candidate once it is feasible, and the feasible duals."""
    top_a, top_b = a.max(axis=0), b.max(axis=0)
    excess = _log(np.exp(a - top_a).T @ np.exp(b - top_b)) + top_a[:, None] + top_b
    by_row, by_column = excess.max(axis=1), excess.max(axis=0)
    value = float(np.vdot(a, rows) + np.vdot(b, columns))
    over_rows, over_columns = float(rows.sum(axis=0) @ by_row), float(columns.sum(axis=0) @ by_column)
    if over_rows <= over_columns:
        return value - over_rows, (a - by_row, b)
    return value - over_columns, (a, b - by_column)


def _log(values: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(values, _TINY))
