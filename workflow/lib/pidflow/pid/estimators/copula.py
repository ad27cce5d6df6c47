"""Estimator ``copula``: each column replaced by its normal scores.

The Gaussian copula estimator of Ince et al. (2017, *A statistical framework for neuroimaging data analysis based on
mutual information estimated via a Gaussian copula*). No increasing map of a single column changes what it finds.
"""

import numpy as np

from pidflow.pid.estimators._rows import SCORES, Blocks
from pidflow.stats import normal_scores

NEEDS = SCORES


def gaussian_rows(x1: np.ndarray, x2: np.ndarray, y: np.ndarray) -> Blocks:
    """Van der Waerden scores of every column."""
    return normal_scores(x1), normal_scores(x2), normal_scores(y)
