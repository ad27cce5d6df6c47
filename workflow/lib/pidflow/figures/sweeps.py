"""Figures of sweeps: tables of :mod:`pidflow.analysis.sweep_tables` in, matplotlib figures out, one idea each.

Bands are 95 % intervals of each window by itself, over images. Effects are relative changes of the probability of the
model's own first answer token: −100 % is an answer lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pidflow.analysis.transfer_windows import ALL, CUT, KEEP, YES
from pidflow.analysis.two_stages import DIRECT, FIRST_STAGE, SECOND_STAGE
from pidflow.figures import style as look
from pidflow.figures.profiles import in_order, select
from pidflow.stats import interval

MAIN_EDGES = (FIRST_STAGE, DIRECT, SECOND_STAGE)
# The palette of Okabe and Ito once more; the edges of the two stages get its strongest colours.
_KNOWN = {
    FIRST_STAGE: ("#0072B2", "o"),
    DIRECT: ("#E08A00", "s"),
    SECOND_STAGE: ("#009E73", "^"),
    "object->question": ("#56B4E9", "D"),
    "other->question": ("#7B4EA3", "v"),
    "image->options": ("#CC79A7", "P"),
    "options->last": ("#8C5E2A", "X"),
    "last->last": ("#808080", "h"),
}
_SPARE = (("#D55E00", "<"), ("#222222", ">"), ("#B8A900", "*"), ("#5C8A00", "p"))
WINDOW_LABEL = "block at the window's centre (from 0)"
CHANGE_LABEL = "change of the answer's probability"
_WORDS = {"right": "answered rightly", "wrong": "answered wrongly"}
# With fewer images an interval would span the panel and say nothing.
MIN_IMAGES = 3


@look.styled
def edges(sweeps: pd.DataFrame, transfer: pd.DataFrame, *, model: str) -> Figure:
    """Effect of cutting each edge over the windows, a panel a task, transfer windows above.

    Broken: as many random edges instead. Dotted: all but the edge.
    """
    located = select(transfer, model=model, subset=ALL)
    found = _main(select(sweeps, model=model, kind=CUT, subset=ALL), located)
    kept = _main(sweeps[(sweeps["model"] == model) & (sweeps["kind"] == KEEP) & (sweeps["subset"] == ALL)], located)
    looks = edge_looks(in_order(found["edge"]))
    tasks = in_order(found["task"])
    figure, panels = look.small_multiples(tasks)
    present = located[located["present"] == YES]
    rows = max(1, int(present.groupby("task").size().max() if len(present) else 0))
    low, high = _limits(pd.concat([found, kept]))
    step = 0.055 * (high - low)
    for axes, task in zip(panels, tasks, strict=True):
        of_task = found[found["task"] == task]
        for edge in reversed(looks):  # those of the two stages lie on top
            color, marker = looks[edge]
            course = of_task[of_task["edge"] == edge]
            if len(course):
                _beside(axes, course, "random_change_first", color, look.LINE_STYLES[1])
                _beside(
                    axes,
                    kept[(kept["task"] == task) & (kept["edge"] == edge)],
                    "change_first",
                    color,
                    look.LINE_STYLES[2],
                )
                _course(axes, course, color=color, marker=marker)
        windows = present[present["task"] == task].set_index("edge")
        for place, edge in enumerate(edge for edge in looks if edge in windows.index):
            _transfer_window(axes, windows.loc[edge], high + (place + 0.9) * step, looks[edge][0], apart=step / 5)
        look.zero_line(axes)
        # The scale ends where the windows begin, which have no height.
        axes.set_yticks([tick for tick in MaxNLocator(nbins=5).tick_values(low, high) if low <= tick <= high])
        axes.spines["left"].set_bounds(low, high)
        axes.set_ylim(low, high + (rows + 0.9) * step)
    _name_axes(figure, panels, found)
    handles = [
        Line2D([], [], color=color, marker="" if _dense(found) else marker, label=edge)
        for edge, (color, marker) in looks.items()
    ]
    handles.append(look.band_handle())
    random = "random_change_first" in found and found["random_change_first"].notna().any()
    for drawn, style, label in ((random, 1, "random edges"), (len(kept), 2, "all but the edge")):
        if drawn:
            handles.append(
                Line2D([], [], color=look.INK, linestyle=look.LINE_STYLES[style], linewidth=0.8, label=label)
            )
    if len(present):
        handles.append(Line2D([], [], color=look.INK, linewidth=3, solid_capstyle="butt", label="transfer window"))
    look.legend_below(figure, handles)
    return figure


@look.styled
def window_sizes(sweeps: pd.DataFrame, transfer: pd.DataFrame, *, model: str) -> Figure:
    """How much the effect of the main edges depends on how many blocks are cut together; rows tasks, columns edges."""
    found = _main_edges(select(sweeps, model=model, kind=CUT, subset=ALL))
    main = set(select(transfer, model=model)["window"])
    sizes = sorted(found["window"].unique(), key=lambda size: (size not in main, size))
    styles = dict(zip(sizes, look.line_styles(sizes), strict=True))
    figure, panels = _grid(found)
    limits = _limits(found)
    for (task, edge), axes in panels.items():
        here = found[(found["task"] == task) & (found["edge"] == edge)]
        color, marker = edge_looks([edge])[edge]
        for size in reversed(sizes):
            course = here[here["window"] == size]
            if len(course) == 1:
                _level(axes, course.iloc[0], color, styles[size])
            elif len(course):
                _course(axes, course, color=color, marker=marker, linestyle=styles[size], marked=size in main)
        look.zero_line(axes)
        axes.set_ylim(*limits)
    handles = [
        Line2D(
            [],
            [],
            color=look.INK,
            linestyle=styles[size],
            marker="o" if size in main and not _dense(found) else "",
            label=_blocks(found, size),
        )
        for size in sizes
    ]
    look.legend_below(figure, [*handles, look.band_handle()])
    return figure


@look.styled
def subsets(sweeps: pd.DataFrame, transfer: pd.DataFrame, *, model: str) -> Figure:
    """Effect of the main edges on answers that are right and wrong without a cut; rows tasks, columns edges."""
    found = _main_edges(_main(select(sweeps, model=model, kind=CUT), select(transfer, model=model)))
    enough = found[(found["subset"] != ALL) & (found["images"] >= MIN_IMAGES)]
    figure, panels = _grid(found)
    limits = _limits(enough)
    drawn, said = set(), {}
    for (task, edge), axes in panels.items():
        here = found[(found["task"] == task) & (found["edge"] == edge)]
        color, marker = edge_looks([edge])[edge]
        for subset, linestyle in (("wrong", look.LINE_STYLES[1]), ("right", look.LINE_STYLES[0])):
            course = enough[(enough["task"] == task) & (enough["edge"] == edge) & (enough["subset"] == subset)]
            if len(course):
                drawn.add(subset)
                _course(
                    axes,
                    course,
                    color=color,
                    marker=marker,
                    linestyle=linestyle,
                    hollow=subset == "wrong" and not _dense(found),
                )
        look.zero_line(axes)
        axes.set_ylim(*limits)
        if said.get(task) != _counts(here):  # once a row, unless an edge has other questions than the one before
            said[task] = _counts(here)
            place = {"xy": (0.98, 0.06), "xycoords": "axes fraction", "ha": "right", "va": "bottom"}
            axes.annotate(said[task], **place, fontsize=6, color=look.INK)
    handles = [
        Line2D(
            [],
            [],
            color=look.INK,
            linestyle=line,
            marker="" if _dense(found) else "o",
            markerfacecolor=face,
            label=_WORDS[subset],
        )
        for subset, line, face in (("right", look.LINE_STYLES[0], look.INK), ("wrong", look.LINE_STYLES[1], "white"))
        if subset in drawn
    ]
    look.legend_below(figure, [*handles, look.band_handle()])
    return figure


def edge_looks(edges: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Color and marker of each edge, those of the usual edges the same in every figure, in their order."""
    others = [edge for edge in edges if edge not in _KNOWN]
    usual = {edge: style for edge, style in _KNOWN.items() if edge in edges}
    return usual | {edge: _SPARE[place % len(_SPARE)] for place, edge in enumerate(others)}


def _main(sweeps: pd.DataFrame, transfer: pd.DataFrame) -> pd.DataFrame:
    """Rows of the windows that the sweep is about: those in which transfer windows were looked for."""
    return sweeps[sweeps["window"].isin(set(transfer["window"]))]


def _main_edges(sweeps: pd.DataFrame) -> pd.DataFrame:
    """Rows of the edges of the two stages; of all edges where none of them was swept."""
    kept = sweeps[sweeps["edge"].isin(MAIN_EDGES)]
    return kept if len(kept) else sweeps


def _course(
    axes: Axes, rows: pd.DataFrame, *, color: str, marker: str, linestyle="-", marked: bool = True, hollow: bool = False
) -> None:
    rows = rows.sort_values("centre")
    centre, value = rows["centre"].to_numpy(), rows["change_first"].to_numpy()
    low, high = interval(value, rows["change_first_se"].to_numpy(), rows["images"].to_numpy() - 1)
    look.draw_course(
        axes,
        centre,
        value,
        low,
        high,
        color=color,
        marker=marker if marked else "",
        linestyle=linestyle,
        warned=np.full(len(rows), hollow) if marked else None,
    )


def _beside(axes: Axes, rows: pd.DataFrame, metric: str, color: str, linestyle) -> None:
    """What was cut instead of an edge, where it was: thin, in the color of the edge."""
    if metric not in rows or rows[metric].isna().all():
        return
    rows = rows.dropna(subset=[metric]).sort_values("centre")
    value, se = rows[metric].to_numpy(), rows[f"{metric}_se"].to_numpy()
    low, high = interval(value, se, rows["images"].to_numpy() - 1)
    axes.fill_between(rows["centre"], low, high, color=color, alpha=look.BAND / 2, linewidth=0)
    axes.plot(rows["centre"], value, color=color, linestyle=linestyle, linewidth=0.8, alpha=0.8)


def _level(axes: Axes, row: pd.Series, color: str, linestyle) -> None:
    """A single window, drawn over the blocks it holds."""
    low, high = interval(row["change_first"], row["change_first_se"], row["images"] - 1)
    blocks = [row["first"], row["last"]]
    axes.fill_between(blocks, low, high, color=color, alpha=look.BAND, linewidth=0)
    axes.plot(blocks, [row["change_first"]] * 2, color=color, linestyle=linestyle)


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


def _limits(found: pd.DataFrame) -> tuple[float, float]:
    """Where the courses lie, and the zero line; bands that leave this are cut off."""
    values = found["change_first"]
    if "random_change_first" in found:
        values = pd.concat([values, found["random_change_first"].dropna()])
    low, high = min(0.0, values.min()), max(0.0, values.max())
    margin = 0.06 * max(high - low, 0.05)
    return low - margin, high + margin


def _grid(found: pd.DataFrame) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A row per task and a column per edge, all on the same scales."""
    tasks, edges = in_order(found["task"]), list(edge_looks(in_order(found["edge"])))
    figure = look.new_figure(min(look.PAGE, 0.5 + 2.3 * len(edges)), 0.82 * len(tasks) + 1.05)
    grid = figure.subplots(len(tasks), len(edges), sharex=True, sharey=True, squeeze=False)
    for axes, edge in zip(grid[0], edges, strict=True):
        axes.set_title(edge, loc="left")
    for axes, task in zip(grid[:, 0], tasks, strict=True):
        axes.set_ylabel(task)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axes in grid[-1]:
        _window_axis(axes, found)
    figure.supylabel(CHANGE_LABEL, fontsize=7.5)
    return figure, {
        (task, edge): grid[row, column] for row, task in enumerate(tasks) for column, edge in enumerate(edges)
    }


def _name_axes(figure: Figure, panels: Sequence[Axes], found: pd.DataFrame) -> None:
    figure.supylabel(CHANGE_LABEL, fontsize=7.5)
    for axes in panels:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _window_axis(axes, found, named=axes.xaxis.get_tick_params()["labelbottom"])


def _window_axis(axes: Axes, found: pd.DataFrame, *, named: bool = True) -> None:
    """Blocks as whole numbers, with room for a single one and none that suggests blocks beyond the last."""
    look.layer_axis(axes)
    axes.set_xlim(found["first"].min() - 0.5, found["last"].max() + 0.5)
    if found["last"].max() == 0:
        axes.set_xticks([0])
    if named:
        axes.set_xlabel(WINDOW_LABEL)


def _dense(found: pd.DataFrame) -> bool:
    """Whether there are so many windows that markers would run into each other."""
    return found["centre"].nunique() > look.MANY_LAYERS


def _counts(rows: pd.DataFrame) -> str:
    """How many questions a panel of subsets speaks of, and which subset it cannot draw."""
    said = []
    for subset in ("right", "wrong"):
        n = int(rows.loc[rows["subset"] == subset, "n"].max()) if (rows["subset"] == subset).any() else 0
        few = n and rows.loc[rows["subset"] == subset, "images"].max() < MIN_IMAGES
        said.append(f"{n or 'none'} {subset}" + (" (too few)" if few else ""))
    return ", ".join(said)


def _blocks(found: pd.DataFrame, size: int) -> str:
    """What a window size is called: where there is one window of it, it lies still."""
    words = "1 block" if size == 1 else f"{size} blocks"
    return words if found.loc[found["window"] == size, "centre"].nunique() > 1 else f"one window of {words}"
