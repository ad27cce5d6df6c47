"""Published results beside those of a run."""

import numpy as np
import pandas as pd
import pytest

from pidflow.analysis.reproduction import COLUMNS, REPORTED, reproduction
from pidflow.analysis.statements import (
    AGREEMENT,
    DEPENDENCE_STATEMENTS,
    INTACT_STATEMENTS,
    KNOCKOUT_STATEMENTS,
    REDUNDANCY_STATEMENTS,
)
from pidflow.errors import ConfigError, DataError

ROW = {"statement": "s", "model": "m", "task": "all", "low": 0.0, "high": 1.0, "unit": "bits"}


def test_what_is_reported_names_statements_that_there_are():
    of_cuts = [each.values() for each in (KNOCKOUT_STATEMENTS, DEPENDENCE_STATEMENTS, REDUNDANCY_STATEMENTS)]
    known = {each.id for group in (INTACT_STATEMENTS, [AGREEMENT], *of_cuts) for each in group}
    assert {each.id for each in REPORTED["2602.15580"]} == known


@pytest.mark.parametrize(
    ("verdict", "agrees"), [("no", "agrees"), ("yes", "differs"), ("undetermined", "undetermined")]
)
def test_a_verdict_is_compared_with_what_was_reported(verdict, agrees):
    table = pd.DataFrame([ROW | {"id": "image-reaches-last", "value": 0.1, "verdict": verdict}])
    found = reproduction("2411.18620", [table]).iloc[0]
    assert (found["published"], found["here"], found["agrees"]) == ("no", 0.1, agrees)


def test_claims_bring_numbers_of_their_own_and_others_are_left_out():
    rows = [
        ROW | {"id": "reported-by-itself", "estimate": 0.7, "verdict": "supported", "paper_value": 0.82},
        ROW | {"id": "not-reported", "estimate": 0.7, "verdict": "supported", "paper_value": np.nan},
    ]
    found = reproduction("6WsBGk4Iag", [pd.DataFrame(rows)])
    assert tuple(found) == COLUMNS
    assert found[["id", "published", "agrees"]].to_numpy().tolist() == [["reported-by-itself", "0.82", "agrees"]]


def test_claims_about_a_family_name_it():
    row = {name: value for name, value in ROW.items() if name != "model"} | {"about": "qwen2-vl", "id": "i"}
    table = pd.DataFrame([row | {"estimate": 0.1, "verdict": "not supported", "paper_value": 0.8}])
    found = reproduction("6WsBGk4Iag", [table]).iloc[0]
    assert (found["model"], found["agrees"]) == ("qwen2-vl", "differs")


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"unknown study .1., expected one of: 2602\.15580"):
        reproduction("1", [])
    with pytest.raises(DataError, match="expected a table of judged statements, found the columns a"):
        reproduction("2411.18620", [pd.DataFrame({"a": [1]})])
