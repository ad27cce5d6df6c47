"""What a model's layers would predict, read through a lens: the four atoms over the layers, one panel a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pidflow.figures import _levels as levels
from pidflow.figures import _parts as parts
from pidflow.figures import _spectrum as spectra
from pidflow.figures import _style as look
from pidflow.names import ATOMS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from pidflow.figures._registry import Run

TITLE = "spectrum: layers through a lens"
TARGET = "spectrum"
CAPTION = """
What each layer of *{{ called.model }}* would predict, if its last position went through the model's own
final norm and head: the four parts of the information in these predictions, one panel a task; bands are 95 %
intervals over images. No threshold acts on layers. A layer that looks ignorant may write the answer where this head
does not read it; the tuned lens, where the run has it (broken lines), is fitted on the training folds and reads more.
"""


def applies(run: Run, *, model: str) -> bool:
    return bool(run.lenses)


@look.styled
def draw(spectrum: pd.DataFrame, *, model: str) -> Figure:
    of_model = parts.select(spectrum, model=model)
    rows = of_model[of_model["layer"].notna() & of_model["atom"].isin(ATOMS)].assign(level=levels.NONE)
    if rows.empty:
        return spectra.nothing("no layer was read: spectrum_pid.lenses is empty")
    lenses = parts.in_order(rows["lens"])
    figure, panels = look.small_multiples(parts.in_order(rows["task"]))
    for axes, (_, of_task) in zip(panels, rows.groupby("task", sort=False), strict=True):
        for lens, style in zip(lenses, look.line_styles(lenses), strict=True):
            band = look.BAND if lens == lenses[0] else look.BAND / 2
            parts.draw_atoms(axes, of_task[of_task["lens"] == lens], linestyle=style, band=band)
        look.zero_line(axes)
    parts.name_axes(figure, panels, "information (bits)")
    lines = parts.line_keys([spectra.LENS_TITLES[lens] for lens in lenses])
    look.legend_below(figure, [*look.atom_keys(ATOMS), *lines, look.band_key()])
    return figure
