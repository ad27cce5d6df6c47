"""What predicts the effect of cuts, over models and tasks: known answers."""

import numpy as np
import pandas as pd
import pytest

from pidflow.analysis.baselines import BASELINE_COLUMNS
from pidflow.analysis.predicted import EFFECTS, PREDICTION_COLUMNS, PREDICTORS, TOGETHER, _Sample, prediction_table
from pidflow.names import INTACT

CUT, MODELS, TASKS = "cut", 12, 4


def study(x, effect, *, name="redundancy", rng=None, **others):
    """The table for made-up units ``(models, tasks)`` in which one predictor is `x`; what is not given is noise."""
    rng = rng or np.random.default_rng(7)
    columns = {each: rng.normal(size=np.shape(x)) for each in PREDICTORS} | {name: np.asarray(x)} | others
    rows = [
        {"model": f"m{m:02d}", "task": f"t{t}", "condition": INTACT, "layer": layer, "estimator": "auto"}
        | {"definition": "broja"}
        | {each: 99.0 if layer == 0 else column[m, t] + (layer - 1.5) for each, column in columns.items()}
        for m in range(len(x))
        for t in range(len(x[0]))
        for layer in range(3)
    ]
    changes = {
        (f"m{m:02d}", f"t{t}", CUT): {"accuracy": float(value), "answer_probability": 0.1}
        for m, row in enumerate(effect)
        for t, value in enumerate(row)
    }
    table = pd.DataFrame(rows).reindex(columns=BASELINE_COLUMNS)
    return prediction_table(table, changes)


def rows_of(found, effect="accuracy"):
    return found[found["effect"] == effect].set_index(["scope", "predictor"])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_what_makes_an_effect_predicts_it_and_what_does_not_vary_is_no_effect(rng):
    x = rng.normal(size=(MODELS, TASKS))
    found = study(x, -0.5 * x)
    assert tuple(found.columns) == PREDICTION_COLUMNS
    assert set(found["predictor"]) == {*PREDICTORS, *TOGETHER}
    for scope in ("all", "within tasks"):
        row = rows_of(found).loc[(scope, "redundancy")]
        assert row["correlation"] == pytest.approx(-1, abs=1e-6)
        assert row["explained"] == pytest.approx(1)
        assert (row["units"], row["models"]) == (MODELS * TASKS, MODELS)
        assert rows_of(found).loc[(scope, "synergy"), "explained"] < 0.2
    assert rows_of(found, EFFECTS[1])[["correlation", "explained"]].isna().all(axis=None)


def test_tasks_that_differ_are_no_models_that_differ(rng):
    """Over all units the two rise together, because tasks do; within each task one falls as the other rises."""
    height, x = 10.0 * np.arange(TASKS), rng.normal(size=(MODELS, TASKS))
    found = rows_of(study(height + x, height - x))
    assert found.loc[("all", "redundancy"), "low"] > 0.7
    assert found.loc[("within tasks", "redundancy"), "high"] < -0.9
    assert found.loc[("within tasks", "redundancy"), "explained"] == pytest.approx(1)
    assert found.loc[("all", "unique_vision"), "explained"] < 0.1


@pytest.mark.parametrize("within", [False, True])
def test_models_are_the_sample(within):
    """Tasks of a model go together: units taken for independent would find something in a third of this noise."""
    groups, tasks = (each.ravel() for each in np.indices((MODELS, TASKS)))
    false, runs = 0, 60
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        x, effect = (rng.normal(size=(MODELS, 1)) + 0.3 * rng.normal(size=(MODELS, TASKS)) for _ in range(2))
        low, high = _Sample(effect.ravel(), groups, tasks * within).correlation(x.ravel()).interval()
        false += not low < 0 < high
    assert false <= 7


def test_an_atom_adds_what_no_baseline_has_and_a_copy_of_one_adds_nothing(rng):
    baseline, atom = rng.normal(size=(2, MODELS, TASKS))
    copy = baseline + 0.3 * rng.normal(size=baseline.shape)
    found = rows_of(study(baseline, baseline + 0.7 * atom, name="lost_image", synergy=atom, redundancy=copy))
    for scope in ("all", "within tasks"):
        adds, copies = found.loc[(scope, "synergy")], found.loc[(scope, "redundancy")]
        assert {adds["given"], copies["given"]} == {"lost_image"}
        assert adds["partial_low"] > 0.6
        assert adds["gain_low"] > 0.1
        assert copies["correlation"] > 0.6
        assert copies["partial_low"] < 0.2
        assert copies["gain"] < 0.05
        together = found.loc[(scope, "baselines and atoms")]
        assert together["explained"] == pytest.approx(1)
        assert together["gain"] == pytest.approx(1 - found.loc[(scope, "baselines"), "explained"])
        assert together["gain_low"] > 0


def test_explained_is_what_a_line_through_the_other_models_predicts(rng):
    x = rng.normal(size=(MODELS, TASKS))
    effect = x + rng.normal(size=x.shape)
    errors, of_tasks = [], []
    for model in range(MODELS):
        rest = np.arange(MODELS) != model
        slope, height = np.polyfit(x[rest].ravel(), effect[rest].ravel(), 1)
        errors.append([effect[model] - slope * x[model] - height, effect[model] - effect[rest].mean()])
        means, centred = x[rest].mean(axis=0), x[rest] - x[rest].mean(axis=0)
        slope = (centred * effect[rest]).sum() / np.square(centred).sum()
        left = effect[model] - effect[rest].mean(axis=0)
        of_tasks.append([left - slope * (x[model] - means), left])
    found = rows_of(study(x, effect))
    for scope, each in (("all", errors), ("within tasks", of_tasks)):
        line, mean = np.square(each).sum(axis=(0, 2))
        assert found.loc[(scope, "redundancy"), "explained"] == pytest.approx(1 - line / mean)


def test_of_one_model_the_tasks_are_the_sample(rng):
    x = rng.normal(size=(1, 9))
    found = rows_of(study(x, x + 0.1 * rng.normal(size=x.shape)))
    assert set(found.index.get_level_values("scope")) == {"all"}
    assert found.loc[("all", "redundancy"), "low"] > 0
    assert rows_of(study(x[:, :3], x[:, :3]))["correlation"].isna().all(), "three tasks are too few"


def test_units_without_a_number_are_left_out_and_what_was_not_measured_is_not_asked(rng):
    x = rng.normal(size=(MODELS, TASKS))
    gaps, nothing = x.copy(), np.full(x.shape, np.nan)
    gaps[0, 0] = np.nan
    found = rows_of(study(x, x, unique_vision=gaps, lost_question=nothing))
    assert set(found["units"]) == {MODELS * TASKS - 1}
    assert np.isnan(found.loc[("all", "lost_question"), "correlation"])
    assert found.loc[("all", "redundancy"), "explained"] == pytest.approx(1)
