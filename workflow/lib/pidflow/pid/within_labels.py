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
from pidflow.pid.covariances import LEAST_VARIANCE, independent
from pidflow.pid.estimators._rows import Blocks
from pidflow.pid.gaussian import INFORMATIONS
from pidflow.pid.gaussian_system import LN2
from pidflow.pid.labels import cells_of
from pidflow.pid.tails_within import ROWS_PER_COLUMN, widened_by_tails
from pidflow.stats import jackknife_se, normal_scores

# Clusters of a source divide a label where parts that are large enough hold this share of its rows, and where what is
# told is more by so many standard errors.
COVERED, CLEARLY = 0.5, 2.0
# Variance that directions without any are given; what a source leaves below this part is nothing.
RIDGE, NOTHING = 1e-6, 1e-9
# Canonical variates whose products bend the mean of the target.
MOST_BENT = 4
# Share of rows without a Gaussian of their label beyond which a word is due.
MOST_POOLED = 0.25
# Standard deviation of what stays systematic: of what more than a Gaussian for each label added, of what it would have
# added less clearly, and of the exact bias, where clusters could divide labels and where they have too few rows.
OF_GAIN, OF_MISSED, OF_BIAS, OF_UNDIVIDED = 0.2, 0.7, 0.2, 0.4


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
    warnings : tuple of str
        What speaks against Gaussians of labels.
    """

    mi: dict[str, np.ndarray]
    redundancy: np.ndarray
    unsure: dict[str, float]
    warnings: tuple[str, ...]


def told_within(rows: Blocks, clusters: Sequence[np.ndarray], classes: np.ndarray, members: np.ndarray) -> Within:
    """Decomposition of Gaussians given the label.

    Each label has a Gaussian of its own, or each cluster of a source within it where that shows clearly more; and the
    mean of the target may bend where that does. Parts with too few rows for a covariance are taken to be told as much
    as the others.

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
    choices = {"mi_1": clusters[:1], "mi_2": clusters[1:], "mi_12": (*clusters, cells_of(*clusters))}
    chosen, unsure, pooled = {}, {}, 0.0
    scored = _Scores()
    for name, used in zip(INFORMATIONS, (rows[:1], rows[1:2], rows[:2]), strict=True):
        search = _Search(used, target, classes, members, scored)
        for parts in choices[name]:
            search.divide(parts)
        search.bend()
        chosen[name], pooled = search.best, search.pooled
        unsure[name] = search.unsure
    mi = {name: told.bits for name, told in chosen.items()}
    for name in ("mi_1", "mi_2"):
        # Both tell at least what one does, which takes fewer rows to see.
        more = mi[name] - mi["mi_12"]
        if more[0] > CLEARLY * jackknife_se(more[1:]):
            mi["mi_12"], unsure["mi_12"] = mi[name], float(np.hypot(unsure[name], OF_GAIN * more[0]))
    tails = widened_by_tails(rows, (*clusters, classes), mi, unsure)
    share = _share(chosen["mi_1"], chosen["mi_2"])
    smaller = min("mi_1", "mi_2", key=lambda name: mi[name][0])
    unsure["redundancy"] = unsure[smaller]
    return Within(mi, mi[smaller] * share, unsure, _few_rows(pooled, mi["mi_12"][0]) + tails)


class _Search:
    """The Gaussians by which some sources are best seen to tell of a target within labels.

    `gain` is what anything but a Gaussian for each label added, `missed` the most that was not clear enough to be
    taken, in bits; `undivided` whether there are clusters that have too few rows to divide labels.
    """

    def __init__(
        self,
        sources: Sequence[np.ndarray],
        target: np.ndarray,
        classes: np.ndarray,
        members: np.ndarray,
        scored: "_Scores",
    ) -> None:
        self.sources, self.target, self.members, self.scored = sources, target, members, scored
        self.classes, self.columns = classes, sum(block.shape[1] for block in sources) + target.shape[1]
        small = np.bincount(classes)[classes] < self.least
        self.labels = cells_of(np.where(small, -1, classes))  # labels with too few rows have one Gaussian in common
        self.pooled = float(small.mean())
        self.cells = self.labels
        self.best = self._told(self.labels, bent=False)
        self.gain, self.missed, self.undivided = 0.0, 0.0, False

    @property
    def unsure(self) -> float:
        """How far off the best may be beside its sampling error, bits (standard deviation)."""
        of_bias = (OF_UNDIVIDED if self.undivided else OF_BIAS) * self.best.bias
        return float(np.linalg.norm([OF_GAIN * self.gain, OF_MISSED * self.missed, of_bias]))

    @property
    def least(self) -> float:
        return ROWS_PER_COLUMN * self.columns

    def divide(self, parts: np.ndarray) -> None:
        """Try parts of labels."""
        cells = cells_of(self.labels, parts)
        size = np.bincount(cells)
        if cells.max() > self.labels.max():
            if size[size >= self.least].sum() >= COVERED * len(cells):
                self._try(cells, bent=False)
            else:
                self.undivided = True

    def bend(self) -> None:
        """Try a mean of the target that bends."""
        more = min(self.target.shape[1], self.columns - self.target.shape[1], MOST_BENT)
        if np.bincount(self.cells).max() >= self.least + ROWS_PER_COLUMN * more * (more + 1) / 2:
            self._try(self.cells, bent=True)

    def _try(self, cells: np.ndarray, *, bent: bool) -> None:
        found = self._told(cells, bent=bent)
        gain = found.bits - self.best.bits
        if gain[0] > CLEARLY * jackknife_se(gain[1:]):
            self.best, self.cells, self.gain = found, cells, self.gain + float(gain[0])
        else:
            self.missed = max(self.missed, float(gain[0]))

    def _told(self, cells: np.ndarray, *, bent: bool) -> "_Told":
        m, size = self.target.shape[1], np.bincount(cells)
        scored = cells_of(self.classes, cells)
        source = np.column_stack([self.scored.of(block, scored) for block in self.sources])
        large = np.flatnonzero(size >= self.least)
        large = large if len(large) else np.array([size.argmax()])
        if bent:
            source = np.column_stack([source, _bends(source, self.target, cells, large)])
        d = source.shape[1]
        alone, freedom = _scatters(self.target, self.labels, self.members)
        both, inside = (each[large] for each in _scatters(np.column_stack([source, self.target]), cells, self.members))
        label = self.labels[np.unique(cells, return_index=True)[1]][large]
        rank = _rank(both[:, 0, :d, :d])
        left = both[..., d:, d:] - both[..., d:, :d] @ np.linalg.solve(both[..., :d, :d], both[..., :d, d:])
        if (np.linalg.det(left[:, 0]) < NOTHING**m * np.linalg.det(alone[label, 0])).any():
            raise UnboundedError("within a label the target is an exact function of a source")
        weight = (inside + 1) / (inside + 1).sum(axis=0)
        inside, outside = np.maximum(inside - rank[:, None], 1.0), freedom[label]
        bits = 0.5 / LN2 * (weight * (_log_det(alone[label], outside) - _log_det(left, inside))).sum(axis=0)
        plug_in = np.linalg.slogdet(alone[label, 0])[1] - np.linalg.slogdet(left[:, 0])[1]
        plug_in += m * np.log((inside[:, 0] + rank) / outside[:, 0])
        used = np.unique(label)
        joined, over = (np.stack([each[label == one].sum(axis=0) for one in used]) for each in (left, inside))
        return _Told(
            bits,
            float(0.5 / LN2 * weight[:, 0] @ plug_in - bits[0]),
            np.bincount(self.labels)[used],
            alone[used] / freedom[used][..., None, None],
            joined / over[..., None, None],
        )


class _Scores:
    """Normal scores of blocks within cells, each made once."""

    def __init__(self) -> None:
        self.made: dict[tuple[int, bytes], np.ndarray] = {}

    def of(self, block: np.ndarray, cells: np.ndarray) -> np.ndarray:
        key = id(block), cells.tobytes()
        if key not in self.made:
            self.made[key] = _scored(block, cells)
        return self.made[key]


@dataclass(frozen=True)
class _Told:
    """What a source tells by Gaussians of L labels or of parts of them; axes of ``1 + G`` as above.

    Attributes
    ----------
    bits : ndarray, shape (1 + G,)
    bias : float
        What was subtracted from the plug-in value, bits.
    weight : ndarray, shape (L,)
        Rows of each label.
    alone, left : ndarray, shapes (L, 1 + G, m, m)
        Covariance of the target, and what the source leaves of it.
    """

    bits: np.ndarray
    bias: float
    weight: np.ndarray
    alone: np.ndarray
    left: np.ndarray


def _bends(source: np.ndarray, target: np.ndarray, cells: np.ndarray, large: np.ndarray) -> np.ndarray:
    """Products of the source's first canonical variates with the target, in each cell."""
    most = min(source.shape[1], target.shape[1], MOST_BENT)
    pairs = np.triu_indices(most)
    out = np.zeros((len(source), len(pairs[0])))
    for cell in large:
        kept = cells == cell
        x, y = (independent(block[kept], None) for block in (source, target))
        seen = x @ np.linalg.svd(x.T @ y)[0][:, :most]
        first, second = (np.pad(seen, ((0, 0), (0, most - seen.shape[1])))[:, side] for side in pairs)
        out[kept] = first * second
    return out


def _few_rows(pooled: float, told: float) -> tuple[str, ...]:
    """A word where many rows have no Gaussian of their label."""
    if pooled <= MOST_POOLED or told <= 0:
        return ()
    return (
        f"{pooled:.0%} of the rows have a label of the target with fewer than {ROWS_PER_COLUMN:g} rows a column, and "
        "one Gaussian for all of these: what is told within labels may be more",
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


def _scored(block: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Normal scores within each cell."""
    out = np.empty_like(block)
    for cell in np.unique(cells):
        out[cells == cell] = normal_scores(block[cells == cell])
    return out
