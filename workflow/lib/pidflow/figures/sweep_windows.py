"""How much the effect of the main edges depends on how many blocks are cut together; rows tasks, columns edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pidflow.figures import _parts as parts
from pidflow.figures import _style as look
from pidflow.figures import _sweeps as sweep

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "sweep: window sizes"
TARGET = "sweeps"
CAPTION = """
How much the size of the window matters in *{{ called.model }}*: mean relative change of the probability of
the model's own first answer token when the edge is cut in one block, in the window of the other figures (markers), and
in all blocks at once (level line). Bands are 95 % intervals over images. Where wide windows do much and single blocks
little, several blocks carry the same: none of them is the place. Where one window does less than all blocks, some of
the traffic goes through blocks outside it.
"""


@look.styled
def draw(sweeps: pd.DataFrame, transfer_windows: pd.DataFrame, *, model: str) -> Figure:
    from pidflow.analysis.edge_changes import ALL, CUT

    rows = sweep.main_edges(parts.select(sweeps, model=model, kind=CUT, subset=ALL))
    main = set(parts.select(transfer_windows, model=model)["window"])
    sizes = sorted(rows["window"].unique(), key=lambda size: (size not in main, size))
    styles = dict(zip(sizes, look.line_styles(sizes), strict=True))
    figure, panels = sweep.grid_of(rows)
    limits = sweep.limits(rows)
    for (task, edge), axes in panels.items():
        of_edge = rows[(rows["task"] == task) & (rows["edge"] == edge)]
        color, marker = sweep.edge_looks([edge])[edge]
        for size in reversed(sizes):
            of_size, style = of_edge[of_edge["window"] == size], styles[size]
            if len(of_size) == 1:
                _level(axes, of_size, color, style)
            elif len(of_size):
                sweep.draw_windows(axes, of_size, color=color, marker=marker if size in main else "", linestyle=style)
        look.zero_line(axes)
        axes.set_ylim(*limits)
    marked = set() if sweep.dense(rows) else main
    keys = [look.key(_blocks(rows, n), linestyle=styles[n], marker="o" if n in marked else "") for n in sizes]
    look.legend_below(figure, [*keys, look.band_key()])
    return figure


def _level(axes: Axes, only: pd.DataFrame, color: str, linestyle) -> None:
    """A single window, drawn over the blocks it holds."""
    row = only.iloc[0]
    blocks = [row["first"], row["last"]]
    axes.fill_between(blocks, *sweep.interval_of(only, "change_first"), color=color, alpha=look.BAND, linewidth=0)
    axes.plot(blocks, [row["change_first"]] * 2, color=color, linestyle=linestyle)


def _blocks(rows: pd.DataFrame, size: int) -> str:
    """What a window size is called: where there is one window of it, it lies still."""
    words = "1 block" if size == 1 else f"{size} blocks"
    return words if rows.loc[rows["window"] == size, "centre"].nunique() > 1 else f"one window of {words}"
