"""Tables of sweeps: every effect with its random control beside it, and the transfer windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from pidflow.analysis.edge_changes import ALL, CUT, RANDOM
from pidflow.analysis.transfer_windows import TransferWindow
from pidflow.errors import ConfigError, DataError
from pidflow.interventions.windows import Window, windows
from pidflow.stats import clustered_mean

SUMMARY_COLUMNS = ("model", "task", "edge", "kind", "window", "centre", "first", "last", "subset", "n", "images")
DETAIL_COLUMNS = (
    *("model", "task", "item_id", "image_id", "subset", "edge", "kind", "window", "centre", "first", "last"),
    *("change_first", "change_answer", "right", "kl_bits", "intact_right"),
)
METRICS = ("change_first", "change_answer", "accuracy", "accuracy_change", "kl_bits")
# Minus intact, the two accuracies have the same excess over the control.
EXCESSES = tuple(name for name in METRICS if name != "accuracy")
_PROBE = ["edge", "kind", "window", "centre", "first", "last"]
_ROUNDING = 1e-9


def main_windows(details: pd.DataFrame, window: int | str | Sequence[int]) -> list[Window]:
    """The windows that a sweep is about, checked against those that were swept.

    Parameters
    ----------
    details
        Every question's numbers of one model and task.
    window
        The setting ``sweep.window``.

    Raises
    ------
    DataError
        When the sweep has other windows.
    """
    found = set(details.loc[details["kind"] == CUT, "window"].unique())
    try:
        wanted = windows(window, depth=int(details["last"].max()) + 1)
    except ConfigError as err:
        raise DataError(f"{err}, as far as they were swept; delete the sweep and run again") from err
    swept = set(map(tuple, details.loc[details["kind"] == CUT, ["window", "centre"]].drop_duplicates().to_numpy()))
    if lacking := [each for each in wanted if (each.size, each.centre) not in swept]:
        raise DataError(
            f"sweep.window: {window} asks for {lacking[0].size} blocks around block {lacking[0].centre}, which the "
            f"sweep lacks (it has some of {', '.join(map(str, sorted(found)))} blocks); delete the sweep and run again"
        )
    return wanted


def sweep_table(summary: pd.DataFrame, details: pd.DataFrame) -> pd.DataFrame:
    """Every effect of one model and task, its random control beside it.

    Parameters
    ----------
    summary, details
        As stage ``sweep_knockout`` writes them.

    Returns
    -------
    DataFrame
        The rows of `summary` that speak of any question, those of the control apart, with its columns and, for windows
        that have a control: ``random_{metric}`` and ``random_{metric}_se``, the numbers of the control in the same
        window; ``excess_{metric}`` and ``excess_{metric}_se``, effect minus control question by question, its error
        over images (of accuracies, ``excess_accuracy_change`` alone).

    Raises
    ------
    DataError
        When the two tables do not describe the same questions.
    """
    groups = _groups(details)
    rows = []
    for row in summary[summary["n"] > 0].to_dict("records"):
        cut = groups.get(_key(row, row["kind"]), _NOBODY).of(row["subset"])
        _agree(row, cut)
        if row["kind"] == RANDOM:
            continue
        control = groups.get(_key(row, RANDOM))
        rows.append(row if control is None else row | _beside(row, cut, control.of(row["subset"])))
    frame = pd.DataFrame(rows)
    return frame.reindex(columns=[*summary.columns, *(name for name in frame if name not in summary)])


@dataclass(frozen=True)
class _Group:
    """The questions of one intervention in one window: ids, images and subsets ``(n,)``, metrics ``(n,)`` each."""

    items: np.ndarray
    images: np.ndarray
    subsets: np.ndarray
    metrics: dict[str, np.ndarray]

    def of(self, subset: str) -> _Group:
        """Those of one subset."""
        if subset == ALL:
            return self
        kept = self.subsets == subset
        metrics = {name: values[kept] for name, values in self.metrics.items()}
        return _Group(self.items[kept], self.images[kept], self.subsets[kept], metrics)


_NOBODY = _Group(np.array([]), np.array([]), np.array([]), {name: np.array([]) for name in METRICS})


def _key(row: dict, kind: str) -> tuple:
    return tuple(kind if name == "kind" else row[name] for name in _PROBE)


def _groups(details: pd.DataFrame) -> dict[tuple, _Group]:
    """The questions of each row of the summary, in the order of their ids."""
    details = details.sort_values("item_id", kind="stable", ignore_index=True)
    right = details["right"].to_numpy(dtype=float)
    metrics = {"accuracy": right, "accuracy_change": right - details["intact_right"].to_numpy(dtype=float)}
    metrics |= {name: details[name].to_numpy(dtype=float) for name in METRICS if name not in metrics}
    items, images = (pd.factorize(details[name])[0] for name in ("item_id", "image_id"))
    subsets = details["subset"].to_numpy(dtype=object)
    return {
        key: _Group(items[rows], images[rows], subsets[rows], {name: metrics[name][rows] for name in METRICS})
        for key, rows in details.groupby(_PROBE, sort=False).indices.items()
    }


def _agree(row: dict, members: _Group) -> None:
    n = len(members.items)
    mean = members.metrics["change_first"].mean() if n else np.nan
    if n != row["n"] or abs(mean - row["change_first"]) > _ROUNDING * max(1, abs(mean)):
        raise DataError(
            f"{row['edge']}, {row['kind']}, {row['window']} blocks around block {row['centre']}, {row['subset']}: the "
            f"summary has {row['n']} questions with mean change {row['change_first']:.6g}, the details {n} with "
            f"{mean:.6g}; they come from different runs, delete both and run again"
        )


def _beside(row: dict, cut: _Group, control: _Group) -> dict[str, float]:
    """Columns of the control."""
    if not np.array_equal(cut.items, control.items):
        raise DataError(
            f"{row['edge']}, {row['subset']}: other questions have the random control than were cut; they come from "
            "different runs, delete the sweep and run again"
        )
    found = {}
    for name in METRICS:
        beside = clustered_mean(control.metrics[name], cut.images)
        found |= {f"random_{name}": beside.value, f"random_{name}_se": beside.se}
    for name in EXCESSES:
        excess = clustered_mean(cut.metrics[name] - control.metrics[name], cut.images)
        found |= {f"excess_{name}": excess.value, f"excess_{name}_se": excess.se}
    return found


def transfer_windows_table(model: str, task: str, found: Sequence[TransferWindow]) -> pd.DataFrame:
    """One row per transfer window, columns ``model, task`` and the fields of :class:`TransferWindow`."""
    names = [each.name for each in fields(TransferWindow) if each.name != "replicates"]
    rows = [[model, task, *(getattr(each, name) for name in names)] for each in found]
    return pd.DataFrame(rows, columns=["model", "task", *names])
