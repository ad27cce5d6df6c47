"""Exact discrete BROJA: of clustered predictions, as a check on the coupling, and of clustered sources.

The check clusters what each source says about the label, which is all that enters, and has the same estimand as the
coupling of the questions. The decomposition of clustered **sources** is another one: it takes the joint predictions
alone and asks what the cluster of the picture and the cluster of the words tell about them, so it needs no masked pass,
and no pass in which a model reads noise.
"""

from dataclasses import dataclass

import numpy as np

from pidflow.names import NUMBERED, QUANTITIES
from pidflow.pid.discrete import discrete_pid
from pidflow.pid.predicted import entropy
from pidflow.pid.sinkhorn import feasible
from pidflow.spectrum.decompose import Found, PredictedRows, image_groups

# Clusters of a source; of predictions first so many, twice as many while they lack more information than this.
SOURCE_CLUSTERS, _FIRST_CLUSTERS, _LACKING_BITS = 12, 8, 0.01
# Principal components of a source that are clustered, and rounds of k-means.
_COMPONENTS, _ROUNDS = 8, 50
_TOLERANCE_BITS = 1e-5
# Largest number of ky (k1 + k2): tables solved exactly have matrices of this size; many at once, and one.
_LARGEST, _LARGEST_ALONE = 900, 2100


@dataclass(frozen=True)
class Check:
    """The same predictions decomposed with clusters instead of questions.

    Attributes
    ----------
    bits
        Atoms and informations.
    gap_bits
        Proven bound on the error of the union information of the clusters.
    lost_bits
        Largest information of a source that its clusters lack: how far the union may be off for their sake.
    clusters
        Of each source.
    """

    bits: dict[str, float]
    gap_bits: float
    lost_bits: float
    clusters: tuple[int, int]


def clustered_predictions(rows: PredictedRows, *, seed: int = 0) -> Check:
    """Exact BROJA of the predictions, those of each source clustered."""
    frequencies = rows.joint.mean(axis=0)
    both = _alike(rows, seed)
    pairs = [each.mass for each in both]
    table = pairs[0][:, None] * (pairs[1] / np.where(frequencies > 0, frequencies, 1.0))[None]
    atoms = discrete_pid(table / table.sum(), tol_bits=_TOLERANCE_BITS)
    bits = {word: float(getattr(atoms, name)) for word, name in NUMBERED.items()}
    joint = _information(rows.joint / len(rows))
    # The table stands for the two pair marginals alone; what both know together is in the joint predictions.
    bits |= {"synergy": joint - float(atoms.union), "mi_joint": joint}
    lost = max(each.lost_bits for each in both)
    return Check(bits, float(atoms.info.gap_bits), lost, (len(pairs[0]), len(pairs[1])))


def merged_predictions(rows: PredictedRows, *, seed: int = 0) -> PredictedRows:
    """Each source's predictions replaced by the mean of their cluster: of these the check loses nothing."""
    means = [(each.mass / each.mass.sum(axis=1, keepdims=True))[each.label] for each in _alike(rows, seed)]
    return PredictedRows(*means, rows.joint, rows.images)


@dataclass(frozen=True, eq=False)
class _Alike:
    """Predictions of a source in clusters: the cluster of each, ``(n,)``, mass ``(k, ky)``, information they lack."""

    label: np.ndarray
    mass: np.ndarray
    lost_bits: float


def _alike(rows: PredictedRows, seed: int) -> list[_Alike]:
    """Both sources, moved to the label frequencies; the one that lacks more gets more clusters, as far as tables go."""
    used = [feasible(given, rows.joint.mean(axis=0)) for given in (rows.vision, rows.language)]

    def merged(source: int, count: int) -> _Alike:
        label = _clusters(np.sqrt(used[source]), count, seed)
        mass = _summed(used[source], label) / len(rows)
        return _Alike(label, mass, max(_information(used[source] / len(rows)) - _information(mass), 0.0))

    counts = [_FIRST_CLUSTERS, _FIRST_CLUSTERS]
    found = [merged(source, count) for source, count in enumerate(counts)]
    while True:
        room = _LARGEST_ALONE // rows.joint.shape[1] - sum(counts)
        lacking = [s for s in (0, 1) if found[s].lost_bits > _LACKING_BITS and counts[s] <= room]
        if not lacking:
            return found
        worse = max(lacking, key=lambda source: found[source].lost_bits)
        counts[worse] *= 2
        found[worse] = merged(worse, counts[worse])


@dataclass(frozen=True, eq=False)
class SourceTable:
    """Joint predictions by cluster of the picture and of the words.

    Attributes
    ----------
    vision, language
        Cluster of each question, ``(n,)``.
    pmf
        ``(k1, k2, ky)``.
    """

    vision: np.ndarray
    language: np.ndarray
    pmf: np.ndarray


def source_table(
    vision: np.ndarray, language: np.ndarray, joint: np.ndarray, *, clusters: int = SOURCE_CLUSTERS, seed: int = 0
) -> SourceTable:
    """Joint predictions ``(n, ky)`` by clusters of the sources ``(n, d)``; few different rows stay as they are."""
    clusters = min(clusters, max(2, _LARGEST // (2 * joint.shape[1])))
    one, two = (_clusters(_components(each), clusters, seed) for each in (vision, language))
    return SourceTable(one, two, _table(one, two, joint))


def decompose_sources(table: SourceTable, joint: np.ndarray, images: np.ndarray, *, seed: int = 0) -> Found:
    """What clusters of the sources tell about the joint predictions, less the jackknife's estimate of its bias."""
    groups = image_groups(images, seed=seed)
    kept = [groups != group for group in range(groups.max() + 1)]
    shape = table.pmf.shape[:2]
    tables = [table.pmf, *(_table(table.vision[k], table.language[k], joint[k], shape) for k in kept)]
    atoms = discrete_pid(np.stack(tables), tol_bits=_TOLERANCE_BITS)
    values = {word: np.asarray(getattr(atoms, name)) for word, name in NUMBERED.items()}
    count = len(kept)
    bias = {name: (count - 1) * (values[name][1:].mean() - values[name][0]) for name in QUANTITIES}
    return Found(
        bits={name: float(values[name][0] - bias[name]) for name in QUANTITIES},
        replicates={name: values[name][1:] - bias[name] for name in QUANTITIES},
        entropy=entropy(joint.mean(axis=0)),
        gap_bits=float(np.max(atoms.info.gap_bits)),
        raw={name: float(values[name][0]) for name in ("mi_vision", "mi_language", "mi_joint")},
    )


def _table(one: np.ndarray, two: np.ndarray, joint: np.ndarray, shape: tuple[int, int] | None = None) -> np.ndarray:
    k1, k2 = shape or (one.max() + 1, two.max() + 1)
    return _summed(joint, one * k2 + two, k1 * k2).reshape(k1, k2, -1) / len(joint)


def _clusters(values: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Cluster of each row, ``0 … k - 1``, at most `most`; no more than there are different rows."""
    from scipy.cluster.vq import kmeans2  # a third of a second to import

    different, label = np.unique(np.round(values, 6), axis=0, return_inverse=True)
    if len(different) > most:
        rng = np.random.default_rng(seed)
        label = kmeans2(values, most, iter=_ROUNDS, minit="++", missing="warn", rng=rng)[1]
    return np.unique(label.ravel(), return_inverse=True)[1]


def _components(values: np.ndarray) -> np.ndarray:
    """Leading principal scores, in which k-means sees what varies."""
    centred = values - values.mean(axis=0)
    if values.shape[1] <= _COMPONENTS:
        return centred
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :_COMPONENTS] * size[:_COMPONENTS]


def _summed(values: np.ndarray, label: np.ndarray, count: int | None = None) -> np.ndarray:
    """Sum of the rows ``(n, ky)`` of each label."""
    out = np.zeros((label.max() + 1 if count is None else count, values.shape[1]))
    np.add.at(out, label, values)
    return out


def _information(mass: np.ndarray) -> float:
    """``I(X;Y)`` in bits of masses ``(k, ky)``."""
    return entropy(mass.sum(axis=0)) + entropy(mass.sum(axis=1)) - entropy(mass)
