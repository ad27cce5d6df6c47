r"""Monotone rational-quadratic splines with linear tails, evaluated for many coordinates at once.

A spline is three arrays over its ``K + 1`` knots: abscissae, ordinates and slopes, all increasing or positive. Every
function here takes knots of shape ``(*batch, K + 1)`` and values of shape ``(*batch, n)``: one spline for each row of
values, any number of leading axes. Beyond the outer knots a spline goes on as a straight line with the outer slope, so
it is a diffeomorphism of the whole line; nothing is clipped and no row is ever outside the domain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor
from torch.nn import functional as F

_MIN_ROWS_PER_KNOT = 20
_KNOT_SPACING = 0.25
# Samples closer than this part of the middle half's width are one value.
_TIE = 1e-12
_SMALLEST_LOG_SLOPE = -math.log(1e-3)
_FEW_KNOTS = 16  # so many are counted one by one, which is faster than a search


@dataclass(frozen=True)
class Knots:
    """Knots of one spline per coordinate.

    Attributes
    ----------
    x, y, slope
        Abscissae, ordinates and slopes, each of shape ``(*batch, K + 1)``; ``x`` and ``y`` increase along the last
        axis and ``slope`` is positive.
    """

    x: Tensor
    y: Tensor
    slope: Tensor


def identity_tailed_knots(widths: Tensor, heights: Tensor, slopes: Tensor, *, bound: float) -> Knots:
    r"""Knots on ``[-bound, bound]`` from free parameters; all-zero parameters give the identity.

    The splines live on that interval and are the identity outside it: standardise the data first.

    Parameters
    ----------
    widths, heights
        Unconstrained bin widths and heights, shape ``(*batch, K)``.
    slopes
        Unconstrained slopes at the inner knots, shape ``(*batch, K - 1)``.
    bound
        Half-width of the interval that the spline bends.

    References
    ----------
    Durkan, Bekasov, Murray, Papamakarios (2019), Neural Spline Flows. arXiv:1906.04032. The squashing that keeps bins
    and slopes away from zero is the one of zuko's ``MonotonicRQSTransform``.
    """

    def positions(free: Tensor) -> Tensor:
        shares = torch.softmax(free / (1 + (2 * free / _SMALLEST_LOG_SLOPE).abs()), dim=-1)
        return F.pad(bound * (2 * shares.cumsum(dim=-1) - 1), (1, 0), value=-bound)

    inner = slopes / (1 + (slopes / _SMALLEST_LOG_SLOPE).abs())
    return Knots(positions(widths), positions(heights), F.pad(inner, (1, 1)).exp())


def gaussianizing_knots(values: np.ndarray) -> Knots:
    r"""Knots of the monotone map that carries each row's sample to normal scores.

    Knots sit at the empirical quantiles whose normal scores are evenly spaced, few enough that every bin holds about
    twenty samples, and in the tails beyond them at every sample: what lies far out goes by its rank, however far.
    Beyond the sample the map is linear. Ties merge knots: a row with ``v`` distinct values gets at most ``v`` of them
    (the others collapse onto a straight continuation of the last bin).

    Parameters
    ----------
    values
        Samples, shape ``(d, n)``; no row may be constant.
    """
    n = values.shape[-1]
    reach = float(ndtri(1 - min(0.25, _MIN_ROWS_PER_KNOT / 2 / n)))
    half = max(1, round(reach / _KNOT_SPACING))
    inner = np.linspace(-reach, reach, 2 * half + 1)
    ranks = ndtri(np.arange(1, n + 1) / (n + 1))
    low, high = ranks < -reach, ranks > reach
    scores = np.concatenate([ranks[low], inner, ranks[high]])
    ordered = np.sort(values, axis=-1)
    quantiles = np.quantile(values, ndtr(inner), axis=-1).T
    # Interpolated quantiles and samples have their order, but for rounding.
    x = np.maximum.accumulate(np.concatenate([ordered[:, low], quantiles, ordered[:, high]], axis=-1), axis=-1)
    rows = [_merged(row, scores, values[i]) for i, row in enumerate(x)]
    x, y = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
    return Knots(x, y, _tail_slopes(_knot_slopes(x, y), x, y, int(low.sum())))


def _merged(x: np.ndarray, y: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same number of knots without ties: tied knots become one, the surplus continues the last bin."""
    # One far row must not make the others ties: these are measured against the middle half, where it has any width.
    middle = float(np.subtract(*np.quantile(values, [0.75, 0.25])))
    tie = _TIE * (middle if middle > 0 else np.ptp(values))
    fresh = np.diff(x, prepend=-np.inf) > np.maximum(tie, 8 * np.finfo(np.float64).eps * np.abs(x))
    if fresh.all():
        return x, y
    if fresh.sum() == 1:  # the quantiles see one value although the row is not constant: keep the row's own scale
        offsets = np.arange(len(x)) - len(x) // 2.0
        return x[0] + offsets * values.std(), offsets
    group = np.cumsum(fresh) - 1
    merged_x, merged_y = x[fresh], np.bincount(group, y) / np.bincount(group)
    surplus = np.arange(1, len(x) - len(merged_x) + 1)
    longer = [np.concatenate([k, k[-1] + surplus * (k[-1] - k[-2])]) for k in (merged_x, merged_y)]
    return longer[0], longer[1]


def _tail_slopes(slope: Tensor, x: Tensor, y: Tensor, outer: int) -> Tensor:
    """Slopes whose outermost are at most those of a tail as a whole: two samples that nearly tie say nothing beyond."""
    if not outer:
        return slope
    low, high = ((y[..., b] - y[..., a]) / (x[..., b] - x[..., a]) for a, b in ((0, outer), (-1 - outer, -1)))
    slope = slope.clone()
    slope[..., 0], slope[..., -1] = torch.minimum(slope[..., 0], low), torch.minimum(slope[..., -1], high)
    return slope


def _knot_slopes(x: Tensor, y: Tensor) -> Tensor:
    """Geometric mean of the two neighbouring chords; the outer knots take their only chord."""
    chord = ((y[..., 1:] - y[..., :-1]) / (x[..., 1:] - x[..., :-1])).log()
    inner = (chord[..., 1:] + chord[..., :-1]) / 2
    return torch.cat([chord[..., :1], inner, chord[..., -1:]], dim=-1).exp()


def _bin(knots: Tensor, values: Tensor) -> Tensor:
    """Index of the bin of each value, shape of ``values``; values outside the knots get the outer bins."""
    inside, values = knots[..., 1:-1].detach(), values.detach()
    if inside.shape[-1] > _FEW_KNOTS:
        return torch.searchsorted(inside.contiguous(), values.contiguous())
    index = torch.zeros_like(values, dtype=torch.int8)
    for knot in inside.split(1, dim=-1):
        index += values > knot
    return index.long()


def _gathered(knots: Knots, index: Tensor) -> tuple[Tensor, ...]:
    x0, y0, d0 = (k.gather(-1, index) for k in (knots.x, knots.y, knots.slope))
    d1 = knots.slope[..., 1:].gather(-1, index)
    # Widths and chords are formed once per bin and then gathered, which is cheaper than once per sample.
    width = knots.x[..., 1:] - knots.x[..., :-1]
    chord = (knots.y[..., 1:] - knots.y[..., :-1]) / width
    return x0, y0, width.gather(-1, index), chord.gather(-1, index), d0, d1


def transform(values: Tensor, knots: Knots) -> tuple[Tensor, Tensor]:
    """Spline of each value and the logarithm of its slope there, both ``(*batch, n)``."""
    x0, y0, width, chord, d0, d1 = _gathered(knots, _bin(knots.x, values))
    # Outside the knots the fraction is clamped to the end of the outer bin and the rest is carried by the end slope.
    free = (values - x0) / width
    t = free.clamp(0, 1)
    beyond = (free - t) * width
    bend = d0 + d1 - 2 * chord
    cross = t * (1 - t)
    below = chord + bend * cross
    log_slope = (chord.square() * (d0 + 2 * (chord - d0) * t + bend * t.square()) / below.square()).log()
    inside = y0 + width * chord * (chord * t.square() + d0 * cross) / below
    end = torch.where(free > 1, d1, d0)
    return inside + beyond * end, log_slope


def inverse(values: Tensor, knots: Knots) -> Tensor:
    """Preimage of each value under its spline, ``(*batch, n)``."""
    x0, y0, width, chord, d0, d1 = _gathered(knots, _bin(knots.y, values))
    height = width * chord
    free = values - y0
    rise = torch.minimum(free.clamp(min=0), height)
    beyond = free - rise
    bend = d0 + d1 - 2 * chord
    a = height * (chord - d0) + rise * bend
    b = height * d0 - rise * bend
    c = -chord * rise
    t = -2 * c / (b + (b.square() - 4 * a * c).clamp(min=0).sqrt())
    return x0 + t * width + beyond / torch.where(beyond > 0, d1, d0)
