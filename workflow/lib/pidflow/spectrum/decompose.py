r"""The spectrum of a model's predictions: how the information about its answer divides between picture and words.

Predictions of n questions over one set of labels are given three times: from vision alone, from language alone, from
both. The union information is BROJA's over couplings of the questions that keep both single predictions, as in BATCH
(Liang et al. 2023); the coupling is found exactly (:mod:`pidflow.pid.coupling`), not learned.

What is repaired against the published estimate, and what each repair costs, is told in docs/spectrum.md. In short: the
single predictions are moved, by as little as possible, to the label frequencies of the joint ones before anything is
measured against these (the offset is reported); every question is used; nothing is clipped; errors are over images.
"""

from dataclasses import dataclass, field

import numpy as np

from pidflow.errors import DataError
from pidflow.groups import grouped_folds
from pidflow.names import ATOMS, NUMBERED, QUANTITIES
from pidflow.pid.coupling import Coupled, couple
from pidflow.pid.gaussian import INFORMATIONS, atoms_of
from pidflow.pid.gaussian_system import LN2
from pidflow.pid.predicted import divergence, entropy, predicted_information
from pidflow.pid.sinkhorn import feasible

# Groups of images deleted in turn for standard errors.
GROUPS = 20
LEAST_ROWS, LEAST_IMAGES = 20, 5
# Slopes of the union information at what has no mass are infinite; an error takes them as this, in nats.
_STEEPEST = 30.0
# Beyond this a reader is warned: total variation moved, bits of a gap, of a negative atom.
_MOVED, _GAP, _NEGATIVE = 0.05, 0.02, 0.02


@dataclass(frozen=True, eq=False)
class PredictedRows:
    """Predictions of n questions over ky labels.

    Attributes
    ----------
    vision, language, joint
        ``(n, ky)``: from each source alone and from both; rows sum to one.
    images
        ``(n,)``: image of each question.
    """

    vision: np.ndarray
    language: np.ndarray
    joint: np.ndarray
    images: np.ndarray

    def __post_init__(self) -> None:
        shapes = {each.shape for each in (self.vision, self.language, self.joint)}
        if len(shapes) != 1 or len(self.images) != len(self.joint):
            raise DataError(
                f"predictions from vision, language and both must have one shape and one image a row, found "
                f"{', '.join(map(str, sorted(shapes)))} and {len(self.images)} images"
            )

    def __len__(self) -> int:
        return len(self.joint)

    def take(self, which: np.ndarray) -> "PredictedRows":
        """Some rows, by a mask or numbers."""
        return PredictedRows(self.vision[which], self.language[which], self.joint[which], self.images[which])


@dataclass(frozen=True, eq=False)
class Found:
    """A decomposition of predictions, in bits.

    Attributes
    ----------
    bits
        Atoms and informations by their words (:data:`pidflow.names.QUANTITIES`). Atoms add up to ``mi_joint``.
    replicates
        The same without each of G groups of images, shape ``(G,)`` each.
    entropy
        Of the label, in bits: what the joint information could be at most.
    gap_bits
        Proven: the union information is at most so much smaller.
    offset
        ``KL(mean p(y | source) || p(y))`` by source, bits: what an information of predictions that are not moved would
        have too much.
    moved
        Mean total variation by which each source's predictions were moved.
    raw
        ``mi_vision, mi_language, mi_joint`` of the predictions as given, each against its own mean.
    warnings
        What a reader must know first.
    """

    bits: dict[str, float]
    replicates: dict[str, np.ndarray]
    entropy: float
    gap_bits: float
    offset: dict[str, float] = field(default_factory=dict)
    moved: dict[str, float] = field(default_factory=dict)
    raw: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def clipped_sum(self) -> float:
        """What the atoms would add up to if negative ones were set to zero."""
        return sum(max(self.bits[atom], 0.0) for atom in ATOMS)


def decompose_predictions(
    rows: PredictedRows, *, given: PredictedRows | None = None, seed: int = 0, tolerance_bits: float = 2e-3
) -> Found:
    """The decomposition of predictions, with errors over images.

    Parameters
    ----------
    rows
        At least 20 questions about at least 5 images.
    given
        What these predictions were before they were held against the joint ones: ``offset``, ``moved`` and ``raw`` tell
        of them. None where nothing was done to them.
    seed
        How images are dealt into the groups of the jackknife.
    tolerance_bits
        Gap at which the coupling is good enough.

    Raises
    ------
    DataError
        When there are fewer rows or images.
    """
    groups = image_groups(rows.images, seed=seed)
    whole = _Measured.of(rows)
    coupled = couple(*whole.marginals, tolerance_bits=tolerance_bits)
    bits = quantities(*whole.informations, coupled.union_bits)
    at_optimum = _dual_bits(coupled, whole, slice(None))
    replicates: dict[str, list[float]] = {name: [] for name in QUANTITIES}
    for group in range(groups.max() + 1):
        kept = groups != group
        part = _Measured.of(rows.take(kept))
        union = coupled.union_bits + _dual_bits(coupled, part, kept) - at_optimum
        for name, value in quantities(*part.informations, union).items():
            replicates[name].append(value)
    frequencies, given = rows.joint.mean(axis=0), rows if given is None else given
    single = {"vision": given.vision, "language": given.language}
    offset = {name: divergence(each.mean(axis=0), frequencies) for name, each in single.items()}
    moved = {
        name: 0.5 * float(np.abs(used - each).sum(axis=1).mean())
        for (name, each), used in zip(single.items(), (whole.vision, whole.language), strict=True)
    }
    return Found(
        bits=bits,
        replicates={name: np.array(values) for name, values in replicates.items()},
        entropy=entropy(frequencies),
        gap_bits=coupled.gap_bits,
        offset=offset,
        moved=moved,
        raw={f"mi_{name}": predicted_information(each) for name, each in (*single.items(), ("joint", rows.joint))},
        warnings=_warnings(bits, coupled.gap_bits, offset, moved if given is rows else {}),
    )


def quantities(mi_vision: float, mi_language: float, mi_joint: float, union: float) -> dict[str, float]:
    """Atoms and informations from the informations and the union information."""
    values = atoms_of(dict(zip(INFORMATIONS, (mi_vision, mi_language, mi_joint), strict=True)), union)
    return {word: values[name] for word, name in NUMBERED.items()}


def image_groups(images: np.ndarray, *, seed: int) -> np.ndarray:
    """Group of the jackknife of each row; questions about an image stay together.

    Raises
    ------
    DataError
        When there are too few rows or images to say anything.
    """
    different = len(np.unique(images))
    if len(images) < LEAST_ROWS or different < LEAST_IMAGES:
        raise DataError(
            f"a spectrum needs at least {LEAST_ROWS} questions about {LEAST_IMAGES} images, found {len(images)} about "
            f"{different}; raise items, or the share that is not used for training"
        )
    return grouped_folds(len(images), folds=min(GROUPS, different), groups=images, seed=seed)


@dataclass(frozen=True, eq=False)
class _Measured:
    """Predictions moved to common label frequencies, shape ``(n, ky)``, and their informations in bits."""

    vision: np.ndarray
    language: np.ndarray
    frequencies: np.ndarray
    informations: tuple[float, float, float]

    @classmethod
    def of(cls, rows: PredictedRows) -> "_Measured":
        frequencies = rows.joint.mean(axis=0)
        vision, language = feasible(rows.vision, frequencies), feasible(rows.language, frequencies)
        informations = tuple(predicted_information(each) for each in (vision, language, rows.joint))
        return cls(vision, language, frequencies, informations)

    @property
    def marginals(self) -> tuple[np.ndarray, np.ndarray]:
        """``(ky, n)`` masses of both sources."""
        return tuple(np.ascontiguousarray(each.T) / len(each) for each in (self.vision, self.language))


def _dual_bits(coupled: Coupled, measured: _Measured, which: slice | np.ndarray) -> float:
    """The dual's value at these marginals: in first order the union information changes as it does."""
    value = 0.0
    for dual, marginal in zip((coupled.a, coupled.b), measured.marginals, strict=True):
        value += float(np.vdot(np.maximum(dual[:, which], -_STEEPEST), marginal))
    return value / LN2 + entropy(measured.frequencies)


def _warnings(bits: dict[str, float], gap: float, offset: dict[str, float], moved: dict[str, float]) -> tuple[str, ...]:
    out = []
    if gap > _GAP:
        out.append(f"a better coupling could lower the union information by up to {gap:.2g} bit")
    far = {name: value for name, value in moved.items() if value > _MOVED}
    if far:
        which = " and ".join(f"{name} {value:.2g}" for name, value in far.items())
        out.append(
            f"predictions of single sources contradict the joint ones: moved by {which} in total variation (offset "
            f"{' and '.join(f'{offset[name]:.2g}' for name in far)} bit)"
        )
    negative = [name.replace("_", " ") for name in ATOMS if bits[name] < -_NEGATIVE]
    if negative:
        out.append(f"negative: {', '.join(negative)}; the joint prediction knows less than the sources apart")
    return tuple(out)
