"""What figures are drawn from: selections and means over tasks."""

import numpy as np
import pandas as pd
import pytest

from pidflow import stats
from pidflow.analysis.decompositions import MISSED, NOT_CONVERGED, TWIN
from pidflow.analysis.targets import of_one_target
from pidflow.errors import DataError
from pidflow.figures import _levels as levels
from pidflow.figures import _parts as parts


def rows(**columns):
    return pd.DataFrame({"layer": 0, "atom": "synergy", "level": levels.NONE, "se": 0.1, "df": 19.0} | columns)


def test_select_keeps_what_was_asked():
    frame = pd.DataFrame({"model": ["a", "a", "b"], "atom": ["x", "y", "x"], "bits": [1, 2, 3]})
    assert list(parts.select(frame, model="a", atom=["x", "z"])["bits"]) == [1]


def test_select_says_what_is_there():
    frame = pd.DataFrame({"model": ["a", "b"], "estimator": ["flow", "gaussian"]})
    with pytest.raises(DataError, match="no row has estimator 'flow'; the table has gaussian"):
        parts.select(frame, model="b", estimator="flow")
    with pytest.raises(DataError, match="no rows at all"):
        parts.select(frame[:0], model="b")


def test_where_there_are_two_targets_the_intact_one_is_shown():
    rows = pd.DataFrame(
        [("intact", "own", 1), ("cut", "own", 2), ("cut", "intact", 3)], columns=["condition", "target", "bits"]
    )
    assert list(of_one_target(rows)["bits"]) == [1, 3]
    assert list(of_one_target(rows[:2])["bits"]) == [1, 2]
    assert list(of_one_target(rows[1:])["bits"]) == [3]


def test_order_of_appearance_with_intact_in_front():
    assert parts.in_order(pd.Series(["cut", "b", "cut", "intact"]), first="intact") == ["intact", "cut", "b"]


def test_mean_over_tasks_adds_variances():
    mean = parts.mean_over_tasks(rows(task=["a", "b"], bits=[1.0, 3.0], se=[0.3, 0.4], df=np.inf)).iloc[0]
    assert mean.bits == 2.0
    assert mean.high - mean.bits == pytest.approx(1.959964 * 0.25)
    assert mean.bits - mean.low == pytest.approx(1.959964 * 0.25)


def test_mean_over_tasks_agrees_with_the_claims():
    a, b = stats.Estimate(1.0, 0.1, 19), stats.Estimate(3.0, 0.2, 11)
    mean = parts.mean_over_tasks(rows(task=["a", "b"], bits=[1.0, 3.0], se=[0.1, 0.2], df=[19.0, 11.0])).iloc[0]
    assert (mean.low, mean.high) == pytest.approx(stats.mean_of_independent([a, b]).interval())


def test_mean_needs_all_tasks():
    frame = rows(task=["a", "b", "a"], layer=[0, 0, 1], bits=[1.0, 3.0, 9.0])
    assert list(parts.mean_over_tasks(frame)["layer"]) == [0]


@pytest.mark.parametrize(
    ("warning", "level"),
    [
        ("", levels.NONE),
        ("wrong in the planted twin", levels.CAUTION),
        ("the finite-sample bias of I12 (0.2 bit) exceeds half of what is left (0.3 bit)", levels.CAUTION),
        ("missed information", levels.DO_NOT_USE),
        ("cut: clipped; intact: missed information; wrong in the planted twin", levels.DO_NOT_USE),
        ("the solver did not converge", levels.DO_NOT_USE),
    ],
)
def test_level_of_a_warning(warning, level):
    assert levels.level_of(warning) == level


def test_levels_know_the_words_of_the_tables():
    assert levels.level_of(MISSED) == levels.level_of(NOT_CONVERGED) == levels.DO_NOT_USE
    assert levels.level_of(TWIN) == levels.CAUTION


@pytest.mark.parametrize(
    ("found", "shared"),
    [((0, 0, 1), 0), ((1, 1, 0), 1), ((0, 0, 0), 0), ((2, 1, 0), 1), ((2, 2, 0), 2), ((2, 0), 2), ((2, 0, 0, 0), 0)],
)
def test_a_mean_has_the_level_that_half_of_its_tasks_have_or_pass(found, shared):
    frame = rows(task=[f"t{i}" for i in range(len(found))], bits=1.0, level=found)
    assert parts.mean_over_tasks(frame)["level"].iloc[0] == shared
