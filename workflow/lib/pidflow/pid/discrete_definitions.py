r"""Definitions of redundancy for tables, beside BROJA: I_min, MMI, I_dep, I_ccs.

``"imin"`` (Williams, Beer 2010)
    ``sum p(y) min_i I(Y=y; Xi)`` with the specific information ``I(Y=y; X) = sum p(x|y) log p(y|x) / p(y)``.
``"mmi"`` (Barrett 2015)
    ``min(I1, I2)``.
``"dep"`` (James, Emenheiser, Crutchfield 2019)
    What a pair (Xi, Y) adds least to any set of kept marginals is unique to i. With two sources the union is
    ``min(I1 + I2, I_ci, I_pairs)``: the joint information if the sources were independent given Y, and that of the
    distribution of greatest entropy that keeps all three pairs.
``"ccs"`` (Ince 2017)
    Common change in surprisal: the mean, under the distribution of greatest entropy that keeps all three pairs, of the
    pointwise co-information where it has the sign of the pointwise information of either source and of both.
"""

from collections.abc import Sequence

import numpy as np

from pidflow.pid.discrete_solver import entropy

# Sweeps of the proportional fitting, doubled as long as marginals are off by more; what falls below this part of itself
# when they are doubled goes to zero.
FIRST_SWEEPS, MOST_SWEEPS, MARGINAL, VANISHED = 64, 4096, 1e-13, 0.75
# Pointwise informations closer to zero than this, in nats, have no sign.
NO_SIGN = 1e-8
_PAIRS = ((3,), (2,), (1,))


def redundancy(
    tables: np.ndarray, definition: str, mi_1: np.ndarray, mi_2: np.ndarray, *, tol: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Redundancy of tables ``(n, k1, k2, ky)`` by a definition of this module, and by how much it may be off; nats.

    `tol` is how far off it may be, as far as that can be told beforehand.
    """
    exact = np.zeros(len(tables))
    if definition == "mmi":
        return np.minimum(mi_1, mi_2), exact
    if definition == "imin":
        return _specific(tables), exact
    fitted, gap = greatest_entropy(tables, marginal=max(MARGINAL, tol / 100))
    if definition == "ccs":
        return _common_change(fitted), gap
    joint = entropy(tables.sum(axis=3)) + entropy(tables.sum(axis=(1, 2))) - entropy(fitted)
    union = np.minimum(np.minimum(mi_1 + mi_2, _independent_union(tables)), joint)
    return mi_1 + mi_2 - union, gap


def dependency_unions(
    tables: np.ndarray, mi_1: np.ndarray, mi_2: np.ndarray, *, tol: float
) -> tuple[np.ndarray, np.ndarray]:
    """Union information by ``"dep"`` of the first table, that of the others to first order, and its gap; nats."""
    fitted, gap = greatest_entropy(tables[:1], marginal=max(MARGINAL, tol / 100))
    logs = np.log(np.where(fitted > 0, fitted, 1.0))
    most = entropy(fitted) - ((tables - tables[:1]) * logs).sum(axis=(1, 2, 3))
    joint = entropy(tables.sum(axis=3)) + entropy(tables.sum(axis=(1, 2))) - most
    return np.minimum(np.minimum(mi_1 + mi_2, _independent_union(tables)), joint), gap


def greatest_entropy(tables: np.ndarray, *, marginal: float = MARGINAL) -> tuple[np.ndarray, np.ndarray]:
    """The distributions of greatest entropy that keep all three pair marginals, and how far from it they may be.

    Iterative proportional fitting. Its limit is a product of functions of pairs, and the cross-entropy of the table
    with any such product bounds the greatest entropy from above; what it exceeds the entropy that was reached is the
    second number, in nats. `marginal` is how far off a pair may be.
    """
    pairs = [tables.sum(axis=axis, keepdims=True) for axis in _PAIRS]
    support = np.ones(tables.shape, dtype=bool)
    for pair in pairs:
        support &= pair > 0
    fitted = support / support.sum(axis=(1, 2, 3), keepdims=True)
    sweeps = FIRST_SWEEPS
    while sweeps <= MOST_SWEEPS:
        before = fitted
        fitted = _fitted(fitted, pairs, sweeps)
        if (
            max(np.abs(fitted.sum(axis=a, keepdims=True) - p).max() for a, p in zip(_PAIRS, pairs, strict=True))
            < marginal
        ):
            break
        # Entries that the pairs force to be zero vanish like one over the number of sweeps; others do not move by then.
        vanishes = (fitted < VANISHED * before) & (tables == 0)
        without = np.where(vanishes, 0.0, fitted)
        fitted = np.where(_supports(without, pairs), without, fitted)
        sweeps *= 2
    fitted /= fitted.sum(axis=(1, 2, 3), keepdims=True)
    above = -(tables * np.log(np.where(tables > 0, np.maximum(fitted, 1e-300), 1.0))).sum(axis=(1, 2, 3))
    return fitted, np.abs(above - entropy(fitted))


def _fitted(start: np.ndarray, pairs: Sequence[np.ndarray], sweeps: int) -> np.ndarray:
    """The start after so many sweeps over the three pair marginals."""
    for _ in range(sweeps):
        for axis, pair in zip(_PAIRS, pairs, strict=True):
            now = start.sum(axis=axis, keepdims=True)
            start = start * np.divide(pair, now, out=np.zeros_like(pair), where=now > 0)
    return start


def _supports(fitted: np.ndarray, pairs: Sequence[np.ndarray]) -> np.ndarray:
    """Which tables have an entry left wherever a pair has probability, ``(n, 1, 1, 1)``."""
    left = [
        ((fitted.sum(axis=axis, keepdims=True) > 0) | (pair == 0)).all(axis=(1, 2, 3), keepdims=True)
        for axis, pair in zip(_PAIRS, pairs, strict=True)
    ]
    return left[0] & left[1] & left[2]


def _specific(tables: np.ndarray) -> np.ndarray:
    """``sum p(y) min_i I(Y=y; Xi)``."""
    target = tables.sum(axis=(1, 2))
    each = []
    for axis in (2, 1):
        pair = tables.sum(axis=axis)
        outer = pair.sum(axis=2, keepdims=True) * target[:, None]
        ratio = np.divide(pair, outer, out=np.ones_like(pair), where=pair > 0)
        each.append((pair * np.log(ratio)).sum(axis=1))
    return np.minimum(*each).sum(axis=1)


def _independent_union(tables: np.ndarray) -> np.ndarray:
    """Joint information if the sources were independent given the target."""
    target = tables.sum(axis=(1, 2))
    pair_1, pair_2 = tables.sum(axis=2), tables.sum(axis=1)
    share = np.divide(pair_2, target[:, None], out=np.zeros_like(pair_2), where=target[:, None] > 0)
    joint = pair_1[:, :, None] * share[:, None]
    return entropy(joint.sum(axis=3)) + entropy(target) - entropy(joint)


def _common_change(tables: np.ndarray) -> np.ndarray:
    """Mean pointwise co-information where it agrees in sign with all three pointwise informations."""
    target = tables.sum(axis=(1, 2), keepdims=True)

    def pointwise(joint: np.ndarray) -> np.ndarray:
        outer = joint.sum(axis=3, keepdims=True) * target
        return np.log(np.divide(joint, outer, out=np.ones_like(joint), where=joint > 0))

    one, two = (pointwise(tables.sum(axis=axis, keepdims=True)) for axis in (2, 1))
    both = pointwise(tables)
    common = one + two - both
    signs = [np.where(np.abs(each) < NO_SIGN, 0.0, np.sign(each)) for each in (common, one, two, both)]
    agree = (signs[0] == signs[1]) & (signs[0] == signs[2]) & (signs[0] == signs[3])
    return np.where(agree & (tables > 0), tables * common, 0.0).sum(axis=(1, 2, 3))
