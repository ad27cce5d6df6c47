"""What sources tell within each label of the target, by a Gaussian of its own in each, or in each part of it.

How sources move the target need not be the same whichever answer it is near, nor whichever cluster a source is in: on
the shipped model one covariance for all labels sees half of what one each sees. The bias of each is known exactly, so
few rows a part cost spread alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma

from pidflow.errors import UnboundedError
from pidflow.pid.covariances import covariance, deleted_covariances
from pidflow.pid.estimators._rows import Blocks
from pidflow.pid.gaussian import INFORMATIONS
from pidflow.pid.gaussian_system import LN2
from pidflow.stats import jackknife_se, normal_scores

# A part of the rows has a covariance of its own where it has so many rows a column.
ROWS_PER_COLUMN = 2.0
# Clusters of a source divide a label where parts that are large enough hold this share of its rows, and where what is
# told is more by so many standard errors.
COVERED, CLEARLY = 0.5, 2.0
# Directions that keep a smaller part of their variance in some of the rows cannot be told from none.
LEAST_VARIANCE = 1e-4
# Variance that directions without any are given; what a source leaves below this part is nothing.
RIDGE, NOTHING = 1e-6, 1e-9
# Standard deviation of what stays systematic: of what dividing labels added, and of the exact bias.
OF_GAIN, OF_BIAS = 0.2, 0.15


@dataclass(frozen=True)
class Within:
    """What is told within labels, in bits.

    Attributes
    ----------
    mi : dict of str to ndarray, shape (1 + G,)
        Each information, of all rows and without each block.
    redundancy : ndarray, shape (1 + G,)
    unsure : dict of str to float
        How far off each information, and the redundancy, may be beside its sampling error (standard deviation).
    pooled : float
        Share of rows that have no Gaussian of their label.
    """

    mi: dict[str, np.ndarray]
    redundancy: np.ndarray
    unsure: dict[str, float]
    pooled: float


def told_within(rows: Blocks, clusters: Sequence[np.ndarray], classes: np.ndarray, members: np.ndarray) -> Within:
    """Decomposition of Gaussians given the label.

    Each label has a Gaussian of its own, or each cluster of a source within it where that shows clearly more. Parts
    with too few rows for a covariance are taken to be told as much as the others.

    Parameters
    ----------
    rows : three ndarrays, shapes (n, d1), (n, d2), (n, m)
        Sources and target; columns become normal scores within each label, those of sources within each part.
    clusters : two ndarrays of int, shape (n,)
        Cluster of each source that a row lies in.
    classes, members : ndarray of int, shape (n,)
        Label of the target, and jackknife block, of each row.
    """
    target = _scored(rows[2], classes)
    choices = {"mi_1": clusters[:1], "mi_2": clusters[1:], "mi_12": (*clusters, _cells(*clusters))}
    chosen, unsure = {}, {}
    for name, used in zip(INFORMATIONS, (rows[:1], rows[1:2], rows[:2]), strict=True):
        best = whole = _Told.of(used, target, classes, None, members)
        tried = []
        for parts in choices[name]:
            cells = _cells(classes, parts)
            many = np.bincount(cells).max() < ROWS_PER_COLUMN * sum(block.shape[1] for block in (*used, target))
            if many or cells.max() == classes.max() or whole.pooled == 1:
                continue
            found = _Told.of(used, target, classes, parts, members)
            gain = found.bits - best.bits
            if found.covered >= COVERED:
                tried.append(found.bits[0] - whole.bits[0])
                if gain[0] > CLEARLY * jackknife_se(gain[1:]):
                    best = found
        chosen[name] = best
        unsure[name] = float(np.hypot(OF_GAIN * max([0.0, *tried]), OF_BIAS * best.bias))
    mi = {name: told.bits for name, told in chosen.items()}
    share = _share(chosen["mi_1"], chosen["mi_2"])
    redundancy = np.minimum(mi["mi_1"], mi["mi_2"]) * share
    smaller = min("mi_1", "mi_2", key=lambda name: mi[name][0])
    unsure["redundancy"] = share[0] * unsure[smaller]
    return Within(mi, redundancy, unsure, chosen["mi_12"].pooled)


@dataclass(frozen=True)
class _Told:
    """What a source tells by Gaussians of labels, or of parts of them; L labels, axes ``1 + G`` as above.

    Attributes
    ----------
    bits : ndarray, shape (1 + G,)
    bias : float
        What was subtracted from the plug-in value, bits.
    covered, pooled : float
        Share of rows in parts that are large enough, and of those whose label has no Gaussian of its own.
    weight : ndarray, shape (L,)
        Rows of each label.
    alone, left : ndarray, shapes (L, 1 + G, m, m)
        Covariance of the target, and what the source leaves of it.
    """

    bits: np.ndarray
    bias: float
    covered: float
    pooled: float
    weight: np.ndarray
    alone: np.ndarray
    left: np.ndarray

    @classmethod
    def of(
        cls,
        sources: Sequence[np.ndarray],
        target: np.ndarray,
        classes: np.ndarray,
        parts: np.ndarray | None,
        members: np.ndarray,
    ) -> "_Told":
        m, d = target.shape[1], sum(block.shape[1] for block in sources)
        least = ROWS_PER_COLUMN * (d + m)
        small = np.bincount(classes)[classes] < least
        labels = _cells(np.where(small, -1, classes))  # labels with too few rows have one Gaussian in common
        cells = labels if parts is None else _cells(labels, parts)
        of_cell = np.zeros(int(cells.max()) + 1, dtype=np.int64)
        of_cell[cells] = labels
        scored = _cells(classes, cells)
        source = np.column_stack([_scored(block, scored) for block in sources])
        size = np.bincount(cells)
        large = np.flatnonzero(size >= least)
        if not len(large):
            large = np.array([size.argmax()])
        whole, freedom = _scatters(target, labels, members)
        both, inside = _scatters(np.column_stack([source, target]), cells, members)
        both, inside, of_cell = both[large], inside[large], of_cell[large]
        rank = _rank(both[:, 0, :d, :d])
        both[..., np.arange(d), np.arange(d)] += RIDGE * inside[..., None]
        left = both[..., d:, d:] - both[..., d:, :d] @ np.linalg.solve(both[..., :d, :d], both[..., :d, d:])
        rows = inside + 1.0
        inside = inside - rank[:, None]
        told = _log_det(whole, freedom)[of_cell] - _log_det(left, inside)
        if (np.linalg.det(left[:, 0]) < NOTHING**m * np.linalg.det(whole[of_cell, 0])).any():
            raise UnboundedError("within a label the target is an exact function of a source")
        bits = 0.5 / LN2 * (told * rows).sum(axis=0) / rows.sum(axis=0)
        plug_in = (
            np.linalg.slogdet(whole / freedom[..., None, None])[1][of_cell]
            - np.linalg.slogdet(left / rows[..., None, None])[1]
        )
        raw = 0.5 / LN2 * (plug_in * rows).sum(axis=0) / rows.sum(axis=0)
        used = np.unique(of_cell)
        joined = np.stack([left[of_cell == label].sum(axis=0) for label in used])
        over = np.stack([inside[of_cell == label].sum(axis=0) for label in used])
        return cls(
            bits,
            float(raw[0] - bits[0]),
            float(size[large].sum() / size.sum()),
            float(small.mean()),
            np.array([(labels == label).sum() for label in used]),
            whole[used] / freedom[used][..., None, None],
            joined / over[..., None, None],
        )


def _scatters(rows: np.ndarray, cells: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scatter about the mean in each cell and its degrees of freedom, of all rows and without each block.

    Shapes ``(C, 1 + G, D, D)`` and ``(C, 1 + G)``.
    """
    blocks, d = int(members.max()) + 1, rows.shape[1]
    place = cells * blocks + members
    order = np.argsort(place, kind="stable")
    filled, first = np.unique(place[order], return_index=True)
    table = np.column_stack([np.ones(len(rows)), rows])[order]
    outer = np.zeros(((int(cells.max()) + 1) * blocks, d + 1, d + 1))
    outer[filled] = np.add.reduceat(table[:, :, None] * table[:, None, :], first, axis=0)
    outer = outer.reshape(-1, blocks, d + 1, d + 1)
    whole = outer.sum(axis=1, keepdims=True)
    outer = np.concatenate([whole, whole - outer], axis=1)
    count, sums = np.maximum(outer[..., 0, 0], 1.0), outer[..., 0, 1:]
    scatter = outer[..., 1:, 1:] - sums[..., :, None] * sums[..., None, :] / count[..., None, None]
    return scatter + RIDGE * np.eye(d), count - 1.0


def _log_det(scatter: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Unbiased logarithm of the determinant of a covariance whose scatter is a Wishart matrix."""
    steps = np.arange(scatter.shape[-1])
    expected = digamma(np.maximum(freedom[..., None] - steps, 1.0) / 2).sum(axis=-1)
    return np.linalg.slogdet(scatter)[1] - expected - len(steps) * LN2


def _rank(scatter: np.ndarray) -> np.ndarray:
    """Directions in which rows vary, ``(C,)``."""
    if not scatter.shape[-1]:
        return np.zeros(len(scatter))
    values = np.linalg.eigvalsh(scatter)
    return (values > LEAST_VARIANCE * values[:, -1:]).sum(axis=-1).astype(float)


def _share(one: _Told, two: _Told) -> np.ndarray:
    """Part of the smaller information that is redundant, of all rows and without each block, ``(1 + G,)``.

    By the closed form of Gaussian systems (:mod:`pidflow.pid.gaussian`) in each label, which depends on each source
    through the covariance that it leaves of the target. Noise tells tied sources apart; to first order the jackknife
    takes that back.
    """
    if len(one.weight) != len(two.weight):
        return np.full(len(one.bits), 0.5)
    logs = [np.linalg.slogdet(each)[1] for each in (one.alone, one.left, two.left)]
    ratio = np.log(np.maximum(np.linalg.eigvals(np.linalg.solve(one.left, two.left)).real, 1e-12))
    unique = np.maximum(ratio, 0.0).sum(axis=-1)
    found = np.stack([logs[0] - logs[1] - unique, logs[0] - logs[1], logs[0] - logs[2]])
    total = np.einsum("qlg,l->qg", found, one.weight)
    without, count = total[:, 1:], total.shape[1] - 1
    redundancy, *informations = count * total[:, 0] - (count - 1) * without.mean(axis=1)
    smaller = min(informations)
    if not smaller > 0:
        return np.zeros(1 + count)
    share = np.clip(redundancy / smaller, 0.0, 1.0)
    return np.concatenate([[share], share + (without[0] - total[0, 0]) / smaller])


def _cells(*labels: np.ndarray) -> np.ndarray:
    """Cell of each row under several labels, as consecutive integers."""
    return np.unique(np.stack(labels), axis=1, return_inverse=True)[1].ravel()


def _scored(block: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Normal scores within each cell."""
    out = np.empty_like(block)
    for cell in np.unique(cells):
        out[cells == cell] = normal_scores(block[cells == cell])
    return out


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
