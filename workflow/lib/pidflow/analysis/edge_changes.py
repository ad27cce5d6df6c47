"""What cutting an edge changes, window by window and image by image, and resamples of it over images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from pidflow.errors import DataError
from pidflow.interventions.windows import Window
from pidflow.stats import ROUNDING

# Kinds, and the subset of all questions, as the tables of sweeps call them.
CUT, KEEP, RANDOM, ALL = "cut", "keep", "random", "all"
RESAMPLES = 2000


@dataclass(frozen=True)
class EdgeChanges:
    """What cutting one edge does in C windows to questions about I images.

    Attributes
    ----------
    edge, subset
        The edge, and which questions: ``right``, ``wrong`` or ``all``.
    windows
        The C windows, by centre.
    images
        Names of the I images.
    counts
        Questions about each image, shape ``(I,)``.
    effect, control
        Relative change of the probability of the first answer token under the cut and under its random control,
        summed over the questions of each image, shape ``(I, C)``; `control` is None where none was run.
    """

    edge: str
    subset: str
    windows: tuple[Window, ...]
    images: tuple[str, ...]
    counts: np.ndarray
    effect: np.ndarray
    control: np.ndarray | None

    @property
    def n(self) -> int:
        """Questions."""
        return int(self.counts.sum())


def edge_changes(details: pd.DataFrame, *, windows: Sequence[Window]) -> list[EdgeChanges]:
    """What cutting changes, for every edge, for all questions and for each subset of them that is not empty.

    Parameters
    ----------
    details
        Every question's numbers of one model and task, as stage ``sweep_knockout`` writes them.
    windows
        The windows in question, in order of depth.

    Raises
    ------
    DataError
        When a question was not cut in every window, or lacks its control.
    """
    places = pd.DataFrame([(w.size, w.centre, place) for place, w in enumerate(windows)])
    rows = details.merge(places.set_axis(["window", "centre", "place"], axis=1), on=["window", "centre"])
    found = []
    for edge in dict.fromkeys(rows["edge"]):
        of_edge = rows[rows["edge"] == edge]
        kinds = {kind: _by_question(of_edge, kind, len(windows)) for kind in dict.fromkeys(of_edge["kind"])}
        effect = [kind for kind in kinds if kind not in (KEEP, RANDOM)]
        if not effect:
            continue
        cut, control = kinds[effect[0]], kinds.get(RANDOM)
        if control is not None and not cut.index.equals(control.index):
            raise DataError(
                f"{edge}: {len(cut)} questions were cut and {len(control)} have the random control, or not the same "
                "ones; these numbers come from different runs, delete them and run again"
            )
        for subset in (ALL, *sorted(set(cut.index.get_level_values("subset")))):
            chosen = np.ones(len(cut), bool) if subset == ALL else cut.index.get_level_values("subset") == subset
            images, member = np.unique(cut.index.get_level_values("image_id")[chosen].astype(str), return_inverse=True)
            sums = [
                None if values is None else _summed(values.to_numpy()[chosen], member, len(images))
                for values in (cut, control)
            ]
            counts = np.bincount(member, minlength=len(images)).astype(float)
            found.append(EdgeChanges(edge, subset, tuple(windows), tuple(images), counts, *sums))
    return found


def _by_question(rows: pd.DataFrame, kind: str, windows: int) -> pd.DataFrame:
    """Changes ``(n, C)`` of one edge and kind, indexed by question."""
    rows = rows[rows["kind"] == kind]
    key = ["item_id", "image_id", "subset"]
    if rows.duplicated([*key, "place"]).any():
        raise DataError(
            f"{rows['edge'].iloc[0]}, {kind}: a question has two rows in one window; delete the file and run again"
        )
    wide = rows.set_index([*key, "place"])["change_first"].unstack("place").sort_index()
    if wide.shape[1] < windows or wide.isna().any(axis=None):
        raise DataError(
            f"{rows['edge'].iloc[0]}, {kind}: expected every question in each of {windows} windows, found "
            f"{int(wide.notna().to_numpy().sum())} numbers for {len(wide)} questions; delete the file and run again"
        )
    return wide


def _summed(values: np.ndarray, member: np.ndarray, count: int) -> np.ndarray:
    total = np.zeros((count, values.shape[1]))
    np.add.at(total, member, values)
    return total


@dataclass(frozen=True)
class Curve:
    """A mean over questions at C places, its error over images, and what resamples of the images make of it.

    Attributes
    ----------
    value, se
        Shape ``(C,)``; `se` is that of :func:`pidflow.stats.clustered_mean`, NaN when there is one image.
    replicates
        Shape ``(R, C)``.
    """

    value: np.ndarray
    se: np.ndarray
    replicates: np.ndarray

    def deviations(self) -> np.ndarray:
        """Largest studentised deviation over the places in each resample, shape ``(R,)``; 0 where nothing varies."""
        spread = self.replicates.std(axis=0)
        away = np.abs(self.replicates - self.value)
        return np.divide(away, spread, out=np.zeros_like(away), where=spread > ROUNDING).max(axis=1)


@dataclass(frozen=True)
class Resampled:
    """The changes of an edge with their resamples.

    Attributes
    ----------
    changes
        What was resampled.
    effect, excess
        The change under the cut, and that minus the change under the control (None without a control).
    """

    changes: EdgeChanges
    effect: Curve
    excess: Curve | None

    @property
    def seen(self) -> Curve:
        """The curve in which a window is looked for: the excess, without a control the effect."""
        return self.effect if self.excess is None else self.excess


def resample(changes: EdgeChanges, *, seed: int, resamples: int = RESAMPLES) -> Resampled:
    """Mean changes under Bayesian-bootstrap weights of its images.

    Each image gets a weight from the standard exponential distribution (Rubin 1981, *The Bayesian bootstrap*), which is
    a function of `seed` and the image's name alone: edges, subsets and tasks that share images are resampled together,
    so that they can be compared pair by pair, and no resample is ever without images.
    """
    weights = np.stack([_weights(image, resamples, seed) for image in changes.images], axis=1)
    excess = None if changes.control is None else changes.effect - changes.control
    return Resampled(
        changes,
        _curve(changes.effect, changes.counts, weights),
        None if excess is None else _curve(excess, changes.counts, weights),
    )


# Edges and subsets of one task share their images.
@lru_cache(maxsize=4096)
def _weights(image: str, resamples: int, seed: int) -> np.ndarray:
    key = hashlib.sha256(f"{seed} {image}".encode()).digest()[:8]
    return np.random.default_rng(int.from_bytes(key, "big")).standard_exponential(resamples)


def _curve(sums: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> Curve:
    value = sums.sum(axis=0) / counts.sum()
    residual = sums - counts[:, None] * value
    images = len(counts)
    scale = np.sqrt(images / (images - 1)) / counts.sum() if images > 1 else np.nan
    return Curve(
        value, scale * np.sqrt(np.square(residual).sum(axis=0)), (weights @ sums) / (weights @ counts)[:, None]
    )
