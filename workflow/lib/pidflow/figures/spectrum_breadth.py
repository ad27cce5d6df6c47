"""Over models: accuracy against synergy, language-unique bits and the accuracy-delta baseline; rows are tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pidflow.figures import _parts as parts
from pidflow.figures import _style as look

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TITLE = "spectrum: many models"
TARGET = "spectrum"
CAPTION = """
Accuracy of each model against synergy, language-unique information and, as a baseline that needs no decomposition,
the accuracy that is lost without the picture. Whiskers are one standard error over images. Above each panel
Spearman's correlation over models with its 95 % bootstrap interval; permutation p-values are in ``correlations.csv``.
Where the baseline orders models as well as synergy does, the decomposition adds a reading and no prediction.
"""
_NARROWEST = 0.05  # of an axis: thousandths of a bit are no differences to look at
_SHOWN = {
    "synergy": ("synergy (bits)", "synergy"),
    "unique_language": ("language-unique (bits)", "unique_language"),
    "vision_dependence": ("accuracy lost without the picture", None),
}


@look.styled
def draw(breadth: pd.DataFrame, correlations: pd.DataFrame) -> Figure:
    tasks = parts.in_order(breadth["task"])
    figure = look.new_figure(look.PAGE, 1.7 * len(tasks) + 0.6)
    grid = figure.subplots(len(tasks), len(_SHOWN), squeeze=False, sharey="row")
    groups = parts.in_order(breadth["group"].fillna("no family"))
    for row, task in zip(grid, tasks, strict=True):
        of_task = breadth[breadth["task"] == task]
        for axes, (name, (label, atom)) in zip(row, _SHOWN.items(), strict=True):
            color = look.ATOM_COLORS[atom] if atom else look.INK
            for index, group in enumerate(groups):
                here = of_task[of_task["group"].fillna("no family") == group]
                axes.errorbar(
                    here[name],
                    here["accuracy"],
                    xerr=here[f"{name}_se"],
                    yerr=here["accuracy_se"],
                    linestyle="none",
                    marker=look.case_marker(index),
                    color=color,
                    elinewidth=0.6,
                )
            axes.set_xlabel(label)
            low, high = axes.get_xlim()
            wider = max(0.0, _NARROWEST - (high - low)) / 2
            axes.set_xlim(low - wider, high + wider)
            look.few_ticks(axes.xaxis)
            axes.set_title(_correlation(correlations, task, name), loc="left")
        row[0].set_ylabel(f"accuracy\n{task}")
    if len(groups) > 1:
        look.legend_below(figure, look.case_keys(groups))
    return figure


def _correlation(correlations: pd.DataFrame, task: str, name: str) -> str:
    found = correlations[
        (correlations["task"] == task) & (correlations["x"] == "accuracy") & (correlations["y"] == name)
    ]
    if found.empty or not found["rho"].notna().iloc[0]:
        return "no correlation"
    rho, low, high = found[["rho", "low", "high"]].iloc[0]
    return f"ρ {rho:.2f} ({low:.2f} to {high:.2f})"
