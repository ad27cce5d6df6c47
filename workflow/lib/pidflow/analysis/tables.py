"""Tidy tables of a run: one row a number, with its 95 % interval and what speaks against believing it.

A decomposition record (the content of one ``layer-XX.json``) becomes one `Cell` per estimator and definition; every
table about information is made of cells. All informations are in bits, shares are fractions of the joint information.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from pidflow import stats
from pidflow.analysis.cells import PLACE, UNKNOWN, Cell, estimate_columns, indexed, same_groups
from pidflow.names import INTACT, QUANTITIES

PID_COLUMNS = (
    *(*PLACE, "atom", "bits", "se", "low", "high"),
    *("share", "share_se", "share_low", "share_high", "p_value", "missed_bits", "n", "groups", "clipped", "missed"),
    *("twin_error", "twin_failed", "warning"),
)
DIFFERENCE_COLUMNS = (
    *(*PLACE, "atom", "bits", "se", "low", "high"),
    *("z", "paired", "warning"),
    *("control", "control_bits", "control_se", "control_low", "control_high"),
    *("net_bits", "net_se", "net_low", "net_high"),
)
ANSWER_COLUMNS = (
    *("model", "task", "condition", "n", "accuracy", "accuracy_se", "accuracy_low", "accuracy_high", "probability"),
    *("answer_probability", "rows_decomposed", "rows_dropped"),
    *("accuracy_lost", "accuracy_lost_se", "accuracy_lost_low", "accuracy_lost_high"),
)
LENS_COLUMNS = ("model", "task", "condition", "layer", "probability", "se", "low", "high")
GAUSSIANITY_COLUMNS = ("model", "task", "condition", "layer", "block", "at", "statistic", "value")


def pid_table(found: Sequence[Cell]) -> pd.DataFrame:
    """Atoms and informations of every cell, one row each; columns `PID_COLUMNS`.

    Raises
    ------
    DataError
        When two cells claim the same place.
    """
    indexed(found)
    rows = []
    for cell in found:
        groups = len(cell.replicates["mi_joint"])
        for quantity in QUANTITIES:
            low, high = stats.interval(cell.bits[quantity], cell.se[quantity], groups - 1)
            share = cell.share(quantity)
            share_low, share_high = share.interval()
            rows.append(
                {
                    **cell.place,
                    "atom": quantity,
                    "bits": cell.bits[quantity],
                    "se": cell.se[quantity],
                    "low": low,
                    "high": high,
                    "share": share.value,
                    "share_se": share.se,
                    "share_low": share_low,
                    "share_high": share_high,
                    "p_value": cell.p_value,
                    "missed_bits": cell.missed_bits,
                    "n": cell.n,
                    "groups": groups,
                    "clipped": cell.clipped,
                    "missed": cell.missed,
                    "twin_error": cell.twin_error[quantity],
                    "twin_failed": quantity in cell.twin_failed,
                    "warning": cell.warning_about(quantity),
                }
            )
    return _sorted(pd.DataFrame(rows, columns=PID_COLUMNS))


def difference_table(found: Sequence[Cell], controls: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Every condition minus intact, one row a quantity; columns `DIFFERENCE_COLUMNS`.

    Where both sides deleted the same groups of images the error is the jackknife of the difference (``paired``);
    otherwise variances are added, which is too cautious for conditions that share images. Beside a condition that
    `controls` (condition to condition) gives a control stand what the control changes (``control_…``) and the condition
    minus its control (``net_…``); what speaks against the control is said in its own rows.
    """
    place = indexed(found)
    rows = []
    for cell in found:
        intact = _under(place, cell, INTACT)
        if cell.condition == INTACT or intact is None:
            continue
        control = _under(place, cell, (controls or {}).get(cell.condition))
        for quantity in QUANTITIES:
            texts = ((c.condition, c.warning_about(quantity)) for c in (cell, intact))
            change = _minus(cell, intact, quantity)
            rows.append(
                {
                    **cell.place,
                    "atom": quantity,
                    **estimate_columns(change, "bits", ""),
                    "z": change.value / change.se if change.se > 0 else np.nan,
                    "paired": same_groups(cell, intact),
                    "warning": "; ".join(f"{condition}: {text}" for condition, text in texts if text),
                    "control": "" if control is None else control.condition,
                    **estimate_columns(_minus(control, intact, quantity), "control_bits", "control_"),
                    **estimate_columns(_minus(cell, control, quantity), "net_bits", "net_"),
                }
            )
    return _sorted(pd.DataFrame(rows, columns=DIFFERENCE_COLUMNS))


def _under(place: Mapping[tuple, Cell], cell: Cell, condition: str | None) -> Cell | None:
    """The same cell under another condition."""
    return place.get(tuple((cell.place | {"condition": condition}).values()))


def _minus(a: Cell | None, b: Cell | None, quantity: str) -> stats.Estimate:
    """A quantity of one cell minus that of another; NaN where there is none."""
    if a is None or b is None:
        return UNKNOWN
    return stats.propagate(
        lambda x, y: (x - y)[..., 0],
        [(np.array([c.bits[quantity]]), c.replicates[quantity][:, None]) for c in (a, b)],
        paired=same_groups(a, b),
    )


def accuracy_lost(intact: pd.DataFrame, other: pd.DataFrame) -> stats.Estimate:
    """Accuracy of intact minus that of a condition over the questions both answered; paired, clustered by image."""
    both = intact[["item_id", "image_id", "correct"]].merge(
        other[["item_id", "correct"]], on="item_id", suffixes=("", "_other"), validate="one_to_one"
    )
    return stats.clustered_mean(both["correct"].astype(float) - both["correct_other"], both["image_id"])


def answers_table(answers: Mapping[tuple[str, str, str], pd.DataFrame], decomposed: Sequence[Cell]) -> pd.DataFrame:
    """How well and how surely each (model, task, condition) answers; columns `ANSWER_COLUMNS`.

    ``accuracy_lost`` is that of :func:`accuracy_lost`: without the image, how much the task depends on vision.
    ``rows_dropped`` are the questions that no decomposition used (wrongly answered ones, when only correct answers are
    analysed); NaN for a condition that was not decomposed.
    """
    used = {(c.model, c.task, c.condition): c.n for c in decomposed}
    rows = []
    for (model, task, condition), frame in answers.items():
        accuracy = stats.clustered_mean(frame["correct"].astype(float), frame["image_id"])
        intact = answers.get((model, task, INTACT))
        lost = UNKNOWN if condition == INTACT or intact is None else accuracy_lost(intact, frame)
        kept = used.get((model, task, condition), np.nan)
        rows.append(
            {
                "model": model,
                "task": task,
                "condition": condition,
                "n": len(frame),
                **estimate_columns(accuracy, "accuracy", "accuracy_"),
                "probability": frame["probability"].mean(),
                "answer_probability": frame["answer_probability"].mean(),
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
