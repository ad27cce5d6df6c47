"""Effect of the main edges on answers that are right and wrong without a cut; rows tasks, columns edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pidflow.figures import _parts as parts
from pidflow.figures import _style as look
from pidflow.figures import _sweeps as sweep

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TITLE = "sweep: right and wrong"
TARGET = "sweeps"
CAPTION = """
Effect of cutting an edge in *{{ called.model }}* on the answers that are right without the cut (solid) and
on those that are wrong (broken), with 95 % intervals over images; each row of panels names how many of each it has. A
path that matters only where the model is right is a path to the right answer; one that matters in both may be a path
to any answer. Subsets of fewer than three images are not drawn, and bands that leave the panel are cut off: the
probability of an unsure answer can rise by far more than it can fall.
"""
# With fewer images an interval would span the panel and say nothing.
MIN_IMAGES = 3
_STYLES = {"right": look.LINE_STYLES[0], "wrong": look.LINE_STYLES[1]}
_ANSWERED = {"right": "correctly", "wrong": "wrongly"}


@look.styled
def draw(sweeps: pd.DataFrame, transfer_windows: pd.DataFrame, *, model: str) -> Figure:
    from pidflow.analysis.edge_changes import ALL, CUT

    cuts = sweep.main_windows(parts.select(sweeps, model=model, kind=CUT), parts.select(transfer_windows, model=model))
    rows = sweep.main_edges(cuts)
    enough = rows[(rows["subset"] != ALL) & (rows["images"] >= MIN_IMAGES)]
    figure, panels = sweep.grid_of(rows)
    limits = sweep.limits(enough)
    written = {}
    for (task, edge), axes in panels.items():
        color, marker = sweep.edge_looks([edge])[edge]
        for subset, style in reversed(_STYLES.items()):
            of_edge = enough[(enough["task"] == task) & (enough["edge"] == edge) & (enough["subset"] == subset)]
            if len(of_edge):
                shown = marker if subset == "right" else ""
                sweep.draw_windows(axes, of_edge, color=color, marker=shown, linestyle=style)
        look.zero_line(axes)
        axes.set_ylim(*limits)
        counts = _counts(rows[(rows["task"] == task) & (rows["edge"] == edge)])
        if written.get(task) != counts:  # once a row, unless an edge has other questions than the one before
            written[task] = counts
            place = {"xy": (0.98, 0.06), "xycoords": "axes fraction", "ha": "right", "va": "bottom"}
            axes.annotate(counts, **place, fontsize=6, color=look.INK)
    marker = "" if sweep.dense(rows) else "o"
    keys = [
        look.key(f"answered {_ANSWERED[subset]}", linestyle=style, marker=marker if subset == "right" else "")
        for subset, style in _STYLES.items()
        if (enough["subset"] == subset).any()
    ]
    look.legend_below(figure, [*keys, look.band_key()])
    return figure


def _counts(rows: pd.DataFrame) -> str:
    """How many questions a panel of subsets speaks of, and which subset it cannot draw."""
    written = []
    for subset in ("right", "wrong"):
        n = int(rows.loc[rows["subset"] == subset, "n"].max()) if (rows["subset"] == subset).any() else 0
        few = n and rows.loc[rows["subset"] == subset, "images"].max() < MIN_IMAGES
        written.append(f"{n or 'none'} {subset}" + (" (too few)" if few else ""))
    return ", ".join(written)
