"""The four atoms of several intact models over relative depth, one panel per task; a line style for each model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pidflow.errors import DataError
from pidflow.figures import _parts as parts
from pidflow.figures import _style as look
from pidflow.names import ATOMS, INTACT

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from pidflow.figures._registry import Run

TITLE = "models side by side"
CAPTION = """
The four parts of the information about the answer in {{ called.models | join(", ") }}, intact, one panel per
task (estimator *{{ called.estimator }}*, definition *{{ called.definition }}*). Each model has
a line style; depth is the layer divided by the number of blocks, so that models of different depth can be laid side by
side. Bands are 95 % intervals; a small marker asks for caution, a hollow one says: do not use. Models answer different
questions correctly and have targets of their own, so compare where a part rises and falls rather than its height; each
panel has its own scale. The claim ``trajectories-agree`` puts a number on it.
"""


def applies(run: Run) -> bool:
    return len(run.models) > 1


def choose(run: Run) -> dict:
    """As many models as there are line styles to tell them apart."""
    return {"models": list(run.models[: len(look.LINE_STYLES)])}


@look.styled
def draw(pid: pd.DataFrame, *, models: Sequence[str], estimator: str, definition: str) -> Figure:
    """The figure.

    Raises
    ------
    DataError
        For more models than there are line styles.
    """
    if len(models) > len(look.LINE_STYLES):
        raise DataError(
            f"one figure tells {len(look.LINE_STYLES)} models apart, found {len(models)}: {', '.join(models)}"
        )
    rows = parts.estimated(pid, model=models, condition=INTACT, atom=ATOMS, estimator=estimator, definition=definition)
    rows = rows.assign(layer=rows["layer"] / rows.groupby("model")["layer"].transform("max"))
    figure, panels = look.small_multiples(parts.in_order(rows["task"]), same_heights=False)
    for axes, (_, of_task) in zip(panels, rows.groupby("task", sort=False), strict=True):
        for model, linestyle in zip(models, look.line_styles(models), strict=True):
            parts.draw_atoms(axes, of_task[of_task["model"] == model], linestyle=linestyle, band=look.BAND / 2)
        look.zero_line(axes)
        if axes.xaxis.get_tick_params()["labelbottom"]:
            axes.set_xlabel("layer / number of blocks")
    figure.supylabel("information (bits)", fontsize=7.5)
    look.legend_below(figure, [*look.atom_keys(ATOMS), *parts.line_keys(models), *parts.reading_keys(rows)])
    return figure
