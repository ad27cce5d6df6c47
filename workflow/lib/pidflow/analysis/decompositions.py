"""What tables and claims read in one decomposition of one layer: its place, what speaks against it, its shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pidflow import stats
from pidflow.errors import DataError
from pidflow.names import INTACT, QUANTITIES
from pidflow.pid.results import Decomposition

MISSED = "missed information"
NOT_CONVERGED = "did not converge"
TWIN = "wrong in the planted twin"

PLACE = ("model", "task", "condition", "target", "layer", "estimator", "definition")
UNKNOWN = stats.Estimate(np.nan, np.nan, np.nan)


def place(found: Decomposition) -> dict[str, str | int]:
    """Where a decomposition belongs: the leading columns of every table."""
    return {name: getattr(found, name) for name in PLACE}


def warning(found: Decomposition) -> str:
    """All that speaks against the numbers, ";" between."""
    wrong = [quantity for quantity in QUANTITIES if _wrong(found, quantity)]
    return _joined(found, [f"{TWIN}: {', '.join(wrong)}"] if wrong else [])


def warning_about(found: Decomposition, quantity: str) -> str:
    """All that speaks against one of `names.QUANTITIES`."""
    return _joined(found, [TWIN] if _wrong(found, quantity) else [])


def _wrong(found: Decomposition, quantity: str) -> bool:
    """Whether the estimator got a quantity wrong in the twin, and nothing was done about it."""
    return found.estimate.uncorrected is None and quantity in found.twin_failed


def _joined(found: Decomposition, twin: Sequence[str]) -> str:
    raised = {
        MISSED: found.missed.flag,
        NOT_CONVERGED: not found.estimate.converged,
    }
    flags = [name for name, is_raised in raised.items() if is_raised]
    return "; ".join([*flags, *twin, *(text.replace(";", ",") for text in found.estimate.warnings)])


def share(found: Decomposition, quantity: str) -> stats.Estimate:
    """A quantity as a fraction of the joint information; NaN where that is not above zero."""
    if not found.bits["mi_joint"] > 0:
        return stats.Estimate(np.nan, np.nan, found.groups - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        replicates = found.replicates[quantity] / found.replicates["mi_joint"]
    return stats.jackknife(found.bits[quantity] / found.bits["mi_joint"], replicates)


def against(found: Iterable[Decomposition], target: str) -> list[Decomposition]:
    """Those of conditions decomposed against a target of :data:`pidflow.names.TARGETS`, beside the intact ones."""
    return [each for each in found if each.target == target or each.condition == INTACT]


def same_groups(a: Decomposition, b: Decomposition) -> bool:
    """Whether jackknife group g is the same set of images in both, so that errors may be paired."""
    return (a.n, a.groups, a.estimate.blocks) == (b.n, b.groups, b.estimate.blocks)


def indexed(found: Iterable[Decomposition]) -> dict[tuple, Decomposition]:
    """Decompositions by their place, the values of `PLACE`.

    Raises
    ------
    DataError
        When two claim the same place.
    """
    placed: dict[tuple, Decomposition] = {}
    for each in found:
        key = tuple(place(each).values())
        if key in placed:
            raise DataError(
                f"two decompositions of layer {each.layer} of {each.model}/{each.task}/{each.condition} were given; "
                "pass each file once"
            )
        placed[key] = each
    return placed


def estimate_columns(found: stats.Estimate, value: str, prefix: str) -> dict[str, float]:
    """An estimate as four columns: its value under that name, error and interval as ``{prefix}se, …low, …high``."""
    low, high = found.interval()
    return {value: found.value, f"{prefix}se": found.se, f"{prefix}low": low, f"{prefix}high": high}
