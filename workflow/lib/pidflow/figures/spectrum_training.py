"""Over training: accuracy and the four atoms of predictions, one panel a task and training, phases apart."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from pidflow.figures import _parts as parts
from pidflow.figures import _spectrum as spectra
from pidflow.figures import _style as look
from pidflow.names import ATOMS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from pidflow.figures._registry import Run

TITLE = "spectrum: over training"
TARGET = "spectrum"
CAPTION = """
Atoms of the predictions of checkpoints of one training (bits) and their accuracy (dotted, a share), one panel a task;
the level line below marks where synergy first passes half of its largest value, its width the 95 % interval, which is
never narrower than the two checkpoints around it. Vertical lines part the phases of training.
"""


def applies(run: Run) -> bool:
    return bool(run.trainings)


@look.styled
def draw(training: pd.DataFrame, emergence: pd.DataFrame) -> Figure:
    if training.empty:
        return spectra.nothing("no two checkpoints of one training: models need 'series' and 'step'")
    names = [
        f"{series}: {task}" for series, task in dict.fromkeys(zip(training["series"], training["task"], strict=True))
    ]
    figure, panels = look.small_multiples(names)
    for axes, ((series, task), rows) in zip(panels, training.groupby(["series", "task"], sort=False), strict=True):
        for atom in ATOMS:
            of_atom = rows[rows["number"] == atom].sort_values("step")
            columns = (of_atom[name].to_numpy() for name in ("step", "value", "low", "high"))
            look.draw_curve(axes, *columns, color=look.ATOM_COLORS[atom], marker=look.ATOM_MARKERS[atom])
        right = rows[rows["number"] == "accuracy"].sort_values("step")
        axes.plot(right["step"], right["value"], color=look.INK, linestyle=":")
        phases = right["phase"].fillna("")
        for here, (before, after) in zip(right["step"][1:], pairwise(phases), strict=True):
            if before != after:
                axes.axvline(right["step"][right["step"] < here].max(), color=look.INK, linewidth=0.5, alpha=0.5)
        found = emergence[
            (emergence["series"] == series) & (emergence["task"] == task) & (emergence["number"] == "synergy")
        ]
        for row in found[found["step"].notna()].itertuples():
            axes.plot([row.low, row.high], [-0.04, -0.04], color=look.ATOM_COLORS["synergy"], linewidth=2)
            axes.plot(row.step, -0.04, marker="|", color=look.INK)
        look.zero_line(axes)
        axes.set_xlabel("steps of training")
    figure.supylabel("information (bits), accuracy", fontsize=7.5)
    keys = [*look.atom_keys(parts.in_order(training[training["number"].isin(ATOMS)]["number"]))]
    look.legend_below(figure, [*keys, look.key("accuracy", linestyle=":"), look.band_key()])
    return figure
