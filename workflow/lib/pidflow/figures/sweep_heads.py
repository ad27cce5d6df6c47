"""What each attention head does alone: an edge cut in one head of one block at a time; rows tasks, columns edges."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from pidflow.figures import _parts as parts
from pidflow.figures import _style as look
from pidflow.figures import _sweeps as sweep

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from pidflow.figures._registry import Run

TITLE = "sweep: single heads"
TARGET = "sweeps"
CAPTION = """
Attention heads of *{{ called.model }}* one at a time: mean relative change of the probability of the
model's own first answer token when the edge is cut in this head of this block and in no other. Dots: the 95 % interval
over images, each cell by itself, leaves out 0; of cells that do nothing one in twenty has a dot. An edge that no head
carries alone may still be carried by several.
"""
_NAME = 14  # characters of a task's name in a line


def applies(run: Run, *, model: str) -> bool:
    """Where edges are cut in single heads (`sweep.heads`)."""
    return bool(run.heads)


@look.styled
def draw(sweep_heads: pd.DataFrame, *, model: str) -> Figure:
    from pidflow.analysis.edge_changes import ALL, CUT

    rows = parts.select(sweep_heads, model=model, kind=CUT, subset=ALL)
    tasks, edges = parts.in_order(rows["task"]), list(sweep.edge_looks(parts.in_order(rows["edge"])))
    largest = max(float(rows["change_first"].abs().max()), 0.01)
    figure = look.new_figure(min(look.PAGE, 1.2 + 2.3 * len(edges)), 0.95 * len(tasks) + 0.9)
    grid = figure.subplots(len(tasks), len(edges), sharex=True, sharey=True, squeeze=False)
    for line, task in zip(grid, tasks, strict=True):
        line[0].set_ylabel("\n".join([*textwrap.wrap(task, _NAME), "head"]))
        for axes, edge in zip(line, edges, strict=True):
            shown = _cells(axes, rows[(rows["task"] == task) & (rows["edge"] == edge)], largest)
    for axes, edge in zip(grid[0], edges, strict=True):
        axes.set_title(sweep.in_words(edge), loc="left")
    for axes in grid[-1]:
        axes.set_xlabel("block (from 0)")
    bar = figure.colorbar(shown, ax=grid, label=sweep.CHANGE_LABEL)
    look.percent_axis(bar.ax)
    return figure


def _cells(axes: Axes, rows: pd.DataFrame, largest: float) -> AxesImage:
    """One panel: blocks across, heads up, the change as colour."""
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    low, high = sweep.interval_of(rows, "change_first")
    rows = rows.assign(sure=(low > 0) | (high < 0))
    cells = rows.pivot(index="head", columns="first", values=["change_first", "sure"])
    shown = axes.imshow(
        cells["change_first"].to_numpy(dtype=float),
        cmap="PuOr",
        vmin=-largest,
        vmax=largest,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )
    heads, blocks = np.nonzero(cells["sure"].to_numpy(dtype=bool))
    axes.plot(
        blocks, heads, linestyle="none", marker="o", markersize=1.8, color="white", markeredgecolor=look.INK, mew=0.4
    )
    look.layer_axis(axes)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    return shown
