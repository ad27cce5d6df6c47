"""What is claimed: each headline claim of arXiv 2602.15580 as a number of a profile and a side of a threshold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pidflow.analysis.dependence import EFFECTS
from pidflow.analysis.profiles import mean_behind_input, quantity_of

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Statement:
    """A claim before it meets data; `of` computes its number from profile values and relative depth."""

    id: str
    text: str
    unit: str
    of: Statistic | None = None
    threshold: float = 0.0
    above: bool = True
    paper_value: float = float("nan")


def early(depth: np.ndarray) -> np.ndarray:
    """Which layers are in the first third."""
    return depth <= 1 / 3 + 1e-9


def _late(depth: np.ndarray) -> np.ndarray:
    return depth >= 2 / 3 - 1e-9


def peak_contrast(values: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Statistic: largest vision-unique information in the first third minus the largest elsewhere."""
    vision, first = quantity_of(values, "unique_vision"), early(depth)
    return vision[..., first].max(axis=-1) - vision[..., ~first].max(axis=-1)


def _rise(quantity: str) -> Statistic:
    def of(values: np.ndarray, depth: np.ndarray) -> np.ndarray:
        curve = quantity_of(values, quantity)
        return curve[..., _late(depth)].mean(axis=-1) - curve[..., early(depth)].mean(axis=-1)

    return of


def _last_share(quantity: str) -> Statistic:
    def of(values: np.ndarray, depth: np.ndarray) -> np.ndarray:
        return quantity_of(values, quantity)[..., -1] / quantity_of(values, "mi_joint")[..., -1]

    return of


INTACT_STATEMENTS = (
    Statement(
        "vision-peaks-early",
        "vision-unique information peaks in the first third of the layers (largest there minus largest elsewhere)",
        "bits",
        peak_contrast,
    ),
    Statement(
        "vision-decays",
        "vision-unique information decays with depth (mean of the last third minus mean of the first)",
        "bits",
        _rise("unique_vision"),
        above=False,
    ),
    Statement(
        "language-surges-late",
        "language-unique information surges late (mean of the last third minus mean of the first)",
        "bits",
        _rise("unique_language"),
    ),
    Statement(
        "language-dominates-last",
        "language-unique information is most of the joint information at the last layer",
        "share",
        _last_share("unique_language"),
        threshold=0.5,
        paper_value=0.82,
    ),
    Statement(
        "synergy-is-small",
        "synergy is below 2 % of the joint information at the last layer",
        "share",
        _last_share("synergy"),
        threshold=0.02,
        above=False,
        paper_value=0.02,
    ),
)
_CUTTING = "cutting image-to-question attention raises"
_RAISED = dict(zip(EFFECTS, ("vision-unique information", "synergy", "the joint information"), strict=True))
_KNOCKOUT_IDS = dict(zip(EFFECTS, ("traps-vision", "raises-synergy", "raises-cost"), strict=True))
KNOCKOUT_STATEMENTS = {
    quantity: Statement(
        f"knockout-{_KNOCKOUT_IDS[quantity]}",
        f"{_CUTTING} {what} (mean change over layers)",
        "bits",
        mean_behind_input(quantity),
    )
    for quantity, what in _RAISED.items()
}
CONTROLLED_STATEMENTS = {
    quantity: Statement(
        f"{KNOCKOUT_STATEMENTS[quantity].id}-beyond-random",
        f"{_CUTTING} {what} more than its random control does (cut minus random, mean over layers)",
        "bits",
        mean_behind_input(quantity),
    )
    for quantity, what in _RAISED.items()
}
DEPENDENCE_STATEMENTS = {
    quantity: Statement(
        f"{KNOCKOUT_STATEMENTS[quantity].id}-by-dependence",
        f"tasks that lose more accuracy without the image show a larger rise of {what} (correlation over tasks)",
        "correlation",
    )
    for quantity, what in _RAISED.items()
}
REDUNDANCY_STATEMENTS = {
    quantity: Statement(
        f"{KNOCKOUT_STATEMENTS[quantity].id}-by-redundancy",
        f"tasks whose information is more redundant show a smaller rise of {what} (correlation over tasks)",
        "correlation",
        above=False,
    )
    for quantity, what in _RAISED.items()
}
AGREEMENT = Statement(
    "trajectories-agree",
    "the curves of the four atoms over the layers correlate above 0.96 between models",
    "correlation",
    threshold=0.96,
    paper_value=0.96,
)
