"""What the spectrum of one model on one task consists of: decompositions, and what each pass got right."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pidflow.names import ATOMS
from pidflow.stats import jackknife_se, within

# Bits of joint information below which its parts have no shares: nothing over nothing.
LEAST_JOINT = 0.01


@dataclass(frozen=True)
class Twin:
    """What was found in planted predictions of the same size whose truth is known: the parametric bootstrap twin.

    Attributes
    ----------
    truth, bits, se
        Of each quantity.
    groups
        Groups of the jackknife behind `se`.
    """

    truth: dict[str, float]
    bits: dict[str, float]
    se: dict[str, float]
    groups: int

    def passed(self, quantity: str) -> bool:
        """Whether the interval of what was found, widened by a tolerance, holds the truth (:func:`stats.within`)."""
        return within(self.bits[quantity], self.truth[quantity], se=self.se[quantity], df=self.groups - 1)


@dataclass(frozen=True)
class Checked:
    """The same predictions decomposed exactly over clusters.

    Attributes
    ----------
    bits
        Atoms and informations.
    gap_bits, lost_bits
        Certificate, and the largest information of a source that the clusters lack.
    clusters
        Of vision and language.
    """

    bits: dict[str, float]
    gap_bits: float
    lost_bits: float
    clusters: tuple[int, int]


@dataclass(frozen=True)
class Spectrum:
    """One decomposition of a model's predictions, in bits.

    Attributes
    ----------
    model, task
        Whose.
    mode, method
        ``repaired`` or ``published``; by ``coupling``, ``networks`` or ``clusters`` (:mod:`pidflow.spectrum.modes`).
    lens, layer
        Through which lens and of which layer; None for what the model says in the end.
    questions, images
        Behind the numbers.
    bits, replicates
        Atoms and informations by their words, and the same without each group of images.
    entropy
        Of the label.
    gap_bits
        Proven bound on the error of the union information; None of an estimate that proves nothing.
    offset, moved
        By source: divergence of its label frequencies, bits; total variation it was moved by. Empty where nothing is
        moved.
    raw
        Informations of the predictions as given.
    raw_sum, clipped_sum
        Sum of the atoms as reported, and with negative ones set to zero.
    check, twin
        The same predictions over clusters; planted predictions. None where not asked for.
    warnings
        What a reader must know first.
    """

    model: str
    task: str
    mode: str
    method: str
    lens: str | None
    layer: int | None
    questions: int
    images: int
    bits: dict[str, float]
    replicates: dict[str, list[float]]
    entropy: float
    gap_bits: float | None
    offset: dict[str, float]
    moved: dict[str, float]
    raw: dict[str, float]
    raw_sum: float
    clipped_sum: float
    check: Checked | None
    twin: Twin | None
    warnings: tuple[str, ...]

    @property
    def groups(self) -> int:
        """Groups of the jackknife."""
        return len(self.replicates["mi_joint"])

    @cached_property
    def se(self) -> dict[str, float]:
        """Standard error of each quantity over images."""
        return {name: float(jackknife_se(np.asarray(values))) for name, values in self.replicates.items()}

    @property
    def interaction(self) -> float:
        """``I(V;A) + I(L;A) - I(V,L;A)``: redundancy minus synergy, bits."""
        return self.bits["mi_vision"] + self.bits["mi_language"] - self.bits["mi_joint"]

    @property
    def shares(self) -> dict[str, float]:
        """Each atom as a share of the joint information; NaN where that is below `LEAST_JOINT`."""
        joint = self.bits["mi_joint"]
        return {atom: self.bits[atom] / joint if joint >= LEAST_JOINT else float("nan") for atom in ATOMS}


@dataclass(frozen=True)
class PassResult:
    """What one pass got right, and how sure it was.

    Attributes
    ----------
    key
        Of the pass, as ``vision-only/noise``.
    right, right_published
        Share of right answers by group of images left out, and by none: ``[all, without group 0, …]``; by the one rule
        of all passes, and by the published two.
    mass
        Mean option mass.
    fired
        Share of questions and draws whose prediction became uniform.
    draws, spread
        Draws of the replacement, and the mean standard deviation of a probability over them.
    """

    key: str
    right: list[float]
    right_published: list[float]
    mass: float
    fired: float
    draws: int
    spread: float


@dataclass(frozen=True)
class Skipped:
    """A spectrum that was asked for and does not exist, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class TaskSpectrum:
    """Everything about one model on one task.

    Attributes
    ----------
    model, task
        Whose.
    labels, label_kind
        What the answer is told as.
    score, threshold
        How options were scored, and the option mass below which a prediction is uniform.
    vision, language
        Passes that stand for the single sources in mode ``repaired``.
    truncated, truncated_bits
        Where predictions are over the model's own answers: mean probability that its answer begins otherwise, and the
        information that merging all else into one label can hide at most. None where answers are offered.
    passes, spectra, skipped
        What was found.
    """

    model: str
    task: str
    labels: tuple[str, ...]
    label_kind: str
    score: str
    threshold: float
    vision: str
    language: str
    truncated: float | None
    truncated_bits: float | None
    passes: tuple[PassResult, ...]
    spectra: tuple[Spectrum, ...]
    skipped: tuple[Skipped, ...]
