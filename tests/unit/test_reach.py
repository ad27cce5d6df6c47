"""How far interventions reached is said wherever their numbers stand."""

import numpy as np
import pandas as pd
import pytest
from tests import synthetic_run as run

from pidflow import stats
from pidflow.analysis import claims, tables
from pidflow.analysis.reach import Reach
from pidflow.names import CONTROLS, UNMATCHED

UNITS = [("m", "t", condition) for condition in ("intact", run.CUT, run.RANDOM)]
ATOMS = {"redundancy": 0.2, "unique_vision": 0.5, "unique_language": 1.0, "synergy": 0.3}


def answers(uncut=(False, False, True), control=(None, None, None)):
    return pd.DataFrame({"uncut": list(uncut), "control": pd.array(list(control), dtype="string")})


def decomposed():
    return [run.record("m", "t", condition, layer, ATOMS) for *_, condition in UNITS for layer in range(4)]


def test_questions_that_were_not_reached_are_counted():
    assert Reach.of(answers()) == Reach(n=3, uncut=1, control="")
    assert Reach.of(answers()).warning == "1 of 3 questions have nothing to cut and ran intact"
    assert Reach.of(answers([False] * 3)).warning == ""


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_is_worth_its_least_matched_question(control):
    reach = Reach.of(answers([False] * 3, control=("other-sources", None, control)))
    assert reach.control == control
    assert reach.matched == (control != UNMATCHED)


def test_the_differences_say_it():
    reached = {unit: Reach(100, 0, "") for unit in UNITS}
    reached |= {UNITS[1]: Reach(100, 40, ""), UNITS[2]: Reach(100, 0, "half")}
    table = tables.difference_table(decomposed(), {run.CUT: run.RANDOM}, reached)
    cut = table[table["condition"] == run.CUT]
    assert cut["warning"].str.contains(f"{run.CUT}: 40 of 100 questions have nothing to cut").all()
    assert (cut["control_match"] == "half").all()
    plain = tables.difference_table(decomposed(), {run.CUT: run.RANDOM})
    assert not plain["warning"].str.contains("nothing to cut").any()


def test_the_answers_say_it():
    frame = run.answers(run.TASKS[0], run.RANDOM).assign(uncut=np.arange(run.ROWS) < 7)
    table = tables.answers_table({("m", run.TASKS[0], run.RANDOM): frame}, [])
    assert table[["uncut", "control"]].values.tolist() == [[7, run.MATCH]]


def beyond_random(reached):
    lost = {("m", "t"): stats.Estimate(0.4, 0.05, 99)}
    judged = claims.judge(decomposed(), lost, knockout=run.CUT, control=run.RANDOM, reached=reached)
    return [claim for claim in judged if claim.id.endswith("-beyond-random") and claim.task == "t"]


def test_claims_name_the_control_they_used():
    found = beyond_random({UNITS[2]: Reach(100, 0, "other-targets")})
    assert len(found) == 3
    for claim in found:
        assert "the same sources are lost by other later targets" in claim.reason


def test_nothing_is_claimed_against_a_control_that_matches_nothing():
    for claim in beyond_random({UNITS[2]: Reach(100, 0, UNMATCHED)}):
        assert claim.verdict == stats.UNDETERMINED
        assert np.isnan(claim.estimate)
        assert "match nothing" in claim.reason


def test_questions_without_the_edge_need_no_control():
    """No boxes in a question: nothing is cut and nothing is drawn, which says nothing of the other questions."""
    assert Reach.of(answers(control=("half", "half", UNMATCHED))) == Reach(n=3, uncut=1, control="half")
    assert Reach.of(answers((True, True, True), control=(UNMATCHED,) * 3)).control == UNMATCHED


@pytest.mark.parametrize(
    ("of_cut", "of_control", "judged"), [(0, 5, True), (0, 6, False), (60, 62, True), (60, 63, False)]
)
def test_a_control_that_lacks_where_the_cut_acts_judges_nothing(of_cut, of_control, judged):
    """Of 100 or 40 questions that are cut, up to a twentieth may lack their control."""
    reached = {UNITS[1]: Reach(100, of_cut, ""), UNITS[2]: Reach(100, of_control, "half")}
    for claim in beyond_random(reached):
        assert np.isfinite(claim.estimate) == judged
        assert ("changes nothing in" in claim.reason) == (not judged)
