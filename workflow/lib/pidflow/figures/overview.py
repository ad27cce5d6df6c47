"""The run in three panels: where information sits, what the answer is made of, what the knockout changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pidflow.figures import _parts as parts
from pidflow.figures import _style as look
from pidflow.names import ATOMS, INTACT

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TITLE = "overview"
CAPTION = """
The run in one picture, model *{{ called.model }}*, estimator *{{ called.estimator }}*,
definition *{{ called.definition }}*. **a** Information about the answer at each layer, mean over tasks;
**b** what the last layer's information consists of, task by task, with the joint information in bits and
parts below zero left out{% if called.knockout %}; **c** how the four parts change under *{{ called.knockout }}*, mean
over tasks{% endif %}. Bands are 95 % intervals for the mean of these tasks, not for tasks in general. A small marker
asks for caution, a hollow one says: do not use; a mean is so marked where at least half of its tasks are. Means hide
that tasks differ: see the figures with one panel per task before drawing a conclusion.
"""


@look.styled
def draw(
    pid: pd.DataFrame,
    differences: pd.DataFrame,
    *,
    model: str,
    knockout: str | None,
    estimator: str,
    definition: str,
) -> Figure:
    estimate = {"model": model, "estimator": estimator, "definition": definition}
    intact = parts.estimated(pid, condition=INTACT, **estimate)
    panels = ["where", "what"] + ([] if knockout is None else ["knockout"])
    figure = look.new_figure(look.PAGE, 2.75)
    axes = dict(zip(panels, figure.subplots(1, len(panels), width_ratios=[1.1, 1, 1.1][: len(panels)]), strict=True))
    means = [parts.mean_over_tasks(intact[intact["atom"].isin(ATOMS)])]
    parts.draw_atoms(axes["where"], means[0])
    axes["where"].set_title("a  information by layer", loc="left")
    axes["where"].set_ylabel(parts.mean_label("information", intact))
    parts.share_bars(axes["what"], intact, parts.in_order(intact["task"]), whiskers=False)
    axes["what"].set_title("b  last layer", loc="left")
    if knockout is not None:
        change = parts.estimated(differences, condition=knockout, atom=ATOMS, **estimate)
        means.append(parts.mean_over_tasks(change))
        parts.draw_atoms(axes["knockout"], means[1])
        axes["knockout"].set_title(f"c  under {knockout}", loc="left")
        axes["knockout"].set_ylabel(parts.mean_label("change", change))
    for name in set(panels) - {"what"}:
        look.zero_line(axes[name])
        look.layer_axis(axes[name])
        axes[name].set_xlabel(parts.LAYER_LABEL)
    last = intact[(intact["layer"] == intact["layer"].max()) & intact["atom"].isin(ATOMS)]
    look.legend_below(figure, [*look.atom_keys(ATOMS), *parts.reading_keys(*means, last)])
    return figure
