r"""The program of the decomposition of discrete systems, solved with a proof of how far off the answer can be.

Wanted is the least ``f(q) = sum q log q(y | x1, x2)`` over tables with the pair marginals of x1 and of x2 with y.

**Dual.** ``f`` is convex and homogeneous, so its dual is a geometric program in one number ``a`` per pair (x1, y) and
one ``b`` per pair (x2, y):

    max  sum a p(x1, y) + sum b p(x2, y)   subject to   log sum_y exp(a(x1, y) + b(x2, y)) <= 0   for every (x1, x2).

Any table with the right marginals bounds ``min f`` from above and any feasible ``(a, b)`` from below. Both are kept in
every iteration, so the difference is a proof of how far off the answer can be (float64 rounding apart), whatever the
solver did.

**Solver.** A primal-dual interior-point method on the dual: one constraint, one multiplier ``t(x1, x2) = q(x1, x2)``
and one slack a cell, which is the structure of the optimum (whole cells vanish, single entries of a cell never do).
Slacks are free variables, so a curved constraint cannot block a step; tables that stall nevertheless (entries around
1e-7 beside ordinary ones) get a second run with exact slacks. The barrier is weighted by the conditionally independent
coupling, the starting point: with equal weights, pairs of tiny probability push the central path out of reach. Each
iteration factors one matrix of size ``ky (k1 + k2)`` per table; tables run as a batch and leave it when certified.
"""

import math
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

MAX_ITERATIONS = 80
# How far the barrier shrinks after a step of that length: boldly after a full step, hardly after a failed one.
_SHRINK_FULL, _SHRINK_HALF, _SHRINK_SHORT, _SHRINK_FAILED = 0.02, 0.1, 0.3, 0.9
# Steps keep this part of the way to the boundary, and change no log-probability by more than this.
_TO_BOUNDARY, _LONGEST_STEP = 0.99, 5.0
# Slack times multiplier of a cell is kept above this part of its place on the central path.
_CENTRALITY = 1e-2
_HALVINGS = 30
_RIDGE = 1e-14


def entropy(pmf: np.ndarray) -> np.ndarray:
    """Entropy in nats over all axes but the first."""
    return -(pmf * _log(pmf)).reshape(len(pmf), math.prod(pmf.shape[1:])).sum(axis=-1)


def _log(values: np.ndarray) -> np.ndarray:
    """Logarithm with ``log 0 = 0``, for use under a factor zero."""
    return np.log(np.where(values > 0, values, 1.0))


class _Batch:
    """Arrays whose first axis is the table, taken together."""

    def take(self, which: np.ndarray) -> Self:
        return type(self)(**{field.name: getattr(self, field.name)[which] for field in fields(self)})


@dataclass(frozen=True)
class _Problem(_Batch):
    """What is given. ``N = ky (k1 + k2)`` is the number of pair probabilities.

    Attributes
    ----------
    pair_1, pair_2 : ndarray, shapes (B, k1, ky) and (B, k2, ky)
        The marginals to keep.
    support : ndarray of bool, shape (B, k1, k2, ky)
        Entries the marginals allow to be positive.
    cells : ndarray of bool, shape (B, k1, k2)
        Cells with any such entry.
    weight : ndarray, shape (B, k1, k2)
        Conditionally independent coupling, summed over y: start of the multipliers and weight of the barrier.
    scale : ndarray, shape (B, N)
        ``c^-1/2`` of the pair probabilities ``c``, zero for ``c = 0``; it makes the Newton matrix have unit diagonal.
    fixed : ndarray, shape (B, N, N)
        Adding it pins what the equations leave open: ``a + v, b - v`` for any v(y), and the duals of ``c = 0``.
    """

    pair_1: np.ndarray
    pair_2: np.ndarray
    support: np.ndarray
    cells: np.ndarray
    weight: np.ndarray
    scale: np.ndarray
    fixed: np.ndarray


@dataclass(frozen=True)
class _Point(_Batch):
    """An iterate: duals ``(a, b)`` of shape (B, N); multipliers and slacks of shape (B, k1, k2).

    ``room`` is ``-log sum_y exp(a + b)``, what the slack should be; ``share`` (B, k1, k2, ky) is the distribution over
    y in a cell, ``exp(a + b)`` normalised.
    """

    duals: np.ndarray
    mass: np.ndarray
    slack: np.ndarray
    room: np.ndarray
    share: np.ndarray


def union_information(tables: np.ndarray, *, tol: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``U*`` and its certified gap in nats, for tables of shape ``(n, k1, k2, ky)``; and duals that prove it.

    The duals ``(n, ky (k1 + k2))`` of one table are feasible for every other: with the pairs of another table they
    bound its union information from below, to first order in what differs from it.
    """
    least, most, duals = _bounds(tables, tol=tol, free_slack=True)
    open_ = np.flatnonzero(least - most > tol)
    if len(open_):
        again, proof, of_proof = _bounds(tables[open_], tol=tol, free_slack=False)
        least[open_] = np.minimum(least[open_], again)
        better = open_[proof > most[open_]]
        duals[better], most[better] = of_proof[proof > most[open_]], proof[proof > most[open_]]
    # Rounding can put the bounds a few eps the wrong way round.
    return least + entropy(tables.sum(axis=(1, 2))), np.maximum(least - most, 0.0), duals


def union_at(tables: np.ndarray, duals: np.ndarray) -> np.ndarray:
    """Lower bound in nats of ``U*`` of tables ``(n, k1, k2, ky)`` that feasible duals ``(ky (k1 + k2),)`` prove."""
    pairs = _pairs(tables)
    return np.where(pairs > 0, pairs * duals, 0.0).sum(axis=-1) + entropy(tables.sum(axis=(1, 2)))


def _bounds(tables: np.ndarray, *, tol: float, free_slack: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least primal and largest dual value seen on the way, in nats, and feasible duals of that value.

    A table is done when the two are `tol` apart.
    """
    problem = _problem(tables)
    point = _start(problem)
    least = np.full(len(tables), np.inf)
    most = np.full(len(tables), -np.inf)
    best = np.zeros_like(point.duals)
    shrink = np.full(len(tables), _SHRINK_SHORT)
    failures = np.zeros(len(tables), dtype=int)
    left = np.arange(len(tables))
    for _ in range(MAX_ITERATIONS):
        least[left] = np.minimum(least[left], _primal_value(problem, point))
        value, duals = _feasible(problem, point)
        higher = value > most[left]
        most[left[higher]], best[left[higher]] = value[higher], duals[higher]
        keep = (least[left] - most[left] > tol) & (failures < 2)
        if not keep.any():
            break
        if not keep.all():
            left, shrink, failures = left[keep], shrink[keep], failures[keep]
            problem, point = problem.take(keep), point.take(keep)
        point, shrink = _advance(problem, point, shrink, free_slack=free_slack)
        failures = np.where(shrink == _SHRINK_FAILED, failures + 1, 0)
    return least, most, best


def _problem(tables: np.ndarray) -> _Problem:
    n, k1, k2, ky = tables.shape
    pair_1, pair_2, target = tables.sum(axis=2), tables.sum(axis=1), tables.sum(axis=(1, 2))
    support = (pair_1 > 0)[:, :, None] & (pair_2 > 0)[:, None]
    independent = pair_1[:, :, None] * (pair_2 / np.where(target > 0, target, 1.0)[:, None])[:, None]
    given = np.concatenate([pair_1.reshape(n, -1), pair_2.reshape(n, -1)], axis=1)
    root = np.sqrt(given)
    # One open direction per y: in scaled coordinates +root on its pairs with x1, -root on its pairs with x2.
    label = np.tile(np.arange(ky), k1 + k2)
    sign = np.repeat([1.0, -1.0], [k1 * ky, k2 * ky])
    open_direction = np.where(label == np.arange(ky)[:, None], sign, 0.0) * root[:, None]
    length = np.linalg.norm(open_direction, axis=-1, keepdims=True)
    open_direction /= np.where(length > 0, length, 1.0)
    fixed = open_direction.swapaxes(-1, -2) @ open_direction
    diagonal = np.arange(fixed.shape[-1])
    fixed[:, diagonal, diagonal] += given == 0
    return _Problem(
        pair_1=pair_1,
        pair_2=pair_2,
        support=support,
        cells=support.any(axis=-1),
        weight=independent.sum(axis=-1),
        scale=np.divide(1.0, root, out=np.zeros_like(root), where=root > 0),
        fixed=fixed,
    )


def _start(problem: _Problem) -> _Point:
    """The conditionally independent coupling, with duals shifted to unit slack in the tightest cell of each x1."""
    n, k1, ky = problem.pair_1.shape
    target = problem.pair_1.sum(axis=1, keepdims=True)
    a, b = (
        _log(pair) - 0.5 * _log(target) - _log(pair.sum(-1, keepdims=True)) for pair in (problem.pair_1, problem.pair_2)
    )
    duals = np.concatenate([a.reshape(n, -1), b.reshape(n, -1)], axis=1)
    room, _ = _cover(problem, duals)
    duals[:, : k1 * ky] -= np.repeat(_largest(problem, -room, axis=2) + 1.0, ky, axis=1)
    room, share = _cover(problem, duals)
    return _Point(duals=duals, mass=problem.weight, slack=room, room=room, share=share)


def _cover(problem: _Problem, duals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``-log sum_y exp(a + b)`` per cell (one where the cell is empty) and the shares of the labels in it."""
    a, b = _split(problem, duals)
    exponent = np.where(problem.support, a[:, :, None] + b[:, None], -np.inf)
    top = np.where(problem.cells, exponent.max(axis=-1), 0.0)
    terms = np.exp(exponent - top[..., None])
    total = np.where(problem.cells, terms.sum(axis=-1), 1.0)
    return np.where(problem.cells, -(np.log(total) + top), 1.0), terms / total[..., None]


def _split(problem: _Problem, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Parts of a vector of length N that belong to the pairs with x1 and with x2."""
    n, k1, ky = problem.pair_1.shape
    return vector[:, : k1 * ky].reshape(n, k1, ky), vector[:, k1 * ky :].reshape(n, -1, ky)


def _pairs(table: np.ndarray) -> np.ndarray:
    """The two pair marginals of tables ``(B, k1, k2, ky)``, as one vector of length N each."""
    n, k1, k2, ky = table.shape
    return np.concatenate([table.sum(axis=2).reshape(n, k1 * ky), table.sum(axis=1).reshape(n, k2 * ky)], axis=1)


def _largest(problem: _Problem, values: np.ndarray, *, axis: int) -> np.ndarray:
    """Maximum over the non-empty cells of a row or column, zero where there is none."""
    top = np.where(problem.cells, values, -np.inf).max(axis=axis)
    return np.where(np.isfinite(top), top, 0.0)


def _primal_value(problem: _Problem, point: _Point) -> np.ndarray:
    """``f`` at the table of the point, made to have the given marginals: rows and columns that hold too much are scaled
    down, what is then missing is added as a product, which needs no more than the support has."""
    table = point.mass[..., None] * point.share
    for pair, axis in ((problem.pair_1, 2), (problem.pair_2, 1)):
        held = table.sum(axis=axis)
        table = table * np.expand_dims(np.where(held > pair, pair / np.where(held > 0, held, 1.0), 1.0), axis)
    missing_1 = np.maximum(problem.pair_1 - table.sum(axis=2), 0.0)
    missing_2 = np.maximum(problem.pair_2 - table.sum(axis=1), 0.0)
    total = missing_1.sum(axis=1)
    table = table + missing_1[:, :, None] * (missing_2 / np.where(total > 0, total, 1.0)[:, None])[:, None]
    return (table * (_log(table) - _log(table.sum(axis=-1, keepdims=True)))).sum(axis=(1, 2, 3))


def _feasible(problem: _Problem, point: _Point) -> tuple[np.ndarray, np.ndarray]:
    """Objective of the duals made feasible, and these: all of an x1, or of an x2, are lowered by its worst excess."""
    n, _, ky = problem.pair_1.shape
    value, lowered = np.full(n, -np.inf), point.duals
    for axis in (2, 1):
        excess = np.repeat(_largest(problem, -point.room, axis=axis), ky, axis=1)
        here = slice(0, excess.shape[1]) if axis == 2 else slice(-excess.shape[1], None)
        duals = point.duals.copy()
        duals[:, here] -= excess
        a, b = _split(problem, duals)
        found = (a * problem.pair_1).sum(axis=(1, 2)) + (b * problem.pair_2).sum(axis=(1, 2))
        lowered = np.where((found > value)[:, None], duals, lowered)
        value = np.maximum(value, found)
    return value, lowered


def _advance(problem: _Problem, point: _Point, shrink: np.ndarray, *, free_slack: bool) -> tuple[_Point, np.ndarray]:
    """One Newton step towards ``mass * slack = shrink * barrier * weight``, and the next shrink factor."""
    cells = problem.cells
    barrier = (point.mass * point.slack * cells).sum(axis=(1, 2))
    goal = (shrink * barrier)[:, None, None] * problem.weight
    excess = np.where(cells, point.slack - point.room, 0.0)

    aimed = np.where(cells, (goal + point.mass * excess) / point.slack, 0.0)
    given = np.concatenate([p.reshape(len(p), -1) for p in (problem.pair_1, problem.pair_2)], axis=1)
    right = problem.scale * (given - _pairs(aimed[..., None] * point.share))
    step = problem.scale * np.linalg.solve(_newton_matrix(problem, point), right[..., None])[..., 0]
    a, b = _split(problem, step)
    change = np.where(problem.support, a[:, :, None] + b[:, None], 0.0)
    lift = (point.share * change).sum(axis=-1)
    mass_step = np.where(cells, aimed - point.mass + point.mass / point.slack * lift, 0.0)
    slack_step = np.where(cells, -excess - lift, 0.0)

    length = np.ones(len(shrink))
    for value, move in ((point.mass, mass_step), (point.slack, slack_step)):
        fastest = (np.where(cells, -move, 0.0) / np.where(cells, value, 1.0)).max(axis=(1, 2))
        length = np.minimum(length, _TO_BOUNDARY / np.maximum(fastest, _TO_BOUNDARY))
    length = length * np.minimum(
        1.0, _LONGEST_STEP / np.maximum(np.abs(change).max(axis=(1, 2, 3)) * length, _LONGEST_STEP)
    )

    before = _residual(problem, point, goal)
    out = {field.name: getattr(point, field.name).copy() for field in fields(point)}
    open_ = np.arange(len(shrink))
    for _ in range(_HALVINGS):
        some, part = problem.take(open_), length[open_]
        duals = point.duals[open_] + part[:, None] * step[open_]
        room, share = _cover(some, duals)
        trial = _Point(
            duals=duals,
            mass=point.mass[open_] + part[:, None, None] * mass_step[open_],
            slack=point.slack[open_] + part[:, None, None] * slack_step[open_] if free_slack else room,
            room=room,
            share=share,
        )
        inside = (trial.slack > 0).all(axis=(1, 2))
        good = inside & (_residual(some, trial, goal[open_]) <= (1.0 - 0.01 * part) * before[open_] + 1e-15)
        for name, values in out.items():
            values[open_[good]] = getattr(trial, name)[good]
        open_ = open_[~good]
        if not len(open_):
            break
        length[open_] *= 0.5
    ahead = np.select([length > 0.9, length > 0.5], [_SHRINK_FULL, _SHRINK_HALF], _SHRINK_SHORT)
    ahead[open_] = _SHRINK_FAILED

    if not free_slack:
        return _Point(**out), ahead
    barrier = (out["mass"] * out["slack"] * cells).sum(axis=(1, 2))[:, None, None]
    lowest = _CENTRALITY * barrier * problem.weight / np.where(cells, out["mass"], 1.0)
    out["slack"] = np.where(cells, np.maximum(out["slack"], lowest), out["slack"])
    return _Point(**out), ahead


def _newton_matrix(problem: _Problem, point: _Point) -> np.ndarray:
    """Scaled and pinned Hessian, shape (B, N, N): in each cell ``t diag(share) + t (1/slack - 1) share share^T``."""
    n, k1, k2, ky = point.share.shape
    outer = np.where(problem.cells, point.mass * (1.0 / point.slack - 1.0), 0.0)
    block = (outer[..., None] * point.share)[..., :, None] * point.share[..., None, :]
    label = np.arange(ky)
    block[..., label, label] += point.mass[..., None] * point.share
    matrix = np.zeros((n, ky * (k1 + k2), ky * (k1 + k2)))
    middle = k1 * ky
    for offset, count, blocks in ((0, k1, block.sum(axis=2)), (middle, k2, block.sum(axis=1))):
        for i in range(count):
            at = slice(offset + i * ky, offset + (i + 1) * ky)
            matrix[:, at, at] = blocks[:, i]
    across = block.transpose(0, 1, 3, 2, 4).reshape(n, middle, k2 * ky)
    matrix[:, :middle, middle:] = across
    matrix[:, middle:, :middle] = across.swapaxes(-1, -2)
    matrix *= problem.scale[:, :, None]
    matrix *= problem.scale[:, None, :]
    matrix += problem.fixed
    diagonal = np.arange(matrix.shape[-1])
    matrix[:, diagonal, diagonal] += _RIDGE * (1.0 + matrix[:, diagonal, diagonal])
    return matrix


def _residual(problem: _Problem, point: _Point, goal: np.ndarray) -> np.ndarray:
    """Norm of the optimality conditions, each weighted so that a relative error counts by the root of its mass."""
    given = np.concatenate([p.reshape(len(p), -1) for p in (problem.pair_1, problem.pair_2)], axis=1)
    off = problem.scale * (given - _pairs(point.mass[..., None] * point.share))
    root = np.sqrt(np.where(problem.cells, problem.weight, 1.0))
    uneven = np.where(problem.cells, point.mass * point.slack - goal, 0.0) / root
    excess = np.where(problem.cells, point.slack - point.room, 0.0) * root
    return np.sqrt((off**2).sum(axis=-1) + (uneven**2).sum(axis=(1, 2)) + (excess**2).sum(axis=(1, 2)))
