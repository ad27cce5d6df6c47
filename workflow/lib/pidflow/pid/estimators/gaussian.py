"""Estimator ``gaussian``: the rows as they are.

Exact for jointly Gaussian rows; of others it sees what a linear model can see.
"""

import numpy as np

from pidflow.pid.estimators._rows import SCORES, Blocks

NEEDS = SCORES


def gaussian_rows(x1: np.ndarray, x2: np.ndarray, y: np.ndarray) -> Blocks:
    """The scores of the two sources and of the target, unchanged."""
    return x1, x2, y
