"""Distance from a normal distribution before and after the flow, over the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pidflow.figures import _parts as parts
from pidflow.figures import _style as look

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TITLE = "latent Gaussianity"
CAPTION = """
Distance from a normal distribution before and after the flow at each layer of *{{ called.model }}*, mean
and range over tasks and conditions. Left, the Anderson-Darling statistic of single columns, with the level above which
a test at 5 % rejects; right, Mardia's kurtosis of all columns together, 1 for a normal. The nearer the solid lines are
to normal, the more of the information a Gaussian decomposition can see. Normal marginals and kurtosis are necessary,
not sufficient: see ``missed_bits`` in table ``pid``.
"""
# Of the statistic corrected for estimated mean and variance, at 5 % (D'Agostino and Stephens 1986, table 4.9).
CRITICAL_ANDERSON_DARLING = 0.752


@look.styled
def draw(gaussianity: pd.DataFrame, *, model: str) -> Figure:
    rows = parts.select(gaussianity, model=model)
    figure = look.new_figure(look.PAGE * 0.85, 2.85)
    marginal, joint = figure.subplots(1, 2)
    marginal.set(yscale="log", ylabel="Anderson-Darling, column mean")
    marginal.yaxis.set_major_formatter("{x:g}")
    joint.set(ylabel="Mardia kurtosis relative to a normal")
    for axes, statistic in ((marginal, "anderson_darling"), (joint, "kurtosis")):
        for (block, at), of_block in rows[rows["statistic"] == statistic].groupby(["block", "at"]):
            over = of_block.groupby("layer")["value"].agg(["mean", "min", "max"])
            look.draw_curve(
                axes,
                *(values.to_numpy() for values in (over.index, over["mean"], over["min"], over["max"])),
                color=look.BLOCK_COLORS[block],
                linestyle=look.LINE_STYLES[0 if at == "latent" else 1],
                band=look.BAND / 2,
            )
        axes.set_xlabel(parts.LAYER_LABEL)
        look.layer_axis(axes)
    look.reference_line(marginal, CRITICAL_ANDERSON_DARLING, "5 % test")
    look.reference_line(joint, 1, "normal")
    keys = [look.key(block, color=look.BLOCK_COLORS[block], marker="o") for block in ("vision", "language", "target")]
    keys += [
        look.key(label, linestyle=look.LINE_STYLES[i]) for i, label in ((1, "before the flow"), (0, "after the flow"))
    ]
    look.legend_below(figure, [*keys, look.band_key("range over tasks")])
    return figure
