"""Planted against recovered: what cutting each edge does, block by block, over the blocks in which the model has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pidflow.figures import _parts as parts
from pidflow.figures import _style as look
from pidflow.figures import _sweeps as sweep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pidflow.figures._registry import Run

TITLE = "planted against recovered"
TARGET = "sweeps"
CAPTION = """
What is known of *{{ called.model }}*, which was trained without some edges of attention, and what the sweep
finds. Shaded: the blocks in which it has the edge; an unshaded panel has none. Curves, one a task: mean change of the
probability of the model's own first answer token when the edge is cut around a block, with 95 % intervals over
images. Bars above: transfer windows, with thin lines for the 95 % intervals of their ends. Outside the shade cuts take
nothing away: there every curve must be exactly 0, and every bar must lie inside.
"""
_PLANTED = "#F3E5AB"


def applies(run: Run, *, model: str) -> bool:
    """Only models that lack edges have anything planted."""
    return bool(run.closed.get(model))


@look.styled
def draw(
    sweeps: pd.DataFrame,
    transfer_windows: pd.DataFrame,
    *,
    model: str,
    closed: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Figure:
    from pidflow.analysis.edge_changes import ALL, CUT
    from pidflow.analysis.planted import open_blocks
    from pidflow.analysis.transfer_windows import YES

    located = parts.select(transfer_windows, model=model, subset=ALL)
    rows = sweep.main_windows(parts.select(sweeps, model=model, kind=CUT, subset=ALL), located)
    depth = int(rows["last"].max()) + 1
    edges, tasks = list(sweep.edge_looks(parts.in_order(rows["edge"]))), parts.in_order(rows["task"])
    colors = dict(zip(tasks, (look.CONDITION_COLORS * len(tasks))[: len(tasks)], strict=True))
    figure, panels = look.small_multiples([sweep.in_words(edge) for edge in edges])
    low, high = sweep.limits(rows)
    step = 0.07 * (high - low)
    for axes, edge in zip(panels, edges, strict=True):
        for block in open_blocks(edge, closed[model], depth=depth):
            axes.axvspan(block - 0.5, block + 0.5, color=_PLANTED, linewidth=0, zorder=0)
        of_edge = rows[rows["edge"] == edge]
        windows = located[(located["edge"] == edge) & (located["present"] == YES)].set_index("task")
        for place, task in enumerate(tasks):
            of_task = of_edge[of_edge["task"] == task]
            if len(of_task):
                sweep.draw_windows(axes, of_task, color=colors[task], marker=look.case_marker(place))
            if task in windows.index:
                _window(axes, windows.loc[task], high + (place + 0.7) * step, colors[task])
        look.zero_line(axes)
        axes.set_yticks([tick for tick in look.ticks_between(low, high) if low <= tick <= high])
        axes.set_ylim(low, high + (len(tasks) + 0.7) * step)
    sweep.name_axes(figure, panels, rows)
    keys = [look.key(task, color=colors[task], marker=look.case_marker(place)) for place, task in enumerate(tasks)]
    look.legend_below(figure, [look.patch_key("the model has the edge", color=_PLANTED), *keys, look.band_key()])
    return figure


def _window(axes: Axes, window: pd.Series, height: float, color: str) -> None:
    """A transfer window, and the intervals of its ends."""
    axes.plot([window["onset_low"], window["end_high"]], [height] * 2, color=color, linewidth=0.7)
    axes.plot([window["onset"] - 0.3, window["end"] + 0.3], [height] * 2, color=color, linewidth=2.5)
