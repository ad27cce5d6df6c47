"""Rows that are far from normal within their labels: how much more may be told there than Gaussians find.

A test of normality alone rejects what does no harm: in 5,000 questions of easy-VQA, whose cells it marked, mixtures of
Gaussians find what Gaussians of labels find. So the size of the departure is held against the interval.
"""

from collections.abc import Sequence

import numpy as np

from pidflow.pid.covariances import independent
from pidflow.pid.estimators._rows import Blocks
from pidflow.pid.gaussian import INFORMATIONS
from pidflow.pid.labels import cells_of
from pidflow.stats import jackknife_se, normal_scores

# A part of the rows has a covariance of its own where it has so many rows a column.
ROWS_PER_COLUMN = 2.0
# Standard errors beyond which Mardia's kurtosis is no chance; bits told within labels that are worth a word.
FAR_FROM_NORMAL, WORTH = 4.0, 0.2


def widened_by_tails(
    rows: Blocks, parts: Sequence[np.ndarray], mi: dict[str, np.ndarray], unsure: dict[str, float]
) -> tuple[str, ...]:
    """Adds to `unsure` what is lost where blocks are not normal within their labels; a word where that is most of it.

    What a Gaussian misses is in proportion to what it finds, and to by how much the kurtosis exceeds that of a normal.
    """
    excess = [_excess(block, cells_of(parts[2], part)) for block, part in zip(rows, parts, strict=True)]
    told = {name: max(float(bits[0]), 0.0) for name, bits in mi.items()}
    words = tuple(
        f"{who} is far from normal within its labels (kurtosis {own:.0%} too large: bends, heavy tails, or clusters "
        f"that were not told apart): what {'it tells' if who != 'y' else 'is told of it'} there may be "
        f"{own * told[name]:.2g} bit more, and intervals are as much wider"
        for name, who, own in zip(INFORMATIONS, ("x1", "x2", "y"), excess, strict=True)
        if told[name] > WORTH and own * told[name] > np.hypot(unsure[name], jackknife_se(mi[name][1:]))
    )
    shapes = {"mi_1": excess[::2], "mi_2": excess[1:], "mi_12": excess}
    unsure |= {name: float(np.hypot(unsure[name], max(shapes[name]) * told[name])) for name in INFORMATIONS}
    return words


def _excess(block: np.ndarray, cells: np.ndarray) -> float:
    """By what share Mardia's kurtosis of rows, column by column normal in each cell, exceeds that of a normal.

    Mardia (1970), *Measures of multivariate skewness and kurtosis*. Nothing within `FAR_FROM_NORMAL` standard errors,
    and 1 at most.
    """
    excess, expected, variance = 0.0, 0.0, 0.0
    for rows in (block[cells == cell] for cell in np.unique(cells)):
        if len(rows) > ROWS_PER_COLUMN * block.shape[1]:
            white = independent(normal_scores(rows), None)
            n, d = white.shape
            normal = n * d * (d + 2) * (n - 1) / (n + 1)
            excess += n * np.square(np.square(white).sum(axis=1)).mean() - normal
            expected += normal
            variance += n * 8 * d * (d + 2)
    return float(min(excess / expected, 1.0)) if excess > FAR_FROM_NORMAL * np.sqrt(variance) else 0.0
