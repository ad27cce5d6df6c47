"""The curve of a decomposition over the layers, with errors that know the layers share their images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pidflow import stats
from pidflow.analysis.decompositions import same_groups
from pidflow.errors import DataError
from pidflow.names import ATOMS, QUANTITIES
from pidflow.pid.results import Decomposition


@dataclass(frozen=True)
class Profile:
    """All layers of one (model, task, condition) by one estimator and definition, in order of depth.

    Attributes
    ----------
    decompositions
        One per layer.
    bits, replicates
        `QUANTITIES` over the layers, shapes ``(quantities, layers)`` and ``(G, quantities, layers)``.
    """

    decompositions: tuple[Decomposition, ...]
    bits: np.ndarray
    replicates: np.ndarray

    @classmethod
    def of(cls, decompositions: Sequence[Decomposition]) -> Profile:
        """The profile of some layers.

        Raises
        ------
        DataError
            When the layers were decomposed with different rows.
        """
        ordered = tuple(sorted(decompositions, key=lambda each: each.layer))
        first = ordered[0]
        unlike = [each.layer for each in ordered if not same_groups(first, each)]
        if unlike:
            raise DataError(
                f"{first.model}/{first.task}/{first.condition}: layers {unlike} were decomposed with other rows or "
                f"groups than layer {first.layer} (n = {first.n}), so errors over layers cannot be computed; "
                "delete the decompositions of this task and run again"
            )
        return cls(
            ordered,
            np.array([[each.bits[q] for each in ordered] for q in QUANTITIES]),
            np.stack([[each.replicates[q] for each in ordered] for q in QUANTITIES]).transpose(2, 0, 1),
        )

    @property
    def model(self) -> str:
        return self.decompositions[0].model

    @property
    def task(self) -> str:
        return self.decompositions[0].task

    @property
    def condition(self) -> str:
        return self.decompositions[0].condition

    @property
    def layers(self) -> list[int]:
        return [each.layer for each in self.decompositions]

    @property
    def depth(self) -> np.ndarray:
        """Layer number as a fraction of the last one, shape ``(layers,)``."""
        layers = np.array(self.layers, dtype=float)
        return layers / max(layers[-1], 1)

    @property
    def sample(self) -> tuple[np.ndarray, np.ndarray]:
        return self.bits, self.replicates

    def curve(self, quantity: str) -> np.ndarray:
        """One quantity in bits, shape ``(layers,)``."""
        return quantity_of(self.bits, quantity)

    def estimate(self, statistic: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> stats.Estimate:
        """A number computed from the whole profile; `statistic` takes ``(..., quantities, layers)`` and the depth."""
        depth = self.depth
        return stats.propagate(lambda values: statistic(values, depth), [self.sample], paired=True)


def quantity_of(values: np.ndarray, quantity: str) -> np.ndarray:
    """One quantity of profile values, ``(..., quantities, layers)`` to ``(..., layers)``."""
    return values[..., QUANTITIES.index(quantity), :]


def mean_behind_input(quantity: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Statistic: mean of a quantity over the layers after the embedding output, whose states no cut can change."""

    def of(values: np.ndarray, depth: np.ndarray) -> np.ndarray:
        return quantity_of(values, quantity)[..., depth > 0].mean(axis=-1)

    return of


def by_condition(
    decompositions: Iterable[Decomposition], *, estimator: str, definition: str
) -> dict[tuple[str, str], dict[str, Profile]]:
    """Profiles of one estimator and definition: by (model, condition) a profile per task, all in alphabetical order.

    Raises
    ------
    DataError
        When layers of one profile were decomposed with different rows.
    """
    grouped: dict[tuple[str, str, str], list[Decomposition]] = {}
    for each in decompositions:
        if (each.estimator, each.definition) == (estimator, definition):
            grouped.setdefault((each.model, each.condition, each.task), []).append(each)
    found: dict[tuple[str, str], dict[str, Profile]] = {}
    for (model, condition, task), of_task in sorted(grouped.items()):
        found.setdefault((model, condition), {})[task] = Profile.of(of_task)
    return found


def comparable(a: Profile, b: Profile) -> bool:
    """Whether both profiles have the same layers, and one of the embedding output among them."""
    return a.layers == b.layers and a.layers != [0]


def paired(a: Profile, b: Profile) -> bool:
    """Whether both profiles deleted the same groups of images."""
    return same_groups(a.decompositions[0], b.decompositions[0])


def change(cut: Profile, intact: Profile, statistic: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> stats.Estimate:
    """A statistic of one condition minus that of another; both profiles have the same layers."""
    depth = cut.depth
    return stats.propagate(
        lambda a, b: statistic(a, depth) - statistic(b, depth), [cut.sample, intact.sample], paired=paired(cut, intact)
    )


def agreement(a: Profile, b: Profile) -> stats.Estimate:
    """Fisher's z of the correlation of two profiles over relative depth, atoms pooled.

    Each atom is centred over depth before pooling, so that atoms that merely differ in height add nothing, and atoms
    that hardly change weigh little. The deeper model is interpolated to the layers of the shallower one. Noise in
    either profile lowers the correlation.
    """
    grid = min(a.depth, b.depth, key=len)
    atoms = [QUANTITIES.index(atom) for atom in ATOMS]
    onto = [_interpolation(profile.depth, grid) for profile in (a, b)]

    def pooled(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        curve = values[..., atoms, :] @ weights
        curve = curve - curve.mean(axis=-1, keepdims=True)
        return curve.reshape(*curve.shape[:-2], -1)

    return stats.propagate(
        lambda x, y: stats.fisher(stats.correlation(pooled(x, onto[0]), pooled(y, onto[1]))),
        [a.sample, b.sample],
        paired=paired(a, b),
    )


def _interpolation(depth: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Weights ``(layers, grid)`` of linear interpolation from `depth` to `grid`."""
    return np.stack([np.interp(grid, depth, unit) for unit in np.eye(len(depth))])
