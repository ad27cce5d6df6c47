"""What finite samples do to Gaussian informations, and how much of it can be taken back.

Plug-in informations are too large, by amounts that are not small: 9 bits of joint information from independent data at
n = 900 and 50 dimensions a block. For ``I1``, ``I2`` and ``I12`` the bias is known exactly and does not depend on the
covariance (:func:`mi_bias`). For the union information it is not known; :func:`permuted_rows` gives the rows of a null
data set, from which it is measured. :func:`consistent_union` states what happens when the corrected numbers disagree.
Standard errors come from :func:`jackknife_se` over deleted groups of rows; a bootstrap would be shifted by the bias.
"""

import numpy as np
from scipy.special import digamma

from pidflow import arguments, arrays
from pidflow.errors import DataError, NumericsError
from pidflow.groups import MOST_ROWS
from pidflow.pid.gaussian import INFORMATIONS
from pidflow.pid.gaussian_system import LN2
from pidflow.stats import jackknife_se

# How the warnings of this module begin.
BIAS, RANGE = "the finite-sample bias", "union information"


def mi_bias(n: int, p: int, q: int) -> float:
    """Exact bias of the plug-in mutual information of two Gaussian blocks, in bits.

    Parameters
    ----------
    n : int
        Independent rows; the mean is estimated too. Must exceed ``p + q``.
    p, q : int
        Sizes of the blocks; a block of no columns has no bias.

    Returns
    -------
    float
        ``E[I_hat] - I``, the same for every covariance: ``log det`` of a Wishart matrix is ``log det`` of its
        expectation plus a sum of digamma functions of the degrees of freedom.

    Raises
    ------
    NumericsError
        When ``n <= p + q``, where the plug-in estimate is infinite.
    """
    n, p, q = (arguments.count(v, k, least=0, most=MOST_ROWS) for k, v in {"n": n, "p": p, "q": q}.items())
    if n <= p + q:
        raise NumericsError(f"mutual information of blocks of {p} and {q} needs more than {p + q} rows, found {n}")

    def log_det(dim: int) -> float:
        return float(digamma((n - np.arange(1, dim + 1)) / 2).sum())

    return 0.5 * (log_det(p) + log_det(q) - log_det(p + q)) / LN2


def consistent_union(
    union: np.ndarray, mi_1: np.ndarray, mi_2: np.ndarray, mi_12: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Union information brought into the range the informations allow, and whether that changed it.

    No atom is negative exactly when ``max(I1, I2) <= U* <= min(I1 + I2, I12)``. `union` is clipped to that range.
    Bias-corrected informations are never clipped: they may be negative, and then the range can be empty (``I1 + I2``
    below ``max(I1, I2)``, or ``I12`` below it). In that case the middle between the two bounds is taken: the
    contradiction is shared evenly by the atoms, which still add up, and the rule stays continuous.

    Parameters
    ----------
    union, mi_1, mi_2, mi_12 : array_like, one shape
        In bits.

    Returns
    -------
    union : ndarray
    clipped : ndarray of bool

    Raises
    ------
    DataError
        When they are no finite numbers of one shape.
    """
    given = {"union": union, "mi_1": mi_1, "mi_2": mi_2, "mi_12": mi_12}
    plain = {name: arrays.numbers(values, name) for name, values in given.items()}
    try:
        union, mi_1, mi_2, mi_12 = np.broadcast_arrays(*plain.values())
    except ValueError as err:
        found = ", ".join(f"{name} {values.shape}" for name, values in plain.items())
        raise DataError(f"union and informations must have one shape, found {found}") from err
    lower = np.maximum(mi_1, mi_2)
    upper = np.minimum(np.add(mi_1, mi_2), mi_12)
    middle = 0.5 * (lower + upper)
    inside = np.where(lower > upper, middle, np.clip(union, lower, np.maximum(lower, upper)))
    return inside, np.abs(inside - union) > 1e-12


def reported_union(union: np.ndarray, mi: dict[str, np.ndarray]) -> np.ndarray:
    """The union of all rows in its consistent range, and the replicates beside it, ``(1 + G,)``.

    Replicates are not clipped: clipped ones scatter less than the estimate errs, at a bound not at all. Only where the
    informations of all rows contradict each other is the estimate no clipped number but a function of the informations,
    and replicates are the same function of theirs.
    """
    one, two, both = (mi[name] for name in INFORMATIONS)
    lower, upper = np.maximum(one, two), np.minimum(one + two, both)
    replicates = 0.5 * (lower + upper) if lower[0] > upper[0] else union
    return np.concatenate([consistent_union(union, one, two, both)[0][:1], replicates[1:]])


def bias_warning(name: str, bias: float, corrected: float, ratio: float) -> tuple[str, ...]:
    """A word where the bias is more than half of what it leaves."""
    if bias <= 0.5 * corrected:
        return ()
    return (
        f"{BIAS} of {name} ({bias:.3g} bit) exceeds half of what is left ({corrected:.3g} bit); "
        f"{ratio:.1f} rows a dimension are few for this much information",
    )


def range_warning(union: np.ndarray, mi: dict[str, np.ndarray]) -> tuple[str, ...]:
    """Noise at a boundary clips by about its own standard error; more than twice that deserves a word."""
    inside = consistent_union(union, *(mi[name] for name in INFORMATIONS))[0]
    moved = inside - union
    if abs(moved[0]) <= 2 * jackknife_se(moved[1:]):
        return ()
    one, two, both = (float(mi[name][0]) for name in INFORMATIONS)
    lower, upper = max(one, two), min(one + two, both)
    allowed = f"between {lower:.4g} and {upper:.4g}"
    if lower > upper:
        allowed = f"above {lower:.4g} and below {upper:.4g} (the informations contradict each other: they are noise)"
    return (f"{RANGE} {union[0]:.4g} bit was clipped to {inside[0]:.4g}: it must lie {allowed}",)
