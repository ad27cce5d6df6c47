"""What the answer is made of at the last layer: shares of the joint information, one bar per task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pidflow.figures import _parts as parts
from pidflow.figures import _style as look
from pidflow.names import ATOMS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TITLE = "last layer"
CAPTION = """
What the answer is made of at the last layer of *{{ called.model }}* (*{{ called.condition }}*,
estimator *{{ called.estimator }}*, definition *{{ called.definition }}*): shares of the joint
information, whose size in bits stands beside each bar. A whisker is the 95 % interval of the share that ends at its
middle, from top to bottom in the order of the legend. A dot beside a bar asks for caution about one of its parts, a
ring says: do not use. Parts below zero are left out of the bars. Shares of a small total are unstable, and equal
shares of different totals are not equal amounts.
"""


@look.styled
def draw(pid: pd.DataFrame, *, model: str, condition: str, estimator: str, definition: str) -> Figure:
    rows = parts.estimated(pid, model=model, condition=condition, estimator=estimator, definition=definition)
    tasks = parts.in_order(rows["task"])
    figure = look.new_figure(look.COLUMN * 1.35, 0.27 * len(tasks) + 1.15)
    axes = figure.subplots()
    parts.share_bars(axes, rows, tasks, whiskers=True)
    last = rows[(rows["layer"] == rows["layer"].max()) & rows["atom"].isin(ATOMS)]
    look.legend_below(figure, [*look.atom_patches(ATOMS), *parts.reading_keys(last, band=False)])
    return figure
