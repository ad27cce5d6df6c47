"""Stages ``plot_*``: one figure each, drawn from the tables of a run, as svg and png."""

from collections.abc import Sequence

from pidflow import figures
from pidflow.figure_io import read_tasks, write_figure
from pidflow.store import read_table


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
    table = read_tasks(pid, tasks)
    drawn = figures.layer_profiles(table, model=model, conditions=conditions, route=route, definition=definition)
    write_figure(drawn, output)


def model_profiles(
    *, pid: str, output: Sequence[str], models: Sequence[str], tasks: Sequence[str], route: str, definition: str
) -> None:
    """Draw the four atoms of several intact models over relative depth; parameters as in :func:`layer_profiles`."""
    drawn = figures.model_profiles(read_tasks(pid, tasks), models=models, route=route, definition=definition)
    write_figure(drawn, output)


def fingerprint(
    *, pid: str, output: Sequence[str], model: str, condition: str, tasks: Sequence[str], route: str, definition: str
) -> None:
    """Draw the shares of the atoms at the last layer; parameters as in :func:`layer_profiles`."""
    table = read_tasks(pid, tasks)
    write_figure(
        figures.fingerprint(table, model=model, condition=condition, route=route, definition=definition), output
    )


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
        read_tasks(differences, tasks),
        read_tasks(answers, tasks),
        model=model,
        condition=condition,
        route=route,
        definition=definition,
    )
    write_figure(drawn, output)


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
    table = read_tasks(dependence, tasks)
    drawn = figures.dependence(table, read_table(claims), model=model, route=route, definition=definition)
    write_figure(drawn, output)


def lens_courses(*, lens: str, output: Sequence[str], model: str, tasks: Sequence[str]) -> None:
    """Draw the logit-lens probability of the answer over the layers; parameters as in :func:`layer_profiles`."""
    write_figure(figures.lens_courses(read_tasks(lens, tasks), model=model), output)


def calibration(*, scorecard: str, output: Sequence[str], definition: str) -> None:
    """Draw estimates against planted truth; ``scorecard`` is the table of stage ``calibrate``."""
    write_figure(figures.calibration(read_table(scorecard), definition=definition), output)


def latent_gaussianity(*, gaussianity: str, output: Sequence[str], model: str, tasks: Sequence[str]) -> None:
    """Draw how far from normal data and latents are; parameters as in :func:`layer_profiles`."""
    write_figure(figures.latent_gaussianity(read_tasks(gaussianity, tasks), model=model), output)


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
        read_tasks(pid, tasks),
        read_tasks(differences, tasks),
        model=model,
        knockout=knockout,
        route=route,
        definition=definition,
    )
    write_figure(drawn, output)
