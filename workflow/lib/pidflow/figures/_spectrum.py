"""What figures of the spectrum share: rows of its tables, and a panel for what a run does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pidflow.figures import _style as look

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

METHODS = {"repaired": "coupling", "published": "networks"}
LENS_TITLES = {"norm": "logit lens", "no-norm": "logit lens without the norm", "tuned": "tuned lens"}


def said(spectrum: pd.DataFrame, *, mode: str = "repaired") -> pd.DataFrame:
    """Rows of what models say in the end."""
    return spectrum[
        (spectrum["mode"] == mode) & (spectrum["method"] == METHODS[mode]) & spectrum["layer"].isna()
    ].reset_index(drop=True)


def nothing(sentence: str) -> Figure:
    """A figure that states why it shows nothing."""
    figure = look.new_figure(look.COLUMN, 0.9)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(0.5, 0.5, sentence, ha="center", va="center", fontsize=6.5, color=look.INK, wrap=True)
    return figure
