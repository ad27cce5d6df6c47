"""The look of all figures: one colour per atom, drawn and saved the same on every machine.

Figures are built without pyplot, so nothing global is touched, and rendered by Agg or as SVG with fixed ids and no
dates: equal tables give equal files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

from pidflow.figures import _levels as levels

if TYPE_CHECKING:  # figure files are read for what they declare, by processes that draw nothing
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

COLUMN, PAGE = 3.5, 7.2  # widths in inches of one column and of a page

# The palette of Okabe and Ito, which survives every common colour blindness; markers repeat the distinction in print.
ATOM_COLORS = {
    "redundancy": "#808080",
    "unique_vision": "#0072B2",
    "unique_language": "#E08A00",
    "synergy": "#009E73",
}
ATOM_MARKERS = {"redundancy": "D", "unique_vision": "o", "unique_language": "s", "synergy": "^"}
ATOM_LABELS = {
    "redundancy": "redundant",
    "unique_vision": "vision-unique",
    "unique_language": "language-unique",
    "synergy": "synergy",
}
EFFECT_COLORS = {
    "unique_vision": ATOM_COLORS["unique_vision"],
    "synergy": ATOM_COLORS["synergy"],
    "mi_joint": "#333333",
}
EFFECT_LABELS = {"unique_vision": ATOM_LABELS["unique_vision"], "synergy": "synergy", "mi_joint": "total"}
BLOCK_COLORS = {"vision": "#0072B2", "language": "#E08A00", "target": "#333333", "all": "#333333"}
CONDITION_COLORS = ("#222222", "#CC79A7", "#8C5E2A", "#7B4EA3", "#56B4E9", "#D55E00")
CASE_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "h", "*", "p")
LINE_STYLES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
INK, FAINT = "#333333", "#999999"
BAND = 0.18  # opacity
MANY_LAYERS = 16  # beyond this only layers with a warning have a marker

_RC = {
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "figure.titlesize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.titlepad": 4,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.2,
    "lines.markeredgewidth": 0.8,
    "savefig.dpi": 220,
    "svg.hashsalt": "pidflow",
    "svg.fonttype": "path",
}
# Nothing in a file may differ from run to run.
_METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw a figure in this style, whatever the caller's matplotlib settings."""

    @wraps(draw)
    def drawn(*tables, **options) -> Figure:
        from matplotlib import style

        with style.context(["default", _RC]):
            return draw(*tables, **options)

    return drawn


FORMATS = tuple(_METADATA)


def render(figure: Figure, path: Path, *, suffix: str) -> None:
    """Write a figure as ``svg`` or ``png``, without anything that changes from run to run."""
    from matplotlib import style

    with style.context(["default", _RC]):
        figure.savefig(path, format=suffix, metadata=_METADATA[suffix])


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches, that keeps its parts from overlapping."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.04, hspace=0.04)
    return figure


def small_multiples(titles: Sequence[str], *, same_heights: bool = True) -> tuple[Figure, list[Axes]]:
    """One panel per title, up to three a row, all on the same scales, or each with its own for heights."""
    columns = 2 if len(titles) == 4 else min(3, len(titles))  # four leave no hole in two rows of two
    rows = -(-len(titles) // columns)
    width = PAGE if columns == 3 else COLUMN * columns
    figure = new_figure(width, (1.45 if rows > 1 else 1.8) * rows + 0.85)
    grid = figure.subplots(rows, columns, sharex=True, sharey=same_heights, squeeze=False)
    panels = list(grid.flat)
    for axes in panels[len(titles) :]:
        axes.remove()
    for i, (axes, title) in enumerate(zip(panels, titles, strict=False)):
        axes.set_title(title, loc="left")
        # A panel whose lower neighbour was removed shows the layers itself.
        axes.tick_params(labelbottom=i + columns >= len(titles), labelleft=not same_heights or i % columns == 0)
    return figure, panels[: len(titles)]


def draw_curve(
    axes: Axes,
    layers,
    value,
    low,
    high,
    *,
    color: str,
    marker: str = "o",
    linestyle="-",
    level=None,
    band: float = BAND,
) -> None:
    """A quantity over the layers with its 95 % band.

    Markers show the level of warning of each layer (:mod:`pidflow.figures._levels`): small is caution, hollow is do not
    use. Beyond `MANY_LAYERS` only these two have markers.
    """
    axes.fill_between(layers, low, high, color=color, alpha=band, linewidth=0)
    axes.plot(layers, value, color=color, linestyle=linestyle)
    if level is None:
        level = [levels.NONE] * len(layers)
    for each in levels.LEVELS:
        here = [at for at, found in enumerate(level) if found == each]
        if here and (each != levels.NONE or len(layers) <= MANY_LAYERS):
            look = {"color": color, "linestyle": "none", "marker": marker}
            axes.plot([layers[at] for at in here], [value[at] for at in here], **look | marked(each))


def marked(level: int, size: float | None = None) -> dict:
    """How the marker of a level of warning differs; `size` is that of a marker without one, if not the usual."""
    size = _RC["lines.markersize"] if size is None else size
    looks = {
        levels.NONE: {"markersize": size},
        levels.CAUTION: {"markersize": 0.5 * size},
        levels.DO_NOT_USE: {"markersize": size, "markerfacecolor": "white"},
    }
    return looks[level]


def layer_axis(axes: Axes) -> None:
    """Whole numbers only, and no empty margin that suggests layers beyond the last."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))


def few_ticks(axis: Axis) -> None:
    """Five intervals at most."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=5))


def ticks_between(low: float, high: float) -> list[float]:
    """A few round numbers about from `low` to `high`."""
    from matplotlib.ticker import MaxNLocator

    return list(MaxNLocator(nbins=5).tick_values(low, high))


def percent_axis(axes: Axes) -> None:
    """Heights as percentages."""
    from matplotlib.ticker import PercentFormatter

    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def zero_line(axes: Axes) -> None:
    axes.axhline(0, color=FAINT, linewidth=0.6, zorder=0)


def note_above(axes: Axes, text: str) -> None:
    """A remark at the right end of the line below a panel's title."""
    axes.set_title(axes.get_title(loc="left") + "\n", loc="left")
    axes.set_title(text, loc="right", fontsize=6.5, color=INK)


def reference_line(axes: Axes, height: float, text: str) -> None:
    """A faint level with its name after the right end."""
    axes.axhline(height, color=FAINT, linewidth=0.6, zorder=0)
    axes.annotate(
        text,
        (1, height),
        (3, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="center",
        annotation_clip=False,
        fontsize=6.5,
        color=INK,
    )


def key(label: str, **look) -> Line2D:
    """An entry of a legend that shows a line or a marker."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **{"color": INK} | look, label=label)


def patch_key(label: str, **look) -> Patch:
    """An entry of a legend that shows an area."""
    from matplotlib.patches import Patch

    return Patch(**{"linewidth": 0} | look, label=label)


def atom_keys(atoms: Sequence[str]) -> list[Line2D]:
    return [key(ATOM_LABELS[atom], color=ATOM_COLORS[atom], marker=ATOM_MARKERS[atom]) for atom in atoms]


def atom_patches(atoms: Sequence[str]) -> list[Patch]:
    return [patch_key(ATOM_LABELS[atom], color=ATOM_COLORS[atom]) for atom in atoms]


def line_styles(conditions: Sequence[str]) -> list:
    """A line style per condition, the first one solid; they repeat after the fourth."""
    return [LINE_STYLES[i % len(LINE_STYLES)] for i in range(len(conditions))]


def condition_colors(conditions: Sequence[str]) -> list[str]:
    """A colour per condition; they repeat after the sixth, then with another line style."""
    return [CONDITION_COLORS[i % len(CONDITION_COLORS)] for i in range(len(conditions))]


def case_marker(index: int) -> str:
    return CASE_MARKERS[index % len(CASE_MARKERS)]


def case_keys(cases: Sequence[str]) -> list[Line2D]:
    return [key(case, linestyle="none", marker=case_marker(place)) for place, case in enumerate(cases)]


def band_key(text: str = "95 % interval") -> Patch:
    return patch_key(text, color=FAINT, alpha=2 * BAND)


def whisker_key() -> Line2D:
    return key("95 % interval", linewidth=0.8, marker="|", markersize=4)


def level_keys(found: Sequence[int]) -> list[Line2D]:
    """What the markers of the levels of warning mean, of those that are there."""
    return [
        key(levels.WORDS[level], linestyle="none", marker="o", **marked(level))
        for level in levels.LEVELS
        if level != levels.NONE and level in found
    ]


def hollow_key(text: str) -> Line2D:
    return key(text, linestyle="none", marker="o", markerfacecolor="white")


def half_key(text: str) -> Line2D:
    return key(text, linestyle="none", marker="o", markerfacecoloralt="white", fillstyle="left")


def legend_below(figure: Figure, keys: Sequence) -> None:
    """One legend for the whole figure, outside the panels, in as few rows as its width allows."""
    width = figure.get_figwidth()
    fits = [n for n in range(1, len(keys) + 1) if _legend_width(keys, n) <= width]
    rows = -(-len(keys) // max(fits, default=1))
    figure.legend(handles=keys, loc="outside lower center", ncols=-(-len(keys) // rows), columnspacing=1.4)


def _legend_width(keys: Sequence, columns: int) -> float:
    """About how wide in inches a legend is; entries run down the columns."""
    rows = -(-len(keys) // columns)
    longest = [max(len(h.get_label()) for h in keys[i : i + rows]) for i in range(0, len(keys), rows)]
    return sum(0.5 + 0.056 * length for length in longest)
