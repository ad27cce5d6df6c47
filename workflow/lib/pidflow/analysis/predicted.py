"""How far atoms and simpler numbers predict what cuts change, over the models and tasks of a run.

A unit is a task of a model. Two questions, each a scope. ``all``: over all units. ``within tasks``: what a cut changes
differs between tasks for reasons of their own, such as the number of answers, so ranks are taken within each task,
and what is told apart are models.

Models are asked the same questions, and the tasks of one model go together. So intervals come from leaving out each
model in turn (jackknife of Fisher's z, Student's t), never from single units, unless the run has one model, whose tasks
then are the sample. A prediction counts only for models that it was not fitted to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from pidflow import stats
from pidflow.analysis.baselines import LOST, PROBES, Unit
from pidflow.names import ATOMS, INTACT, MIN_TASKS, QUANTITIES

BASELINES = (*PROBES, *LOST)
PREDICTORS = (*QUANTITIES, *BASELINES)
EFFECTS = ("accuracy", "answer_probability")
OVERALL, WITHIN = "all", "within tasks"
# Several numbers together, which only what they explain is asked of. Probes look on, as atoms do; what is lost without
# image or question is the effect of a cut itself.
TOGETHER = {
    "probes": PROBES,
    "baselines": BASELINES,
    "atoms": ATOMS,
    "probes and atoms": (*PROBES, *ATOMS),
    "baselines and atoms": (*BASELINES, *ATOMS),
}
_ADDED = {"probes and atoms": "probes", "baselines and atoms": "baselines"}
PREDICTION_COLUMNS = (
    *("condition", "effect", "estimator", "definition", "scope", "predictor"),
    *("correlation", "low", "high", "explained"),
    *("given", "partial", "partial_low", "partial_high", "gain", "gain_low", "gain_high"),
    *("units", "models"),
)


def prediction_table(baselines: pd.DataFrame, effects: Mapping[Unit, Mapping[str, float]]) -> pd.DataFrame:
    """How far each number of the intact model predicts what a condition changes; columns `PREDICTION_COLUMNS`.

    Numbers of layers are means over the layers after the input. Of each predictor:

    - ``correlation``: Spearman's, with its 95 % interval;
    - ``explained``: the share of the variance of the effect that a line through the other models predicts, beyond what
      their mean does (within tasks: their mean of each task); negative where the mean does better;
    - ``partial``: the correlation that is left beside ``given``, the baseline whose own is largest; ``gain``, what the
      predictor adds to what a line in ``given`` explains. Of baselines (probes) and atoms together: what atoms add to
      baselines (probes).

    Units of which a predictor has no number in a layer are left out, for all predictors alike. With so many predictors
    one may look good by chance.

    Parameters
    ----------
    baselines
        From :func:`pidflow.analysis.baselines.baselines_table`.
    effects
        By unit, the change of each of `EFFECTS` against the intact model.
    """
    intact = baselines[(baselines["condition"] == INTACT) & (baselines["layer"] > 0)]
    rows = []
    for (estimator, definition), chosen in intact.groupby(["estimator", "definition"], sort=False):
        means = chosen.groupby(["model", "task"], sort=False)[list(PREDICTORS)].mean(skipna=False)
        for condition in dict.fromkeys(condition for _, _, condition in effects):
            for effect in EFFECTS:
                changes = {unit[:2]: values[effect] for unit, values in effects.items() if unit[2] == condition}
                known = means.assign(effect=pd.Series(changes)).dropna(subset="effect")
                place = {"condition": condition, "effect": effect, "estimator": estimator, "definition": definition}
                for scope in (OVERALL, WITHIN) if known.index.get_level_values("model").nunique() > 1 else (OVERALL,):
                    rows += [place | {"scope": scope} | row for row in _predicted(known, scope)]
    return pd.DataFrame(rows, columns=PREDICTION_COLUMNS)


@dataclass(frozen=True)
class _Sample:
    """Units of one effect: what left-out groups are made of, and what ranks and means are taken within."""

    effect: np.ndarray
    groups: np.ndarray
    tasks: np.ndarray

    @classmethod
    def of(cls, known: pd.DataFrame, scope: str) -> _Sample:
        models, tasks = (known.index.get_level_values(name).to_numpy() for name in ("model", "task"))
        within = tasks if scope == WITHIN else np.zeros(len(known))
        left_out = tasks if len(set(models)) == 1 else models
        groups, tasks = (np.unique(each, return_inverse=True)[1] for each in (left_out, within))
        return cls(known["effect"].to_numpy(dtype=float), groups, tasks)

    def without(self) -> list[np.ndarray]:
        """Units that stay when each group is left out."""
        return [self.groups != group for group in range(int(self.groups.max()) + 1)]

    def correlation(self, values: np.ndarray, given: np.ndarray | None = None) -> stats.Estimate:
        """Fisher's z of Spearman's correlation with the effect, or of what a line in the ranks of `given` leaves of it.

        Its error is over groups that are left out, but not below that of independent units, ``1 / sqrt(n - 3)``.
        """

        def of(chosen: np.ndarray) -> np.ndarray:
            ranks = [self.ranks(each, chosen) for each in (values, self.effect)]
            if given is not None:
                line = self.ranks(given, chosen)
                ranks = [each - line * (line @ each) / max(line @ line, np.finfo(float).tiny) for each in ranks]
            return stats.fisher(stats.correlation(*ranks))

        found = stats.jackknife(of(np.ones(len(values), dtype=bool)), np.array([of(rest) for rest in self.without()]))
        least = 1 / np.sqrt(max(len(values) - 3, 1))
        return stats.Estimate(found.value, float(np.maximum(found.se, least)), found.df)

    def ranks(self, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Ranks of the chosen units within their tasks, about the middle one and as shares of the task's units."""
        out = np.empty(int(chosen.sum()))
        values, tasks = values[chosen], self.tasks[chosen]
        for task in np.unique(tasks):
            here = tasks == task
            out[here] = (rankdata(values[here]) - (here.sum() + 1) / 2) / here.sum()
        return out

    def errors(self, columns: np.ndarray) -> np.ndarray:
        """Errors of a line in the columns ``(n, k)``, and a height for each task, through the units of other groups."""
        heights = np.eye(int(self.tasks.max()) + 1)[self.tasks]
        design, out = np.column_stack([heights, columns]), np.empty(len(self.effect))
        for rest in self.without():
            line = np.linalg.lstsq(design[rest], self.effect[rest], rcond=None)[0]
            out[~rest] = self.effect[~rest] - design[~rest] @ line
        return out


def _predicted(known: pd.DataFrame, scope: str) -> list[dict[str, float | str]]:
    """One row a predictor, and one for several together."""
    measured = [name for name in PREDICTORS if known[name].notna().any()]
    known = known.dropna(subset=measured)
    if scope == WITHIN:  # a task of a single model has no other to learn from
        known = known[known.groupby("task")["effect"].transform("size") > 1]
    rows = {name: _row(name, known) for name in (*PREDICTORS, *TOGETHER)}
    if len(known) < MIN_TASKS:
        return list(rows.values())
    sample = _Sample.of(known, scope)
    if sample.groups.max() + 1 < MIN_TASKS or not np.ptp(sample.effect) > 0:
        return list(rows.values())
    values = {name: known[name].to_numpy(dtype=float) for name in measured}
    values = {name: column for name, column in values.items() if np.ptp(column) > 0}
    none = sample.errors(np.empty((len(known), 0)))
    errors = {name: sample.errors(column[:, None]) for name, column in values.items()}
    for name, column in values.items():
        found = sample.correlation(column)
        rows[name] |= _interval("correlation", found, "low", "high") | {"explained": _explained(errors[name], none)}
    strength = {name: np.nan_to_num(abs(rows[name]["correlation"])) for name in BASELINES if name in values}
    best = max(strength, key=strength.get, default=None)
    for name in values if best is not None else ():
        rows[name]["given"] = best
        if name != best:
            left = sample.correlation(values[name], values[best])
            both = sample.errors(np.column_stack([values[best], values[name]]))
            rows[name] |= _interval("partial", left, "partial_low", "partial_high")
            rows[name] |= _gain(sample, both, errors[best], none)
    for name, members in TOGETHER.items():
        if set(members) <= set(values) and len(known) > len(members) + sample.tasks.max() + 2:
            errors[name] = sample.errors(np.column_stack([values[member] for member in members]))
            rows[name]["explained"] = _explained(errors[name], none)
    for both, simple in _ADDED.items():
        if both in errors and simple in errors:
            rows[both] |= {"given": simple} | _gain(sample, errors[both], errors[simple], none)
    return list(rows.values())


def _row(name: str, known: pd.DataFrame) -> dict[str, float | str]:
    models = known.index.get_level_values("model").nunique()
    return {"predictor": name, "given": None, "units": len(known), "models": models}


def _interval(name: str, found: stats.Estimate, low: str, high: str) -> dict[str, float]:
    """A correlation from Fisher's z, with its interval."""
    return {key: float(np.tanh(z)) for key, z in zip((name, low, high), (found.value, *found.interval()), strict=True)}


def _explained(errors: np.ndarray, none: np.ndarray) -> float:
    """``1 - (errors of a line through the others)^2 / (errors of their mean)^2``."""
    return float(1 - np.square(errors).sum() / np.square(none).sum())


def _gain(sample: _Sample, errors: np.ndarray, before: np.ndarray, none: np.ndarray) -> dict[str, float]:
    """Share of the variance by which errors fell, with an interval over groups of units."""
    saved = (np.square(before) - np.square(errors)) / np.square(none).mean()
    found = stats.clustered_mean(saved, sample.groups)
    low, high = found.interval()
    return {"gain": found.value, "gain_low": low, "gain_high": high}
