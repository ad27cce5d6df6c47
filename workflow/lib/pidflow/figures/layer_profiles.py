"""The four atoms over the layers, one panel per task: intact solid, another condition in broken lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pidflow.figures import _parts as parts
from pidflow.figures import _style as look
from pidflow.names import ATOMS, INTACT

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from pidflow.figures._registry import Run

TITLE = "layer profiles"
CAPTION = """
The four parts of the information about the answer at each layer of *{{ called.model }}*, one panel per
task (estimator *{{ called.estimator }}*, definition *{{ called.definition }}*). Solid lines
are the intact model, broken lines the same model under the knockout or, in a run without it, under another condition;
bands are 95 % intervals. A small marker asks for caution, a hollow one says: do not use. Heights can be compared
between parts and layers of a panel. A part that falls with depth has not left the model: it may have moved to the
other modality's tokens, where it counts as redundant or language-unique.
"""


def choose(run: Run) -> dict:
    """Intact, and what one picture can hold beside it: the knockout, or else the first other condition."""
    others = [condition for condition in run.conditions if condition != INTACT]
    return {"conditions": [INTACT, *([run.knockout] if run.knockout else others[:1])]}


@look.styled
def draw(pid: pd.DataFrame, *, model: str, conditions: Sequence[str], estimator: str, definition: str) -> Figure:
    rows = parts.estimated(
        pid, model=model, condition=conditions, atom=ATOMS, estimator=estimator, definition=definition
    )
    conditions = parts.in_order(rows["condition"], first=INTACT)
    figure, panels = look.small_multiples(parts.in_order(rows["task"]))
    for axes, (_, of_task) in zip(panels, rows.groupby("task", sort=False), strict=True):
        for condition, linestyle in zip(conditions, look.line_styles(conditions), strict=True):
            band = look.BAND if condition == INTACT else look.BAND / 2
            parts.draw_atoms(axes, of_task[of_task["condition"] == condition], linestyle=linestyle, band=band)
        look.zero_line(axes)
    parts.name_axes(figure, panels, "information (bits)")
    look.legend_below(figure, [*look.atom_keys(ATOMS), *parts.line_keys(conditions), *parts.reading_keys(rows)])
    return figure
