"""Figures of a run: tidy tables in (:mod:`pidflow.analysis.tables`), matplotlib figures out, one idea each.

Bands and whiskers are 95 % intervals of the tables. A hollow marker says that the estimate carries a warning: the union
information was clipped, a critic found information the estimate misses, or the estimator said so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from matplotlib.transforms import Transform

from pidflow.analysis.claims import DEPENDENCE_STATEMENTS, REDUNDANCY_STATEMENTS
from pidflow.analysis.dependence import EFFECTS, LOST, REDUNDANT
from pidflow.errors import DataError
from pidflow.figures import style as look
from pidflow.names import ATOMS, INTACT

LAYER_LABEL = "layer (0: embedding output)"
# Shorter whiskers than this share would be specks.
_VISIBLE = 0.002
# Of the statistic corrected for estimated mean and variance, at 5 % (D'Agostino and Stephens 1986, table 4.9).
CRITICAL_ANDERSON_DARLING = 0.752
# What an effect may depend on, and the claims that say so.
MODERATORS = {
    LOST: ("accuracy lost without the image", DEPENDENCE_STATEMENTS),
    REDUNDANT: ("redundant share, intact", REDUNDANCY_STATEMENTS),
}


@look.styled
def layer_profiles(
    pid: pd.DataFrame,
    *,
    model: str,
    conditions: Sequence[str] | None = None,
    estimator: str = "flow",
    definition: str = "broja",
) -> Figure:
    """The four atoms over the layers, one panel per task; intact solid, other conditions (None: all) broken lines."""
    found = select(pid, model=model, estimator=estimator, definition=definition, atom=ATOMS)
    found = found if conditions is None else select(found, condition=conditions)
    conditions = in_order(found["condition"], first=INTACT)
    figure, panels = look.small_multiples(in_order(found["task"]))
    for axes, (_, of_task) in zip(panels, found.groupby("task", sort=False), strict=True):
        for condition, linestyle in zip(conditions, look.line_styles(conditions), strict=True):
            band = look.BAND if condition == INTACT else look.BAND / 2
            _atoms(axes, of_task[of_task["condition"] == condition], linestyle=linestyle, band=band)
        look.zero_line(axes)
    _name_axes(figure, panels, "information (bits)")
    look.legend_below(figure, [*look.atom_handles(ATOMS), *_lines(conditions), *_reading(found)])
    return figure


@look.styled
def model_profiles(
    pid: pd.DataFrame, *, models: Sequence[str], estimator: str = "flow", definition: str = "broja"
) -> Figure:
    """The four atoms of intact models over relative depth, one panel per task; a line style for each model.

    Raises
    ------
    DataError
        For more models than there are line styles.
    """
    if len(models) > len(look.LINE_STYLES):
        raise DataError(
            f"one figure tells {len(look.LINE_STYLES)} models apart, found {len(models)}: {', '.join(models)}"
        )
    found = select(pid, condition=INTACT, estimator=estimator, definition=definition, atom=ATOMS, model=models)
    found = found.assign(layer=found["layer"] / found.groupby("model")["layer"].transform("max"))
    figure, panels = look.small_multiples(in_order(found["task"]), same_heights=False)
    for axes, (_, of_task) in zip(panels, found.groupby("task", sort=False), strict=True):
        for model, linestyle in zip(models, look.line_styles(models), strict=True):
            _atoms(axes, of_task[of_task["model"] == model], linestyle=linestyle, band=look.BAND / 2)
        look.zero_line(axes)
        if axes.xaxis.get_tick_params()["labelbottom"]:
            axes.set_xlabel("layer / number of blocks")
    figure.supylabel("information (bits)", fontsize=7.5)
    look.legend_below(figure, [*look.atom_handles(ATOMS), *_lines(models), *_reading(found)])
    return figure


@look.styled
def fingerprint(
    pid: pd.DataFrame, *, model: str, condition: str = INTACT, estimator: str = "flow", definition: str = "broja"
) -> Figure:
    """What the answer is made of at the last layer: shares of the joint information, one bar per task."""
    found = select(pid, model=model, condition=condition, estimator=estimator, definition=definition)
    tasks = in_order(found["task"])
    figure = look.new_figure(look.COLUMN * 1.35, 0.27 * len(tasks) + 1.15)
    axes = figure.subplots()
    _share_bars(axes, found, tasks, whiskers=True)
    last = found[found["layer"] == found["layer"].max()]
    look.legend_below(figure, [*look.atom_patches(ATOMS), *_reading(last[last["atom"].isin(ATOMS)], band=False)])
    return figure


@look.styled
def knockout_changes(
    differences: pd.DataFrame,
    answers: pd.DataFrame,
    *,
    model: str,
    condition: str,
    estimator: str = "flow",
    definition: str = "broja",
) -> Figure:
    """Change of each atom under one intervention over the layers, one panel per task, its random control broken.

    Beside each task stands what the intervention does to its accuracy, which a change of information is read against.
    """
    found = select(
        differences, model=model, condition=condition, estimator=estimator, definition=definition, atom=ATOMS
    )
    accuracy = select(answers, model=model, condition=condition).set_index("task")
    conditions = [condition, *(name for name in in_order(found["control"]) if name)]
    solid, broken = look.line_styles(["", ""])
    figure, panels = look.small_multiples(in_order(found["task"]))
    for axes, (task, of_task) in zip(panels, found.groupby("task", sort=False), strict=True):
        names = {f"control_{name}": name for name in ("bits", "low", "high")}
        control = of_task[of_task["control"] != ""].drop(columns=names.values()).rename(columns=names)
        _atoms(axes, control, linestyle=broken, band=look.BAND / 2, marked=False)
        _atoms(axes, of_task, linestyle=solid)
        look.zero_line(axes)
        look.note_above(axes, _accuracy_change(accuracy.loc[task]))
    figure.suptitle(f"{condition} minus {INTACT}", fontsize=7.5)
    _name_axes(figure, panels, "change (bits)")
    look.legend_below(figure, [*look.atom_handles(ATOMS), *_lines(conditions), *_reading(found)])
    return figure


@look.styled
def dependence(
    dependence: pd.DataFrame, claims: pd.DataFrame, *, model: str, estimator: str = "flow", definition: str = "broja"
) -> Figure:
    """What the change under the knockout depends on, one point per task.

    Columns of panels are what changes, rows what it may depend on: the accuracy lost without the image, and the
    redundant share of the information. The correlation over tasks above each panel is that of the claims.
    """
    found = select(dependence, model=model, estimator=estimator, definition=definition)
    judged = select(claims, model=model, estimator=estimator, definition=definition).set_index("id")
    tasks = in_order(found["task"])
    figure = look.new_figure(look.PAGE, 4.4)
    panels = figure.subplots(len(MODERATORS), len(EFFECTS), sharex="row", sharey="col", squeeze=False)
    for row, (moderator, (label, statements)) in zip(panels, MODERATORS.items(), strict=True):
        for axes, quantity in zip(row, EFFECTS, strict=True):
            of_effect = found[found["atom"] == quantity]
            _task_points(axes, of_effect, tasks, moderator, color=look.EFFECT_COLORS[quantity])
            look.zero_line(axes)
            axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
            axes.set_title(look.EFFECT_LABELS[quantity], loc="left")
            look.note_above(axes, _correlation(judged.loc[statements[quantity].id]))
            axes.set_xlabel(label)
        row[0].set_ylabel("change (bits)")
    figure.suptitle(f"{found['condition'].iloc[0]} minus {INTACT}, mean over the layers behind the input", fontsize=7.5)
    look.legend_below(figure, [*look.case_handles(tasks), *_reading(found, band=False)])
    return figure


@look.styled
def lens_courses(lens: pd.DataFrame, *, model: str) -> Figure:
    """Probability that each layer already gives to the model's own answer, one panel per task."""
    found = select(lens, model=model)
    conditions = in_order(found["condition"], first=INTACT)
    styles = list(zip(conditions, look.condition_colors(conditions), look.line_styles(conditions), strict=True))
    figure, panels = look.small_multiples(in_order(found["task"]))
    for axes, (_, of_task) in zip(panels, found.groupby("task", sort=False), strict=True):
        for condition, color, linestyle in styles:
            rows = of_task[of_task["condition"] == condition].sort_values("layer")
            if len(rows):
                courses = (rows[name].to_numpy() for name in ("layer", "probability", "low", "high"))
                look.draw_course(axes, *courses, color=color, linestyle=linestyle)
        axes.set_ylim(-0.03, 1.03)
    _name_axes(figure, panels, "logit-lens probability of the answer")
    handles = [Line2D([], [], color=color, linestyle=line, marker="o", label=name) for name, color, line in styles]
    look.legend_below(figure, [*handles, look.band_handle()])
    return figure


@look.styled
def calibration(scorecard: pd.DataFrame, *, definition: str = "broja") -> Figure:
    """Estimated against true atoms on planted cases, a panel an estimator; hollow: failed, half: announced."""
    found = select(scorecard, definition=definition, atom=ATOMS).dropna(subset=["truth", "bits"])
    estimators, cases = in_order(found["estimator"]), in_order(found["case"])
    handles = [*look.atom_patches(ATOMS), *look.case_handles(cases)]
    if (found["passed"] & ~found["within"]).any():
        handles.append(look.half_handle("off, but flagged"))
    if not found["passed"].all():
        handles.append(look.warning_handle("failed"))
    figure = look.new_figure(2.4 * len(estimators), 3.3)
    panels = figure.subplots(1, len(estimators), sharex=True, sharey=True, squeeze=False)[0]
    bars = [found["bits"] + side * 1.96 * found["se"] for side in (-1, 1)]
    low, high = min(0, found["truth"].min(), bars[0].min()), max(found["truth"].max(), bars[1].max())
    margin = 0.04 * (high - low)
    for axes, estimator in zip(panels, estimators, strict=True):
        axes.axline((0, 0), slope=1, color=look.FAINT, linewidth=0.6, zorder=0)
        rows = found[found["estimator"] == estimator]
        for row in rows.itertuples():
            color = look.ATOM_COLORS[row.atom]
            axes.errorbar(
                row.truth,
                row.bits,
                yerr=1.96 * row.se,
                fmt=look.case_marker(cases.index(row.case)),
                color=color,
                markerfacecolor=color if row.passed else "white",
                markerfacecoloralt="white",
                fillstyle="full" if row.within or not row.passed else "left",
                elinewidth=0.7,
                zorder=3,
            )
        passed = rows.groupby("case")["passed"].all()
        axes.set_title(f"{estimator}: {passed.sum()} of {len(passed)} cases passed", loc="left")
        axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal", anchor="N")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_xlabel("true (bits)")
    panels[0].set_ylabel("estimated (bits)")
    look.legend_below(figure, handles)
    return figure


@look.styled
def latent_gaussianity(gaussianity: pd.DataFrame, *, model: str) -> Figure:
    """Distance from a normal distribution before and after the flow, over the layers."""
    found = select(gaussianity, model=model)
    figure = look.new_figure(look.PAGE * 0.85, 2.85)
    marginal, joint = figure.subplots(1, 2)
    marginal.set(yscale="log", ylabel="Anderson-Darling, column mean")
    marginal.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    joint.set(ylabel="Mardia kurtosis relative to a normal")
    for axes, statistic in ((marginal, "anderson_darling"), (joint, "kurtosis")):
        for (block, at), rows in found[found["statistic"] == statistic].groupby(["block", "at"]):
            over = rows.groupby("layer")["value"].agg(["mean", "min", "max"])
            look.draw_course(
                axes,
                *(values.to_numpy() for values in (over.index, over["mean"], over["min"], over["max"])),
                color=look.BLOCK_COLORS[block],
                linestyle=look.LINE_STYLES[0 if at == "latent" else 1],
                band=look.BAND / 2,
            )
        axes.set_xlabel(LAYER_LABEL)
        look.layer_axis(axes)
    look.reference_line(marginal, CRITICAL_ANDERSON_DARLING, "5 % test")
    look.reference_line(joint, 1, "normal")
    handles = [
        Line2D([], [], color=look.BLOCK_COLORS[b], marker="o", label=b) for b in ("vision", "language", "target")
    ]
    handles += [
        Line2D([], [], color=look.INK, linestyle=look.LINE_STYLES[i], label=label)
        for i, label in ((1, "before the flow"), (0, "after"))
    ]
    look.legend_below(figure, [*handles, look.band_handle("range over tasks")])
    return figure


@look.styled
def overview(
    pid: pd.DataFrame,
    differences: pd.DataFrame,
    *,
    model: str,
    knockout: str | None,
    estimator: str = "flow",
    definition: str = "broja",
) -> Figure:
    """The story in three panels: where information sits, what the answer is made of, what the knockout changes."""
    intact = select(pid, model=model, condition=INTACT, estimator=estimator, definition=definition)
    panels = ["where", "what"] + ([] if knockout is None else ["knockout"])
    tasks = in_order(intact["task"])
    figure = look.new_figure(look.PAGE, 2.75)
    axes = dict(zip(panels, figure.subplots(1, len(panels), width_ratios=[1.1, 1, 1.1][: len(panels)]), strict=True))
    _atoms(axes["where"], mean_over_tasks(intact[intact["atom"].isin(ATOMS)]))
    axes["where"].set_title("a  information by layer", loc="left")
    axes["where"].set_ylabel(_mean_label("information", intact))
    _share_bars(axes["what"], intact, tasks, whiskers=False)
    axes["what"].set_title("b  last layer", loc="left")
    if knockout is not None:
        change = select(
            differences, model=model, condition=knockout, estimator=estimator, definition=definition, atom=ATOMS
        )
        _atoms(axes["knockout"], mean_over_tasks(change))
        axes["knockout"].set_title(f"c  {knockout}", loc="left")
        axes["knockout"].set_ylabel(_mean_label("change", change))
    for name in set(panels) - {"what"}:
        look.zero_line(axes[name])
        look.layer_axis(axes[name])
        axes[name].set_xlabel(LAYER_LABEL)
    look.legend_below(figure, [*look.atom_handles(ATOMS), *_reading(intact[intact["atom"].isin(ATOMS)])])
    return figure


def select(frame: pd.DataFrame, **wanted: str | Sequence[str]) -> pd.DataFrame:
    """Rows in which every named column has the wanted value, or one of them.

    Raises
    ------
    DataError
        When there is none, naming the first column that is to blame and what it has.
    """
    for name, value in wanted.items():
        values = [value] if isinstance(value, str) else list(value)
        kept = frame[frame[name].isin(values)]
        if kept.empty:
            there = ", ".join(sorted(frame[name].astype(str).unique())) or "no rows at all"
            raise DataError(f"nothing to draw: no row has {name} '{', '.join(values)}'; the table has {there}")
        frame = kept
    return frame


def in_order(values: pd.Series, *, first: str | None = None) -> list[str]:
    """Distinct values in order of appearance, `first` in front."""
    found = list(dict.fromkeys(values))
    return sorted(found, key=lambda value: value != first) if first else found


def mean_over_tasks(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean over tasks at each layer where all tasks have a value; tasks are independent, so variances add up.

    Columns ``layer, atom, bits, low, high, warning``; a mean carries a warning when half of its tasks do.
    """
    marked = frame.assign(square=(frame["high"] - frame["bits"]) ** 2, warned=frame["warning"] != "")
    grouped = marked.groupby(["layer", "atom"], sort=False)
    mean = grouped.agg(
        bits=("bits", "mean"), square=("square", "sum"), count=("task", "size"), warned=("warned", "mean")
    )
    mean = mean[mean["count"] == frame["task"].nunique()].reset_index()
    half = np.sqrt(mean["square"]) / mean["count"]
    warning = np.where(mean["warned"] >= 0.5, "in half of the tasks", "")
    return mean[["layer", "atom", "bits"]].assign(low=mean["bits"] - half, high=mean["bits"] + half, warning=warning)


def _atoms(axes: Axes, rows: pd.DataFrame, *, linestyle="-", band: float = look.BAND, marked: bool = True) -> None:
    """One line per atom over the layers."""
    for atom in ATOMS:
        of_atom = rows[rows["atom"] == atom].sort_values("layer")
        if of_atom.empty:
            continue
        look.draw_course(
            axes,
            *(of_atom[name].to_numpy() for name in ("layer", "bits", "low", "high")),
            color=look.ATOM_COLORS[atom],
            marker=look.ATOM_MARKERS[atom] if marked else "",
            linestyle=linestyle,
            band=band,
            warned=(of_atom["warning"] != "").to_numpy() if marked else None,
        )


def _task_points(axes: Axes, rows: pd.DataFrame, tasks: Sequence[str], moderator: str, *, color: str) -> None:
    """One point per task with its errors both ways; tasks that lack either number have none."""
    for row in rows.dropna(subset=["bits", moderator]).to_dict("records"):
        x, y = row[moderator], row["bits"]
        axes.errorbar(
            x,
            y,
            xerr=[[x - row[f"{moderator}_low"]], [row[f"{moderator}_high"] - x]],
            yerr=[[y - row["low"]], [row["high"] - y]],
            fmt=look.case_marker(tasks.index(row["task"])),
            color=color,
            markerfacecolor="white" if row["warning"] else color,
            markersize=4.5,
            elinewidth=0.7,
            zorder=3 if row["warning"] else 4,  # a hollow one would hide what lies below
        )


def _correlation(claim: pd.Series) -> str:
    """A correlation over tasks with its interval."""
    if not np.isfinite(claim["estimate"]):
        return "correlation not known"
    value, low, high = (f"{claim[name]:z.2f}".replace("-", "−") for name in ("estimate", "low", "high"))
    return f"r = {value} ({low} to {high})"


def _accuracy_change(answered: pd.Series) -> str:
    """What an intervention does to the accuracy, with half its 95 % interval."""
    change, half = -answered["accuracy_lost"], answered["accuracy_lost_high"] - answered["accuracy_lost"]
    if change == half == 0:  # no single question changed sides
        return "accuracy unchanged"
    return f"accuracy {change:+z.2f} ± {half:.2f}".replace("-", "−")


def _share_bars(axes: Axes, found: pd.DataFrame, tasks: Sequence[str], *, whiskers: bool) -> None:
    """Stacked shares at the last layer, the joint information beside each bar."""
    last = found[found["layer"] == found["layer"].max()].set_index(["task", "atom"])
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
        if (last.loc[[(task, atom) for atom in ATOMS], "warning"] != "").any():
            axes.plot(right + 0.005, y, marker="o", color=look.INK, markerfacecolor="white", clip_on=False)
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


def _mean_label(quantity: str, rows: pd.DataFrame) -> str:
    tasks = rows["task"].nunique()
    return f"{quantity} (bits)" if tasks == 1 else f"{quantity} (bits, mean of {tasks} tasks)"


def _name_axes(figure: Figure, panels: Sequence[Axes], quantity: str) -> None:
    figure.supylabel(quantity, fontsize=7.5)
    for axes in panels:
        look.layer_axis(axes)
        if axes.xaxis.get_tick_params()["labelbottom"]:
            axes.set_xlabel(LAYER_LABEL)


def _lines(conditions: Sequence[str]) -> list[Line2D]:
    """Legend of the line styles; nothing to tell apart when there is one condition."""
    if len(conditions) == 1:
        return []
    styles = zip(conditions, look.line_styles(conditions), strict=True)
    return [Line2D([], [], color=look.INK, linestyle=style, label=name) for name, style in styles]


def _reading(rows: pd.DataFrame, *, band: bool = True) -> list:
    """Legend of how to read errors and warnings."""
    handles = [look.band_handle()] if band else [look.whisker_handle()]
    return [*handles, look.warning_handle()] if (rows["warning"] != "").any() else handles
