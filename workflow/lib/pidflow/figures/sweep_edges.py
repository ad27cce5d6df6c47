"""Effect of cutting each edge over the windows, a panel a task, transfer windows above.

Broken lines: the random control instead. Dotted: all but the edge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pidflow.figures import _parts as parts
from pidflow.figures import _style as look
from pidflow.figures import _sweeps as sweep

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "sweep: edges"
TARGET = "sweeps"
CAPTION = """
What becomes of the answers of *{{ called.model }}* when one edge is cut in a window of blocks, over the
block at the window's centre: mean relative change of the probability of the model's own first answer token, one panel
per task; bands are 95 % intervals over images, of each window by itself. Broken lines are the control, other edges
cut at random in the same blocks; dotted ones, where the sweep has them, are sufficiency: everything cut but this
edge. The bars above are transfer windows: the centres at which an edge has more than half of its effect beyond the
control, with whiskers for the 95 % intervals of their ends; an edge without a bar has no effect beyond doubt. Curves
are moving averages as wide as a window, so an effect of one block fills a whole window's width, and what is cut in
one window may travel around it.
"""


@look.styled
def draw(sweeps: pd.DataFrame, transfer_windows: pd.DataFrame, *, model: str) -> Figure:
    import pandas as pd

    from pidflow.analysis.edge_changes import ALL, KEEP
    from pidflow.analysis.transfer_windows import YES

    located = parts.select(transfer_windows, model=model, subset=ALL)
    of_model = parts.select(sweeps, model=model, subset=ALL)
    cuts = sweep.main_windows(of_model[of_model["kind"] != KEEP], located)
    kept = sweep.main_windows(of_model[of_model["kind"] == KEEP], located)
    present = located[located["present"] == YES]
    looks, tasks = sweep.edge_looks(parts.in_order(cuts["edge"])), parts.in_order(cuts["task"])
    figure, panels = look.small_multiples(tasks)
    low, high = sweep.limits(pd.concat([cuts, kept]))
    step = 0.055 * (high - low)
    rows = max(1, int(present.groupby("task").size().max() if len(present) else 0))
    for axes, task in zip(panels, tasks, strict=True):
        _curves(axes, cuts[cuts["task"] == task], kept[kept["task"] == task], looks)
        windows = present[present["task"] == task].set_index("edge")
        for place, edge in enumerate(edge for edge in looks if edge in windows.index):
            _transfer_window(axes, windows.loc[edge], high + (place + 0.9) * step, looks[edge][0], apart=step / 5)
        look.zero_line(axes)
        # The scale ends where the windows begin, which have no height.
        axes.set_yticks([tick for tick in look.ticks_between(low, high) if low <= tick <= high])
        axes.spines["left"].set_bounds(low, high)
        axes.set_ylim(low, high + (rows + 0.9) * step)
    sweep.name_axes(figure, panels, cuts)
    random = "random_change_first" in cuts and cuts["random_change_first"].notna().any()
    thin = {"random edges": (random, 1), "all but the edge": (len(kept), 2)}
    keys = [
        *sweep.edge_keys(looks, marked=not sweep.dense(cuts)),
        look.band_key(),
        *(look.key(label, linestyle=look.LINE_STYLES[i], linewidth=0.8) for label, (drawn, i) in thin.items() if drawn),
        *([look.key("transfer window", linewidth=3, solid_capstyle="butt")] if len(present) else []),
    ]
    look.legend_below(figure, keys)
    return figure


def _curves(axes: Axes, cuts: pd.DataFrame, kept: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    """One task: every edge, those of the two stages on top, with what was cut instead."""
    for edge in reversed(looks):
        color, marker = looks[edge]
        of_edge = cuts[cuts["edge"] == edge]
        if len(of_edge):
            _beside(axes, of_edge, "random_change_first", color, look.LINE_STYLES[1])
            _beside(axes, kept[kept["edge"] == edge], "change_first", color, look.LINE_STYLES[2])
            sweep.draw_windows(axes, of_edge, color=color, marker=marker)


def _beside(axes: Axes, rows: pd.DataFrame, metric: str, color: str, linestyle) -> None:
    """What was cut instead of an edge, where it was: thin, in the color of the edge."""
    if metric not in rows or rows[metric].isna().all():
        return
    rows = rows.dropna(subset=[metric]).sort_values("centre")
    axes.fill_between(rows["centre"], *sweep.interval_of(rows, metric), color=color, alpha=look.BAND / 2, linewidth=0)
    axes.plot(rows["centre"], rows[metric], color=color, linestyle=linestyle, linewidth=0.8, alpha=0.8)


def _transfer_window(axes: Axes, row: pd.Series, height: float, color: str, *, apart: float) -> None:
    """A bar from onset to end, with the 95 % intervals of onset (upper whisker) and end (lower)."""
    axes.plot(
        [row["onset"] - 0.3, row["end"] + 0.3], [height] * 2, color=color, linewidth=3, solid_capstyle="butt", zorder=3
    )
    for name, side in (("onset", 1), ("end", -1)):
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        if high > low:
            at = [height + side * apart] * 2
            axes.plot([low, high], at, color=look.INK, linewidth=0.7, marker="|", markersize=3, zorder=4)
