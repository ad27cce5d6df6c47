"""Estimated against true atoms on planted cases, a panel an estimator; hollow what failed, half what was announced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pidflow.figures import _parts as parts
from pidflow.figures import _style as look
from pidflow.names import ATOMS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "calibration"
CAPTION = """
The same estimators on made-up data of this run's size, where the truth is known: estimated against true parts, one
panel per estimator, definition *{{ called.definition }}*; bars are 95 % intervals. Points belong on the
diagonal. Hollow ones failed; half-filled ones are off by more than the stated tolerance, but the warning for missed
information was raised, as it must be. The case ``xor`` cannot be on the diagonal: its synergy is invisible to a
Gaussian decomposition. A pass here does not prove that the model's own states are as benign as these cases.

Every decomposition of the run is also judged by itself, on a parametric bootstrap sample drawn from its own flow (its
*planted twin*): what flows lose there is given back, in the run as in these cases, and the intervals hold the error of
that. Column ``uncorrected_bits`` of the table ``pid`` has the numbers before.
"""


@look.styled
def draw(calibration: pd.DataFrame, *, definition: str) -> Figure:
    rows = parts.select(calibration, definition=definition, atom=ATOMS).dropna(subset=["truth", "bits"])
    estimators, cases = parts.in_order(rows["estimator"]), parts.in_order(rows["case"])
    figure = look.new_figure(2.4 * len(estimators), 3.3)
    panels = figure.subplots(1, len(estimators), sharex=True, sharey=True, squeeze=False)[0]
    for axes, estimator in zip(panels, estimators, strict=True):
        axes.axline((0, 0), slope=1, color=look.FAINT, linewidth=0.6, zorder=0)
        of_estimator = rows[rows["estimator"] == estimator]
        _points(axes, of_estimator, cases)
        passed = of_estimator.groupby("case")["passed"].all()
        axes.set_title(f"{estimator}: {passed.sum()} of {len(passed)} cases passed", loc="left")
        axes.set(xlim=_limits(rows), ylim=_limits(rows), aspect="equal", anchor="N", xlabel="true (bits)")
        for axis in (axes.xaxis, axes.yaxis):
            look.few_ticks(axis)
    panels[0].set_ylabel("estimated (bits)")
    keys = [*look.atom_patches(ATOMS), *look.case_keys(cases)]
    if (rows["passed"] & ~rows["within"]).any():
        keys.append(look.half_key("off, but flagged"))
    if not rows["passed"].all():
        keys.append(look.hollow_key("failed"))
    look.legend_below(figure, keys)
    return figure


def _points(axes: Axes, rows: pd.DataFrame, cases: list[str]) -> None:
    """One point per case and atom, with its 95 % interval."""
    for row in rows.itertuples():
        color = look.ATOM_COLORS[row.atom]
        axes.errorbar(
            row.truth,
            row.bits,
            yerr=[[row.bits - row.low], [row.high - row.bits]],
            fmt=look.case_marker(cases.index(row.case)),
            color=color,
            markerfacecolor=color if row.passed else "white",
            markerfacecoloralt="white",
            fillstyle="full" if row.within or not row.passed else "left",
            elinewidth=0.7,
            zorder=3,
        )


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    """From the lowest to the highest of all truths and intervals, with a margin."""
    low, high = min(0, rows["truth"].min(), rows["low"].min()), max(rows["truth"].max(), rows["high"].max())
    margin = 0.04 * (high - low)
    return low - margin, high + margin
