"""From the tables of a run to its figures' files: rows of the wanted tasks in, svg and png out."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from pidflow.errors import DataError
from pidflow.figures.style import FORMATS, render
from pidflow.store import read_table, replacing

log = logging.getLogger(__name__)


def read_tasks(path: str, tasks: Sequence[str], columns: Sequence[str] = ("task",)) -> pd.DataFrame:
    """Rows of the wanted tasks, task by task in the wanted order, of a parquet table that has `columns`."""
    frame = read_table(path, columns=columns)
    place = {task: i for i, task in enumerate(tasks)}
    kept = frame[frame["task"].isin(place)]
    return kept.sort_values("task", key=lambda column: column.map(place), kind="stable", ignore_index=True)


def write_figure(figure: Figure, output: Sequence[str]) -> None:
    """Write a figure to every path, by its suffix.

    Raises
    ------
    DataError
        Before anything is written, when a suffix is none of :data:`pidflow.figures.style.FORMATS`.
    """
    suffixes = [Path(path).suffix.removeprefix(".") for path in output]
    for path, suffix in zip(output, suffixes, strict=True):
        if suffix not in FORMATS:
            raise DataError(f"{path}: figures are written as {' or '.join(FORMATS)}, not '{suffix}'")
    for path, suffix in zip(output, suffixes, strict=True):
        with replacing(path) as temporary:
            render(figure, temporary, suffix=suffix)
        log.info("%s", path)
