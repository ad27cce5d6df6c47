"""Groups of rows that belong together (questions about one image): folds, permutations and held-out rows keep them."""

import heapq

import numpy as np

from pidflow import arguments, arrays
from pidflow.errors import DataError, NumericsError

# More folds, pairings or blocks than this are a mistake.
MOST = 10_000
# Rows that fit into the memory of any machine this runs on.
MOST_ROWS = 10**9


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
    ConfigError
        When a number is no whole number in range.
    DataError
        When there is not one label a row, or one is missing.
    NumericsError
        When there are fewer groups than folds.
    """
    n = arguments.count(n, "n", least=1, most=MOST_ROWS)
    folds = arguments.count(folds, "folds", least=2, most=MOST_ROWS)
    seed = arguments.seed_of(seed)
    member = arrays.group_index(groups, n)
    sizes = np.bincount(member)
    if len(sizes) < folds:
        what = "rows" if groups is None else "groups"
        raise NumericsError(
            f"{folds} folds need at least {folds} {what}, found {len(sizes)}; take more, or fewer folds"
        )
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
    n = arguments.count(n, "n", least=1, most=MOST_ROWS)
    count = arguments.count(count, "count", least=1, most=MOST)
    rng = np.random.default_rng(arguments.seed_of(seed))
    if groups is None:
        return np.arange(n), np.stack([rng.permutation(n) for _ in range(count)])
    member = arrays.group_index(groups, n)
    sources = np.argsort(member, kind="stable")
    runs = np.split(sources, np.cumsum(np.bincount(member))[:-1])
    targets = [np.concatenate([runs[g] for g in rng.permutation(len(runs))]) for _ in range(count)]
    return sources, np.stack(targets)


def held_out_split(
    outside: np.ndarray, groups: np.ndarray | None, *, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the rows to train on and of the rows to stop on; whole groups on one side.

    Parameters
    ----------
    outside
        Rows outside the fold, boolean, ``(n,)``; the two masks divide them.
    groups
        Group of each row, ``(n,)``; every row its own when omitted.
    fraction
        Part of the rows to stop on, reached or exceeded by less than one group.

    Raises
    ------
    DataError
        When so few groups are left that one side would be empty.
    """
    rows = np.flatnonzero(outside)
    _, group = np.unique(arrays.group_index(groups, len(outside))[rows], return_inverse=True)
    size = np.bincount(group)
    shuffled = np.random.default_rng(seed).permutation(len(size))
    enough = 1 + np.searchsorted(np.cumsum(size[shuffled]), fraction * len(rows))
    if enough >= len(size):
        raise DataError(
            f"{len(rows)} training rows fall into {len(size)} groups, too few to keep {fraction:.0%} of the rows aside "
            "for early stopping; use fewer folds or finer groups"
        )
    aside = np.zeros_like(outside)
    aside[rows[np.isin(group, shuffled[:enough])]] = True
    return outside & ~aside, aside
