"""Labels of a target whose clusters overlap, where sources cluster."""

from collections.abc import Sequence

import numpy as np

from pidflow.pid.labels import CLUSTERS, CONTINUOUS, MOST_PARTS, SHALLOW, Labels, cells_of, discriminants, labels_of


def overlapping_labels(block: np.ndarray, sources: Sequence[Labels]) -> Labels:
    """Labels of a target without deep valleys whose sources cluster: the chain rule of information holds for any.

    Parts of the rows between shallow valleys, or the rows nearest to the mean of each label of a source or of each
    combination of them: what is told most of.
    """
    both = cells_of(*(each.index for each in sources))
    tried = [labels_of(block, beside=max(sources, key=lambda each: each.count), depth=SHALLOW).index]
    for cells in (*(each.index for each in sources), both):
        if 1 <= cells.max() < MOST_PARTS:
            views = discriminants(np.ascontiguousarray(block, dtype=np.float64), cells)
            centres = np.stack([views[cells == cell].mean(axis=0) for cell in range(int(cells.max()) + 1)])
            nearest = np.square(views[:, None] - centres).sum(axis=2).argmin(axis=1)
            tried.append(np.unique(nearest, return_inverse=True)[1].ravel())
    best = max(tried, key=lambda parts: _told(parts, both))
    return Labels(CLUSTERS if best.max() else CONTINUOUS, best)


def _told(one: np.ndarray, two: np.ndarray) -> float:
    """Information of two labels about each other in nats, less the first-order bias of counts."""
    table = np.zeros((int(one.max()) + 1, int(two.max()) + 1))
    np.add.at(table, (one, two), 1.0 / len(one))
    seen = table[table > 0]
    expected = np.outer(table.sum(axis=1), table.sum(axis=0))[table > 0]
    return float(seen @ np.log(seen / expected)) - (table.shape[0] - 1) * (table.shape[1] - 1) / (2 * len(one))
