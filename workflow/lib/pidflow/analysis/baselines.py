"""What is simpler than a decomposition: accuracy lost without image or question, linear probes, and what each predicts.

An atom that says no more than a probe does is not needed. Both tables set them side by side: layer by layer, and as
predictors of what cuts change over tasks and models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pidflow import stats
from pidflow.analysis.decompositions import UNKNOWN, estimate_columns
from pidflow.names import INTACT, MIN_TASKS, QUANTITIES
from pidflow.pid.results import Decomposition

SOURCES = ("vision", "language", "both")
LOST = ("lost_image", "lost_question")
# Classes of the answer with fewer rows are not learnt; part of the mean variance added to every direction.
FEWEST, SHRINKAGE = 5, 1e-3
_SUFFIXES = ("", "_se", "_low", "_high")
_PROBES = tuple(f"probe_{source}" for source in SOURCES)
BASELINE_COLUMNS = (
    *("model", "task", "condition", "layer", "estimator", "definition"),
    *QUANTITIES,
    *(f"{name}{suffix}" for name in (*_PROBES, *LOST) for suffix in _SUFFIXES),
    *("frequent", "n"),
)
PREDICTORS = (*QUANTITIES, *_PROBES, *LOST)
EFFECTS = ("accuracy", "answer_probability")
PREDICTION_COLUMNS = (
    *("condition", "effect", "estimator", "definition", "predictor"),
    *("correlation", "low", "high", "explained", "units", "models"),
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


def prediction_table(baselines: pd.DataFrame, effects: Mapping[Unit, Mapping[str, float]]) -> pd.DataFrame:
    """How far each number of the intact model predicts what a condition changes; columns `PREDICTION_COLUMNS`.

    A unit is a task of a model. Numbers of layers are means over the layers after the input. ``correlation`` is
    Pearson's over units with the interval of :func:`pidflow.stats.correlation_of_measured`; ``explained`` the share of
    the variance of the effect that a line through the other units predicts, negative where the mean does better. With
    so many predictors one may look good by chance.

    Parameters
    ----------
    baselines
        From :func:`baselines_table`.
    effects
        By unit, the change of each of `EFFECTS` against the intact model.
    """
    intact = baselines[(baselines["condition"] == INTACT) & (baselines["layer"] > 0)]
    rows = []
    for (estimator, definition), chosen in intact.groupby(["estimator", "definition"], sort=False):
        means = chosen.groupby(["model", "task"], sort=False)[list(PREDICTORS)].mean()
        for condition in dict.fromkeys(condition for _, _, condition in effects):
            for effect in EFFECTS:
                changes = {
                    (model, task): values[effect]
                    for (model, task, other), values in effects.items()
                    if other == condition
                }
                place = {"condition": condition, "effect": effect, "estimator": estimator, "definition": definition}
                rows += [place | _predicted(means[name], changes) | {"predictor": name} for name in PREDICTORS]
    return pd.DataFrame(rows, columns=PREDICTION_COLUMNS)


def _predicted(predictor: pd.Series, changes: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """Correlation over units that have both numbers, its interval, and the share of variance predicted."""
    pairs = {
        unit: (value, changes[unit])
        for unit, value in predictor.items()
        if unit in changes and np.isfinite([value, changes[unit]]).all()
    }
    out = {"units": len(pairs), "models": len({model for model, _ in pairs})}
    out |= dict.fromkeys(("correlation", "low", "high", "explained"), np.nan)
    if len(pairs) < MIN_TASKS:
        return out
    x, y = np.array(list(pairs.values()), dtype=float).T
    if not (np.ptp(x) > 0 and np.ptp(y) > 0):
        return out
    found = stats.correlation_of_measured(x, y, np.zeros(len(x)))
    low, high = found.interval()
    return out | {
        "correlation": float(np.tanh(found.value)),
        "low": float(np.tanh(low)),
        "high": float(np.tanh(high)),
        "explained": _explained(x, y),
    }


def _explained(x: np.ndarray, y: np.ndarray) -> float:
    """``1 - (errors of a line through the others)^2 / (errors of the mean of the others)^2``."""
    count, centred = len(x), x - x.mean()
    leverage = 1 / count + centred**2 / np.square(centred).sum()
    residual = y - y.mean() - centred * (centred @ y) / np.square(centred).sum()
    by_line = np.divide(residual, 1 - leverage, out=np.full(count, np.inf), where=leverage < 1)
    return float(1 - np.square(by_line).sum() / np.square((y - y.mean()) * count / (count - 1)).sum())
