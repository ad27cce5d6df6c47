"""What the change under the knockout depends on, one point per task.

Columns of panels are what changes, rows what it may depend on: the accuracy lost without the image, and the redundant
share of the information. The correlation over tasks above each panel is that of the claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pidflow.figures import _levels as levels
from pidflow.figures import _parts as parts
from pidflow.figures import _style as look
from pidflow.names import ALL_TASKS, INTACT, MIN_TASKS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pidflow.figures._registry import Run

TITLE = "what the change depends on"
CAPTION = """
What the change under *{{ called.knockout }}* depends on, model *{{ called.model }}*, one point
per task (estimator *{{ called.estimator }}*, definition *{{ called.definition }}*). Up: change
of vision-unique information, of synergy and of the joint information, mean over the layers after the input. Along the
upper row: accuracy the task loses when no position after the image can see it, which is how much it depends on vision
(a model left without its image may give an answer that no question allows, and then loses more than guessing would
cost). Along the lower row: redundant share of the intact model's information over the same layers. Whiskers are 95 %
intervals. Above each panel stands the correlation over tasks with its 95 % interval; the tasks are the sample, so few
of them establish little, and errors of measurement pull it to zero. Errors that share and change have in common are
taken off. The point of a task with warnings at half of its layers or more is small.
"""


def applies(run: Run, *, model: str) -> bool:
    return None not in (run.knockout, run.blind) and len(run.tasks) >= MIN_TASKS


@look.styled
def draw(
    dependence: pd.DataFrame, claims: pd.DataFrame, *, model: str, knockout: str, estimator: str, definition: str
) -> Figure:
    from pidflow.analysis.dependence import EFFECTS
    from pidflow.analysis.targets import of_one_target

    estimate = {"model": model, "estimator": estimator, "definition": definition}
    rows = parts.estimated(dependence, condition=knockout, **estimate)
    judged = of_one_target(parts.select(claims, task=ALL_TASKS, **estimate)).set_index("id")
    tasks = parts.in_order(rows["task"])
    figure = look.new_figure(look.PAGE, 4.4)
    panels = figure.subplots(2, len(EFFECTS), sharex="row", sharey="col", squeeze=False)
    for row, (moderator, (label, statements)) in zip(panels, _moderators().items(), strict=True):
        for axes, quantity in zip(row, EFFECTS, strict=True):
            of_effect = rows[rows["atom"] == quantity]
            _task_points(axes, of_effect, tasks, moderator, color=look.EFFECT_COLORS[quantity])
            look.zero_line(axes)
            look.few_ticks(axes.yaxis)
            axes.set_title(look.EFFECT_LABELS[quantity], loc="left")
            look.note_above(axes, _correlation(judged.loc[statements[quantity].id]))
            axes.set_xlabel(label)
        row[0].set_ylabel("change (bits)")
    figure.suptitle(f"{knockout} minus {INTACT}, mean over the layers after the input", fontsize=7.5)
    look.legend_below(figure, [*look.case_keys(tasks), *parts.reading_keys(rows, band=False)])
    return figure


def _moderators() -> dict[str, tuple[str, dict]]:
    """What an effect may depend on: column of the table, label of the axis, and the claims that judge it."""
    from pidflow.analysis.claims import DEPENDENCE_STATEMENTS, REDUNDANCY_STATEMENTS
    from pidflow.analysis.dependence import LOST, REDUNDANT

    return {
        LOST: ("accuracy lost without the image", DEPENDENCE_STATEMENTS),
        REDUNDANT: ("redundant share, intact", REDUNDANCY_STATEMENTS),
    }


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
            elinewidth=0.7,
            zorder=3 if row["level"] == levels.DO_NOT_USE else 4,  # a hollow one would hide what lies below
            **look.marked(row["level"], 5.5),
        )


def _correlation(claim: pd.Series) -> str:
    """A correlation over tasks with its interval."""
    if not np.isfinite(claim["estimate"]):
        return "correlation not known"
    value, low, high = (f"{claim[name]:z.2f}".replace("-", "−") for name in ("estimate", "low", "high"))
    return f"r = {value} ({low} to {high})"
