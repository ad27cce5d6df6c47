"""What sources tell of a target within each of its labels, the rows being Gaussian given all labels.

With continuous sources normal scores are taken within the labels, and informations are those of a Gaussian in each
(:mod:`pidflow.pid.within_labels`). A source that is a code makes the target a mixture of Gaussians, of which
covariances see too much: two codes tell at most one bit, however far apart they put the target. Under the conditional
Gaussian model (Lauritzen, Wermuth 1989) with one covariance,

    y = B x + mean(code) + noise,

the informations about it follow from densities: ``I(code; Y)`` and ``I(code; Y | X)`` from those of mixtures,
``I(X; Y | code)`` from covariances. There is no closed form of the union. Where one source is a code and what the
sources tell lies in one or two directions of the target, the redundancy takes the share of the smaller information that
it has in a table of rows drawn from the model; elsewhere that which it has in the Gaussian decomposition.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.special import chdtrc, logsumexp

from pidflow.groups import grouped_folds
from pidflow.pid.bias import mi_bias
from pidflow.pid.covariances import covariance, deleted_covariances, independent
from pidflow.pid.discrete import discrete_pid
from pidflow.pid.estimators._rows import Blocks
from pidflow.pid.from_latents import TAILS, estimates_of_rows
from pidflow.pid.gaussian import INFORMATIONS
from pidflow.pid.gaussian_system import LN2, gaussian_mi
from pidflow.pid.labels import CLUSTERS, CODES, Labels, cells_of
from pidflow.pid.parts import Part
from pidflow.pid.tails_within import ROWS_PER_COLUMN, WORTH
from pidflow.pid.within_labels import Within, told_within
from pidflow.stats import normal_scores

FOLDS = 5
# A code is an indicator of its own where it has this many rows, in a block where codes have so many on average.
ROWS_PER_INDICATOR, ROWS_PER_CODE = 10, 20
# Level at which what varies within a cluster of a source counts.
LEVEL = 0.05
# Residuals beyond this many standard deviations call for normal scores.
FAR = 6.0
# Rows times cells of two codes beyond which mixtures take too much memory.
MOST_DENSITIES = 50_000_000
# Informations below this, in bits, have no share to speak of.
SMALL = 0.02

# Rows drawn from the model where its union is taken from a table; cells of a source and of the target; how many
# directions of the target, told of by more than this share of the noise, such cells can show.
DRAWN, CELLS_OF_COLUMNS, CELLS_OF_TARGET = 60_000, 12, 24
LEAST_SIGNAL, MOST_DIRECTIONS = 0.1, 2

Scores = Callable[[np.ndarray], dict[str, np.ndarray]]


def conditional_parts(
    blocks: Blocks,
    labels: Sequence[Labels],
    members: np.ndarray,
    *,
    groups: np.ndarray | None,
    permutations: int,
    jackknife: int,
    seed: int,
    definitions: Sequence[str],
) -> dict[str, Part]:
    """What the sources tell of the target given its label, one part a definition.

    Parameters
    ----------
    blocks, labels, groups, permutations, jackknife, seed, definitions
        As in :func:`pidflow.pid.mixed.mixed_estimates`.
    members : ndarray of int, shape (n,)
        Jackknife block of each row.
    """
    classes = labels[2].index
    codes = [_codes(block, own, blocks[2], classes) for block, own in zip(blocks[:2], labels[:2], strict=True)]
    cells = cells_of(classes, *(code for code in codes if code is not None))
    coded = tuple(f"x{k}" for k, code in enumerate(codes, 1) if code is not None)
    target = _within(blocks[2], classes, cells, scored=not coded)
    sources = [
        _within(block, classes, cells, scored=not coded) if code is None else _centred(_indicators(code), classes)
        for block, code in zip(blocks[:2], codes, strict=True)
    ]
    rows = tuple(independent(block, members) for block in (*sources, target))
    found = estimates_of_rows(
        rows,
        notes=(),
        groups=groups,
        permutations=permutations,
        jackknife=jackknife,
        seed=seed,
        definitions=definitions,
    )
    gaussian = {name: _without_tails(Part.of_estimate(estimate), coded) for name, estimate in found.items()}
    if all(part.mi["mi_12"][0] < WORTH for part in gaussian.values()):
        gaussian = {name: _without_tails(part) for name, part in gaussian.items()}
    if not coded and classes.max() and all(block.shape[1] for block in rows):
        within = told_within(blocks, [own.index for own in labels[:2]], classes, members)
        return {name: _without_tails(_by_label(part, within, name)) for name, part in gaussian.items()}
    if not coded or not all(
        block.shape[1] for block in (target, *(s for s, c in zip(sources, codes, strict=True) if c is not None))
    ):
        return gaussian
    folds = grouped_folds(len(target), folds=FOLDS, groups=groups, seed=seed)
    mi = _mixture_informations(rows, codes, classes, members, folds)
    if mi is None:
        return gaussian
    table = None if all(code is not None for code in codes) else _drawn_table(rows, codes, seed)
    return {name: _rescaled(part, mi, name, table) for name, part in gaussian.items()}


def _without_tails(part: Part, blocks: tuple[str, ...] = ("x1", "x2", "y")) -> Part:
    """The part without a word on tails: little is told, scores are normal in each label, or they are codes."""
    return replace(part, warnings=tuple(w for w in part.warnings if not (TAILS in w and w.startswith(blocks))))


def _by_label(part: Part, within: Within, definition: str) -> Part:
    """The Gaussian part with what is told within labels."""
    found = _rescaled(part, within.mi, definition, None)
    found = replace(found, unsure=within.unsure, warnings=(*found.warnings, *within.warnings))
    if definition != "broja":
        return found
    return replace(found, union=within.mi["mi_1"] + within.mi["mi_2"] - within.redundancy)


def _rescaled(part: Part, mi: dict[str, np.ndarray], definition: str, table: np.ndarray | None) -> Part:
    """The Gaussian part with other informations; its redundancy keeps its share of the smaller, or takes a table's."""
    smaller, before = np.minimum(mi["mi_1"], mi["mi_2"]), np.minimum(part.mi["mi_1"], part.mi["mi_2"])
    if definition == "mmi":
        union = np.maximum(mi["mi_1"], mi["mi_2"])
    elif definition == "broja" and table is not None and before[0] > SMALL:
        drawn = discrete_pid(table)
        union = mi["mi_1"] + mi["mi_2"] - smaller * float(drawn.redundancy) / min(float(drawn.mi_1), float(drawn.mi_2))
    else:
        redundancy = part.mi["mi_1"] + part.mi["mi_2"] - part.union
        share = np.where(before > SMALL, np.clip(smaller / np.maximum(before, SMALL), 0.0, 2.0), 1.0)
        union = mi["mi_1"] + mi["mi_2"] - redundancy * share
    return Part(mi, union, part.raw, part.gap, part.converged, part.p_value, part.warnings)


def _drawn_table(rows: Blocks, codes: Sequence[np.ndarray | None], seed: int) -> np.ndarray | None:
    """Table of sources and target in rows drawn from the conditional Gaussian model; None in too many directions."""
    coded = 0 if codes[0] is not None else 1
    code, other, target = codes[coded], rows[1 - coded], rows[2]
    if not other.shape[1]:
        return None
    rng = np.random.default_rng(seed)
    everything = np.ones(len(code), dtype=bool)
    slope, _ = _regression(other, target, code, everything)
    told, shifts = other @ slope, _means(target - other @ slope, code, everything)
    noise = covariance(target - told - shifts[code])
    white = np.linalg.inv(np.linalg.cholesky(noise)).T
    signals = [covariance(part @ white) for part in (told, shifts[code])]
    values, vectors = np.linalg.eigh(sum(signals))
    if not 0 < (values > LEAST_SIGNAL).sum() <= MOST_DIRECTIONS:
        return None
    seen = white @ vectors[:, values > LEAST_SIGNAL]
    drawn = rng.integers(len(code), size=DRAWN)
    y = (told + shifts[code])[drawn] @ seen + rng.standard_normal((DRAWN, seen.shape[1]))
    one = kmeans2(told[drawn] @ seen, CELLS_OF_COLUMNS, minit="++", seed=seed)[1]
    two = code[drawn]
    if two.max() >= CELLS_OF_COLUMNS:
        two = kmeans2(shifts @ seen, CELLS_OF_COLUMNS, minit="++", seed=seed)[1][code][drawn]
    cell = kmeans2(y, CELLS_OF_TARGET, minit="++", seed=seed)[1]
    table = np.zeros((CELLS_OF_COLUMNS, CELLS_OF_COLUMNS, CELLS_OF_TARGET))
    np.add.at(table, (one, two, cell) if coded == 1 else (two, one, cell), 1.0 / DRAWN)
    return table


def _codes(block: np.ndarray, labels: Labels, target: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """Codes that stand for the whole block, rare ones as one; None where they do not."""
    n = len(block)
    if labels.kind == CLUSTERS:
        # Labels of the target have Gaussians of their own, which clusters of a source may divide.
        if classes.max() or _told(*(_centred(each, labels.index) for each in (block, target)), labels.index) < LEVEL:
            return None
    elif labels.kind != CODES or labels.count > n / ROWS_PER_CODE:
        return None
    rare = np.bincount(labels.index) < ROWS_PER_INDICATOR
    return np.unique(np.where(rare[labels.index], labels.count, labels.index), return_inverse=True)[1]


def _told(x: np.ndarray, y: np.ndarray, classes: np.ndarray) -> float:
    """P-value of columns telling nothing of others in any class: likelihood ratios of Gaussians, one a class."""
    ratio, freedom = 0.0, 0
    for rows in (classes == each for each in range(int(classes.max()) + 1)):
        one, two = (independent(normal_scores(block[rows]), None) for block in (x, y))
        dims = one.shape[1], two.shape[1]
        if all(dims) and rows.sum() >= ROWS_PER_COLUMN * sum(dims):
            ratio += (
                2 * LN2 * float(gaussian_mi(covariance(np.column_stack([one, two])), dims)) * (rows.sum() - sum(dims))
            )
            freedom += dims[0] * dims[1]
    return float(chdtrc(freedom, ratio)) if freedom else 1.0


def _indicators(codes: np.ndarray) -> np.ndarray:
    return np.eye(int(codes.max()) + 1)[codes]


def _means(values: np.ndarray, cells: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Mean in each cell over the rows of `train`, ``(cells, d)``; that of all of them where a cell has none."""
    count = np.bincount(cells[train], minlength=int(cells.max()) + 1)
    sums = np.zeros((len(count), values.shape[1]))
    np.add.at(sums, cells[train], values[train])
    return np.where(count[:, None] > 0, sums / np.maximum(count, 1)[:, None], values[train].mean(axis=0))


def _centred(values: np.ndarray, cells: np.ndarray) -> np.ndarray:
    return values - _means(values, cells, np.ones(len(values), dtype=bool))[cells]


def _within(block: np.ndarray, classes: np.ndarray, cells: np.ndarray, *, scored: bool) -> np.ndarray:
    """The block within each class: normal scores, or what its class leaves of it where a mixture must stay one."""
    residual = _centred(block, cells)
    far = np.abs(residual).max(axis=0, initial=0.0) > FAR * residual.std(axis=0)
    if not scored and not far.any():
        return _centred(block, classes)
    out = np.empty_like(block)
    for label in range(int(classes.max()) + 1):
        out[classes == label] = normal_scores(block[classes == label])
    return out


def _mixture_informations(
    rows: Blocks, codes: Sequence[np.ndarray | None], classes: np.ndarray, members: np.ndarray, folds: np.ndarray
) -> dict[str, np.ndarray] | None:
    """Informations of the conditional Gaussian model, of all rows and without each block; None beyond memory."""
    target = rows[2]
    if all(code is not None for code in codes):
        cells = cells_of(*codes)
        if len(target) * (int(cells.max()) + 1) > MOST_DENSITIES:
            return None
        scores = _both_ways(lambda train: _two_codes(target, codes, cells, classes, train), folds)
        return {name: _means_without(scores[name], members) for name in INFORMATIONS}
    coded = 0 if codes[0] is not None else 1
    code, other = codes[coded], rows[1 - coded]
    scores = _both_ways(lambda train: _one_code(target, other, code, classes, train), folds)
    of_code, given_other = (_means_without(scores[name], members) for name in ("code", "given"))
    joint = of_code + _given_code(other, target, cells_of(classes, code), members)
    names = ("mi_1", "mi_2") if coded == 0 else ("mi_2", "mi_1")
    return dict(zip((*names, "mi_12"), (of_code, joint - given_other, joint), strict=True))


def _both_ways(scores: Scores, folds: np.ndarray) -> dict[str, np.ndarray]:
    """Mean of the scores of rows that were fitted and of rows of folds that were not: to first order without bias."""
    everything = np.ones(len(folds), dtype=bool)
    fitted = scores(everything)
    held_out = {name: np.empty_like(values) for name, values in fitted.items()}
    for fold in np.unique(folds):
        for name, values in scores(folds != fold).items():
            held_out[name][folds == fold] = values[folds == fold]
    return {name: 0.5 * (fitted[name] + held_out[name]) for name in fitted}


def _means_without(scores: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Mean of the scores of all rows, and without each block."""
    return np.array([scores.mean(), *(scores[members != block].mean() for block in range(members.max() + 1))])


def _given_code(other: np.ndarray, target: np.ndarray, cells: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Gaussian ``I(X; Y | cell)``, bias-corrected, of all rows and without each block."""
    d, m, spent = other.shape[1], target.shape[1], int(cells.max())
    if not d:
        return np.zeros(members.max() + 2)
    table = _centred(np.column_stack([other, target]), cells)
    without, sizes = deleted_covariances(table, members)
    found = gaussian_mi(np.concatenate([covariance(table)[None], without]), (d, m))
    return found - np.array([mi_bias(max(int(n) - spent, d + m + 1), d, m) for n in (len(table), *sizes)])


def _log_weights(codes: np.ndarray, classes: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Log-frequency of each code among the rows of each row's class, ``(n, codes)``; no code is impossible."""
    counts = np.zeros((int(classes.max()) + 1, int(codes.max()) + 1))
    np.add.at(counts, (classes[train], codes[train]), 1.0)
    share = np.bincount(codes[train], minlength=counts.shape[1]) / train.sum()
    counts += 1e-6 + 0.5 * np.maximum(share, 1e-6)
    return np.log(counts / counts.sum(axis=1, keepdims=True))[classes]


def _log_normal(values: np.ndarray, centres: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """Log-density up to a constant of each row under each centre, ``(n, centres)``."""
    root = np.linalg.inv(np.linalg.cholesky(cov)).T
    a, b = values @ root, centres @ root
    return -0.5 * (np.square(a).sum(axis=1)[:, None] - 2 * a @ b.T + np.square(b).sum(axis=1))


def _one_code(
    target: np.ndarray, other: np.ndarray, code: np.ndarray, classes: np.ndarray, train: np.ndarray
) -> dict[str, np.ndarray]:
    """Row scores, in bits, of ``I(code; Y)`` and of ``I(code; Y | other)``."""
    own = np.arange(len(code)), code
    weights = _log_weights(code, classes, train)

    def gain(logs: np.ndarray, priors: np.ndarray) -> np.ndarray:
        return (logs[own] - logsumexp(logs + priors, axis=1)) / LN2

    def densities(values: np.ndarray) -> np.ndarray:
        centres = _means(values, code, train)
        return _log_normal(values, centres, covariance((values - centres[code])[train]))

    alone = gain(densities(target), weights)
    if not other.shape[1]:
        return {"code": alone, "given": alone}
    # What the other source says of the code, if it says anything that holds for other rows.
    hints = densities(other) + weights
    hints -= logsumexp(hints, axis=1, keepdims=True)
    test = ~train if not train.all() else train
    if not train.all() and hints[own][test].mean() < weights[own][test].mean():
        hints = weights
    slope, _ = _regression(other, target, code, train)
    return {"code": alone, "given": gain(densities(target - other @ slope), hints)}


def _regression(
    other: np.ndarray, target: np.ndarray, code: np.ndarray, train: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes ``(d, m)`` of the target on columns, codes held fixed, and what they leave of the rows of `train`."""
    x, y = ((values - _means(values, code, train)[code])[train] for values in (other, target))
    slope = np.linalg.lstsq(x, y, rcond=None)[0]
    return slope, y - x @ slope


def _two_codes(
    target: np.ndarray, codes: Sequence[np.ndarray], cells: np.ndarray, classes: np.ndarray, train: np.ndarray
) -> dict[str, np.ndarray]:
    """Row scores, in bits, of the three informations where both sources are codes."""
    count = int(cells.max()) + 1
    first = np.unique(cells, return_index=True)[1]
    if count <= len(target) / ROWS_PER_CODE:
        centres = _means(target, cells, train)
    else:
        design = np.column_stack([_indicators(code) for code in codes])
        gram = design[train].T @ design[train] + 1e-3 * np.eye(design.shape[1])
        centres = design[first] @ np.linalg.solve(gram, design[train].T @ target[train])
    logs = _log_normal(target, centres, covariance((target - centres[cells])[train]))
    weights = _log_weights(cells, classes, train)
    whole = logsumexp(logs + weights, axis=1)
    scores = {"mi_12": (logs[np.arange(len(cells)), cells] - whole) / LN2}
    for name, code in zip(("mi_1", "mi_2"), codes, strict=True):
        fits = np.where(code[first][None, :] == code[:, None], weights, -np.inf)
        scores[name] = (logsumexp(logs + fits, axis=1) - logsumexp(fits, axis=1) - whole) / LN2
    return scores
