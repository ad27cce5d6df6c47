"""Models and tasks of a run as numbers with replicates: what the analyses of the spectrum start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pidflow import stats
from pidflow.names import QUANTITIES
from pidflow.spectrum.modes import COUPLING, NETWORKS, PUBLISHED, REPAIRED
from pidflow.spectrum.results import LEAST_JOINT, PassResult, Spectrum, TaskSpectrum

ACCURACIES = ("accuracy", "accuracy_vision", "accuracy_language")
# What an accuracy-delta baseline has to offer instead of atoms: accuracy lost without a source, gained by having both.
DELTAS = ("vision_dependence", "language_dependence", "accuracy_gain")
SHARES = ("share_synergy", "share_unique_language")
NUMBERS = (*QUANTITIES, "interaction", *SHARES, *ACCURACIES, *DELTAS)
_METHOD = {REPAIRED: COUPLING, PUBLISHED: NETWORKS}


@dataclass(frozen=True)
class ModelInfo:
    """What a study knows of a model beside its results; None where it does not say.

    Attributes
    ----------
    group, size
        Family in the sense of a study, and billions of parameters.
    series, step, phase
        The training that a checkpoint is from, after how many steps, in which phase.
    """

    group: str | None = None
    size: float | None = None
    series: str | None = None
    step: int | None = None
    phase: str | None = None


@dataclass(frozen=True, eq=False)
class Cell:
    """One model on one task.

    Attributes
    ----------
    values, replicates
        Each of :data:`NUMBERS`, and the same without each of G groups of images.
    """

    model: str
    task: str
    info: ModelInfo
    values: dict[str, float]
    replicates: dict[str, np.ndarray]

    def estimate(self, name: str) -> stats.Estimate:
        """A number with its error over images."""
        return stats.jackknife(self.values[name], self.replicates[name])


def cells_of(found: Sequence[TaskSpectrum], infos: Mapping[str, ModelInfo], *, mode: str = REPAIRED) -> list[Cell]:
    """A cell for each model and task that has a spectrum of this mode."""
    cells = []
    for each in found:
        spectrum = said(each, mode)
        if spectrum is None:
            continue
        bits = {name: _column(spectrum.bits[name], spectrum.replicates[name]) for name in QUANTITIES}
        bits["interaction"] = bits["mi_vision"] + bits["mi_language"] - bits["mi_joint"]
        joint = np.where(bits["mi_joint"] >= LEAST_JOINT, bits["mi_joint"], np.nan)
        bits |= {name: bits[name.removeprefix("share_")] / joint for name in SHARES}
        passes = {each.key: each for each in each.passes}
        right = {
            name: _right(passes[key], mode)
            for name, key in zip(ACCURACIES, ("joint", each.vision, each.language), strict=True)
        }
        right["vision_dependence"] = right["accuracy"] - right["accuracy_language"]
        right["language_dependence"] = right["accuracy"] - right["accuracy_vision"]
        right["accuracy_gain"] = right["accuracy"] - np.maximum(right["accuracy_vision"], right["accuracy_language"])
        numbers = bits | right
        cells.append(
            Cell(
                model=each.model,
                task=each.task,
                info=infos.get(each.model, ModelInfo()),
                values={name: float(values[0]) for name, values in numbers.items()},
                replicates={name: values[1:] for name, values in numbers.items()},
            )
        )
    return cells


def said(found: TaskSpectrum, mode: str) -> Spectrum | None:
    """The decomposition of what the model says in the end; None where there is none of this mode."""
    fits = (s for s in found.spectra if s.mode == mode and s.method == _METHOD[mode] and s.lens is None)
    return next(fits, None)


def layers(found: TaskSpectrum, lens: str) -> list[Spectrum]:
    """The decompositions of all layers through a lens, from layer 0 on."""
    return sorted((s for s in found.spectra if s.lens == lens), key=lambda s: s.layer)


def _column(value: float, replicates: Sequence[float]) -> np.ndarray:
    return np.array([value, *replicates])


def _right(of_pass: PassResult, mode: str) -> np.ndarray:
    return np.array(of_pass.right_published if mode == PUBLISHED else of_pass.right)
