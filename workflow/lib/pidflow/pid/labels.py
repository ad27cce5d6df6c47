"""What is discrete about a block of rows: few distinct rows, or clusters with empty valleys between them.

A code (the number of a question template) and a cluster (all states that are about to say *red*) are labels. Maps that
make columns Gaussian tear them apart, and covariances take the distance of two clusters for information without end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.special import digamma

# Distinct rows are codes where each stands for so many rows on average.
ROWS_PER_CODE = 5
# Digits of a standard deviation in which rows must differ to be distinct.
DIGITS = 5
# A valley between two clusters is this deep, relative to the lower of the two ridges beside it; each ridge has so many
# rows within a kernel's width (a flat place of that height is as empty as a valley once in 100,000 times), and each
# cluster holds this share of the rows.
DEPTH, RIDGE, SHARE = 0.1, 15, 0.02
# A target without deep valleys is divided at shallow ones where sources cluster: the chain rule holds for any labels.
# Elsewhere they show where deep ones may be, if they leave such a share of the rows outside the largest part.
SHALLOW, APART = 0.5, 0.1
# Widths of the kernel with which ridges and valleys are looked for, in standard deviations, the last where rows lie in
# clumps; points they are looked at.
WIDTHS, POINTS = (0.12, 0.06, 0.04), 160
# Of so many rows one may lie far off on each side.
FAR_ROWS = 50
# Rows, in smallest clusters, that narrow kernels are for.
MANY = 6
# Steps of the pursuit of directions of extreme kurtosis.
PURSUIT = 20
# Directions that tell the labels of another block apart along which clusters are looked for.
MOST_VIEWS, MOST_PARTS = 6, 12
# One value that this share of the rows takes, among others that vary, is a label of its own.
MASS = 0.05
# More clusters than this are a continuum.
MOST_CLUSTERS = 64
# Difference of entropies, in nats, at which rows lie in clumps; normal, uniform, log-normal and Student-t columns stay
# above -0.06 from 300 rows on.
LUMPY = -0.12
# The same within a cluster of few rows, of which there may be many; and how few may be looked at.
LUMPY_CLUSTER, LEAST_LUMPED = -0.3, 25
CONTINUOUS, CODES, CLUSTERS = "continuous", "codes", "clusters"


@dataclass(frozen=True)
class Labels:
    """The labels of a block's rows.

    Attributes
    ----------
    kind : {"continuous", "codes", "clusters"}
        `codes`: rows with one label are equal. `clusters`: they vary within it. `continuous`: there is one label.
    index : ndarray of int, shape (n,)
        Label of each row, ``0 .. count - 1``.
    """

    kind: str
    index: np.ndarray

    @property
    def count(self) -> int:
        """Number of labels."""
        return int(self.index.max()) + 1


def labels_of(block: np.ndarray, beside: Labels | None = None, *, depth: float = DEPTH) -> Labels:
    """The labels in a block ``(n, d)``; clusters are told apart by valleys that no row lies in.

    Columns that do not vary tell nothing: a block of nothing else is continuous, as one without columns.

    Parameters
    ----------
    block : ndarray, shape (n, d)
    beside : Labels, optional
        Of another block: valleys are looked for along the directions that tell these apart, too.
    depth : float
        How deep a valley must be: what it may keep of the lower ridge beside it.

    Returns
    -------
    Labels
    """
    block = np.ascontiguousarray(block, dtype=np.float64)
    found = _labels_of(block.tobytes(), block.shape, depth)
    if beside is None or beside.count == 1 or found.kind == CODES or not (block.std(axis=0) > 0).any():
        return found
    clusters = _split_further(block, found.index, beside.index, depth)
    return Labels(CLUSTERS if clusters.max() else CONTINUOUS, clusters)


@lru_cache(maxsize=8)  # layers share a target, and who chooses an estimator asks before the estimator does
def _labels_of(buffer: bytes, shape: tuple[int, int], depth: float) -> Labels:
    block = np.frombuffer(buffer).reshape(shape)
    block = np.ascontiguousarray(block[:, block.std(axis=0) > 0])
    n, d = block.shape
    if not d:
        return Labels(CONTINUOUS, np.zeros(n, dtype=np.int64))
    spread, rows = block.std(axis=0), rounded(block)
    _, code = np.unique(rows.view(np.dtype((np.void, rows.itemsize * d)))[:, 0], return_inverse=True)
    if 1 < code.max() + 1 <= n // ROWS_PER_CODE:
        return Labels(CODES, code.ravel().astype(np.int64))

    def seen(part: np.ndarray) -> np.ndarray:
        return _directions(_varying(block[part], spread))

    clusters = _clusters(n, seen, _point_masses(code.ravel()), depth=depth)
    if not clusters.max() and depth < SHALLOW:
        # What lies between shallow valleys may show in which directions deep ones are.
        shallow = _clusters(n, seen, depth=SHALLOW)
        if n - np.bincount(shallow).max() >= APART * n:
            clusters = _split_further(block, clusters, shallow, depth)
    if clusters.max():
        clusters = _split_further(block, clusters, clusters, depth)
    return Labels(CLUSTERS if clusters.max() else CONTINUOUS, clusters)


def described(blocks: Sequence[np.ndarray]) -> str:
    """What is discrete about x1, x2 and y, in words; empty where nothing is."""
    words = {CODES: "{} takes {} distinct values", CLUSTERS: "{} lies in {} clusters"}
    found = zip(("x1", "x2", "y"), map(labels_of, blocks), strict=True)
    return ", ".join(words[each.kind].format(name, each.count) for name, each in found if each.kind != CONTINUOUS)


def clumped(target: np.ndarray) -> tuple[str, ...]:
    """A word where rows of y, or those of a cluster, lie in more clusters than can be told apart.

    Sources may: what they tell is looked for in functions of their columns. Of the target the label would be missed.
    """
    if not target.shape[1] or not _in_clumps(target, labels_of(target)):
        return ()
    return (
        f"y lies in clumps of few rows each, more clusters than {len(target)} rows can tell apart: what is told of "
        "them is not seen",
    )


def _in_clumps(block: np.ndarray, labels: Labels) -> bool:
    if labels.kind == CODES:
        return False
    lumps = [
        float(_lumps(_scaled(rows)).min(initial=0.0))
        for rows in (block[labels.index == label] for label in range(labels.count))
        if len(rows) >= RIDGE + LEAST_LUMPED
    ]
    return min(lumps, default=0.0) < (LUMPY if labels.kind == CONTINUOUS else LUMPY_CLUSTER)


def _lumps(views: np.ndarray) -> np.ndarray:
    """Difference of the entropies that near and farther neighbours show in each column, nats; 0 where it is smooth.

    Distances of a row to its k-th neighbour along a smooth density grow with k in a known way (Vasicek 1976, *A test
    for normality based on sample entropy*); within clumps they are smaller for near neighbours.
    """
    ordered = np.sort(views, axis=0)
    far = max(16, len(views) // 40)
    near, farther = (
        np.log(np.maximum(ordered[k:] - ordered[:-k], 1e-12)).mean(axis=0) - digamma(k) for k in (far // 4, far)
    )
    return near - farther


def cells_of(*labels: np.ndarray) -> np.ndarray:
    """Cell of each row under several labels, as consecutive integers."""
    return np.unique(np.stack(labels), axis=1, return_inverse=True)[1].ravel()


def any_discrete(blocks: Sequence[np.ndarray]) -> bool:
    """Whether anything is discrete about x1, x2 and y; the target, which layers share, is looked at first."""
    return any(labels_of(block).kind != CONTINUOUS for block in reversed(blocks))


def _point_masses(code: np.ndarray) -> np.ndarray:
    """Each value that so many rows take that it is no chance, apart from all the others, as a ReLU has its zeros."""
    masses = np.bincount(code) >= MASS * len(code)
    label = np.where(masses, np.cumsum(masses), 0)
    return np.unique(label[code], return_inverse=True)[1].ravel()


def _clusters(
    n: int,
    views: Callable[[np.ndarray], np.ndarray],
    begun: np.ndarray | None = None,
    *,
    depth: float = DEPTH,
) -> np.ndarray:
    """Cluster of each row: the rows, or clusters that were `begun`, are split at valleys until none is left.

    `views` gives some rows as they are seen along directions.
    """
    least = max(RIDGE, round(SHARE * n))
    index = np.zeros(n, dtype=np.int64) if begun is None else begun
    whole, found = [np.flatnonzero(index == label) for label in range(int(index.max()) + 1)], []
    while whole:
        rows = whole.pop()
        below = _split(views(rows), least, depth) if len(rows) >= 2 * least else None
        if below is None:
            found.append(rows)
        else:
            whole += [rows[below], rows[~below]]
        if len(found) + len(whole) > MOST_CLUSTERS:
            return np.zeros(n, dtype=np.int64)
    index = np.empty(n, dtype=np.int64)
    for label, rows in enumerate(sorted(found, key=lambda each: each[0])):
        index[rows] = label
    return index


def _split_further(block: np.ndarray, begun: np.ndarray, classes: np.ndarray, depth: float) -> np.ndarray:
    """Clusters that were `begun`, split at valleys along directions in which classes differ."""
    views = discriminants(block, classes)
    views = _from_part_to_part(views, min(2 * (int(classes.max()) + 1), MOST_PARTS))
    return _clusters(len(block), lambda rows: views[rows], begun, depth=depth)


def _split(views: np.ndarray, least: int, most: float) -> np.ndarray | None:
    """Which rows lie on one side of the deepest valley in any view; None where there is none."""
    # In few rows some direction shows a narrow valley by chance.
    for width in WIDTHS if len(views) >= MANY * least else WIDTHS[:1]:
        if width == WIDTHS[-1]:
            views = views[:, _lumps(views) < LUMPY]
        if not views.shape[1]:
            break
        depth, border = _valleys(views, least, width)
        best = int(depth.argmin())
        if depth[best] < most * width / WIDTHS[0]:
            return views[:, best] <= border[best]
    return None


def _valleys(views: np.ndarray, least: int, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth of each column's deepest valley, relative to the lower ridge beside it, and where it lies, ``(q,)``."""
    n, count = views.shape
    few = n // FAR_ROWS
    part = np.partition(views, [few, least - 1, n - least, n - 1 - few], axis=0)
    low, high, bottom, top = part[least - 1], part[n - least], part[few], part[n - 1 - few]
    # Few far rows are no cluster, and no measure of how wide a kernel should be.
    views = np.clip(views, bottom - (top - bottom), top + (top - bottom))
    spread = views.std(axis=0)
    flat = ~((high > low) & (spread > 0))
    spread = np.where(flat, 1.0, spread)
    reach = 3 * width * spread
    first = views.min(axis=0) - reach
    step = (views.max(axis=0) + reach - first) / (POINTS - 1)
    width = np.maximum(width * spread, step)
    at = (views - first) / step
    left = np.clip(at.astype(np.int64), 0, POINTS - 2)
    at -= left
    left += POINTS * np.arange(count)
    mass = np.bincount(left.ravel(), 1 - at.ravel(), POINTS * count)
    mass = (mass + np.bincount(left.ravel() + 1, at.ravel(), POINTS * count)).reshape(count, POINTS)
    offset = (np.arange(2 * POINTS) - POINTS) * (step / width)[:, None]
    spectrum = np.fft.rfft(mass, 4 * POINTS) * np.fft.rfft(np.exp(-0.5 * offset**2), 4 * POINTS)
    density = np.maximum(np.fft.irfft(spectrum, 4 * POINTS)[:, POINTS : 2 * POINTS], 0.0)
    above = np.maximum.accumulate(density, axis=1), np.maximum.accumulate(density[:, ::-1], axis=1)[:, ::-1]
    ridge = np.minimum(*above)
    grid = first[:, None] + step[:, None] * np.arange(POINTS)
    between = (grid > low[:, None]) & (grid < high[:, None]) & (ridge >= RIDGE) & ~flat[:, None]
    depth = np.where(between, density / np.maximum(ridge, RIDGE), 1.0)
    least_depth = depth.min(axis=1)
    deepest = depth <= least_depth[:, None] + 1e-9  # the middle of what is as empty
    middle = (deepest.cumsum(axis=1) > deepest.sum(axis=1, keepdims=True) // 2).argmax(axis=1)
    return least_depth, grid[np.arange(count), middle]


def rounded(block: np.ndarray) -> np.ndarray:
    """Rows in which those that are equal but for rounding are equal."""
    spread = np.maximum(block.std(axis=0), np.finfo(float).tiny)
    return np.round((block - block.mean(axis=0)) / spread, DIGITS) + 0.0


def _varying(part: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """The columns that vary among some of the rows, by more than rounding; none among equal rows."""
    return part[:, part.std(axis=0) > 10.0**-DIGITS * spread]


def _directions(block: np.ndarray) -> np.ndarray:
    """The block seen along its columns, along directions of unusual kurtosis, and from cluster to cluster.

    Directions in which two scatter matrices differ most span that in which clusters lie apart, without knowing them
    (Tyler, Critchley, Dümbgen, Oja 2009, *Invariant co-ordinate selection*); the second scatter is that of fourth
    moments. Single directions are pursued further (Hyvärinen, Oja 1997, *A fast fixed-point algorithm for independent
    component analysis*).
    """
    if not block.shape[1]:
        return block
    columns = _scaled(block)
    white = _white(block)
    pursued = np.eye(white.shape[1])
    for _ in range(PURSUIT):
        seen = white @ pursued
        pursued = white.T @ (seen * seen * seen) / len(white) - 3 * pursued
        pursued /= np.linalg.norm(pursued, axis=0)
    fourth = (white * np.square(white).sum(axis=1, keepdims=True)).T @ white
    unusual = white @ np.linalg.eigh(fourth)[1]
    member = kmeans2(unusual[:, : min(3, unusual.shape[1])], 2, minit="++", seed=0)[1]
    apart = _discriminant(white, member) if np.bincount(member, minlength=2).min() > white.shape[1] + 1 else None
    # Two clusters of unequal size are skewed along the line between them, where their kurtosis may be that of a normal.
    skewed = white @ (white * np.square(white).sum(axis=1, keepdims=True)).mean(axis=0)
    return np.column_stack([columns, unusual, white @ pursued, skewed, *([] if apart is None else [apart])])


def _from_part_to_part(views: np.ndarray, parts: int) -> np.ndarray:
    """Rows along the views, and along the lines between the centres of so many parts of them."""
    centres = kmeans2(views, parts, minit="++", seed=0)[0]
    lines = np.stack([centres[i] - centres[j] for i, j in zip(*np.triu_indices(parts, 1), strict=True)])
    return np.column_stack([views, views @ lines.T])


def _scaled(block: np.ndarray) -> np.ndarray:
    centred = block - block.mean(axis=0)
    varies = centred.std(axis=0) > 0
    return centred[:, varies] / centred[:, varies].std(axis=0)


def _white(block: np.ndarray) -> np.ndarray:
    """White columns that span the block."""
    columns = _scaled(block)
    values, vectors = np.linalg.eigh(columns.T @ columns / len(columns))
    kept = values > 1e-10 * values[-1]
    return columns @ (vectors[:, kept] / np.sqrt(values[kept]))


def _discriminant(white: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Rows along Fisher's direction between two parts of them."""
    parts = [white[member == side] for side in (0, 1)]
    within = sum((part - part.mean(axis=0)).T @ (part - part.mean(axis=0)) for part in parts) / len(white)
    return white @ np.linalg.solve(within + 1e-9 * np.eye(len(within)), parts[1].mean(axis=0) - parts[0].mean(axis=0))


def discriminants(block: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Rows along the directions in which classes differ most, beside what varies within them; at most `MOST_VIEWS`."""
    white = _white(block)
    hot = np.eye(int(classes.max()) + 1)[classes]
    means = hot.T @ white / hot.sum(axis=0)[:, None]
    residual = white - means[classes]
    values, vectors = np.linalg.eigh(residual.T @ residual / len(white) + 1e-9 * np.eye(white.shape[1]))
    scale = vectors / np.sqrt(values)
    told = np.linalg.svd((means * np.sqrt(hot.mean(axis=0))[:, None]) @ scale, full_matrices=False).Vh
    return white @ (scale @ told[:MOST_VIEWS].T)
