"""The decomposition of rows some of which are labels: codes and clusters beside continuous columns.

Let the target be its label and what is left of it, ``Y = (K, R)``. Informations obey the chain rule,

    I(X; Y) = I(X; K) + I(X; R | K),

and so does the union information of couplings that fit both parts, which is how they are put together here. (In general
it is at least the sum: what one coupling must keep for K and for R together, two may keep apart.)

**The label** is told by class probabilities (:mod:`pidflow.pid.posteriors`). A decomposition with a discrete target
depends on a source through its class probabilities alone, so each source becomes a symbol, a group of rows whose
probabilities are alike, and a table of symbols is decomposed exactly (:mod:`pidflow.pid.discrete`).

**What is left** is conditional Gaussian: normal scores of the columns within each label of the target, with codes of
the sources as indicators (:mod:`pidflow.pid.conditional`).
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.special import ndtr

from pidflow.errors import NumericsError
from pidflow.groups import grouped_folds
from pidflow.pid.bias import bias_warning, consistent_union
from pidflow.pid.conditional import conditional_parts
from pidflow.pid.covariances import jackknife_blocks
from pidflow.pid.discrete import discrete_pid, redundancy_beside
from pidflow.pid.estimators._rows import Blocks
from pidflow.pid.gaussian import ATOMS, INFORMATIONS, atoms_of
from pidflow.pid.gaussian_system import LN2
from pidflow.pid.labels import CODES, CONTINUOUS, Labels
from pidflow.pid.parts import Part, patterns
from pidflow.pid.posteriors import posterior
from pidflow.pid.results import QUANTITIES, PIDEstimate
from pidflow.stats import jackknife_se, normal_scores

# Folds of the class probabilities.
FOLDS = 5
# Groups of rows with like class probabilities: more of them lose nothing that 900 rows could show.
SYMBOLS = 16
# Certificates of tables of counts, bits: hundredths of what they are unsure by; beyond the second they are refused.
CERTIFIED, MOST_GAP = 5e-3, 0.02
# Parts of the rows left out in turn to see the bias of a table.
BIAS_PARTS = 5
# Standard deviation of what stays systematic in class probabilities: of what log-losses of fitted rows, and of others,
# lie off their mean; and what is off where a label is certain.
OF_OPTIMISM, LEAST_UNSURE = 0.25, 0.01
# A posterior within this distance of another is the same symbol.
ALIKE = 1e-6


def mixed_estimates(
    blocks: Blocks,
    labels: Sequence[Labels],
    *,
    notes: tuple[str, ...],
    groups: np.ndarray | None,
    permutations: int,
    jackknife: int,
    seed: int,
    definitions: Sequence[str],
) -> dict[str, PIDEstimate]:
    """Decomposition of blocks with labels, one result a definition, in bits.

    Parameters
    ----------
    blocks : three ndarrays, shapes (n, d1), (n, d2), (n, m)
        Columns that vary.
    labels : three Labels
        From :func:`pidflow.pid.labels.labels_of`.
    notes, groups, permutations, jackknife, seed, definitions
        As in :func:`pidflow.pid.from_latents.estimates_of_rows`.
    """
    members = jackknife_blocks(len(blocks[2]), jackknife, groups=groups, seed=seed)
    common = {"groups": groups, "seed": seed, "definitions": definitions}
    found: dict[str, list[Part]] = {name: [] for name in definitions}
    if labels[2].kind != CONTINUOUS:
        for name, part in _label_parts(blocks, labels, members, **common).items():
            found[name].append(part)
    if labels[2].kind != CODES:
        rest = conditional_parts(blocks, labels, members, permutations=permutations, jackknife=jackknife, **common)
        for name, part in rest.items():
            found[name].append(part)
    fingerprint = sha256(np.ascontiguousarray(members, dtype="<i8").tobytes()).hexdigest()[:16]
    return {
        name: _estimate(
            Part.together(parts), name, notes, len(members), sum(block.shape[1] for block in blocks), fingerprint
        )
        for name, parts in found.items()
    }


def _label_parts(
    blocks: Blocks,
    labels: Sequence[Labels],
    members: np.ndarray,
    *,
    groups: np.ndarray | None,
    seed: int,
    definitions: Sequence[str],
) -> dict[str, Part]:
    """What the sources tell of the target's label."""
    classes, n = labels[2].index, len(members)
    folds = grouped_folds(n, folds=FOLDS, groups=groups, seed=seed)
    columns = [_features(block, own) for block, own in zip(blocks[:2], labels[:2], strict=True)]
    cells = [own.index for own in labels[:2]]
    both = np.unique(cells[0] * labels[1].count + cells[1], return_inverse=True)[1]
    each = [posterior(column, cell, classes, folds) for column, cell in zip(columns, cells, strict=True)]
    joint = posterior(np.column_stack(columns), both, classes, folds)
    kept = np.concatenate([np.ones((1, n), dtype=bool), members != np.arange(members.max() + 1)[:, None]])
    own = np.arange(n), classes
    entropy = np.array([_entropy(classes[rows]) for rows in kept])
    scores = dict(zip(INFORMATIONS, (own.scores(classes) for own in (*each, joint)), strict=True))
    mi = {name: entropy + np.array([score[rows].mean() for rows in kept]) for name, score in scores.items()}
    symbols = [_symbols(own, label, seed) for own, label in zip(each, labels[:2], strict=True)]
    dealt = members % BIAS_PARTS  # a jackknife of few large parts shows what counts do to a table
    parts = [dealt != part for part in range(BIAS_PARTS)]
    tables = [np.stack([_table(*(s[rows] for s in (*symbols, classes))) for rows in some]) for some in (kept, parts)]
    optimism = {
        name: LEAST_UNSURE + OF_OPTIMISM * 0.5 * float((found.fitted[own] - found.held_out[own]).mean()) / LN2
        for name, found in zip(INFORMATIONS, (*each, joint), strict=True)
    }
    unsure = optimism | {"redundancy": max(optimism["mi_1"], optimism["mi_2"])}
    p_value = _p_value(scores["mi_12"], classes)
    raw = {
        name: float(_entropy(classes) + found.fitted[own].mean() / LN2)
        for name, found in zip(INFORMATIONS, (*each, joint), strict=True)
    }
    out = {}
    for name in definitions:
        union, gap, converged = _union(*tables, mi, name)
        out[name] = Part(mi, union, raw | {"union": float(union[0])}, gap, converged, p_value, unsure=unsure)
    return out


def _union(
    tables: np.ndarray, parts: np.ndarray, mi: dict[str, np.ndarray], definition: str
) -> tuple[np.ndarray, float, bool]:
    """Union information of all rows and without each block: the redundancy of the symbols beside the informations.

    `tables` are of all rows and without each block, `parts` without each of few larger ones.
    """
    if definition == "mmi":
        return np.maximum(mi["mi_1"], mi["mi_2"]), 0.0, True
    whole, without, gap = redundancy_beside(tables[0], tables[1:], definition=definition, tol_bits=CERTIFIED)
    if not gap <= MOST_GAP:
        raise NumericsError(f"the table of symbols is certified to {gap:.3g} bit only, at most {MOST_GAP} are allowed")
    # Counts make a table look more informative than it is, in proportion to 1 / n: larger parts show by how much.
    fewer = discrete_pid(parts, definition=definition, tol_bits=CERTIFIED, most_gap_bits=MOST_GAP)
    bias = (len(parts) - 1) * (float(np.mean(fewer.redundancy)) - whole)
    redundancy = np.clip(np.concatenate([[whole], without]) - bias, 0.0, None)
    return mi["mi_1"] + mi["mi_2"] - redundancy, gap, True


def _features(block: np.ndarray, labels: Labels) -> np.ndarray:
    """What a class may depend on: normal scores of the columns, and indicators of the labels."""
    hot = np.eye(labels.count)[labels.index] if labels.count > 1 else np.zeros((len(block), 0))
    return np.column_stack([normal_scores(block), hot])


def _symbols(own, labels: Labels, seed: int) -> np.ndarray:
    """Symbol of each row: its code where there are few, or a group of rows with like class probabilities."""
    if labels.kind == CODES and labels.count <= SYMBOLS:
        return labels.index
    roots = np.exp(0.5 * own.held_out)
    distinct = np.unique(np.round(roots / ALIKE) * ALIKE, axis=0)
    if len(distinct) <= SYMBOLS:
        return np.unique(np.round(roots / ALIKE), axis=0, return_inverse=True)[1].ravel()
    return kmeans2(roots, SYMBOLS, minit="++", seed=seed)[1]


def _table(one: np.ndarray, two: np.ndarray, classes: np.ndarray) -> np.ndarray:
    table = np.zeros((SYMBOLS, SYMBOLS, int(classes.max()) + 1))
    np.add.at(table, (one, two, classes), 1.0)
    return table / table.sum()


def _entropy(classes: np.ndarray) -> float:
    """Entropy of the label in bits, with the first-order correction of its bias."""
    share = np.bincount(classes) / len(classes)
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum() + (len(share) - 1) / (2 * len(classes) * LN2))


# The smallest p-value: where a label is certain the normal tail underflows.
LEAST = float(np.finfo(float).tiny)


def _p_value(scores: np.ndarray, classes: np.ndarray) -> float:
    """One-sided, that the label is told no better than by its frequencies; above 0 as any p-value, however clear."""
    gain = scores - np.log2(np.bincount(classes) / len(classes))[classes]
    spread = gain.std(ddof=1) / np.sqrt(len(gain))
    if not spread > 0:
        return 1.0 if gain.mean() <= 0 else LEAST
    return max(float(ndtr(-gain.mean() / spread)), LEAST)


def _with_unsure(values: dict[str, np.ndarray], unsure: Mapping[str, float]) -> dict[str, np.ndarray]:
    """The seven quantities with what is systematic in their replicates."""
    added = patterns(unsure, len(values["redundancy"]) - 1)
    moved = {atom: values[atom] + np.concatenate([[0.0], added[atom]]) for atom in ATOMS}
    one, two = moved["redundancy"] + moved["unique_1"], moved["redundancy"] + moved["unique_2"]
    return moved | dict(zip(INFORMATIONS, (one, two, sum(moved.values())), strict=True))


def _estimate(
    part: Part, definition: str, notes: tuple[str, ...], n: int, columns: int, fingerprint: str
) -> PIDEstimate:
    """The estimate that the parts of a target add up to."""
    mi = part.mi
    union, clipped = consistent_union(part.union, mi["mi_1"], mi["mi_2"], mi["mi_12"])
    values = _with_unsure(atoms_of(mi, union), part.unsure)
    raw = atoms_of(part.raw, part.raw["union"])
    bias = {name: part.raw[name] - float(mi[name][0]) for name in INFORMATIONS}
    ratio = n / max(1, columns)
    return PIDEstimate(
        definition=definition,
        **{name: float(values[name][0]) for name in QUANTITIES},
        se={name: float(jackknife_se(values[name][1:])) for name in QUANTITIES},
        p_value=part.p_value,
        union_raw=part.raw["union"],
        union_corrected=float(part.union[0]),
        union=float(union[0]),
        clipped=bool(clipped[0]),
        union_correction="mixed",
        union_null=0.0,
        union_bias=part.raw["union"] - float(part.union[0]),
        mi_bias=bias,
        raw={name: float(raw[name]) for name in QUANTITIES},
        gap_bits=part.gap,
        converged=part.converged,
        n=n,
        ratio=ratio,
        replicates={name: values[name][1:].tolist() for name in QUANTITIES},
        blocks=fingerprint,
        warnings=notes + part.warnings + bias_warning("I12", bias["mi_12"], float(mi["mi_12"][0]), ratio),
    )
