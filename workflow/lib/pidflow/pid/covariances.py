"""Rows of samples: checked, scored, and turned into the covariances that bias and errors are estimated from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pidflow import arguments, arrays
from pidflow.errors import NumericsError
from pidflow.groups import MOST, grouped_folds, permuted_rows

MIN_BLOCKS = 5
# Part of its variance that a column must keep when rows are left out.
VARIES = 1e-13
# Directions that keep a smaller part of their variance in some of the rows cannot be told from none.
LEAST_VARIANCE = 1e-4


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
        scatter = np.tensordot(member, self.outer, axes=1)
        mean_free = sums / np.sqrt(rows)[..., None]
        scatter -= mean_free[..., :, None] * mean_free[..., None, :]
        return scatter, rows


def varying(**blocks: np.ndarray) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Blocks as float64 arrays ``(n, d)`` with one common ``n``, without columns that do not vary, and a note on those.

    What is constant carries no information, so leaving it out changes nothing; a constant block is left with no column.

    Raises
    ------
    DataError
        When a block is no array of finite numbers with one or two axes, or row counts differ.
    NumericsError
        When ``n <= D + 1`` for ``D`` columns that vary.
    """
    names = list(blocks)
    kept, notes = [], []
    for name, block in zip(names, arrays.same_rows(**blocks), strict=True):
        constant = arrays.constant_columns(block)
        if constant.all():
            notes.append(f"{name} is constant over all {len(block)} rows: it carries 0 bits")
        elif constant.any():
            notes.append(f"columns {np.flatnonzero(constant).tolist()} of {name} are constant and were left out")
        kept.append(np.ascontiguousarray(block[:, ~constant]))
    n, total = len(kept[0]), sum(block.shape[1] for block in kept)
    if n <= total + 1:
        raise NumericsError(
            f"{n} rows are too few for {total} columns ({', '.join(names)} together): more than {total + 1} are needed "
            "and ten times as many are sensible; reduce the blocks with PCA"
        )
    return kept, tuple(notes)


def repeated_rows(blocks: Sequence[np.ndarray], groups: np.ndarray | None) -> tuple[str, ...]:
    """A note when rows are copies of others and no groups keep them together.

    Rows of coarse columns repeat by themselves; a column that takes a new value in nearly every distinct row does not.
    """
    rows = np.ascontiguousarray(np.concatenate(blocks, axis=1))
    if groups is not None or not rows.shape[1]:
        return ()
    _, first = np.unique(rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))), return_index=True)
    distinct = rows[first]
    if len(distinct) == len(rows) or max(len(np.unique(column)) for column in distinct.T) < 0.9 * len(distinct):
        return ()
    return (
        f"{len(rows) - len(distinct)} of {len(rows)} rows are copies of other rows and no groups were given: errors "
        "are too small and held-out rows were seen in training; pass groups, or drop the copies",
    )


def standardised(block: np.ndarray) -> np.ndarray:
    """Columns, none of them constant, with mean 0 and variance 1, whatever their unit and offset."""
    centred = block - block.mean(axis=0)
    return centred / centred.std(axis=0)


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
    count = arguments.count(count, "jackknife", least=1, most=MOST)
    available = len(np.unique(arrays.group_index(groups, n)))
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
    # What rounding leaves of a column that varies within one block only is no variance.
    variance = np.einsum("gii->gi", scatter)
    variance[variance <= VARIES * np.einsum("gii->i", statistics.outer)] = 0.0
    return scatter / (sizes[:, None, None] - 1), sizes.astype(np.int64)


def independent(block: np.ndarray, members: np.ndarray | None) -> np.ndarray:
    """White columns that span the block, without directions that hardly vary when a jackknife block is left out."""
    varies = block.std(axis=0) > 0
    block = block[:, varies] / block[:, varies].std(axis=0)
    if not block.shape[1]:
        return block
    values, vectors = np.linalg.eigh(covariance(block))
    kept = values > LEAST_VARIANCE * values[-1]
    white = (block - block.mean(axis=0)) @ (vectors[:, kept] / np.sqrt(values[kept]))
    while members is not None and white.shape[1]:
        values, vectors = np.linalg.eigh(deleted_covariances(white, members)[0])
        worst = int(values[:, 0].argmin())
        if values[worst, 0] > LEAST_VARIANCE:
            break
        white = white @ vectors[worst][:, 1:]
    return white
