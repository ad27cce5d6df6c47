"""Stages ``plot_sweep_*``: one figure of the sweeps each, drawn from their tables, as svg and png."""

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from pidflow.figures import sweeps as figures
from pidflow.stages._drawing import read_tasks, write_figure


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
    _draw(figures.edges, sweeps, transfer, output, model, tasks)


def windows(*, sweeps: str, transfer: str, output: Sequence[str], model: str, tasks: Sequence[str]) -> None:
    """Draw how much the size of the window matters; parameters as in :func:`edges`."""
    _draw(figures.window_sizes, sweeps, transfer, output, model, tasks)


def subsets(*, sweeps: str, transfer: str, output: Sequence[str], model: str, tasks: Sequence[str]) -> None:
    """Draw rightly beside wrongly answered questions; parameters as in :func:`edges`."""
    _draw(figures.subsets, sweeps, transfer, output, model, tasks)


def _draw(
    figure: Callable[..., Figure], sweeps: str, transfer: str, output: Sequence[str], model: str, tasks: Sequence[str]
) -> None:
    tables = (read_tasks(path, tasks, columns) for path, columns in ((sweeps, _SWEEPS), (transfer, _TRANSFER)))
    write_figure(figure(*tables, model=model), output)


_SWEEPS = ("model", "task", "edge", "kind", "subset", "images", "change_first", "change_first_se")
_TRANSFER = ("model", "task", "edge", "window", "subset", "present", "onset", "end")
