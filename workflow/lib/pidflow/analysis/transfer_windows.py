"""Where in depth an edge carries the answer: transfer windows of knockout sweeps, with intervals over images.

The **course** of an edge is the mean relative change of the probability of the model's own first answer token when the
edge is cut, over the centres of the windows it is cut in. Where a random control was run beside the cut, what counts as
an effect is seen beside it: the **excess** is cut minus random, question by question.

*Is there an effect?* ``yes`` when in some window the change lies beyond ±`least` and, with a control, the excess lies
beyond 0 on the same side; ``no`` when the change lies within ±`least` in every window; ``undetermined`` otherwise.
"Lies" means its 95 % interval, which holds for all windows, and for change and excess, at once: the distribution of the
largest studentised deviation is taken from the resamples, so looking at many windows finds nothing in noise.

*Where is it?* Only where the answer is yes. The **transfer window** runs from the first to the last centre of the
single plateau that fits the excess best in least squares, at 0 outside: a centre belongs to it when its effect is more
than about half of that inside. Each resample of the images is fitted again, which gives the intervals of both ends.

What limits it. A course is a moving average as wide as the windows: an effect of one block shows at as many centres as
a window has blocks, ends are smeared by half a window, and no interval here knows of that. Centres are whole blocks. A
course with two humps gets one plateau, at the larger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.special import ndtr, stdtrit

from pidflow.errors import ConfigError, DataError
from pidflow.interventions.windows import Window
from pidflow.stats import LEVEL, ROUNDING, UNDETERMINED

CUT, KEEP, RANDOM, ALL = (
    "cut",
    "keep",
    "random",
    "all",
)  # kinds and the subset of all questions, as the tables of sweeps call them
YES, NO = "yes", "no"
RESAMPLES = 2000


@dataclass(frozen=True)
class Course:
    """What cutting one edge does in C windows to questions about I images.

    Attributes
    ----------
    edge, subset
        The edge, and which questions: ``right``, ``wrong`` or ``all``.
    windows
        The C windows, by centre.
    images
        Names of the I images.
    counts
        Questions about each image, shape ``(I,)``.
    effect, control
        Relative change of the probability of the first answer token under the cut and under as many random edges,
        summed over the questions of each image, shape ``(I, C)``; `control` is None where none was run.
    """

    edge: str
    subset: str
    windows: tuple[Window, ...]
    images: tuple[str, ...]
    counts: np.ndarray
    effect: np.ndarray
    control: np.ndarray | None

    @property
    def n(self) -> int:
        """Questions."""
        return int(self.counts.sum())


def courses(details: pd.DataFrame, *, windows: Sequence[Window]) -> list[Course]:
    """The courses of every edge for all questions and for each subset of them that is not empty.

    Parameters
    ----------
    details
        Every question's numbers of one model and task, as stage ``sweep_knockout`` writes them.
    windows
        The windows the courses run over.

    Raises
    ------
    DataError
        When a question was not cut in every window, or lacks its control.
    """
    places = pd.DataFrame([(w.size, w.centre, place) for place, w in enumerate(windows)])
    rows = details.merge(places.set_axis(["window", "centre", "place"], axis=1), on=["window", "centre"])
    found = []
    for edge in dict.fromkeys(rows["edge"]):
        of_edge = rows[rows["edge"] == edge]
        kinds = {
            kind: _by_question(of_edge, kind, len(windows)) for kind in (CUT, RANDOM) if kind in set(of_edge["kind"])
        }
        if CUT not in kinds:
            continue
        cut, control = kinds[CUT], kinds.get(RANDOM)
        if control is not None and not cut.index.equals(control.index):
            raise DataError(
                f"{edge}: {len(cut)} questions were cut and {len(control)} have the random control, or not the same "
                "ones; these numbers come from different runs, delete them and run again"
            )
        for subset in (ALL, *sorted(set(cut.index.get_level_values("subset")))):
            chosen = np.ones(len(cut), bool) if subset == ALL else cut.index.get_level_values("subset") == subset
            images, member = np.unique(cut.index.get_level_values("image_id")[chosen].astype(str), return_inverse=True)
            sums = [
                None if values is None else _summed(values.to_numpy()[chosen], member, len(images))
                for values in (cut, control)
            ]
            counts = np.bincount(member, minlength=len(images)).astype(float)
            found.append(Course(edge, subset, tuple(windows), tuple(images), counts, *sums))
    return found


def _by_question(rows: pd.DataFrame, kind: str, windows: int) -> pd.DataFrame:
    """Changes ``(n, C)`` of one edge and kind, indexed by question."""
    rows = rows[rows["kind"] == kind]
    key = ["item_id", "image_id", "subset"]
    if rows.duplicated([*key, "place"]).any():
        raise DataError(
            f"{rows['edge'].iloc[0]}, {kind}: a question has two rows in one window; delete the file and run again"
        )
    wide = rows.set_index([*key, "place"])["change_first"].unstack("place").sort_index()
    if wide.shape[1] < windows or wide.isna().any(axis=None):
        raise DataError(
            f"{rows['edge'].iloc[0]}, {kind}: expected every question in each of {windows} windows, found "
            f"{int(wide.notna().to_numpy().sum())} numbers for {len(wide)} questions; delete the file and run again"
        )
    return wide


def _summed(values: np.ndarray, member: np.ndarray, count: int) -> np.ndarray:
    total = np.zeros((count, values.shape[1]))
    np.add.at(total, member, values)
    return total


@dataclass(frozen=True)
class Curve:
    """A mean over questions at C places, its error over images, and what resamples of the images make of it.

    Attributes
    ----------
    value, se
        Shape ``(C,)``; `se` is that of :func:`pidflow.stats.clustered_mean`, NaN when there is one image.
    replicates
        Shape ``(R, C)``.
    """

    value: np.ndarray
    se: np.ndarray
    replicates: np.ndarray

    def deviations(self) -> np.ndarray:
        """Largest studentised deviation over the places in each resample, shape ``(R,)``; 0 where nothing varies."""
        spread = self.replicates.std(axis=0)
        away = np.abs(self.replicates - self.value)
        return np.divide(away, spread, out=np.zeros_like(away), where=spread > ROUNDING).max(axis=1)


@dataclass(frozen=True)
class Resampled:
    """A course with its resamples.

    Attributes
    ----------
    course
        What was resampled.
    effect, excess
        The change under the cut, and that minus the change under the control (None without a control).
    """

    course: Course
    effect: Curve
    excess: Curve | None

    @property
    def seen(self) -> Curve:
        """The curve in which a window is looked for: the excess, without a control the effect."""
        return self.effect if self.excess is None else self.excess


def resample(course: Course, *, seed: int, resamples: int = RESAMPLES) -> Resampled:
    """The course under Bayesian-bootstrap weights of its images.

    Each image gets a weight from the standard exponential distribution (Rubin 1981, *The Bayesian bootstrap*), which is
    a function of `seed` and the image's name alone: edges, subsets and tasks that share images are resampled together,
    so that they can be compared pair by pair, and no resample is ever without images.
    """
    weights = np.stack([_weights(image, resamples, seed) for image in course.images], axis=1)
    excess = None if course.control is None else course.effect - course.control
    return Resampled(
        course,
        _curve(course.effect, course.counts, weights),
        None if excess is None else _curve(excess, course.counts, weights),
    )


# Edges and subsets of one task share their images.
@lru_cache(maxsize=4096)
def _weights(image: str, resamples: int, seed: int) -> np.ndarray:
    key = hashlib.sha256(f"{seed} {image}".encode()).digest()[:8]
    return np.random.default_rng(int.from_bytes(key, "big")).standard_exponential(resamples)


def _curve(sums: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> Curve:
    value = sums.sum(axis=0) / counts.sum()
    residual = sums - counts[:, None] * value
    images = len(counts)
    scale = np.sqrt(images / (images - 1)) / counts.sum() if images > 1 else np.nan
    return Curve(
        value, scale * np.sqrt(np.square(residual).sum(axis=0)), (weights @ sums) / (weights @ counts)[:, None]
    )


@dataclass(frozen=True)
class Presence:
    """Whether there is an effect in some window of one or several courses (of one edge, in several tasks).

    Attributes
    ----------
    verdict
        ``yes``, ``no`` or ``undetermined``.
    course, place
        Where the largest effect is, among those that are beyond doubt if there are any: index of the course, and of
        the window in it.
    change, low, high
        Relative change there, with its simultaneous 95 % interval.
    excess, excess_low, excess_high
        The same minus the random control; NaN without a control.
    verdicts
        Of each course on its own, by the same simultaneous intervals.
    """

    verdict: str
    course: int
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
    """Whether cutting changes the answer's probability by more than `least` in some window of some course.

    Intervals hold for all windows of all courses at once. ``no`` needs a ``no`` of every course.

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
        images = len(each.course.images)
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
class Transfer:
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


def locate(found: Resampled, *, least: float) -> Transfer:
    """The transfer window of one course (see the head of this module)."""
    course, there = found.course, presence([found], least=least)
    window = course.windows[there.place]
    common = {
        "edge": course.edge,
        "window": window.size,
        "subset": course.subset,
        "n": course.n,
        "images": len(course.images),
        "present": there.verdict,
        "centre": window.centre,
    } | {name: getattr(there, name) for name in ("change", "low", "high", "excess", "excess_low", "excess_high")}
    if there.verdict != YES:
        return Transfer(**common)
    sign = np.sign(there.change)
    onset, end = (int(part) for part in plateau(sign * found.seen.value))
    centres = np.array([w.centre for w in course.windows])
    replicates = centres[np.stack(plateau(sign * found.seen.replicates), axis=-1)]
    ends = {}
    for name, place, values in (("onset", onset, replicates[:, 0]), ("end", end, replicates[:, 1])):
        ends[name] = int(centres[place])
        # Rounded outwards: an interval of whole blocks that holds at least 95 %.
        ends[f"{name}_low"] = int(np.quantile(values, (1 - LEVEL) / 2, method="lower"))
        ends[f"{name}_high"] = int(np.quantile(values, (1 + LEVEL) / 2, method="higher"))
        ends[f"{name}_share"] = float((values == centres[place]).mean())
    return Transfer(
        **common,
        **ends,
        first_block=course.windows[onset].first,
        last_block=course.windows[end].last,
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
