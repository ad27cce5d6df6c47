"""What figures are drawn from: selections and means over tasks."""

import numpy as np
import pandas as pd
import pytest

from pidflow import stats
from pidflow.errors import DataError
from pidflow.figures import profiles


def rows(**columns):
    frame = pd.DataFrame({"layer": 0, "atom": "synergy", "warning": ""} | columns)
    return frame.assign(low=frame["bits"] - frame["half"], high=frame["bits"] + frame["half"])


def test_select_keeps_what_was_asked():
    frame = pd.DataFrame({"model": ["a", "a", "b"], "atom": ["x", "y", "x"], "bits": [1, 2, 3]})
    assert list(profiles.select(frame, model="a", atom=["x", "z"])["bits"]) == [1]


def test_select_says_what_is_there():
    frame = pd.DataFrame({"model": ["a", "b"], "estimator": ["flow", "gaussian"]})
    with pytest.raises(DataError, match="no row has estimator 'flow'; the table has gaussian"):
        profiles.select(frame, model="b", estimator="flow")
    with pytest.raises(DataError, match="no rows at all"):
        profiles.select(frame[:0], model="b")


def test_order_of_appearance_with_intact_in_front():
    assert profiles.in_order(pd.Series(["cut", "b", "cut", "intact"]), first="intact") == ["intact", "cut", "b"]


def test_mean_over_tasks_adds_variances():
    mean = profiles.mean_over_tasks(rows(task=["a", "b"], bits=[1.0, 3.0], half=[0.3, 0.4])).iloc[0]
    assert mean.bits == 2.0
    assert mean.high - mean.bits == pytest.approx(0.25)
    assert mean.bits - mean.low == pytest.approx(0.25)


def test_mean_over_tasks_agrees_with_the_claims():
    a, b = stats.Estimate(1.0, 0.1, np.inf), stats.Estimate(3.0, 0.2, np.inf)
    half = [e.interval()[1] - e.value for e in (a, b)]
    mean = profiles.mean_over_tasks(rows(task=["a", "b"], bits=[1.0, 3.0], half=half)).iloc[0]
    assert mean.high == pytest.approx(stats.mean_of_independent([a, b]).interval()[1])


def test_mean_needs_all_tasks():
    frame = rows(task=["a", "b", "a"], layer=[0, 0, 1], bits=[1.0, 3.0, 9.0], half=0.1)
    assert list(profiles.mean_over_tasks(frame)["layer"]) == [0]


@pytest.mark.parametrize(
    ("warnings", "marked"), [(["", "", "x"], False), (["x", "x", ""], True), (["", "", ""], False)]
)
def test_mean_is_marked_when_half_of_its_tasks_are(warnings, marked):
    frame = rows(task=["a", "b", "c"], bits=1.0, half=0.1, warning=warnings)
    assert bool(profiles.mean_over_tasks(frame)["warning"].iloc[0]) == marked
