"""Stage ``plot``: one figure, drawn from the tables of a run, as svg and png."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from pidflow.errors import DataError
from pidflow.figures._registry import KINDS, declared, titled
from pidflow.figures._style import FORMATS, render
from pidflow.files.store import read_table, replacing
from pidflow.names import ALL_TASKS

log = logging.getLogger(__name__)

# Columns of tables that hold ids with titles, beside `task`.
_COLUMNS = ("model", "condition", "control", "estimator", "definition")


def run(
    *,
    figure: str,
    tables: Mapping[str, str],
    output: Sequence[str],
    titles: Mapping[str, Mapping[str, str]],
    given: Mapping[str, object],
) -> None:
    """Draw a figure and write it to every path, by its suffix.

    Parameters
    ----------
    figure
        Id of the figure.
    tables
        Parquet files by name of table, at least those that the figure reads.
    output
        Files to write, each an svg or a png.
    titles
        What to call each ``task``, ``model``, ``condition``, ``estimator`` and ``definition``, by id and, of tasks,
        in order: the figure sees titles where the tables and `given` have ids. Rows of other tasks are left out.
    given
        What the figure asks for besides, by name (:class:`pidflow.figures._registry.Run`); more does no harm.

    Raises
    ------
    DataError
        Before anything is drawn, when a suffix is none of :data:`pidflow.figures._style.FORMATS`; when the tables lack
        what the figure shows.
    """
    for path in output:
        if (suffix := Path(path).suffix.removeprefix(".")) not in FORMATS:
            raise DataError(f"{path}: figures are written as {' or '.join(FORMATS)}, not '{suffix}'")
    asked = declared(figure)
    frames = [named(of_tasks(read_table(tables[name]), titles["task"]), titles) for name in asked.tables]
    wishes = {name: titled(name, given[name], titles) for name in asked.wishes}
    try:
        drawn = asked.module.draw(*frames, **wishes)
    except DataError as err:
        raise DataError(f"figure '{figure}' of {', '.join(tables[name] for name in asked.tables)}: {err}") from err
    write_figure(drawn, output)


def of_tasks(frame: pd.DataFrame, tasks: Mapping[str, str]) -> pd.DataFrame:
    """Rows of the wanted tasks, task by task in the wanted order, titles for ids; last, those about all tasks."""
    if "task" not in frame:
        return frame
    place = {task: i for i, task in enumerate([*tasks, ALL_TASKS])}
    kept = frame[frame["task"].isin(place)]
    ordered = kept.sort_values("task", key=lambda column: column.map(place), kind="stable", ignore_index=True)
    return ordered.assign(task=ordered["task"].replace(dict(tasks)))


def named(frame: pd.DataFrame, titles: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """The table with titles for ids."""
    columns = {column: KINDS[column] for column in _COLUMNS if column in frame}
    return frame.assign(**{name: frame[name].replace(dict(titles.get(kind, {}))) for name, kind in columns.items()})


def write_figure(figure: Figure, output: Sequence[str]) -> None:
    """Write a figure to every path."""
    for path in output:
        with replacing(path) as temporary:
            render(figure, temporary, suffix=Path(path).suffix.removeprefix("."))
        log.info("%s", path)
