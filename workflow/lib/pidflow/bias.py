"""What finite samples do to Gaussian informations, and how much of it can be taken back.

Plug-in informations are too large, by amounts that are not small: 9 bits of joint information from independent data at
n = 900 and 50 dimensions a block. For ``I1``, ``I2`` and ``I12`` the bias is known exactly and does not depend on the
covariance (:func:`mi_bias`). For the union information it is not known; :func:`permuted_rows` gives the rows of a null
data set, from which it is measured. :func:`consistent_union` states what happens when the corrected numbers disagree.
Standard errors come from :func:`jackknife_se` over deleted groups of rows; a bootstrap would be shifted by the bias.
"""

import heapq

import numpy as np
from scipy.special import digamma

from pidflow.errors import ConfigError, DataError, NumericsError
from pidflow.gaussian import LN2


def mi_bias(n: int, p: int, q: int) -> float:
    """Exact bias of the plug-in mutual information of two Gaussian blocks, in bits.

    Parameters
    ----------
    n : int
        Independent rows; the mean is estimated too. Must exceed ``p + q``.
    p, q : int
        Sizes of the blocks.

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
    if n <= p + q:
        raise NumericsError(f"mutual information of blocks of {p} and {q} needs more than {p + q} rows, found {n}")

    def log_det(dim: int) -> float:
        return float(digamma((n - np.arange(1, dim + 1)) / 2).sum())

    return 0.5 * (log_det(p) + log_det(q) - log_det(p + q)) / LN2


def grouped_folds(n: int, *, folds: int, groups: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """Fold label of each row, such that a group is never split and folds have nearly equal size.

    Parameters
    ----------
    n : int
        Number of rows.
    folds : int
        Number of folds, at least 2.
    groups : array_like, shape (n,), optional
        Rows with equal labels (questions about one image) stay together. Without it every row is its own group.
    seed : int
        Order in which groups of equal size are dealt out.

    Returns
    -------
    ndarray of int, shape (n,)
        Labels ``0 .. folds - 1``.

    Raises
    ------
    NumericsError
        When there are fewer groups than folds.
    """
    if folds < 2:
        raise ConfigError(f"folds must be at least 2, found {folds}")
    member = _group_index(n, groups)
    sizes = np.bincount(member)
    if len(sizes) < folds:
        what = "rows" if groups is None else "groups"
        raise NumericsError(f"{folds} folds need at least {folds} {what}, found {len(sizes)}; use fewer folds")
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    largest_first = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    smallest = [(0, fold) for fold in range(folds)]
    fold_of_group = np.empty(len(sizes), dtype=np.int64)
    for group in largest_first:
        filled, fold = heapq.heappop(smallest)
        fold_of_group[group] = fold
        heapq.heappush(smallest, (filled + int(sizes[group]), fold))
    return fold_of_group[member]


def permuted_rows(
    n: int, count: int, *, groups: np.ndarray | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Pairings of source rows with target rows under which the target is independent of the sources.

    Without groups, rows of the target are permuted. With groups, rows are laid out group by group and the target's
    groups are laid out in random order against the sources' groups. Runs of rows that belong together stay together on
    both sides, so the null data keep most of the dependence within groups. (Groups of unequal size slide against each
    other; the runs are then cut at other places.)

    Parameters
    ----------
    n : int
        Number of rows.
    count : int
        Number of pairings.
    groups : array_like, shape (n,), optional
        Group of each row.
    seed : int
        Random state.

    Returns
    -------
    sources : ndarray of int, shape (n,)
        Order of the source rows, the same for every pairing; X1 and X2 are never separated.
    targets : ndarray of int, shape (count, n)
        Row of the target each of them meets.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        return np.arange(n), np.stack([rng.permutation(n) for _ in range(count)])
    member = _group_index(n, groups)
    sources = np.argsort(member, kind="stable")
    runs = np.split(sources, np.cumsum(np.bincount(member))[:-1])
    targets = [np.concatenate([runs[g] for g in rng.permutation(len(runs))]) for _ in range(count)]
    return sources, np.stack(targets)


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
    """
    lower = np.maximum(mi_1, mi_2)
    upper = np.minimum(np.add(mi_1, mi_2), mi_12)
    middle = 0.5 * (lower + upper)
    inside = np.where(lower > upper, middle, np.clip(union, lower, np.maximum(lower, upper)))
    return inside, np.abs(inside - union) > 1e-12


def jackknife_se(replicates: np.ndarray) -> np.ndarray:
    """Delete-group jackknife standard error over the first axis, ``sqrt((G-1)/G sum (r_g - mean)^2)``.

    Parameters
    ----------
    replicates : array_like, shape (G, ...)
        The estimate without each of G groups of nearly equal size.

    Returns
    -------
    ndarray, shape (...)
    """
    replicates = np.asarray(replicates, dtype=np.float64)
    count = len(replicates)
    return np.sqrt((count - 1) / count * np.square(replicates - replicates.mean(axis=0)).sum(axis=0))


def _group_index(n: int, groups: np.ndarray | None) -> np.ndarray:
    """Groups as consecutive integers."""
    if groups is None:
        return np.arange(n)
    groups = np.asarray(groups)
    if groups.shape != (n,):
        raise DataError(f"groups must have shape ({n},), one label a row, found {groups.shape}")
    return np.unique(groups, return_inverse=True)[1]
