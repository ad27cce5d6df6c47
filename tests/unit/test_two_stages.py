"""The two-stage statements: planted pictures get their verdict, and the reason says why."""

import numpy as np
import pytest
from tests.synthetic_sweep import DEPTH, TWO_STAGES, sweep

from pidflow.analysis.edge_changes import ALL, edge_changes, resample
from pidflow.analysis.transfer_windows import NO, YES, locate
from pidflow.analysis.two_stages import Statement, statements, two_stages_table
from pidflow.errors import DataError
from pidflow.interventions.windows import windows
from pidflow.stats import NOT_SUPPORTED, SUPPORTED, UNDETERMINED

FLIPPED = {"image->question": (6, 8, -0.6), "question->last": (1, 3, -0.8), "image->last": (2, 4, -0.5)}


def judged(tasks, *, window=3, least=0.05, **settings):
    """Statements by (task, id) about made-up sweeps of some tasks: ``{task: plateaus}``."""
    found, located = {}, {}
    for task, plateaus in tasks.items():
        _, details = sweep(task=task, plateaus=plateaus, window=window, **{"noise": 0.04} | settings)
        sampled = [
            resample(each, seed=0, resamples=300)
            for each in edge_changes(details, windows=windows(window, depth=DEPTH))
            if each.subset == ALL
        ]
        found[task] = {each.changes.edge: each for each in sampled}
        located[task] = {each.changes.edge: locate(each, least=least) for each in sampled}
    return {(each.task, each.id): each for each in statements("standin", found, located, least=least)}


@pytest.fixture(scope="module")
def two_tasks():
    return judged({"a": TWO_STAGES, "b": TWO_STAGES})


def test_the_published_picture(two_tasks):
    assert len(two_tasks) == 4 * 3
    for task in ("a", "b", ALL):
        verdicts = {id_: each.verdict for (of, id_), each in two_tasks.items() if of == task}
        assert verdicts == {
            "question-needs-image": YES,
            "last-needs-question": YES,
            "image-reaches-last": NO,
            "first-stage-precedes-second": SUPPORTED,
        }
    order = two_tasks[ALL, "first-stage-precedes-second"]
    assert order.value == 5
    assert order.low <= 4.5 < 5.5 <= order.high
    assert "lies +5.0 blocks from that of image->question" in order.reason
    assert "(mean of 2 of 2 tasks)" in order.reason


def test_the_reason_has_the_numbers(two_tasks):
    reason = two_tasks["a", "question-needs-image"].reason
    found = two_tasks["a", "question-needs-image"]
    assert reason.startswith("Cutting image->question changes the answer's probability most around block ")
    assert f"by {found.value:+.1%} ({found.low:+.1%} to {found.high:+.1%}), beyond random edges by -" in reason
    assert reason.endswith("; 5% counts.")
    assert "yes in 2, no in 0 of 2 tasks" in two_tasks[ALL, "question-needs-image"].reason


def test_another_picture():
    found = judged({"a": FLIPPED})
    assert found["a", "image-reaches-last"].verdict == YES
    assert found["a", "first-stage-precedes-second"].verdict == NOT_SUPPORTED
    assert found["a", "first-stage-precedes-second"].value == -5


def test_stages_at_the_same_place_are_in_no_order():
    same = {"image->question": (3, 5, -0.6), "question->last": (3, 5, -0.8)}
    found = judged({"a": same})["a", "first-stage-precedes-second"]
    assert (found.verdict, found.value, found.low, found.high) == (UNDETERMINED, 0, -0.5, 0.5)


def test_one_task_is_enough_for_yes_and_each_is_needed_for_no():
    direct = TWO_STAGES | {"image->last": (2, 4, -0.5)}
    mixed = judged({"a": TWO_STAGES, "b": direct})
    assert mixed["a", "image-reaches-last"].verdict == NO
    assert mixed[ALL, "image-reaches-last"].verdict == YES
    assert "most in b around block" in mixed[ALL, "image-reaches-last"].reason
    assert "yes in 1, no in 1 of 2 tasks" in mixed[ALL, "image-reaches-last"].reason
    alone = mixed["b", "image-reaches-last"]
    assert mixed[ALL, "image-reaches-last"].low <= alone.low <= alone.high <= mixed[ALL, "image-reaches-last"].high


def test_what_was_not_swept_is_undetermined():
    found = judged({"a": {"image->last": (0, 0, 0.0)}})
    assert found["a", "question-needs-image"].verdict == UNDETERMINED
    assert found["a", "question-needs-image"].reason == "image->question was not swept."
    order = found[ALL, "first-stage-precedes-second"]
    assert (order.verdict, order.reason) == (
        UNDETERMINED,
        "No transfer window of image->question and question->last in the same task.",
    )
    assert np.isnan(order.value)


def test_a_stage_without_a_window_leaves_the_order_open():
    found = judged({"a": TWO_STAGES | {"image->question": (0, 0, 0.0)}, "b": TWO_STAGES})
    assert found["a", "first-stage-precedes-second"].reason == "No transfer window of image->question."
    assert found[ALL, "first-stage-precedes-second"].verdict == SUPPORTED
    assert "(mean of 1 of 2 tasks)" in found[ALL, "first-stage-precedes-second"].reason


def test_without_a_control_the_reason_says_so():
    assert "no random control was run" in judged({"a": TWO_STAGES}, controls=())["a", "last-needs-question"].reason


def test_tasks_swept_in_other_windows_are_refused():
    found = {}
    for task, window in (("a", 3), ("b", 5)):
        _, details = sweep(task=task, window=window)
        each = edge_changes(details, windows=windows(window, depth=DEPTH))[0]
        found[task] = {each.edge: resample(each, seed=0, resamples=10)}
    with pytest.raises(DataError, match="standin: task 'b' was swept in other windows than 'a'"):
        statements("standin", found, {"a": {}, "b": {}}, least=0.05)


def test_the_table_has_a_row_each(two_tasks):
    table = two_stages_table(list(two_tasks.values()))
    assert list(table.columns) == list(Statement.__annotations__)
    assert len(table) == 12
