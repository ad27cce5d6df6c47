"""Probability that each layer already gives to the model's own answer, one panel per task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pidflow.figures import _parts as parts
from pidflow.figures import _style as look
from pidflow.names import INTACT

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TITLE = "logit lens"
CAPTION = """
Probability that the final norm and unembedding, applied to each layer of *{{ called.model }}*, give to the
model's own answer (logit lens at the last position), one panel per task; the band is a 95 % interval over images. The
layer where a curve rises is where the answer becomes readable in the output vocabulary. It may be decided earlier, in
a form the lens cannot read, and under a cut the answer followed is the one given under the cut.
"""


@look.styled
def draw(lens: pd.DataFrame, *, model: str) -> Figure:
    rows = parts.select(lens, model=model)
    conditions = parts.in_order(rows["condition"], first=INTACT)
    styles = list(zip(conditions, look.condition_colors(conditions), look.line_styles(conditions), strict=True))
    figure, panels = look.small_multiples(parts.in_order(rows["task"]))
    for axes, (_, of_task) in zip(panels, rows.groupby("task", sort=False), strict=True):
        for condition, color, linestyle in styles:
            curve = of_task[of_task["condition"] == condition].sort_values("layer")
            if len(curve):
                columns = (curve[name].to_numpy() for name in ("layer", "probability", "low", "high"))
                look.draw_curve(axes, *columns, color=color, linestyle=linestyle)
        axes.set_ylim(-0.03, 1.03)
    parts.name_axes(figure, panels, "logit-lens probability of the answer")
    keys = [look.key(name, color=color, linestyle=line, marker="o") for name, color, line in styles]
    look.legend_below(figure, [*keys, look.band_key()])
    return figure
