"""What each model's predictions consist of: bits of the four atoms, one panel a task, models beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pidflow.figures import _parts as parts
from pidflow.figures import _spectrum as spectra
from pidflow.figures import _style as look
from pidflow.names import ATOMS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TITLE = "spectrum: atoms of predictions"
TARGET = "spectrum"
CAPTION = """
How the information in each model's predicted answer divides: told by picture and words alike (redundant), by the
picture alone, by the words alone, by both together only (synergy). One panel a task, one group of bars a model;
whiskers are 95 % intervals over images. Predictions of a single source come from passes in which the other is
replaced by noise, moved to the label frequencies of the joint predictions before anything is measured. Negative bars
are no mistake of drawing: the joint prediction then knows less than the sources apart.
"""


@look.styled
def draw(spectrum: pd.DataFrame) -> Figure:
    rows = parts.select(spectra.said(spectrum), atom=ATOMS)
    models = parts.in_order(rows["model"])
    figure, panels = look.small_multiples(parts.in_order(rows["task"]))
    places = np.arange(len(models))
    for axes, (_, of_task) in zip(panels, rows.groupby("task", sort=False), strict=True):
        for index, atom in enumerate(ATOMS):
            of_atom = of_task[of_task["atom"] == atom].set_index("model").reindex(models)
            half = of_atom["high"] - of_atom["bits"]
            axes.bar(
                places + (index - 1.5) * 0.2,
                of_atom["bits"],
                width=0.2,
                yerr=half,
                color=look.ATOM_COLORS[atom],
                error_kw={"elinewidth": 0.6, "ecolor": look.INK},
            )
        axes.set_xticks(places, models, rotation=45, ha="right", rotation_mode="anchor")
        look.zero_line(axes)
    figure.supylabel("information (bits)", fontsize=7.5)
    look.legend_below(figure, [*look.atom_patches(ATOMS), look.whisker_key()])
    return figure
