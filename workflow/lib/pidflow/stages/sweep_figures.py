"""Stages ``plot_sweep_*``: one figure of the sweeps each, drawn from their tables, as svg and png."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from pidflow import sweep_figures
from pidflow.errors import DataError
from pidflow.figure_style import FORMATS, render
from pidflow.store import read_table, replacing

log = logging.getLogger(__name__)


def edges(*, sweeps: str, transfer: str, output: Sequence[str], model: str, tasks: Sequence[str]) -> None:
    """Draw the effect of every edge over the windows, with random controls and transfer windows.

    Parameters
    ----------
    sweeps, transfer
        The tables of these names, as parquet.
    output
        Files to write, each an svg or a png.
    model
        Whose figure it is.
    tasks
        Which tasks are drawn, in this order.
    """
    _draw(sweep_figures.edges, sweeps, transfer, output, model, tasks)


def windows(*, sweeps: str, transfer: str, output: Sequence[str], model: str, tasks: Sequence[str]) -> None:
    """Draw how much the size of the window matters; parameters as in :func:`edges`."""
    _draw(sweep_figures.window_sizes, sweeps, transfer, output, model, tasks)


def subsets(*, sweeps: str, transfer: str, output: Sequence[str], model: str, tasks: Sequence[str]) -> None:
    """Draw rightly beside wrongly answered questions; parameters as in :func:`edges`."""
    _draw(sweep_figures.subsets, sweeps, transfer, output, model, tasks)


def _draw(
    figure: Callable[..., Figure], sweeps: str, transfer: str, output: Sequence[str], model: str, tasks: Sequence[str]
) -> None:
    if other := [path for path in output if Path(path).suffix.removeprefix(".") not in FORMATS]:
        raise DataError(f"{other[0]}: figures are written as {' or '.join(FORMATS)}, not '{Path(other[0]).suffix}'")
    tables = (_table(path, tasks, columns) for path, columns in ((sweeps, _SWEEPS), (transfer, _TRANSFER)))
    drawn = figure(*tables, model=model)
    for path in output:
        with replacing(path) as temporary:
            render(drawn, temporary, suffix=Path(path).suffix.removeprefix("."))
        log.info("%s", path)


_SWEEPS = ("model", "task", "edge", "kind", "subset", "images", "change_first", "change_first_se")
_TRANSFER = ("model", "task", "edge", "window", "subset", "present", "onset", "end")


def _table(path: str, tasks: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Rows of the wanted tasks, task by task in the wanted order."""
    frame = read_table(path, columns=columns)
    place = {task: i for i, task in enumerate(tasks)}
    kept = frame[frame["task"].isin(place)]
    return kept.sort_values("task", key=lambda column: column.map(place), kind="stable", ignore_index=True)
