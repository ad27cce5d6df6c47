"""What figures share: rows of the tables in, panels, bars and legends out.

Bands and whiskers are 95 % intervals of the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pidflow.errors import DataError
from pidflow.figures import _levels as levels
from pidflow.figures import _style as look
from pidflow.names import ATOMS

if TYPE_CHECKING:  # figure files are read for what they declare, by processes that draw nothing
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.transforms import Transform

LAYER_LABEL = "layer (0: embedding output)"
# Shorter whiskers than this share would be specks.
_VISIBLE = 0.002


def select(frame: pd.DataFrame, **wanted: str | Sequence[str]) -> pd.DataFrame:
    """Rows in which every named column has the wanted value, or one of them.

    Raises
    ------
    DataError
        When there is none, naming the first column that is to blame and what it has; when the table lacks a column.
    """
    if lacking := [name for name in wanted if name not in frame]:
        raise DataError(
            f"nothing to draw: the table lacks the columns {', '.join(lacking)}, it has {', '.join(frame)}; "
            "delete it and run again"
        )
    for name, value in wanted.items():
        values = [value] if isinstance(value, str) else list(value)
        kept = frame[frame[name].isin(values)]
        if kept.empty:
            there = ", ".join(sorted(frame[name].astype(str).unique())) or "no rows at all"
            raise DataError(f"nothing to draw: no row has {name} '{', '.join(values)}'; the table has {there}")
        frame = kept
    return frame


def estimated(frame: pd.DataFrame, *, estimator: str, definition: str, **wanted: str | Sequence[str]) -> pd.DataFrame:
    """Rows of one estimate and one target, as :func:`select`, with the level of their warning as ``level``."""
    from pidflow.analysis.targets import of_one_target

    rows = of_one_target(select(frame, **wanted, estimator=estimator, definition=definition))
    return rows.assign(level=levels.levels_of(rows["warning"]))


def in_order(values: pd.Series, *, first: str | None = None) -> list[str]:
    """Distinct values in order of appearance, `first` in front."""
    found = list(dict.fromkeys(values))
    return sorted(found, key=lambda value: value != first) if first else found


def mean_over_tasks(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean over tasks at each layer where all tasks have a value (:func:`pidflow.stats.mean_of_independent`).

    Columns ``layer, atom, bits, low, high, level``; the level of a mean is one that half of its tasks have or pass.
    """
    import pandas as pd

    from pidflow import stats

    means = []
    for (layer, atom), rows in frame.groupby(["layer", "atom"], sort=False):
        if len(rows) == frame["task"].nunique():
            mean = stats.mean_of_independent([stats.Estimate(*row) for row in rows[["bits", "se", "df"]].to_numpy()])
            low, high = mean.interval()
            means.append((layer, atom, mean.value, low, high, levels.shared(rows["level"])))
    return pd.DataFrame(means, columns=["layer", "atom", "bits", "low", "high", "level"])


def draw_atoms(axes: Axes, rows: pd.DataFrame, *, linestyle="-", band: float = look.BAND, marked: bool = True) -> None:
    """One line per atom over the layers."""
    for atom in ATOMS:
        of_atom = rows[rows["atom"] == atom].sort_values("layer")
        if of_atom.empty:
            continue
        look.draw_curve(
            axes,
            *(of_atom[name].to_numpy() for name in ("layer", "bits", "low", "high")),
            color=look.ATOM_COLORS[atom],
            marker=look.ATOM_MARKERS[atom] if marked else "",
            linestyle=linestyle,
            band=band,
            level=list(of_atom["level"]) if marked else None,
        )


def share_bars(axes: Axes, rows: pd.DataFrame, tasks: Sequence[str], *, whiskers: bool) -> None:
    """Stacked shares at the last layer, the joint information beside each bar."""
    last = rows[rows["layer"] == rows["layer"].max()].set_index(["task", "atom"])
    # Whiskers of thin neighbouring segments would lie on each other, so each atom has its own height.
    heights = np.linspace(-0.24, 0.24, len(ATOMS))
    farthest = 1.0
    for y, task in enumerate(tasks):
        end = 0.0
        for atom, height in zip(ATOMS, heights, strict=True):
            row = last.loc[(task, atom)]
            share = max(0.0, np.nan_to_num(row["share"]))
            axes.barh(y, share, left=end, height=0.72, color=look.ATOM_COLORS[atom], linewidth=0)
            end += share
            half = row["share_high"] - row["share"]
            if whiskers and half > _VISIBLE:
                axes.errorbar(end, y + height, xerr=half, color=look.INK, elinewidth=0.8, capsize=1.3, capthick=0.8)
                farthest = max(farthest, end + half)
    right = farthest + 0.03
    for y, task in enumerate(tasks):
        level = last.loc[[(task, atom) for atom in ATOMS], "level"].max()
        if level != levels.NONE:
            axes.plot(right + 0.005, y, marker="o", color=look.INK, clip_on=False, **look.marked(level))
        joint = last.loc[(task, "mi_joint")]
        error = f" ± {joint['high'] - joint['bits']:.2f}" if whiskers else ""
        _beside(axes, f"{joint['bits']:.2f}{error}", (right, y), axes.transData, va="center")
    _beside(axes, "total (bits)" if whiskers else "bits", (right, 1), axes.get_xaxis_transform(), va="bottom")
    axes.set(xlim=(0, right), ylim=(len(tasks) - 0.4, -0.6), xlabel="share of the joint information")
    axes.spines["bottom"].set_bounds(0, 1)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(range(len(tasks)), tasks)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _beside(axes: Axes, text: str, place: tuple[float, float], transform: Transform, *, va: str) -> None:
    """Text to the right of the bars, clear of the ring that marks a warning."""
    axes.annotate(
        text,
        place,
        (8, 0),
        xycoords=transform,
        textcoords="offset points",
        va=va,
        annotation_clip=False,
        fontsize=6.5,
        color=look.INK,
    )


def mean_label(quantity: str, rows: pd.DataFrame) -> str:
    """Label of an axis of bits, which states whether they are a mean over tasks."""
    tasks = rows["task"].nunique()
    return f"{quantity} (bits)" if tasks == 1 else f"{quantity} (bits, mean of {tasks} tasks)"


def name_axes(figure: Figure, panels: Sequence[Axes], quantity: str) -> None:
    """Label the axes of panels over the layers."""
    figure.supylabel(quantity, fontsize=7.5)
    for axes in panels:
        look.layer_axis(axes)
        if axes.xaxis.get_tick_params()["labelbottom"]:
            axes.set_xlabel(LAYER_LABEL)


def line_keys(conditions: Sequence[str]) -> list[Line2D]:
    """Legend of the line styles; nothing to tell apart when there is one condition."""
    if len(conditions) == 1:
        return []
    return [
        look.key(name, linestyle=style) for name, style in zip(conditions, look.line_styles(conditions), strict=True)
    ]


def reading_keys(*drawn: pd.DataFrame, band: bool = True) -> list:
    """Legend of how to read errors and warnings of the rows that are drawn."""
    found = {level for rows in drawn for level in rows["level"]}
    return [look.band_key() if band else look.whisker_key(), *look.level_keys(found)]
