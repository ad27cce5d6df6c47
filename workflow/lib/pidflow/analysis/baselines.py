"""What is simpler than a decomposition: accuracy lost without image or question, and linear probes.

An atom that says no more than a probe does is not needed: the table sets them side by side, layer by layer, and
:mod:`pidflow.analysis.predicted` asks which of them predicts what cuts change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pidflow import stats
from pidflow.analysis.decompositions import UNKNOWN, estimate_columns
from pidflow.names import QUANTITIES
from pidflow.pid.results import Decomposition

SOURCES = ("vision", "language", "both")
LOST = ("lost_image", "lost_question")
# Classes of the answer with fewer rows are not learnt; part of the mean variance added to every direction.
FEWEST, SHRINKAGE = 5, 1e-3
_SUFFIXES = ("", "_se", "_low", "_high")
PROBES = tuple(f"probe_{source}" for source in SOURCES)
BASELINE_COLUMNS = (
    *("model", "task", "condition", "layer", "estimator", "definition"),
    *QUANTITIES,
    *(f"{name}{suffix}" for name in (*PROBES, *LOST) for suffix in _SUFFIXES),
    *("frequent", "n"),
)
Unit = tuple[str, str, str]


def probe(columns: np.ndarray, answers: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Which rows a linear discriminant of other folds answers as the model did, 0 or 1, ``(n,)``.

    Parameters
    ----------
    columns : ndarray, shape (n, d)
        With ``d = 0`` the most frequent answer is given.
    answers : array_like, shape (n,)
        What the model said.
    folds : ndarray of int, shape (n,)
    """
    classes = np.unique(np.asarray(answers).astype(str), return_inverse=True)[1]
    right = np.zeros(len(classes))
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        known = np.flatnonzero(np.bincount(classes[train], minlength=classes.max() + 1) >= FEWEST)
        if len(known):
            guessed = known[
                _discriminant(columns, classes, train & np.isin(classes, known), known)[test].argmax(axis=1)
            ]
            right[test] = guessed == classes[test]
    return right


def _discriminant(columns: np.ndarray, classes: np.ndarray, train: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Linear scores of the classes for every row, ``(n, classes)``."""
    means = np.stack([columns[train & (classes == label)].mean(axis=0) for label in known])
    prior = np.log([np.mean(classes[train] == label) for label in known])
    if not columns.shape[1]:
        return np.tile(prior, (len(columns), 1))
    residual = columns[train] - means[np.searchsorted(known, classes[train])]
    within = residual.T @ residual / len(residual)
    within += (SHRINKAGE * np.trace(within) / len(within) + np.finfo(float).tiny) * np.eye(len(within))
    slopes = np.linalg.solve(within, means.T)
    return columns @ slopes + prior - 0.5 * (means.T * slopes).sum(axis=0)


def probed(
    vision: Sequence[np.ndarray],
    language: Sequence[np.ndarray],
    answers: np.ndarray,
    *,
    folds: np.ndarray,
    images: np.ndarray,
) -> list[dict[str, stats.Estimate]]:
    """Accuracy of the probes of every layer from either source and from both, errors over images."""
    return [
        {
            source: stats.clustered_mean(probe(columns, answers, folds), images)
            for source, columns in zip(SOURCES, (one, two, np.column_stack([one, two])), strict=True)
        }
        for one, two in zip(vision, language, strict=True)
    ]


def baselines_table(
    decompositions: Sequence[Decomposition],
    probes: Mapping[Unit, Mapping[int, Mapping[str, stats.Estimate]]],
    lost: Mapping[str, Mapping[tuple[str, str], stats.Estimate]],
    frequent: Mapping[Unit, float],
    *,
    estimator: str,
    definition: str,
) -> pd.DataFrame:
    """Atoms and baselines of each layer in one row; columns `BASELINE_COLUMNS`.

    Parameters
    ----------
    decompositions
        All of the run; those of other estimators and definitions are left aside.
    probes
        By unit and layer, what :func:`probed` gives.
    lost
        By name of `LOST`, accuracy lost by (model, task).
    frequent
        By unit, the share of the most frequent answer: what a probe must exceed.
    """
    rows = []
    for each in decompositions:
        unit = each.model, each.task, each.condition
        if (each.estimator, each.definition) != (estimator, definition) or unit not in probes:
            continue
        row = {"model": each.model, "task": each.task, "condition": each.condition, "layer": each.layer}
        row |= {"estimator": estimator, "definition": definition, **each.bits, "n": each.n, "frequent": frequent[unit]}
        for source, found in probes[unit][each.layer].items():
            row |= estimate_columns(found, f"probe_{source}", f"probe_{source}_")
        for name in LOST:
            row |= estimate_columns(lost.get(name, {}).get(unit[:2], UNKNOWN), name, f"{name}_")
        rows.append(row)
    return pd.DataFrame(rows, columns=BASELINE_COLUMNS)
