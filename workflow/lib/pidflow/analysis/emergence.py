"""Over training: when an atom emerges, and over depth: at which layer the information does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd

from pidflow import stats
from pidflow.analysis.spectrum_cells import NUMBERS, Cell

# An atom has emerged when it first has this share of its largest value over training.
EMERGED = 0.5
# Bits that an atom must reach for its emergence to be a question.
LEAST_BITS = 0.02
TRACED = ("synergy", "unique_language", "unique_vision", "redundancy", "mi_joint", "accuracy")


def series_of(cells: Sequence[Cell]) -> dict[tuple[str, str], list[Cell]]:
    """Checkpoints of each training on each task, in order of steps."""
    found = defaultdict(list)
    for cell in cells:
        if cell.info.series is not None and cell.info.step is not None:
            found[cell.info.series, cell.task].append(cell)
    ordered = {key: sorted(each, key=lambda cell: cell.info.step) for key, each in found.items()}
    return {key: each for key, each in ordered.items() if len(each) > 1}


def training_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """One row a checkpoint, task and number: ``series, task, model, step, phase, number, value, low, high``."""
    rows = [
        [
            series,
            task,
            cell.model,
            cell.info.step,
            cell.info.phase,
            name,
            cell.values[name],
            *cell.estimate(name).interval(),
        ]
        for (series, task), checkpoints in series_of(cells).items()
        for cell in checkpoints
        for name in NUMBERS
    ]
    return pd.DataFrame(rows, columns=["series", "task", "model", "step", "phase", "number", "value", "low", "high"])


def emergence_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """Where each number emerges: ``series, task, number, largest, step, low, high, phase, first, last``.

    ``step`` is where the curve, straight between checkpoints, first passes half of its largest value; its interval is
    by jackknife over images and never narrower than the two checkpoints between which the curve passes (``first,
    last``), and all of the training where an error is unknown. NaN where a number never reaches :data:`LEAST_BITS`.
    ``phase`` is that of the checkpoint at the upper end.
    """
    rows = []
    for (series, task), checkpoints in series_of(cells).items():
        steps = np.array([cell.info.step for cell in checkpoints], dtype=float)
        for name in TRACED:
            values = np.array([cell.values[name] for cell in checkpoints])
            found = crossing(steps, values)
            if values.max() < LEAST_BITS or not np.isfinite(found):
                rows.append([series, task, name, values.max(), *[np.nan] * 3, None, np.nan, np.nan])
                continue
            variance = 0.0
            for i, cell in enumerate(checkpoints):
                varied = np.tile(values, (len(cell.replicates[name]), 1))
                varied[:, i] = cell.replicates[name]
                again = np.array([crossing(steps, row) for row in varied])
                variance += float(np.nan_to_num(stats.jackknife_se(again), nan=np.inf)) ** 2
            last = int(np.searchsorted(steps, found))
            first, upper = steps[max(last - 1, 0)], steps[last]
            half = 1.96 * variance**0.5
            low, high = max(min(found - half, first), steps[0]), min(max(found + half, upper), steps[-1])
            rows.append(
                [series, task, name, values.max(), found, low, high, checkpoints[last].info.phase, first, upper]
            )
    return pd.DataFrame(
        rows, columns=["series", "task", "number", "largest", "step", "low", "high", "phase", "first", "last"]
    )


def crossing(places: np.ndarray, values: np.ndarray, *, share: float = EMERGED) -> float:
    """Where a curve, straight between points, passes this share of its largest value; NaN if that is not above 0."""
    wanted = share * values.max()
    if not wanted > 0:
        return float("nan")
    after = int(np.argmax(values >= wanted))
    if after == 0:
        return float(places[0])
    rise = values[after] - values[after - 1]
    return float(places[after - 1] + (places[after] - places[after - 1]) * (wanted - values[after - 1]) / rise)
