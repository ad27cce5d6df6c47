"""What every estimator is handed, and how one is called by its name."""

from collections.abc import Callable

import numpy as np

from pidflow.errors import ConfigError
from pidflow.plugins import load

Blocks = tuple[np.ndarray, np.ndarray, np.ndarray]
# What an estimator may need: the rows as they came, or the held-out latents of a flow (see pidflow.flows.gaussianize).
SCORES, LATENTS = "scores", "latents"


def gaussian_rows(estimator: str, *, scores: Blocks, latents: Callable[[], Blocks]) -> Blocks:
    """The two sources and the target as the estimator makes them Gaussian.

    Parameters
    ----------
    estimator
        Name of a file in this folder.
    scores
        Rows as they came, of shapes ``(n, d1)``, ``(n, d2)``, ``(n, m)``.
    latents
        Gives the held-out latents of a flow; called only when the estimator needs them.

    Raises
    ------
    ConfigError
        If there is no such estimator, or it needs what there is not.
    """
    plugin = load("pid.estimators", estimator)
    if plugin.NEEDS not in (SCORES, LATENTS):
        raise ConfigError(f"estimator '{estimator}' needs {plugin.NEEDS!r}, expected {SCORES!r} or {LATENTS!r}")
    return plugin.gaussian_rows(*(scores if plugin.NEEDS == SCORES else latents()))
