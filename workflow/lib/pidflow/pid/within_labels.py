"""What sources tell within each label of the target, by a Gaussian of its own in each.

How sources move the target need not be the same whichever answer it is near: on the shipped model one covariance for
all labels sees half of what one each sees. The bias of each is known exactly, so few rows a label cost spread alone.
"""

import numpy as np

from pidflow.pid.bias import mi_bias
from pidflow.pid.covariances import covariance, deleted_covariances
from pidflow.pid.estimators._rows import Blocks
from pidflow.pid.gaussian import INFORMATIONS
from pidflow.pid.gaussian_system import gaussian_mi

# A label of the target has a covariance of its own where it has so many rows a column.
ROWS_PER_COLUMN = 2.5
# Directions that keep a smaller part of their variance in some of the rows cannot be told from none.
LEAST_VARIANCE = 1e-4


def informations_within(rows: Blocks, classes: np.ndarray, members: np.ndarray) -> dict[str, np.ndarray]:
    """Informations of Gaussians of their own, one a label, of all rows and without each block, ``(1 + G,)``, in bits.

    Labels with too few rows for a covariance count as one, and join the most frequent where they still are too few.

    Parameters
    ----------
    rows : three ndarrays, shapes (n, d1), (n, d2), (n, m)
        Sources and target, as Gaussian within each label as they will get.
    classes, members : ndarray of int, shape (n,)
        Label of the target, and jackknife block, of each row.
    """
    least = ROWS_PER_COLUMN * sum(block.shape[1] for block in rows)
    count = np.bincount(classes)
    labels = np.where(count[classes] >= least, classes, -1)
    if 0 < np.sum(labels < 0) < least:
        labels[labels < 0] = np.argmax(count)
    without = members != np.arange(-1, members.max() + 1)[:, None]  # the first leaves out nothing
    mi = {name: np.zeros(len(without)) for name in INFORMATIONS}
    for label in np.unique(labels):
        kept = labels == label
        share = (without & kept).sum(axis=1) / without.sum(axis=1)
        for name, bits in _informations_of(rows, kept, members).items():
            mi[name] += share * bits
    return mi


def _informations_of(rows: Blocks, kept: np.ndarray, members: np.ndarray) -> dict[str, np.ndarray]:
    """Informations of some rows, ``(1 + G,)``, without the exact bias."""
    present, blocks = np.unique(members[kept], return_inverse=True)
    one, two, target = (independent(block[kept], blocks) for block in rows)
    out = {}
    for name, source in zip(INFORMATIONS, (one, two, independent(np.column_stack([one, two]), blocks)), strict=True):
        both, dims = np.column_stack([source, target]), (source.shape[1], target.shape[1])
        without, sizes = deleted_covariances(both, blocks)
        bits = gaussian_mi(np.concatenate([covariance(both)[None], without]), dims)
        bits = bits - np.array([mi_bias(int(n), *dims) for n in (len(both), *sizes)])
        out[name] = np.full(2 + int(members.max()), bits[0])  # where no row is left out nothing changes
        out[name][1 + present] = bits[1:]
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
        least = [np.linalg.eigh(cov) for cov in deleted_covariances(white, members)[0]]
        worst_values, worst_vectors = min(least, key=lambda pair: pair[0][0])
        if worst_values[0] > LEAST_VARIANCE:
            break
        white = white @ worst_vectors[:, 1:]
    return white
