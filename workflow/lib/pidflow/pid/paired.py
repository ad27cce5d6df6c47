"""Paired differences of two estimates from the same rows."""

from dataclasses import dataclass

import numpy as np

from pidflow import arguments
from pidflow.errors import DataError
from pidflow.pid.results import QUANTITIES, PIDEstimate, interval_of
from pidflow.stats import jackknife_se


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
        return interval_of(self.difference[quantity], self.se[quantity], self.groups, level)


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
        groups=first.groups,
    )
