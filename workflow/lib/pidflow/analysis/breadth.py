"""Many models on many tasks: what goes with accuracy, which way tasks and families lean, what size and training change.

The models are the sample in correlations: permutation tests and bootstrap intervals resample models. Everything about
single models has its error over images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations, product
from math import factorial

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from pidflow import stats
from pidflow.analysis.spectrum_cells import NUMBERS, Cell

# What is correlated over models; the last of each group is the baseline that needs no decomposition.
PAIRS = (
    *(("accuracy", other) for other in ("synergy", "unique_language", "mi_joint", "interaction", "vision_dependence")),
    ("vision_dependence", "synergy"),
    ("vision_dependence", "accuracy_gain"),
)
# Models that a rank correlation needs.
LEAST_MODELS = 4
PERMUTATIONS, RESAMPLES = 10_000, 2_000
# A task is synergy-driven when accuracy goes with synergy better than with language-unique information by more than
# this: the
# middle between 0.56 and 0.75 (MMBench, POPE) and 0.04 and 0.03 (Reefknot, PMC-VQA) of OpenReview 6WsBGk4Iag.
LEANING = 0.3
# An order written down before is recovered when models come in it with at least this tau.
RECOVERED = 0.9
SYNERGY_DRIVEN, KNOWLEDGE_DRIVEN = "synergy-driven", "knowledge-driven"
FUSION_CENTRIC, LANGUAGE_CENTRIC = "fusion-centric", "language-centric"


def breadth_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """One row a model and task: what the study knows of the model, every number with its error."""
    rows = [
        {"model": cell.model, "task": cell.task}
        | {name: getattr(cell.info, name) for name in ("group", "size", "series", "step", "phase")}
        | {key: value for name in NUMBERS for key, value in _with_error(name, cell).items()}
        for cell in cells
    ]
    columns = ["model", "task", "group", "size", "series", "step", "phase"]
    return pd.DataFrame(rows, columns=[*columns, *(f"{name}{end}" for name in NUMBERS for end in ("", "_se"))])


def correlation_table(cells: Sequence[Cell], *, seed: int = 0) -> pd.DataFrame:
    """Spearman correlations over models, task by task.

    Columns ``task, x, y, models, rho, p_value, low, high, models_needed``: p by permutation (all of them up to 7
    models), interval by bootstrap over models. NaN below :data:`LEAST_MODELS`, or where a number is the same in all
    models.
    """
    rows = []
    for task, of_task in _by(cells, lambda cell: cell.task).items():
        for x, y in PAIRS:
            pairs = np.array([[cell.values[x], cell.values[y]] for cell in of_task])
            pairs = pairs[np.isfinite(pairs).all(1)]
            rho, p, low, high = spearman(pairs[:, 0], pairs[:, 1], seed=seed)
            rows.append([task, x, y, len(pairs), rho, p, low, high])
    return pd.DataFrame(rows, columns=["task", "x", "y", "models", "rho", "p_value", "low", "high"])


def spearman(x: np.ndarray, y: np.ndarray, *, seed: int = 0) -> tuple[float, float, float, float]:
    """Spearman's rho, its two-sided permutation p-value, and a 95 % bootstrap interval."""
    n = len(x)
    if n < LEAST_MODELS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return (float("nan"),) * 4
    rng = np.random.default_rng(seed)
    rx, ry = rankdata(x), rankdata(y)
    rho = float(stats.correlation(rx, ry))
    if factorial(n) <= PERMUTATIONS:
        orders, extra = np.array(list(permutations(range(n)))), 0
    else:
        orders, extra = rng.permuted(np.tile(np.arange(n), (PERMUTATIONS, 1)), axis=1), 1
    null = stats.correlation(np.broadcast_to(rx, orders.shape), ry[orders])
    p = (np.sum(np.abs(null) >= abs(rho) - 1e-12) + extra) / (len(orders) + extra)
    drawn = rng.integers(0, n, (RESAMPLES, n))
    again = stats.correlation(rankdata(x[drawn], axis=1), rankdata(y[drawn], axis=1))
    low, high = np.nanquantile(again, [0.025, 0.975])
    return rho, float(p), float(low), float(high)


def leaning(cells: Sequence[Cell], *, seed: int = 0) -> tuple[float, float, float]:
    """By how much accuracy goes with synergy rather than with language-unique information; bootstrap interval."""
    pairs = np.array([[cell.values[name] for name in ("accuracy", "synergy", "unique_language")] for cell in cells])
    if len(pairs) < LEAST_MODELS or (np.ptp(pairs, axis=0) == 0).any():
        return (float("nan"),) * 3

    def of(sample: np.ndarray) -> np.ndarray:
        accuracy, synergy, language = (rankdata(sample[..., i], axis=-1) for i in range(3))
        return stats.correlation(accuracy, synergy) - stats.correlation(accuracy, language)

    drawn = pairs[np.random.default_rng(seed).integers(0, len(pairs), (RESAMPLES, len(pairs)))]
    low, high = np.nanquantile(of(drawn), [0.025, 0.975])
    return float(of(pairs)), float(low), float(high)


def type_table(cells: Sequence[Cell], *, seed: int = 0) -> pd.DataFrame:
    """What drives each task, where each family's answers come from; ``undetermined`` where intervals do not say.

    Columns ``kind`` (task or group), ``name, number, low, high, threshold, type``.
    """
    rows = []
    for task, of_task in _by(cells, lambda cell: cell.task).items():
        rows.append(["task", task, *leaning(of_task, seed=seed), LEANING, SYNERGY_DRIVEN, KNOWLEDGE_DRIVEN])
    for group, of_group in _by(cells, lambda cell: cell.info.group).items():
        found = centre(of_group)
        rows.append(["group", group, found.value, *found.interval(), 0.0, FUSION_CENTRIC, LANGUAGE_CENTRIC])
    table = pd.DataFrame(rows, columns=["kind", "name", "number", "low", "high", "threshold", "above", "below"])
    table["type"] = np.select(
        [table["low"] > table["threshold"], table["high"] < table["threshold"]],
        [table["above"], table["below"]],
        stats.UNDETERMINED,
    )
    return table.drop(columns=["above", "below"])


def centre(cells: Sequence[Cell]) -> stats.Estimate:
    """Share of synergy minus share of language-unique information in the joint information, mean over cells."""
    estimates = [
        stats.jackknife(
            cell.values["share_synergy"] - cell.values["share_unique_language"],
            cell.replicates["share_synergy"] - cell.replicates["share_unique_language"],
        )
        for cell in cells
        if np.isfinite(cell.values["share_synergy"])
    ]
    return stats.mean_of_independent(estimates) if estimates else stats.Estimate(np.nan, np.nan, 0)


def scaling_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """From each size of a family to the next, mean over the tasks that both were asked.

    Columns ``group, smaller, larger, number, change, low, high, tasks``. Accuracies change in shares of the questions,
    atoms in bits. Both models see the same images, which is not used: the intervals are wide rather than narrow.
    """
    rows = []
    for group, of_group in _by(cells, lambda cell: cell.info.group).items():
        sizes = _by([cell for cell in of_group if cell.info.size is not None], lambda cell: cell.info.size)
        order = sorted(sizes)
        for small, large in pairwise(order):
            pairs = [(a, b) for a, b in product(sizes[small], sizes[large]) if a.task == b.task]
            for name in ("accuracy", "synergy", "unique_language", "accuracy_gain") if pairs else ():
                change = stats.mean_of_independent(
                    [stats.difference(b.estimate(name), a.estimate(name)) for a, b in pairs]
                )
                rows.append([group, small, large, name, change.value, *change.interval(), len(pairs)])
    return pd.DataFrame(rows, columns=["group", "smaller", "larger", "number", "change", "low", "high", "tasks"])


@dataclass(frozen=True)
class Expected:
    """An order of models that was written down before they ran.

    Attributes
    ----------
    id, why
        What it is called and why it was expected.
    quantity, task
        What is put in order; ``gain``, what a model owes to seeing the picture, is its dependence on vision here.
    order
        Models from least to most; those in one inner tuple are not told apart.
    """

    id: str
    why: str
    quantity: str
    task: str
    order: tuple[tuple[str, ...], ...]

    @property
    def number(self) -> str:
        """Name among :data:`pidflow.analysis.spectrum_cells.NUMBERS`."""
        return "vision_dependence" if self.quantity == "gain" else self.quantity


def order_table(cells: Sequence[Cell], expected: Sequence[Expected], *, seed: int = 0) -> pd.DataFrame:
    """Whether models come in the order that was written down before, by Kendall's tau.

    Columns ``id, task, number, models, tau, low, high, recovered, sure, pairs, decided, opposed, found``: tau over the
    ``pairs`` of models that the order tells apart; ``recovered`` is a tau of :data:`RECOVERED` or more. Interval and
    ``sure``, the share in which it would be recovered, are over other images (:func:`redrawn`). ``decided`` pairs have
    a difference whose 95 % interval is on one side of zero, on the wrong one in those that are ``opposed``. Orders of
    fewer than :data:`LEAST_MODELS` models of the run are left out.
    """
    rows = []
    for each in expected:
        known = {cell.model: cell for cell in cells if each.task in (cell.task, "all")}
        chosen = [(place, known[m]) for place, group in enumerate(each.order) for m in group if m in known]
        if len(chosen) < LEAST_MODELS:
            continue
        places, models = np.array([place for place, _ in chosen]), [cell for _, cell in chosen]
        tau = float(kendall(places, np.array([cell.values[each.number] for cell in models])))
        again = kendall(places, redrawn(models, each.number, draws=RESAMPLES, seed=seed))
        low, high = np.quantile(again, [0.025, 0.975])
        sure = float((again >= RECOVERED).mean())
        names = " < ".join(cell.model for cell in sorted(models, key=lambda cell: cell.values[each.number]))
        numbers = tau, min(low, tau), max(high, tau), tau >= RECOVERED, sure, *_decided(places, models, each.number)
        rows.append([each.id, each.task, each.number, len(models), *numbers, names])
    columns = ["id", "task", "number", "models", "tau", "low", "high", "recovered", "sure"]
    return pd.DataFrame(rows, columns=[*columns, "pairs", "decided", "opposed", "found"])


def redrawn(models: Sequence[Cell], number: str, *, draws: int, seed: int) -> np.ndarray:
    """A number of all models as other images might have given it, ``(draws, n)``.

    Student's t with the covariance of the jackknife: models that were asked about the same images vary together. (The
    jackknife of tau itself would be blind: leaving out a twentieth of the images seldom turns a pair round.)
    """
    rng = np.random.default_rng(seed)
    groups = [len(cell.replicates[number]) for cell in models]
    # ASSUME: models of a task with as many groups have the same images in each of them.
    shared = {count: rng.standard_normal((draws, count)) for count in sorted(set(groups))}
    wider = {count: np.sqrt((count - 1) / rng.chisquare(count - 1, draws)) for count in shared}
    out = np.empty((draws, len(models)))
    for column, (cell, count) in enumerate(zip(models, groups, strict=True)):
        away = cell.replicates[number] - cell.replicates[number].mean()
        out[:, column] = cell.values[number] + wider[count] * (shared[count] @ away) * ((count - 1) / count) ** 0.5
    return out


def kendall(places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Agreeing minus opposing pairs, as a share of the pairs that `places` tells apart; values ``(..., n)``."""
    above = np.sign(values[..., :, None] - values[..., None, :])
    apart = np.sign(places[:, None] - places[None, :])
    return (above * apart).sum((-2, -1)) / np.abs(apart).sum()


def _decided(places: np.ndarray, models: Sequence[Cell], number: str) -> tuple[int, int, int]:
    """Pairs that `places` tells apart, those whose difference has a sign beyond its error, those with the wrong one."""
    intervals = []
    for (low, small), (high, large) in permutations(zip(places, models, strict=True), 2):
        if low < high:  # ASSUME: as in redrawn
            ends = [each.replicates[number] for each in (small, large)]
            paired = len(ends[0]) == len(ends[1])
            rise = large.values[number] - small.values[number]
            found = (
                stats.jackknife(rise, ends[1] - ends[0])
                if paired
                else stats.difference(large.estimate(number), small.estimate(number))
            )
            intervals.append(found.interval())
    opposed = sum(high < 0 for _, high in intervals)
    return len(intervals), opposed + sum(low > 0 for low, _ in intervals), opposed


def _by(cells: Sequence[Cell], key: Callable[[Cell], object]) -> dict:
    """Cells by a key, in order of appearance; those without one are left out."""
    found = defaultdict(list)
    for cell in cells:
        if key(cell) is not None:
            found[key(cell)].append(cell)
    return dict(found)


def _with_error(name: str, cell: Cell) -> dict[str, float]:
    return {name: cell.values[name], f"{name}_se": float(stats.jackknife_se(cell.replicates[name]))}
