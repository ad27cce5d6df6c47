"""What figures of sweeps share: colours of edges, axes of windows, curves with their intervals.

Bands are 95 % intervals of each window by itself, over images. Effects are relative changes of the probability of the
model's own first answer token: −100 % is an answer lost.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pidflow.figures import _parts as parts
from pidflow.figures import _style as look

if TYPE_CHECKING:  # figure files are read for what they declare, by processes that draw nothing
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# The palette of Okabe and Ito once more; the edges of the two stages get its strongest colours.
_KNOWN = {
    "image->question": ("#0072B2", "o"),
    "image->last": ("#E08A00", "s"),
    "question->last": ("#009E73", "^"),
    "object->question": ("#56B4E9", "D"),
    "other->question": ("#7B4EA3", "v"),
    "image->options": ("#CC79A7", "P"),
    "options->last": ("#8C5E2A", "X"),
    "last->last": ("#808080", "h"),
}
_SPARE = (("#D55E00", "<"), ("#222222", ">"), ("#B8A900", "*"), ("#5C8A00", "p"))
WINDOW_LABEL = "block at the window's centre (from 0)"
# As many fit along the height of a row.
_ROW_CHARACTERS = 14
CHANGE_LABEL = "change of the answer's probability"


def edge_looks(edges: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Color and marker of each edge, those of the usual edges the same in every figure, in their order."""
    others = [edge for edge in edges if edge not in _KNOWN]
    usual = {edge: style for edge, style in _KNOWN.items() if edge in edges}
    return usual | {edge: _SPARE[place % len(_SPARE)] for place, edge in enumerate(others)}


def edge_keys(looks: dict[str, tuple[str, str]], *, marked: bool) -> list[Line2D]:
    """Legend of the edges."""
    return [
        look.key(in_words(edge), color=color, marker=marker if marked else "")
        for edge, (color, marker) in looks.items()
    ]


def in_words(edge: str) -> str:
    """An edge as figures write it."""
    return edge.replace("->", " → ")


def main_windows(sweeps: pd.DataFrame, transfer: pd.DataFrame) -> pd.DataFrame:
    """Rows of the windows that the sweep is about: those in which transfer windows were looked for."""
    return sweeps[sweeps["window"].isin(set(transfer["window"]))]


def main_edges(sweeps: pd.DataFrame) -> pd.DataFrame:
    """Rows of the edges of the two stages and of the direct one; of all edges where none of them was swept."""
    from pidflow.analysis.two_stages import DIRECT, FIRST_STAGE, SECOND_STAGE

    kept = sweeps[sweeps["edge"].isin([FIRST_STAGE, DIRECT, SECOND_STAGE])]
    return kept if len(kept) else sweeps


def draw_windows(axes: Axes, rows: pd.DataFrame, *, color: str, marker: str, linestyle="-") -> None:
    """The effect over the windows with its interval; no markers where `marker` is empty."""
    rows = rows.sort_values("centre")
    columns = (rows["centre"].to_numpy(), rows["change_first"].to_numpy(), *interval_of(rows, "change_first"))
    look.draw_curve(axes, *columns, color=color, marker=marker, linestyle=linestyle)


def interval_of(rows: pd.DataFrame, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of the 95 % interval of a column, over images."""
    from pidflow.stats import interval

    return interval(rows[metric].to_numpy(), rows[f"{metric}_se"].to_numpy(), rows["images"].to_numpy() - 1)


def limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Where the curves lie, and the zero line; bands that leave this are cut off."""
    import pandas as pd

    values = rows["change_first"]
    if "random_change_first" in rows:
        values = pd.concat([values, rows["random_change_first"].dropna()])
    low, high = min(0.0, values.min()), max(0.0, values.max())
    margin = 0.06 * max(high - low, 0.05)
    return low - margin, high + margin


def grid_of(rows: pd.DataFrame) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A row per task and a column per edge, all on the same scales."""
    tasks, edges = parts.in_order(rows["task"]), list(edge_looks(parts.in_order(rows["edge"])))
    figure = look.new_figure(min(look.PAGE, 0.5 + 2.3 * len(edges)), 0.82 * len(tasks) + 1.05)
    grid = figure.subplots(len(tasks), len(edges), sharex=True, sharey=True, squeeze=False)
    for axes, edge in zip(grid[0], edges, strict=True):
        axes.set_title(in_words(edge), loc="left")
    for axes, task in zip(grid[:, 0], tasks, strict=True):
        axes.set_ylabel("\n".join(textwrap.wrap(task, _ROW_CHARACTERS)))
        look.percent_axis(axes)
    for axes in grid[-1]:
        window_axis(axes, rows)
    figure.supylabel(CHANGE_LABEL, fontsize=7.5)
    return figure, {
        (task, edge): grid[row, column] for row, task in enumerate(tasks) for column, edge in enumerate(edges)
    }


def name_axes(figure: Figure, panels: Sequence[Axes], rows: pd.DataFrame) -> None:
    """Label the axes of panels over the windows."""
    figure.supylabel(CHANGE_LABEL, fontsize=7.5)
    for axes in panels:
        look.percent_axis(axes)
        window_axis(axes, rows, named=axes.xaxis.get_tick_params()["labelbottom"])


def window_axis(axes: Axes, rows: pd.DataFrame, *, named: bool = True) -> None:
    """Blocks as whole numbers, with room for a single one and none that suggests blocks beyond the last."""
    look.layer_axis(axes)
    axes.set_xlim(rows["first"].min() - 0.5, rows["last"].max() + 0.5)
    if rows["last"].max() == 0:
        axes.set_xticks([0])
    if named:
        axes.set_xlabel(WINDOW_LABEL)


def dense(rows: pd.DataFrame) -> bool:
    """Whether there are so many windows that markers would run into each other."""
    return rows["centre"].nunique() > look.MANY_LAYERS
