"""Stages ``plot_*``: one figure each, drawn from the tables of a run, as svg and png."""

from collections.abc import Sequence

from pidflow.figures import profiles
from pidflow.stages._drawing import read_tasks, write_figure
from pidflow.store import read_table


def layer_profiles(
    *,
    pid: str,
    output: Sequence[str],
    model: str,
    conditions: Sequence[str],
    tasks: Sequence[str],
    estimator: str,
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
    estimator, definition
        Which estimate is drawn.
    """
    table = read_tasks(pid, tasks)
    drawn = profiles.layer_profiles(
        table, model=model, conditions=conditions, estimator=estimator, definition=definition
    )
    write_figure(drawn, output)


def model_profiles(
    *, pid: str, output: Sequence[str], models: Sequence[str], tasks: Sequence[str], estimator: str, definition: str
) -> None:
    """Draw the four atoms of several intact models over relative depth; parameters as in :func:`layer_profiles`."""
    drawn = profiles.model_profiles(read_tasks(pid, tasks), models=models, estimator=estimator, definition=definition)
    write_figure(drawn, output)


def fingerprint(
    *,
    pid: str,
    output: Sequence[str],
    model: str,
    condition: str,
    tasks: Sequence[str],
    estimator: str,
    definition: str,
) -> None:
    """Draw the shares of the atoms at the last layer; parameters as in :func:`layer_profiles`."""
    table = read_tasks(pid, tasks)
    write_figure(
        profiles.fingerprint(table, model=model, condition=condition, estimator=estimator, definition=definition),
        output,
    )


def knockout_changes(
    *,
    differences: str,
    answers: str,
    output: Sequence[str],
    model: str,
    condition: str,
    tasks: Sequence[str],
    estimator: str,
    definition: str,
) -> None:
    """Draw what ``condition`` changes over the layers; parameters as in :func:`layer_profiles`."""
    drawn = profiles.knockout_changes(
        read_tasks(differences, tasks),
        read_tasks(answers, tasks),
        model=model,
        condition=condition,
        estimator=estimator,
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
    estimator: str,
    definition: str,
) -> None:
    """Draw what the knockout's effect depends on; parameters as in :func:`layer_profiles`."""
    table = read_tasks(dependence, tasks)
    drawn = profiles.dependence(table, read_table(claims), model=model, estimator=estimator, definition=definition)
    write_figure(drawn, output)


def lens_courses(*, lens: str, output: Sequence[str], model: str, tasks: Sequence[str]) -> None:
    """Draw the logit-lens probability of the answer over the layers; parameters as in :func:`layer_profiles`."""
    write_figure(profiles.lens_courses(read_tasks(lens, tasks), model=model), output)


def calibration(*, scorecard: str, output: Sequence[str], definition: str) -> None:
    """Draw estimates against planted truth; ``scorecard`` is the table of stage ``calibrate``."""
    write_figure(profiles.calibration(read_table(scorecard), definition=definition), output)


def latent_gaussianity(*, gaussianity: str, output: Sequence[str], model: str, tasks: Sequence[str]) -> None:
    """Draw how far from normal data and latents are; parameters as in :func:`layer_profiles`."""
    write_figure(profiles.latent_gaussianity(read_tasks(gaussianity, tasks), model=model), output)


def overview(
    *,
    pid: str,
    differences: str,
    output: Sequence[str],
    model: str,
    knockout: str | None,
    tasks: Sequence[str],
    estimator: str,
    definition: str,
) -> None:
    """Draw the run in one picture, two panels when ``knockout`` is None; parameters as in :func:`layer_profiles`."""
    drawn = profiles.overview(
        read_tasks(pid, tasks),
        read_tasks(differences, tasks),
        model=model,
        knockout=knockout,
        estimator=estimator,
        definition=definition,
    )
    write_figure(drawn, output)
