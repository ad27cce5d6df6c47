"""What decides how much a cut changes: per task, the effect beside its need of the image and its redundancy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pidflow import stats
from pidflow.analysis.decompositions import UNKNOWN, against, estimate_columns, warning_about
from pidflow.analysis.profiles import Profile, by_condition, change, comparable, mean_behind_input, paired
from pidflow.names import INTACT, MIN_TASKS, OWN
from pidflow.pid.results import Decomposition

# What a cut is said to raise: vision-unique information it traps, synergy that compensates, information altogether.
EFFECTS = ("unique_vision", "synergy", "mi_joint")
LOST, REDUNDANT = "accuracy_lost", "redundancy_share"
COLUMNS = (
    *("model", "task", "condition", "target", "estimator", "definition", "atom", "bits", "se", "low", "high"),
    *(LOST, f"{LOST}_se", f"{LOST}_low", f"{LOST}_high"),
    *(REDUNDANT, f"{REDUNDANT}_se", f"{REDUNDANT}_low", f"{REDUNDANT}_high"),
    *("shared_error", "warning"),
)


def dependence_table(
    decompositions: Sequence[Decomposition],
    lost: Mapping[tuple[str, str], stats.Estimate],
    *,
    knockout: str | None,
    estimator: str = "flow",
    definition: str = "broja",
    target: str = OWN,
) -> pd.DataFrame:
    """Effect of the knockout on each task, with what the effect may depend on; columns `COLUMNS`.

    Parameters
    ----------
    decompositions
        All of the run; those of other estimators and definitions are left aside.
    lost
        Accuracy lost without the image, by (model, task).
    knockout
        The condition whose effect it is; None if the run has none.
    estimator, definition, target
        Of which estimate, against which target.

    Returns
    -------
    DataFrame
        One row per task that was run intact and under the knockout, and quantity of `EFFECTS`. ``bits`` is the change
        under the knockout, mean over the layers behind the input; ``redundancy_share`` the redundant bits over the
        joint bits of the intact model, each a mean over the same layers, so layers that know next to nothing weigh
        little; ``shared_error`` the covariance of the errors of these two, which come from the same intact rows.
        ``warning`` is set where half of the layers of either condition carry one about the quantity.
    """
    profiles = by_condition(against(decompositions, target), estimator=estimator, definition=definition)
    rows = []
    for model in sorted({model for model, _ in profiles}):
        intact, cut = (profiles.get((model, condition), {}) for condition in (INTACT, knockout))
        for task in (task for task in intact if task in cut):
            for quantity in EFFECTS:
                effect, redundant, shared = _measured(intact[task], cut[task], quantity)
                rows.append(
                    {
                        **{"model": model, "task": task, "condition": knockout, "target": target},
                        **{"estimator": estimator, "definition": definition, "atom": quantity},
                        **estimate_columns(effect, "bits", ""),
                        **estimate_columns(lost.get((model, task), UNKNOWN), LOST, f"{LOST}_"),
                        **estimate_columns(redundant, REDUNDANT, f"{REDUNDANT}_"),
                        "shared_error": shared,
                        "warning": "; ".join(filter(None, (_warned(p[task], quantity) for p in (intact, cut)))),
                    }
                )
    return pd.DataFrame(rows, columns=COLUMNS)


def over_tasks(rows: pd.DataFrame, moderator: str) -> tuple[stats.Estimate, int]:
    """Fisher's z of the correlation of effect and `moderator` over tasks, and how many tasks have both.

    NaN for fewer than `MIN_TASKS`. See :func:`pidflow.stats.correlation_of_measured` for its error.

    Parameters
    ----------
    rows
        Rows of :func:`dependence_table` of one model and quantity.
    moderator
        ``accuracy_lost`` or ``redundancy_share``.
    """
    known = rows.dropna(subset=["bits", moderator])
    if len(known) < MIN_TASKS:
        return UNKNOWN, len(known)
    # ASSUME: errors of an accuracy and of bits of the same pictures are independent.
    shared = known["shared_error"] if moderator == REDUNDANT else np.zeros(len(known))
    found = stats.correlation_of_measured(
        *(np.asarray(v, dtype=float) for v in (known[moderator], known["bits"], shared))
    )
    return found, len(known)


def redundancy_share(values: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Statistic of a profile: redundant over joint bits, each a mean over the layers after the input."""
    joint = mean_behind_input("mi_joint")(values, depth)
    return np.divide(
        mean_behind_input("redundancy")(values, depth), joint, out=np.full_like(joint, np.nan), where=joint > 0
    )


def _measured(intact: Profile, cut: Profile, quantity: str) -> tuple[stats.Estimate, stats.Estimate, float]:
    """Effect, redundant share, and the covariance of their errors."""
    if not comparable(intact, cut):
        return UNKNOWN, UNKNOWN, np.nan
    effect, depth = mean_behind_input(quantity), intact.depth
    joint = intact.estimate(mean_behind_input("mi_joint"))
    found = change(cut, intact, effect)
    if not joint.interval()[0] > 0:
        return found, UNKNOWN, np.nan
    with_cut = cut.replicates if paired(cut, intact) else cut.bits
    changes = effect(with_cut, depth) - effect(intact.replicates, depth)
    shared = stats.shared_error(redundancy_share(intact.replicates, depth), changes)
    return found, intact.estimate(redundancy_share), shared


def _warned(profile: Profile, quantity: str) -> str:
    flagged = sum(bool(warning_about(each, quantity)) for each in profile.decompositions)
    where = f"{profile.condition}: {flagged} of {len(profile.decompositions)} layers carry warnings"
    return where if 2 * flagged >= len(profile.decompositions) else ""
