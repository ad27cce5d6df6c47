"""A part of a decomposition, of all rows and without each block of them; parts of the target add up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pidflow.pid.bias import BIAS
from pidflow.pid.gaussian import ATOMS, INFORMATIONS
from pidflow.pid.results import PIDEstimate
from pidflow.stats import jackknife_se


@dataclass(frozen=True)
class Part:
    """Informations and union, of all rows (entry 0) and without each of G blocks, shape ``(1 + G,)``, in bits.

    Attributes
    ----------
    mi
        Corrected informations by name.
    union
        Corrected union information.
    raw
        Plug-in value of each information, and of the union under ``"union"``.
    gap, converged, p_value
        As in :class:`pidflow.pid.results.PIDEstimate`.
    warnings
        What a reader must know of this part.
    unsure
        How far off each information, and the redundancy, may be beside its sampling error (standard deviation, bits).
    """

    mi: Mapping[str, np.ndarray]
    union: np.ndarray
    raw: Mapping[str, float]
    gap: float
    converged: bool
    p_value: float
    warnings: tuple[str, ...] = ()
    unsure: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_estimate(cls, estimate: PIDEstimate) -> "Part":
        """A whole decomposition as a part."""
        mi = {name: np.array([getattr(estimate, name), *estimate.replicates[name]]) for name in INFORMATIONS}
        redundancy = np.array([estimate.redundancy, *estimate.replicates["redundancy"]])
        return cls(
            mi=mi,
            union=mi["mi_1"] + mi["mi_2"] - redundancy,
            raw={name: estimate.raw[name] for name in INFORMATIONS} | {"union": estimate.union_raw},
            gap=estimate.gap_bits,
            converged=estimate.converged,
            p_value=estimate.p_value,
            warnings=estimate.warnings,
        )

    @classmethod
    def together(cls, parts: Sequence["Part"]) -> "Part":
        """The sum of parts of one target; a p-value holds for the smallest of several (Bonferroni)."""
        return cls(
            mi={name: sum(part.mi[name] for part in parts) for name in INFORMATIONS},
            union=sum(part.union for part in parts),
            raw={name: sum(part.raw[name] for part in parts) for name in (*INFORMATIONS, "union")},
            gap=sum(part.gap for part in parts),
            converged=all(part.converged for part in parts),
            p_value=min(1.0, len(parts) * min(part.p_value for part in parts)),
            # Little may be left of one part: what counts is the whole.
            warnings=tuple(word for part in parts for word in part.warnings if not word.startswith(BIAS)),
            unsure={
                name: float(np.sqrt(sum(part.unsure.get(name, 0.0) ** 2 for part in parts)))
                for name in (*INFORMATIONS, "redundancy")
            },
        )


def patterns(unsure: Mapping[str, float], groups: int) -> dict[str, np.ndarray]:
    """What is added to the replicates of each atom for its error to hold what is unsure, ``(G,)`` each.

    The patterns of the four atoms are orthogonal and have mean 0. All estimates share them, since what is systematic
    has one direction everywhere: in differences it cancels as far as it is alike.
    """
    one, two, both, shared = (unsure[name] for name in (*INFORMATIONS, "redundancy"))
    sizes = shared, one, two, max(one, two, both / 2)
    steps = np.pi * (np.arange(groups) + 0.5) / groups
    waves = [np.cos((1 + k % (groups - 1)) * steps) for k in range(len(sizes))]
    return {atom: size * wave / jackknife_se(wave) for atom, size, wave in zip(ATOMS, sizes, waves, strict=True)}
