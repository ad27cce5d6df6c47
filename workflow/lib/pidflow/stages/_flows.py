"""What ``train_flow`` and ``plant_twin`` share: flows of all layers of a unit, trained as one stack."""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from pidflow.flows.gaussianize import FlowConfig, Gaussianized, gaussianize_layers

log = logging.getLogger(__name__)


def device() -> str:
    """Where stages train: on a GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def trained(
    vision: Sequence[np.ndarray],
    language: Sequence[np.ndarray],
    target: np.ndarray | Sequence[np.ndarray],
    *,
    folds: np.ndarray,
    images: np.ndarray,
    settings: Mapping,
    seed: int,
    threads: int,
    what: str,
) -> list[Gaussianized]:
    """Held-out latents of every layer, if there is one; `what` is trained is said in the log.

    The other parameters are those of :func:`pidflow.flows.gaussianize.gaussianize_layers`.

    Raises
    ------
    ConfigError
        If `settings` has an unknown field, or a value out of range.
    """
    torch.set_num_threads(threads)
    if not vision:
        return []
    return gaussianize_layers(
        vision,
        language,
        target,
        folds=folds,
        groups=images,
        seed=seed,
        device=device(),
        config=FlowConfig.checked(settings, where="config flow"),
        progress=_logged(what),
    )


def _logged(what: str) -> Callable[[int, int], None]:
    def progress(step: int, active: int) -> None:
        log.debug("%s, step %d: %d flows still training", what, step, active)

    return progress
