"""Where in depth an edge carries the answer: transfer windows of knockout sweeps, with intervals over images.

The **effect** of an edge (:mod:`pidflow.analysis.edge_changes`) is the mean relative change of the probability of the
model's own first answer token when the edge is cut, over the centres of the windows it is cut in. Where a random
control was run beside the cut, what counts as an effect is seen beside it: the **excess** is cut minus random, question
by question.

*Is there an effect?* ``yes`` when in some window the change lies beyond ±`least` and, with a control, the excess lies
beyond 0 on the same side; ``no`` when the change lies within ±`least` in every window; ``undetermined`` otherwise.
"Lies" means its 95 % interval, which holds for all windows, and for change and excess, at once: the distribution of the
largest studentised deviation is taken from the resamples, so looking at many windows finds nothing in noise.

*Where is it?* Only where the answer is yes. The **transfer window** runs from the first to the last centre of the
single plateau that fits the excess best in least squares, at 0 outside: a centre belongs to it when its effect is more
than about half of that inside. Each resample of the images is fitted again, which gives the intervals of both ends.

What limits it. The curve of an effect is a moving average as wide as the windows: an effect of one block shows at as
many centres as a window has blocks, ends are smeared by half a window, and no interval here knows of that. Centres are
whole blocks. A curve with two humps gets one plateau, at the larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtr, stdtrit

from pidflow.analysis.edge_changes import Curve, Resampled
from pidflow.errors import ConfigError
from pidflow.stats import LEVEL, UNDETERMINED

YES, NO = "yes", "no"


@dataclass(frozen=True)
class Presence:
    """Whether there is an effect in some window for one edge, in one task or several.

    Attributes
    ----------
    verdict
        ``yes``, ``no`` or ``undetermined``.
    which, place
        Where the largest effect is, among those that are beyond doubt if there are any: index of the task, and of
        the window.
    change, low, high
        Relative change there, with its simultaneous 95 % interval.
    excess, excess_low, excess_high
        The same minus the random control; NaN without a control.
    verdicts
        Of each task on its own, by the same simultaneous intervals.
    """

    verdict: str
    which: int
    place: int
    change: float
    low: float
    high: float
    excess: float
    excess_low: float
    excess_high: float
    verdicts: tuple[str, ...]


def images_for_no(least: float) -> int:
    """Images it takes to say no: with fewer, an answer lost in a share `least` of images would often go unseen.

    After the rule of three: none of I images shows it with probability ``(1 - least)^I``, which has to be below 5 %.
    """
    return int(np.ceil(np.log(1 - LEVEL) / np.log(1 - least)))


def presence(found: Sequence[Resampled], *, least: float) -> Presence:
    """Whether cutting changes the answer's probability by more than `least` in some window.

    Intervals hold for all windows of all the tasks in `found` at once. ``no`` needs a ``no`` of each.

    Raises
    ------
    ConfigError
        If `least` is not between 0 and 1.
    """
    if not 0 < least < 1:
        raise ConfigError(f"the least change that counts is a share between 0 and 1, found {least}")
    curves = [(each.effect, each.excess) for each in found]
    deviations = [curve.deviations() for pair in curves for curve in pair if curve is not None]
    critical = float(np.quantile(np.max(deviations, axis=0), LEVEL))
    verdicts, best = [], None
    for index, each in enumerate(found):
        images = len(each.changes.images)
        # Student's t at the level of the normal quantile: with few images the standard errors are unsure themselves.
        critical_t = stdtrit(max(images - 1, 1), ndtr(critical))
        low, high = _band(each.effect, critical_t)
        low = np.maximum(low, -1)  # nothing falls by more than all of it
        beyond = np.where(low > least, 1, np.where(high < -least, -1, 0))
        if each.excess is not None:
            excess_low, excess_high = _band(each.excess, critical_t)
            beyond = np.where(np.where(beyond > 0, excess_low > 0, excess_high < 0), beyond, 0)
        within = (low >= -least) & (high <= least)
        enough = images >= images_for_no(least)
        verdicts.append(YES if beyond.any() else NO if within.all() and enough else UNDETERMINED)
        open_to = np.flatnonzero(beyond) if beyond.any() else np.arange(len(beyond))
        place = int(open_to[np.argmax(np.abs(each.effect.value[open_to]))])
        rank = (bool(beyond.any()), abs(float(each.effect.value[place])))
        if best is None or rank > best[0]:
            numbers = [float(part[place]) for part in (each.effect.value, low, high)]
            beside = [np.nan] * 3
            if each.excess is not None:
                beside = [float(part[place]) for part in (each.excess.value, excess_low, excess_high)]
            best = rank, index, place, *numbers, *beside
    verdict = YES if YES in verdicts else NO if set(verdicts) == {NO} else UNDETERMINED
    return Presence(verdict, *best[1:], verdicts=tuple(verdicts))


def _band(curve: Curve, critical: float) -> tuple[np.ndarray, np.ndarray]:
    return curve.value - critical * curve.se, curve.value + critical * curve.se


@dataclass(frozen=True)
class TransferWindow:
    """The transfer window of one edge, or that there is none.

    Attributes
    ----------
    edge, window, subset, n, images
        The edge, how many blocks were cut together, which questions, how many, and about how many images.
    present
        ``yes``, ``no`` or ``undetermined``; the rest below `excess_high` is NaN unless it is yes.
    centre, change, low, high
        The window with the largest effect, and the relative change there with its simultaneous 95 % interval.
    excess, excess_low, excess_high
        The same minus the random control; NaN without one.
    onset, onset_low, onset_high, onset_share
        First centre of the transfer window, its 95 % interval, and the share of resamples that agree with it.
    end, end_low, end_high, end_share
        Last centre, likewise.
    first_block, last_block
        The outermost blocks that the windows at these centres hold.
    height
        Mean effect inside the window (the excess, without a control the change).
    replicates
        Onset and end in each resample, shape ``(R, 2)``; None unless present.
    """

    edge: str
    window: int
    subset: str
    n: int
    images: int
    present: str
    centre: int
    change: float
    low: float
    high: float
    excess: float
    excess_low: float
    excess_high: float
    onset: float = np.nan
    onset_low: float = np.nan
    onset_high: float = np.nan
    onset_share: float = np.nan
    end: float = np.nan
    end_low: float = np.nan
    end_high: float = np.nan
    end_share: float = np.nan
    first_block: float = np.nan
    last_block: float = np.nan
    height: float = np.nan
    replicates: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def midpoint(self) -> float:
        """Middle of the transfer window, in blocks."""
        return (self.onset + self.end) / 2


def locate(found: Resampled, *, least: float) -> TransferWindow:
    """The transfer window of one edge (see the head of this module)."""
    changes, there = found.changes, presence([found], least=least)
    window = changes.windows[there.place]
    common = {
        "edge": changes.edge,
        "window": window.size,
        "subset": changes.subset,
        "n": changes.n,
        "images": len(changes.images),
        "present": there.verdict,
        "centre": window.centre,
    } | {name: getattr(there, name) for name in ("change", "low", "high", "excess", "excess_low", "excess_high")}
    if there.verdict != YES:
        return TransferWindow(**common)
    sign = np.sign(there.change)
    onset, end = (int(part) for part in plateau(sign * found.seen.value))
    centres = np.array([w.centre for w in changes.windows])
    replicates = centres[np.stack(plateau(sign * found.seen.replicates), axis=-1)]
    ends = {}
    for name, place, values in (("onset", onset, replicates[:, 0]), ("end", end, replicates[:, 1])):
        ends[name] = int(centres[place])
        # Rounded outwards: an interval of whole blocks that holds at least 95 %.
        ends[f"{name}_low"] = int(np.quantile(values, (1 - LEVEL) / 2, method="lower"))
        ends[f"{name}_high"] = int(np.quantile(values, (1 + LEVEL) / 2, method="higher"))
        ends[f"{name}_share"] = float((values == centres[place]).mean())
    return TransferWindow(
        **common,
        **ends,
        first_block=changes.windows[onset].first,
        last_block=changes.windows[end].last,
        height=float(found.seen.value[onset : end + 1].mean()),
        replicates=replicates,
    )


def plateau(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last index of the best-fitting single plateau above 0.

    Least squares over ``a <= b`` and ``h >= 0`` of ``sum_i (x_i - h [a <= i <= b])^2``: with h the mean inside, the
    gain over no plateau is ``S^2 / (b - a + 1)``, S the sum inside, and the pair with the largest gain is taken.

    Parameters
    ----------
    curves : array, shape (..., C)

    Returns
    -------
    Two integer arrays of shape ``(...)``; both ends belong to the plateau.
    """
    sums = np.concatenate([np.zeros((*np.shape(curves)[:-1], 1)), np.cumsum(curves, axis=-1)], axis=-1)
    first, last = np.triu_indices(np.shape(curves)[-1])
    inside = np.maximum(sums[..., last + 1] - sums[..., first], 0)
    best = np.argmax(np.square(inside) / (last - first + 1), axis=-1)
    return first[best], last[best]
