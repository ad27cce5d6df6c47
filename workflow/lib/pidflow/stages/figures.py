"""Stages ``plot_*``: one figure each, drawn from the tables of a run, as svg and png."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from pidflow import figures
from pidflow.errors import DataError
from pidflow.figure_style import FORMATS, render
from pidflow.store import read_table, replacing

log = logging.getLogger(__name__)


def layer_profiles(
    *,
    pid: str,
    output: Sequence[str],
    model: str,
    conditions: Sequence[str],
    tasks: Sequence[str],
    route: str,
    definition: str,
) -> None:
    """Draw the four atoms over the layers.

    Parameters
    ----------
    pid
        The table of that name, as parquet; so are the other inputs of this module.
    output
        Files to write, each an svg or a png.
    model
        Whose figure it is.
    conditions
        Which conditions are drawn.
    tasks
        Which tasks are drawn, in this order.
    route, definition
        Which estimate is drawn.
    """
    table = _table(pid, tasks)
    drawn = figures.layer_profiles(table, model=model, conditions=conditions, route=route, definition=definition)
    _write(drawn, output)


def fingerprint(
    *, pid: str, output: Sequence[str], model: str, condition: str, tasks: Sequence[str], route: str, definition: str
) -> None:
    """Draw the shares of the atoms at the last layer; parameters as in :func:`layer_profiles`."""
    table = _table(pid, tasks)
    _write(figures.fingerprint(table, model=model, condition=condition, route=route, definition=definition), output)


def knockout_changes(
    *,
    differences: str,
    answers: str,
    output: Sequence[str],
    model: str,
    condition: str,
    tasks: Sequence[str],
    route: str,
    definition: str,
) -> None:
    """Draw what ``condition`` changes over the layers; parameters as in :func:`layer_profiles`."""
    drawn = figures.knockout_changes(
        _table(differences, tasks),
        _table(answers, tasks),
        model=model,
        condition=condition,
        route=route,
        definition=definition,
    )
    _write(drawn, output)


def dependence(
    *,
    dependence: str,
    claims: str,
    output: Sequence[str],
    model: str,
    tasks: Sequence[str],
    route: str,
    definition: str,
) -> None:
    """Draw what the knockout's effect depends on; parameters as in :func:`layer_profiles`."""
    table = _table(dependence, tasks)
    drawn = figures.dependence(table, read_table(claims), model=model, route=route, definition=definition)
    _write(drawn, output)


def lens_courses(*, lens: str, output: Sequence[str], model: str, tasks: Sequence[str]) -> None:
    """Draw the logit-lens probability of the answer over the layers; parameters as in :func:`layer_profiles`."""
    _write(figures.lens_courses(_table(lens, tasks), model=model), output)


def calibration(*, scorecard: str, output: Sequence[str], definition: str) -> None:
    """Draw estimates against planted truth; ``scorecard`` is the table of stage ``calibrate``."""
    _write(figures.calibration(read_table(scorecard), definition=definition), output)


def latent_gaussianity(*, gaussianity: str, output: Sequence[str], model: str, tasks: Sequence[str]) -> None:
    """Draw how far from normal data and latents are; parameters as in :func:`layer_profiles`."""
    _write(figures.latent_gaussianity(_table(gaussianity, tasks), model=model), output)


def overview(
    *,
    pid: str,
    differences: str,
    output: Sequence[str],
    model: str,
    knockout: str | None,
    tasks: Sequence[str],
    route: str,
    definition: str,
) -> None:
    """Draw the run in one picture, two panels when ``knockout`` is None; parameters as in :func:`layer_profiles`."""
    drawn = figures.overview(
        _table(pid, tasks),
        _table(differences, tasks),
        model=model,
        knockout=knockout,
        route=route,
        definition=definition,
    )
    _write(drawn, output)


def _table(path: str, tasks: Sequence[str]) -> pd.DataFrame:
    """Rows of the wanted tasks, task by task in the wanted order."""
    frame = read_table(path, columns=["task"])
    place = {task: i for i, task in enumerate(tasks)}
    kept = frame[frame["task"].isin(place)]
    return kept.sort_values("task", key=lambda column: column.map(place), kind="stable", ignore_index=True)


def _write(figure: Figure, output: Sequence[str]) -> None:
    for path in output:
        suffix = Path(path).suffix.removeprefix(".")
        if suffix not in FORMATS:
            raise DataError(f"{path}: figures are written as {' or '.join(FORMATS)}, not '{suffix}'")
        with replacing(path) as temporary:
            render(figure, temporary, suffix=suffix)
        log.info("%s", path)
