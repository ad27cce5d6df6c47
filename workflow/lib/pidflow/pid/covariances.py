"""Rows of samples: checked, scored, and turned into the covariances that bias and errors are estimated from."""

from dataclasses import dataclass

import numpy as np

from pidflow.errors import DataError, NumericsError
from pidflow.groups import grouped_folds, permuted_rows

MIN_BLOCKS = 5


@dataclass(frozen=True)
class RowBlocks:
    """Sufficient statistics of blocks of rows, from which those of any union of blocks follow.

    Attributes
    ----------
    rows : ndarray, shape (G,)
        Number of rows of each block.
    sums : ndarray, shape (G, D)
    outer : ndarray, shape (G, D, D)
        Sums of rows and of their outer products.
    """

    rows: np.ndarray
    sums: np.ndarray
    outer: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, blocks: np.ndarray) -> "RowBlocks":
        """Statistics of `rows` ``(n, D)`` in blocks labelled ``0 .. G - 1``; rows are centred for accuracy."""
        centred = rows - rows.mean(axis=0)
        parts = [centred[blocks == block] for block in range(blocks.max() + 1)]
        return cls(
            rows=np.array([len(part) for part in parts]),
            sums=np.stack([part.sum(axis=0) for part in parts]),
            outer=np.stack([part.T @ part for part in parts]),
        )

    def scatter(self, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scatter matrices about their own mean, and row counts, of unions of blocks.

        Parameters
        ----------
        member : ndarray of bool, shape (..., G)

        Returns
        -------
        scatter : ndarray, shape (..., D, D)
        rows : ndarray, shape (...)
        """
        member = member.astype(np.float64)
        rows = member @ self.rows
        sums = member @ self.sums
        outer = np.tensordot(member, self.outer, axes=1)
        return outer - sums[..., :, None] * sums[..., None, :] / rows[..., None, None], rows


def columns(**blocks: np.ndarray) -> list[np.ndarray]:
    """Blocks as float64 arrays ``(n, d)`` with one common ``n``; what cannot be used is refused by name.

    Raises
    ------
    DataError
        When a block has more than two axes, row counts differ, or values are not finite.
    NumericsError
        When a column is constant, or ``n <= D + 1`` for ``D`` columns in all.
    """
    out = {}
    for name, values in blocks.items():
        values = np.asarray(values, dtype=np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or values.shape[1] == 0:
            raise DataError(f"{name} must have shape (n,) or (n, d) with d >= 1, found {values.shape}")
        out[name] = values
    lengths = {name: len(values) for name, values in out.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(f"every block must have the same rows, found {found}; align them by item before estimating")
    for name, values in out.items():
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise DataError(f"{name} is not finite at row {row}, column {column}; drop such rows from every block")
    n, total = next(iter(lengths.values())), sum(values.shape[1] for values in out.values())
    if n <= total + 1:
        raise NumericsError(
            f"{n} rows are too few for {total} columns ({', '.join(out)} together): more than {total + 1} are needed "
            "and ten times as many are sensible; reduce the blocks with PCA"
        )
    for name, values in out.items():
        constant = np.flatnonzero(np.ptp(values, axis=0) == 0)
        if constant.size:
            raise NumericsError(f"{name} is degenerate: column {constant[0]} is constant over {n} rows; drop it")
    return list(out.values())


def covariance(rows: np.ndarray) -> np.ndarray:
    """Sample covariance ``(D, D)`` of rows ``(n, D)``."""
    centred = rows - rows.mean(axis=0)
    return centred.T @ centred / (len(rows) - 1)


def permuted_covariances(
    sources: np.ndarray, target: np.ndarray, count: int, *, groups: np.ndarray | None, seed: int
) -> np.ndarray:
    """Covariances of `sources` with a target whose rows were shuffled against them.

    Parameters
    ----------
    sources, target : ndarray, shapes (n, d), (n, m)
    count : int
        Number of shuffles.
    groups, seed
        As in :func:`pidflow.pid.bias.permuted_rows`.

    Returns
    -------
    ndarray, shape (count, d + m, d + m)
    """
    order, shuffled = permuted_rows(len(target), count, groups=groups, seed=seed)
    d = sources.shape[1]
    # Shuffling leaves the blocks of the sources and of the target as they are.
    out = np.tile(covariance(np.concatenate([sources, target], axis=1)), (count, 1, 1))
    left = (sources - sources.mean(axis=0))[order].T / (len(target) - 1)
    centred = target - target.mean(axis=0)
    for cov, rows in zip(out, shuffled, strict=True):
        cov[:d, d:] = left @ centred[rows]
        cov[d:, :d] = cov[:d, d:].T
    return out


def jackknife_blocks(n: int, count: int, *, groups: np.ndarray | None, seed: int) -> np.ndarray:
    """Block of each row: `count` blocks of nearly equal size, or one a group when there are fewer groups.

    Raises
    ------
    NumericsError
        With fewer than five groups, which cannot tell how much groups differ.
    """
    available = n if groups is None else len(np.unique(groups))
    if min(count, available) < MIN_BLOCKS:
        raise NumericsError(
            f"standard errors need at least {MIN_BLOCKS} blocks of rows, found jackknife={count} and {available} groups"
        )
    return grouped_folds(n, folds=min(count, available), groups=groups, seed=seed)


def deleted_covariances(rows: np.ndarray, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariance without each block of rows, and how many rows were left.

    Parameters
    ----------
    rows : ndarray, shape (n, D)
    blocks : ndarray of int, shape (n,)
        Labels ``0 .. G - 1``.

    Returns
    -------
    cov : ndarray, shape (G, D, D)
    sizes : ndarray of int, shape (G,)

    Raises
    ------
    NumericsError
        When what is left is too small for ``D`` columns.
    """
    n, total = rows.shape
    left = n - np.bincount(blocks).max()
    if left <= total + 1:
        raise NumericsError(
            f"{n} rows are too few for {total} columns: the jackknife leaves {left} of them and more than "
            f"{total + 1} are needed; reduce the blocks with PCA, or use more and smaller jackknife blocks"
        )
    statistics = RowBlocks.of(rows, blocks)
    scatter, sizes = statistics.scatter(~np.eye(len(statistics.rows), dtype=bool))
    return scatter / (sizes[:, None, None] - 1), sizes.astype(np.int64)
