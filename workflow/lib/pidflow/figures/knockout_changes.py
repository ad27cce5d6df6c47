"""Change of each atom under one intervention over the layers, one panel per task, its random control broken.

Beside each task stands what the intervention does to its accuracy, which a change of information is read against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pidflow.figures import _parts as parts
from pidflow.figures import _style as look
from pidflow.names import ATOMS, INTACT

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from pidflow.figures._registry import Run

TITLE = "change"
CAPTION = """
Change of each part under *{{ called.condition }}* at each layer of *{{ called.model }}*:
condition minus intact, with 95 % intervals that are paired by image (estimator *{{ called.estimator }}*,
definition *{{ called.definition }}*). Above zero, the intervention leaves more of that part than before.
Broken lines, where the run has them, are the control: other edges cut at random in the same blocks. What solid and
broken lines share is damage; only what lies between them is the effect of this edge (columns ``net_…`` of table
``differences`` have its error). The target of the decomposition is what the model says *under the intervention*, so a
rise does not mean that the model knows more: read it beside the change of accuracy that stands above each panel. (A run
with ``pid.target_from: intact`` shows the change against what the intact model says instead.) A
small marker asks for caution about one of the two numbers, a hollow one says: do not use.
"""


def applies(run: Run, *, model: str, condition: str) -> bool:
    return condition != INTACT


@look.styled
def draw(
    differences: pd.DataFrame,
    answers: pd.DataFrame,
    *,
    model: str,
    condition: str,
    estimator: str,
    definition: str,
) -> Figure:
    rows = parts.estimated(
        differences, model=model, condition=condition, atom=ATOMS, estimator=estimator, definition=definition
    )
    accuracy = parts.select(answers, model=model, condition=condition).set_index("task")
    conditions = [condition, *(name for name in parts.in_order(rows["control"]) if name)]
    solid, broken = look.line_styles(["", ""])
    figure, panels = look.small_multiples(parts.in_order(rows["task"]))
    for axes, (task, of_task) in zip(panels, rows.groupby("task", sort=False), strict=True):
        names = {f"control_{name}": name for name in ("bits", "low", "high")}
        control = of_task[of_task["control"] != ""].drop(columns=names.values()).rename(columns=names)
        parts.draw_atoms(axes, control, linestyle=broken, band=look.BAND / 2, marked=False)
        parts.draw_atoms(axes, of_task, linestyle=solid)
        look.zero_line(axes)
        look.note_above(axes, _accuracy_change(accuracy.loc[task]))
    figure.suptitle(f"{condition} minus {INTACT}", fontsize=7.5)
    parts.name_axes(figure, panels, "change (bits)")
    look.legend_below(figure, [*look.atom_keys(ATOMS), *parts.line_keys(conditions), *parts.reading_keys(rows)])
    return figure


def _accuracy_change(answered: pd.Series) -> str:
    """What an intervention does to the accuracy, with half its 95 % interval."""
    change, half = -answered["accuracy_lost"], answered["accuracy_lost_high"] - answered["accuracy_lost"]
    if change == half == 0:  # no single question changed sides
        return "accuracy unchanged"
    return f"accuracy {change:+z.2f} ± {half:.2f}".replace("-", "−")
