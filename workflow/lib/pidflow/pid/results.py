"""Results of estimating from rows: a decomposition, an information, the paired difference of two conditions."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np
from scipy.special import stdtrit

from pidflow import arguments
from pidflow.errors import DataError
from pidflow.pid.gaussian import ATOMS, INFORMATIONS
from pidflow.stats import jackknife_se

QUANTITIES = (*ATOMS, *INFORMATIONS)


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
        (`union_null`, when there are too few rows to cross-fit), or ``"exact"`` (``"mmi"``, a function of the
        informations).
    mi_bias : dict of str to float
        Exact bias subtracted from each information.
    raw : dict of str to float
        Plug-in value of each of the seven numbers.
    gap_bits, converged
        Worst certificate in the batch and whether all of it converged.
    n, ratio
        Rows, and rows per dimension ``n / (d1 + d2 + m)``.
    replicates : dict of str to list of float
        Corrected numbers without each jackknife block; differences of two conditions need them.
    blocks : str
        Fingerprint of the assignment of rows to jackknife blocks.
    warnings : tuple of str
        What a reader must know before believing the numbers.
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

    def interval(self, quantity: str, *, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of an atom or an information: estimate ± Student quantile (blocks - 1) times `se`."""
        arguments.choice(quantity, "quantity", QUANTITIES)
        return _interval(getattr(self, quantity), self.se[quantity], len(self.replicates[quantity]), level)

    def to_dict(self) -> dict:
        """Plain Python values, ready for JSON."""
        return {**asdict(self), "warnings": list(self.warnings)}

    @classmethod
    def from_dict(cls, values: Mapping) -> "PIDEstimate":
        """The estimate `to_dict` came from; keys that are not fields are ignored."""
        known = {f.name: values[f.name] for f in fields(cls)}
        return cls(**{**known, "warnings": tuple(known["warnings"])})


@dataclass(frozen=True)
class MIEstimate:
    """Mutual information estimated from rows, in bits.

    Attributes
    ----------
    bits : float
        Bias-corrected; may be slightly negative on independent data.
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


@dataclass(frozen=True)
class PairedDifference:
    """Second condition minus first on the same rows, in bits.

    Attributes
    ----------
    definition : str
    difference, se : dict of str to float
        Difference of each atom and information, and its jackknife error; rows that are unusual in both conditions
        cancel, so `se` is smaller than the errors of the two conditions suggest.
    groups : int
        Jackknife blocks.
    """

    definition: str
    difference: dict[str, float]
    se: dict[str, float]
    groups: int

    def interval(self, quantity: str, *, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the difference of one atom or information."""
        arguments.choice(quantity, "quantity", QUANTITIES)
        return _interval(self.difference[quantity], self.se[quantity], self.groups, level)


def paired_difference(first: PIDEstimate, second: PIDEstimate) -> PairedDifference:
    """Atoms and informations of `second` minus those of `first`, with paired jackknife errors, in bits.

    Parameters
    ----------
    first, second : PIDEstimate
        Two conditions (intact and knocked out, two layers) of the same rows in the same order, estimated with the same
        `groups`, `jackknife` and `seed`: then the same rows are deleted on both sides.

    Returns
    -------
    PairedDifference

    Raises
    ------
    DataError
        When the two do not share definition, rows and blocks.
    """
    for name, estimate in (("first", first), ("second", second)):
        if not isinstance(estimate, PIDEstimate):
            raise DataError(f"{name} must be the estimate of one definition, found {arguments.shown(estimate)}")
    if first.definition != second.definition:
        raise DataError(f"cannot subtract a {first.definition!r} from a {second.definition!r} decomposition")
    if first.blocks != second.blocks:
        raise DataError(
            f"the conditions deleted different rows (n = {first.n} and {second.n}, blocks {first.blocks} and "
            f"{second.blocks}); estimate both with the same rows, groups, jackknife and seed"
        )
    replicates = {q: np.subtract(second.replicates[q], first.replicates[q]) for q in QUANTITIES}
    return PairedDifference(
        definition=first.definition,
        difference={q: getattr(second, q) - getattr(first, q) for q in QUANTITIES},
        se={q: float(jackknife_se(values)) for q, values in replicates.items()},
        groups=len(replicates["mi_12"]),
    )


def _interval(value: float, se: float, groups: int, level: float) -> tuple[float, float]:
    level = arguments.number(level, "level, a share such as 0.95,", above=0.0, below=1.0)
    half = float(stdtrit(groups - 1, 0.5 * (1.0 + level))) * se
    return value - half, value + half
