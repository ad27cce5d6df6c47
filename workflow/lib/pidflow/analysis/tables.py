"""Tidy tables of a run: one row a number, with its 95 % interval and what speaks against believing it.

Every table about information is made of :class:`pidflow.pid.results.Decomposition`. All informations are in bits,
shares are fractions of the joint information.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from pidflow import stats
from pidflow.analysis.decompositions import (
    PLACE,
    UNKNOWN,
    against,
    estimate_columns,
    indexed,
    place,
    same_groups,
    share,
    warning_about,
)
from pidflow.analysis.reach import Reach
from pidflow.names import INTACT, NUMBERED, OWN, QUANTITIES
from pidflow.pid.results import Decomposition

PID_COLUMNS = (
    *(*PLACE, "atom", "bits", "se", "low", "high", "df"),
    *("share", "share_se", "share_low", "share_high", "p_value", "missed_bits", "n", "groups", "clipped", "missed"),
    *("uncorrected_bits", "uncorrected_se", "twin_error", "twin_failed", "spoke", "disagrees", "warning"),
)
DIFFERENCE_COLUMNS = (
    *(*PLACE, "atom", "bits", "se", "low", "high", "df"),
    *("z", "paired", "warning"),
    *("control", "control_match", "control_bits", "control_se", "control_low", "control_high"),
    *("net_bits", "net_se", "net_low", "net_high"),
)
ANSWER_COLUMNS = (
    *("model", "task", "condition", "n", "accuracy", "accuracy_se", "accuracy_low", "accuracy_high", "probability"),
    *("answer_probability", "uncut", "control", "rows_decomposed", "rows_dropped"),
    *("accuracy_lost", "accuracy_lost_se", "accuracy_lost_low", "accuracy_lost_high"),
)
LENS_COLUMNS = ("model", "task", "condition", "layer", "probability", "se", "low", "high")
GAUSSIANITY_COLUMNS = ("model", "task", "condition", "layer", "block", "at", "statistic", "value")


def pid_table(found: Sequence[Decomposition]) -> pd.DataFrame:
    """Atoms and informations of every decomposition, one row each; columns `PID_COLUMNS`.

    Raises
    ------
    DataError
        When two claim the same place.
    """
    indexed(found)
    beside = defaultdict(list)
    for each in found:
        beside[_cell(each)].append(each)
    rows = []
    for each in found:
        for quantity in QUANTITIES:
            bits = stats.Estimate(each.bits[quantity], each.se[quantity], each.groups - 1)
            rows.append(
                {
                    **place(each),
                    "atom": quantity,
                    **estimate_columns(bits, "bits", ""),
                    "df": bits.df,
                    **estimate_columns(share(each, quantity), "share", "share_"),
                    "p_value": each.estimate.p_value,
                    "missed_bits": each.missed.bits,
                    "n": each.n,
                    "groups": each.groups,
                    "clipped": each.estimate.clipped,
                    "missed": each.missed.flag,
                    "uncorrected_bits": each.uncorrected[0][quantity],
                    "uncorrected_se": each.uncorrected[1][quantity],
                    "twin_error": each.twin_error(quantity),
                    "twin_failed": quantity in each.twin_failed,
                    "spoke": each.estimate.spoke,
                    "disagrees": ", ".join(
                        other.estimator
                        for other in beside[_cell(each)]
                        if other.estimate.disagrees(each.estimate, NUMBERED[quantity])
                    ),
                    "warning": warning_about(each, quantity),
                }
            )
    return _sorted(pd.DataFrame(rows, columns=PID_COLUMNS))


def _cell(each: Decomposition) -> tuple[str | int, ...]:
    """What decompositions share that differ in their estimator alone."""
    return (each.model, each.task, each.condition, each.target, each.layer, each.definition)


def difference_table(
    found: Sequence[Decomposition],
    controls: Mapping[str, str] | None = None,
    reached: Mapping[tuple[str, str, str], Reach] | None = None,
) -> pd.DataFrame:
    """Every condition minus intact, one row a quantity and target; columns `DIFFERENCE_COLUMNS`.

    Where both sides deleted the same groups of images the error is the jackknife of the difference (``paired``);
    otherwise variances are added, which is too cautious for conditions that share images. Beside a condition that
    `controls` (condition to condition) gives a control stand what the control changes (``control_…``) and the condition
    minus its control (``net_…``); what speaks against the control is said in its own rows. `reached` says, by (model,
    task, condition), how a control is matched, and in how many questions an intervention changed nothing.
    """
    placed = indexed(found)
    rows = []
    for each in found:
        intact = _under(placed, each, INTACT)
        if each.condition == INTACT or intact is None:
            continue
        control = _under(placed, each, (controls or {}).get(each.condition))
        for quantity in QUANTITIES:
            texts = [(side.condition, warning_about(side, quantity)) for side in (each, intact)]
            texts += [(side.condition, _reach(reached, side, "warning")) for side in (each, control) if side]
            change = _minus(each, intact, quantity)
            rows.append(
                {
                    **place(each),
                    "atom": quantity,
                    **estimate_columns(change, "bits", ""),
                    "df": change.df,
                    "z": change.value / change.se if change.se > 0 else np.nan,
                    "paired": same_groups(each, intact),
                    "warning": "; ".join(f"{condition}: {text}" for condition, text in texts if text),
                    "control": "" if control is None else control.condition,
                    "control_match": "" if control is None else _reach(reached, control, "control"),
                    **estimate_columns(_minus(control, intact, quantity), "control_bits", "control_"),
                    **estimate_columns(_minus(each, control, quantity), "net_bits", "net_"),
                }
            )
    return _sorted(pd.DataFrame(rows, columns=DIFFERENCE_COLUMNS))


def _reach(reached: Mapping[tuple[str, str, str], Reach] | None, found: Decomposition, word: str) -> str:
    """A word about how far the intervention of a decomposition reached; empty where that is not known."""
    reach = (reached or {}).get((found.model, found.task, found.condition))
    return "" if reach is None else getattr(reach, word)


def _under(placed: Mapping[tuple, Decomposition], found: Decomposition, condition: str | None) -> Decomposition | None:
    """The same place under another condition."""
    target = OWN if condition == INTACT else found.target
    return placed.get(tuple((place(found) | {"condition": condition, "target": target}).values()))


def _minus(a: Decomposition | None, b: Decomposition | None, quantity: str) -> stats.Estimate:
    """A quantity of one decomposition minus that of another; NaN where there is none."""
    if a is None or b is None:
        return UNKNOWN
    return stats.propagate(
        lambda x, y: (x - y)[..., 0],
        [(np.array([side.bits[quantity]]), side.replicates[quantity][:, None]) for side in (a, b)],
        paired=same_groups(a, b),
    )


def accuracy_lost(intact: pd.DataFrame, other: pd.DataFrame) -> stats.Estimate:
    """Accuracy of intact minus that of a condition over the questions both answered; paired, clustered by image."""
    both = intact[["item_id", "image_id", "correct"]].merge(
        other[["item_id", "correct"]], on="item_id", suffixes=("", "_other"), validate="one_to_one"
    )
    return stats.clustered_mean(both["correct"].astype(float) - both["correct_other"], both["image_id"])


def answers_table(
    answers: Mapping[tuple[str, str, str], pd.DataFrame], decomposed: Sequence[Decomposition]
) -> pd.DataFrame:
    """How well and how surely each (model, task, condition) answers; columns `ANSWER_COLUMNS`.

    ``accuracy_lost`` is that of :func:`accuracy_lost`: without the image, how much the task depends on vision.
    ``rows_dropped`` are the questions that no decomposition used (wrongly answered ones, when only correct answers are
    analysed); NaN for a condition that was not decomposed. ``uncut`` are those in which the condition changed nothing,
    ``control`` says how a random control is matched (:class:`pidflow.analysis.reach.Reach`).
    """
    used = {(c.model, c.task, c.condition): c.n for c in against(decomposed, OWN)}
    rows = []
    for (model, task, condition), frame in answers.items():
        accuracy = stats.clustered_mean(frame["correct"].astype(float), frame["image_id"])
        intact = answers.get((model, task, INTACT))
        lost = UNKNOWN if condition == INTACT or intact is None else accuracy_lost(intact, frame)
        kept = used.get((model, task, condition), np.nan)
        reach = Reach.of(frame)
        rows.append(
            {
                "model": model,
                "task": task,
                "condition": condition,
                "n": len(frame),
                **estimate_columns(accuracy, "accuracy", "accuracy_"),
                "probability": frame["probability"].mean(),
                "answer_probability": frame["answer_probability"].mean(),
                "uncut": reach.uncut,
                "control": reach.control,
                "rows_decomposed": kept,
                "rows_dropped": len(frame) - kept,
                **estimate_columns(lost, "accuracy_lost", "accuracy_lost_"),
            }
        )
    return _sorted(pd.DataFrame(rows, columns=ANSWER_COLUMNS))


def lens_table(answers: Mapping[tuple[str, str, str], pd.DataFrame]) -> pd.DataFrame:
    """Mean logit-lens probability of the model's own answer at each layer; columns `LENS_COLUMNS`."""
    rows = []
    for unit, frame in answers.items():
        for column in frame.columns:
            if column.startswith("lens_"):
                mean = stats.clustered_mean(frame[column], frame["image_id"])
                rows.append((*unit, int(column.removeprefix("lens_")), mean.value, mean.se, *mean.interval()))
    return _sorted(pd.DataFrame(rows, columns=LENS_COLUMNS))


def gaussianity_table(
    diagnostics: Iterable[tuple[tuple[str, str, str], int, Mapping[str, int], Mapping[str, np.ndarray]]],
) -> pd.DataFrame:
    """Normality statistics before and after the flow; columns `GAUSSIANITY_COLUMNS`.

    Parameters
    ----------
    diagnostics
        Per layer: (model, task, condition), layer number, columns of each block in order, and named statistics. A name
        that starts with ``input`` or ``latent`` says where the statistic was taken, the rest of it which one it is.
        Names of the form ``…_p`` are p-values.

    Returns
    -------
    DataFrame
        A number of all blocks together has block ``all``. An array with one entry per column is averaged over each
        block; p-values become the share of columns rejected at 5 %, as statistic ``…_rejected``.
    """
    rows = []
    for unit, layer, widths, values in diagnostics:
        for name, value in values.items():
            at, _, statistic = name.replace("/", "_").partition("_")
            statistic = statistic.removeprefix("gaussianity_")
            if at not in ("input", "latent") or not statistic:
                continue
            value = np.asarray(value, dtype=float)
            if value.ndim == 0:
                rows.append((*unit, layer, "all", at, statistic, float(value)))
            elif value.shape == (sum(widths.values()),):
                rejected = statistic.endswith("_p")
                label = statistic.removesuffix("_p") + "_rejected" if rejected else statistic
                parts = np.split(value < 0.05 if rejected else value, np.cumsum(list(widths.values()))[:-1])
                for block, part in zip(widths, parts, strict=True):
                    rows.append((*unit, layer, block, at, label, float(part.mean())))
    return _sorted(pd.DataFrame(rows, columns=GAUSSIANITY_COLUMNS))


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows in an order that does not depend on the order of files; quantities stay in their own order."""
    keys = [name for name in PLACE if name in frame]
    return frame.sort_values(keys, kind="stable", ignore_index=True)
