"""Results of estimating from rows: a decomposition, an information, the paired difference of two conditions.

:class:`PIDEstimate` is what an estimator returns. :class:`Decomposition` is the record of one layer of one unit: the
estimate with its place in a run and with what speaks against believing it. Files hold it (:mod:`pidflow.pid.records`)
and tables are made of it.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from pidflow import arguments
from pidflow.names import NUMBERED, OWN
from pidflow.stats import interval, within

# The four atoms and the three informations, as the numerics call them.
QUANTITIES = tuple(NUMBERED.values())
# What is said of an estimate whose information has no bound.
UNBOUNDED = "unbounded"
# One-sided level at which missed information is flagged.
MISSED_LEVEL = 0.01


@dataclass(frozen=True)
class Uncorrected:
    """An estimate before its twin corrected it (:mod:`pidflow.pid.correction`).

    Attributes
    ----------
    bits, se : dict of str to float
        Each of the seven quantities, and its jackknife standard error.
    """

    bits: dict[str, float]
    se: dict[str, float]


@dataclass(frozen=True)
class PIDEstimate:
    """A decomposition of ``I(X1, X2; Y)`` estimated from rows, in bits.

    Attributes
    ----------
    definition : str
        ``"broja"``, ``"mmi"`` or ``"dep"``.
    redundancy, unique_1, unique_2, synergy : float
        Bias-corrected atoms. They add up to `mi_12` exactly and are negative only where the corrected informations
        contradict each other (see :func:`pidflow.pid.bias.consistent_union`).
    mi_1, mi_2, mi_12 : float
        Bias-corrected informations, never clipped: on null data they scatter around zero.
    se : dict of str to float
        Delete-group jackknife standard error of each of the seven numbers above.
    p_value : float
        Of ``I12 = 0``, from the permutations; it cannot be smaller than ``1 / (permutations + 1)``.
    union_raw, union_corrected, union : float
        Union information: plug-in, minus its bias, clipped. `union` is the one the atoms use.
    clipped : bool
        Whether `union` differs from `union_corrected`.
    union_bias : float
        What was subtracted from the plug-in union.
    union_null : float
        Mean plug-in union of the permuted data, the bias where sources and target are independent.
    union_correction : str
        Where `union_bias` comes from: ``"cross-fit"`` (:mod:`pidflow.pid.crossfit`), ``"permutation"``
        (`union_null`, when there are too few rows to cross-fit), ``"exact"`` (``"mmi"``, a function of the
        informations), ``"mixed"`` (:mod:`pidflow.pid.mixed`), or ``"unbounded"``: the target is an exact function of a
        source, all bits are NaN and a warning says why.
    mi_bias : dict of str to float
        Exact bias subtracted from each information.
    raw : dict of str to float
        Plug-in value of each of the seven numbers.
    gap_bits, converged
        Worst certificate in the batch and whether all of it converged.
    n, ratio
        Rows, and rows per dimension ``n / (d1 + d2 + m)``.
    replicates : dict of str to list of float
        Corrected numbers without each jackknife block, before clipping; differences of two conditions need them.
    blocks : str
        Fingerprint of the assignment of rows to jackknife blocks.
    warnings : tuple of str
        What a reader must know before believing the numbers.
    spoke : str
        The estimator that spoke, which ``"auto"`` chooses by the rows; empty for rows that came as latents.
    uncorrected : Uncorrected, optional
        What was found before the twin corrected it; None where it did not. `raw`, `union_raw`, `union_bias` and
        `mi_bias` belong to that.
    """

    definition: str
    redundancy: float
    unique_1: float
    unique_2: float
    synergy: float
    mi_1: float
    mi_2: float
    mi_12: float
    se: dict[str, float]
    p_value: float
    union_raw: float
    union_corrected: float
    union: float
    clipped: bool
    union_bias: float
    union_null: float
    union_correction: str
    mi_bias: dict[str, float]
    raw: dict[str, float]
    gap_bits: float
    converged: bool
    n: int
    ratio: float
    replicates: dict[str, list[float]]
    blocks: str
    warnings: tuple[str, ...]
    spoke: str = ""
    uncorrected: Uncorrected | None = None

    @property
    def groups(self) -> int:
        """Jackknife blocks."""
        return len(self.replicates["mi_12"])

    @property
    def bounded(self) -> bool:
        """Whether there are numbers at all."""
        return self.union_correction != UNBOUNDED

    def interval(self, quantity: str, *, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of an atom or an information: estimate ± Student quantile (blocks - 1) times `se`."""
        arguments.choice(quantity, "quantity", QUANTITIES)
        return interval_of(getattr(self, quantity), self.se[quantity], self.groups, level)

    def disagrees(self, other: "PIDEstimate", quantity: str) -> bool:
        """Whether another estimate of a quantity lies so far off that the 95 % intervals do not meet."""
        (low, high), (other_low, other_high) = self.interval(quantity), other.interval(quantity)
        return low > other_high or other_low > high


@dataclass(frozen=True)
class MissedInformation:
    """What a held-out bound proves beyond the Gaussian estimate of one estimator.

    Attributes
    ----------
    gaussian_bits
        Gaussian ``I(X1,X2;Y)`` of the estimator's rows without its exact bias, at least 0, bits; with what the twin
        gave back. NaN, as `se`, where it has no bound.
    bound
        The lower bound, bits.
    se
        Standard error of their difference.
    """

    gaussian_bits: float
    bound: float
    se: float

    @property
    def bits(self) -> float:
        """``max(0, bound - gaussian_bits)``."""
        return max(0.0, self.bound - self.gaussian_bits)

    @property
    def p_value(self) -> float:
        """One-sided, of no positive difference; 1 where the estimate has no number that anything could miss."""
        difference = self.bound - self.gaussian_bits
        if np.isnan(difference):
            return 1.0
        return float(ndtr(-difference / self.se)) if self.se > 0 else float(difference <= 0)

    @property
    def flag(self) -> bool:
        """Whether the difference is positive at the one-sided level `MISSED_LEVEL` (1 %: 2.33 standard errors)."""
        return self.p_value < MISSED_LEVEL


@dataclass(frozen=True)
class TwinEstimate:
    """What an estimator found in the parametric bootstrap twin of the rows, beside the truth that is known there.

    Attributes
    ----------
    truth, bits, se : dict of str to float
        Each of the seven quantities.
    groups : int
        Jackknife blocks behind `se`.
    """

    truth: dict[str, float]
    bits: dict[str, float]
    se: dict[str, float]
    groups: int

    @classmethod
    def of(cls, estimate: PIDEstimate, truth: dict[str, float]) -> "TwinEstimate":
        """An estimate made from the twin, beside the truth of each of the seven quantities."""
        found = {name: getattr(estimate, name) for name in QUANTITIES}
        return cls(truth=truth, bits=found, se=dict(estimate.se), groups=estimate.groups)

    def error(self, quantity: str) -> float:
        """Estimate minus truth, bits."""
        return self.bits[quantity] - self.truth[quantity]

    def passed(self, quantity: str) -> bool:
        """Whether the interval of the estimate, widened by a tolerance, holds the truth (:func:`stats.within`)."""
        return within(self.bits[quantity], self.truth[quantity], se=self.se[quantity], df=self.groups - 1)


@dataclass(frozen=True)
class Decomposition:
    """One layer of one (model, task, condition), decomposed by one estimator and one definition.

    Source 1 is vision and source 2 is language; `bits`, `se` and `replicates` use those words (`names.QUANTITIES`).

    Attributes
    ----------
    model, task, condition, layer
        Where in a run.
    estimator
        How the rows were made Gaussian.
    language
        The block read as the language source.
    images, dropped
        Images behind the rows; questions that were left out of the analysis.
    dims
        Columns of vision, language and target.
    estimate
        What the estimator found.
    twin
        What it found in the twin of these rows; tells how far to believe `estimate`. None where `mixed` spoke: the twin
        has no labels; and where the twin's information has no bound.
    missed
        What it provably misses.
    target
        ``own``, what the model says under the condition, or ``intact``, what the intact model says to the question.
    """

    model: str
    task: str
    condition: str
    layer: int
    estimator: str
    language: str
    images: int
    dropped: int
    dims: tuple[int, int, int]
    estimate: PIDEstimate
    twin: TwinEstimate | None
    missed: MissedInformation
    target: str = OWN

    @property
    def definition(self) -> str:
        return self.estimate.definition

    @property
    def n(self) -> int:
        """Rows."""
        return self.estimate.n

    @property
    def groups(self) -> int:
        """Jackknife blocks."""
        return self.estimate.groups

    @cached_property
    def bits(self) -> dict[str, float]:
        """Each of the seven quantities."""
        return {word: getattr(self.estimate, name) for word, name in NUMBERED.items()}

    @cached_property
    def se(self) -> dict[str, float]:
        """Standard error of each quantity."""
        return {word: self.estimate.se[name] for word, name in NUMBERED.items()}

    @cached_property
    def replicates(self) -> dict[str, np.ndarray]:
        """Each quantity without each of G groups of images, shape ``(G,)``."""
        return {word: np.asarray(self.estimate.replicates[name]) for word, name in NUMBERED.items()}

    @cached_property
    def uncorrected(self) -> tuple[dict[str, float], dict[str, float]]:
        """Bits and standard errors before the twin corrected them; the same where it did not."""
        before = self.estimate.uncorrected
        if before is None:
            return self.bits, self.se
        return tuple({word: values[name] for word, name in NUMBERED.items()} for values in (before.bits, before.se))

    def twin_error(self, quantity: str) -> float:
        """By how much the estimator, uncorrected, errs on a quantity in the twin, bits; NaN where there is no twin."""
        return float("nan") if self.twin is None else self.twin.error(NUMBERED[quantity])

    @cached_property
    def twin_failed(self) -> tuple[str, ...]:
        """Quantities that the estimator, uncorrected, gets wrong in the twin."""
        if self.twin is None:
            return ()
        return tuple(word for word, name in NUMBERED.items() if not self.twin.passed(name))


@dataclass(frozen=True)
class MIEstimate:
    """Mutual information estimated from rows, in bits.

    Attributes
    ----------
    bits : float
        Bias-corrected; may be slightly negative on independent data. NaN, as all that follows, where one block is an
        exact function of the other.
    se : float
        Delete-group jackknife standard error.
    raw, bias : float
        Plug-in value and the exact bias subtracted from it.
    n, ratio
        Rows, and rows per dimension.
    warnings : tuple of str
    """

    bits: float
    se: float
    raw: float
    bias: float
    n: int
    ratio: float
    warnings: tuple[str, ...]


def interval_of(value: float, se: float, groups: int, level: float) -> tuple[float, float]:
    """Interval of a value with a jackknife error over so many groups; the level is checked."""
    level = arguments.number(level, "level, a share such as 0.95,", above=0.0, below=1.0)
    low, high = interval(value, se, groups - 1, level=level)
    return float(low), float(high)
