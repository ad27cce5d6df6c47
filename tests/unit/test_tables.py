"""Tables: every number in its place, errors that follow from the replicates, and clear refusals."""

from dataclasses import replace

import numpy as np
import pytest
from tests import synthetic_run as run

from pidflow import names
from pidflow.analysis import decompositions, tables
from pidflow.errors import DataError
from pidflow.pid.results import Uncorrected

ONE = {"redundancy": 0.25, "unique_vision": 0.5, "unique_language": 1.0, "synergy": 0.25}


def at(frame, **place):
    for name, value in place.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_pid_table_has_a_row_for_every_quantity():
    found = run.records(tasks=run.TASKS[:2], layers=3)
    table = tables.pid_table(found)
    assert tuple(table.columns) == tables.PID_COLUMNS
    assert len(table) == 2 * 2 * 3 * 2 * 2 * 7
    assert not table.duplicated(["task", "condition", "layer", "estimator", "definition", "atom"]).any()


def test_pid_table_adds_up():
    table = tables.pid_table([run.record("m", "t", "intact", 2, ONE)])
    bits = table.set_index("atom")["bits"]
    assert bits["mi_joint"] == pytest.approx(sum(ONE.values()))
    assert bits["mi_vision"] == pytest.approx(bits["redundancy"] + bits["unique_vision"])
    assert bits["mi_language"] == pytest.approx(bits["redundancy"] + bits["unique_language"])
    share = table.set_index("atom")["share"]
    assert share[list(names.ATOMS)].sum() == pytest.approx(1.0)
    assert share["unique_language"] == pytest.approx(0.5)


def test_error_of_a_share_knows_that_the_joint_information_varies_with_it():
    """Where every atom scales by the same factor, no share varies."""
    scale = 1 + 0.1 * np.random.default_rng(0).standard_normal(20)
    jackknife = {atom: value * scale for atom, value in ONE.items()}
    table = tables.pid_table([run.record("m", "t", "intact", 2, ONE, jackknife=jackknife)])
    np.testing.assert_allclose(table["share_se"], 0, atol=1e-12)


@pytest.mark.parametrize("joint", [0.0, -0.01])
def test_no_share_of_nothing(joint):
    record = run.record("m", "t", "intact", 0, dict.fromkeys(ONE, joint / 4))
    assert tables.pid_table([record])["share"].isna().all()


def test_interval_is_students():
    row = at(tables.pid_table([run.record("m", "t", "intact", 2, ONE)]), atom="synergy")
    assert row.high - row.bits == pytest.approx(2.0930241 * row.se)


def test_a_solver_that_did_not_arrive_is_named():
    record = run.record("m", "t", "intact", 2, ONE)
    stuck = replace(record, estimate=replace(record.estimate, converged=False))
    assert set(tables.pid_table([stuck])["warning"]) == {decompositions.NOT_CONVERGED}


def test_warnings_are_joined_without_breaking_the_separator():
    record = run.record("m", "t", "intact", 2, ONE, missed=0.5, clipped=True, warnings=["few rows; be careful"])
    table = tables.pid_table([record])
    assert set(table["warning"]) == {"missed information; few rows, be careful"}
    assert table["missed"].all()
    assert table["clipped"].all()
    assert table["missed_bits"].to_list() == pytest.approx([0.5] * 7)


def test_a_quantity_that_is_wrong_in_the_twin_is_marked_and_the_others_are_not():
    """Too little synergy in the twin is too little joint information."""
    wrong = ["synergy", "mi_joint"]
    intact = run.record("m", "t", "intact", 2, ONE)
    cut = run.record("m", "t", run.CUT, 2, ONE, twin_errors={"synergy": -0.75})
    table = tables.pid_table([intact, cut])
    marked = table[table["twin_failed"]]
    assert marked[["condition", "atom", "warning"]].values.tolist() == [
        [run.CUT, atom, decompositions.TWIN] for atom in wrong
    ]
    assert marked["twin_error"].tolist() == pytest.approx([-0.75] * 2)
    assert (table.drop(marked.index)["warning"] == "").all()
    assert (table.drop(marked.index)["twin_error"] == 0).all()
    changes = tables.difference_table([intact, cut]).set_index("atom")["warning"]
    assert (changes[wrong] == f"{run.CUT}: {decompositions.TWIN}").all()
    assert (changes.drop(wrong) == "").all()
    assert decompositions.warning(cut) == f"{decompositions.TWIN}: synergy, mi_joint"


def test_what_the_twin_corrected_is_not_marked_for_it_and_the_uncorrected_number_stays():
    wrong = run.record("m", "t", "intact", 2, ONE, twin_errors={"synergy": -0.75})
    half = {name: 0.5 * getattr(wrong.estimate, name) for name in wrong.estimate.se}
    before = Uncorrected(half, wrong.estimate.se)
    table = tables.pid_table([replace(wrong, estimate=replace(wrong.estimate, uncorrected=before))])
    assert set(table["warning"]) == {""}
    assert table["twin_failed"].sum() == 2
    assert table["uncorrected_bits"].tolist() == pytest.approx((0.5 * table["bits"]).tolist())
    plain = tables.pid_table([run.record("m", "t", "intact", 2, ONE)])
    assert plain["uncorrected_bits"].tolist() == plain["bits"].tolist()
    assert plain["uncorrected_se"].tolist() == plain["se"].tolist()


def test_order_of_files_does_not_matter():
    records = run.records(tasks=run.TASKS[:2], layers=3, estimators=("flow",))
    one, two = tables.pid_table(records), tables.pid_table(records[::-1])
    assert one.equals(two)


def test_difference_is_condition_minus_intact():
    intact, cut = run.record("m", "t", "intact", 2, ONE), run.record("m", "t", run.CUT, 2, ONE | {"synergy": 0.5})
    table = tables.difference_table([intact, cut])
    assert tuple(table.columns) == tables.DIFFERENCE_COLUMNS
    assert set(table["condition"]) == {run.CUT}
    bits = table.set_index("atom")["bits"]
    assert bits["synergy"] == pytest.approx(0.25)
    assert bits["mi_joint"] == pytest.approx(0.25)
    assert bits["redundancy"] == 0


def shifted(by, *, n=run.ROWS, seed=1):
    """The differences of two decompositions whose replicates move together."""
    intact = run.record("m", "t", "intact", 2, ONE)
    jackknife = {atom: intact.replicates[atom] + by for atom in ONE}
    cut = run.record("m", "t", run.CUT, 2, {k: v + by for k, v in ONE.items()}, jackknife=jackknife, n=n)
    return tables.difference_table([intact, cut])


def test_difference_of_the_same_images_is_paired():
    table = shifted(0.1)
    assert table["paired"].all()
    np.testing.assert_allclose(table["se"], 0, atol=1e-12)


def test_difference_of_other_rows_is_not_paired():
    table = shifted(0.1, n=run.ROWS - 1)
    assert not table["paired"].any()
    row = at(table, atom="synergy")
    assert row.se == pytest.approx(np.sqrt(2) * run.SE, rel=0.4)
    assert row.z == pytest.approx(row.bits / row.se)


def test_no_difference_without_intact():
    assert tables.difference_table([run.record("m", "t", run.CUT, 2, ONE)]).empty


def test_control_stands_beside_the_effect():
    """Three conditions whose replicates move together: every paired difference is exact, whatever the noise."""
    noise = run.record("m", "t", "intact", 2, ONE).replicates["synergy"] - ONE["synergy"]
    records = [
        run.record("m", "t", name, 2, ONE | {"synergy": bits}, jackknife={"synergy": bits + noise})
        for name, bits in (("intact", 0.25), (run.CUT, 0.75), (run.RANDOM, 0.35))
    ]
    table = tables.difference_table(records, {run.CUT: run.RANDOM})
    row = at(table, condition=run.CUT, atom="synergy")
    assert row.control == run.RANDOM
    assert (row.bits, row.control_bits, row.net_bits) == pytest.approx((0.5, 0.1, 0.4))
    assert (row.se, row.control_se, row.net_se) == pytest.approx((0, 0, 0), abs=1e-12)
    assert row.net_low == pytest.approx(row.net_high)
    control = at(table, condition=run.RANDOM, atom="synergy")
    assert control.bits == pytest.approx(row.control_bits)
    assert control.control == ""
    assert np.isnan(control.net_bits)


def test_net_of_other_rows_adds_variances():
    records = [run.record("m", "t", name, 2, ONE) for name in ("intact", run.CUT)]
    records.append(run.record("m", "t", run.RANDOM, 2, ONE, n=run.ROWS - 1))
    row = at(tables.difference_table(records, {run.CUT: run.RANDOM}), condition=run.CUT, atom="synergy")
    assert row.paired
    assert row.net_se == pytest.approx(np.sqrt(2) * run.SE, rel=0.4)


def test_a_control_that_was_not_run_leaves_its_columns_empty():
    records = [run.record("m", "t", name, 2, ONE) for name in ("intact", run.CUT)]
    table = tables.difference_table(records, {run.CUT: run.RANDOM})
    assert (table["control"] == "").all()
    assert table[["control_bits", "control_se", "net_bits", "net_se", "net_low", "net_high"]].isna().all(axis=None)


def test_difference_names_the_side_of_a_warning():
    intact, cut = run.record("m", "t", "intact", 2, ONE), run.record("m", "t", run.CUT, 2, ONE, missed=0.5)
    assert set(tables.difference_table([intact, cut])["warning"]) == {f"{run.CUT}: missed information"}


def test_answers_table():
    task = run.TASKS[-1]
    answers = {("m", task, condition): run.answers(task, condition) for condition in ("intact", run.CUT)}
    found = [run.record("m", task, condition, 2, ONE, n=800) for condition in ("intact", run.CUT)]
    table = tables.answers_table(answers, found)
    assert tuple(table.columns) == tables.ANSWER_COLUMNS
    intact, cut = at(table, condition="intact"), at(table, condition=run.CUT)
    assert intact.accuracy == answers["m", task, "intact"]["correct"].mean()
    assert cut.accuracy_lost == pytest.approx(intact.accuracy - cut.accuracy)
    assert np.isnan(intact.accuracy_lost)
    assert cut.accuracy_lost_low < cut.accuracy_lost < cut.accuracy_lost_high
    assert (intact.rows_decomposed, intact.rows_dropped) == (800, 100)


def test_accuracy_lost_pairs_questions_whatever_their_order():
    task = run.TASKS[-1]
    answers = {("m", task, condition): run.answers(task, condition) for condition in ("intact", run.CUT)}
    before = at(tables.answers_table(answers, []), condition=run.CUT)
    answers["m", task, run.CUT] = answers["m", task, run.CUT].iloc[::-1]
    after = at(tables.answers_table(answers, []), condition=run.CUT)
    assert after.accuracy_lost_se == pytest.approx(before.accuracy_lost_se)
    assert np.isnan(after.rows_dropped)


def test_lens_table_has_a_row_a_layer():
    answers = {("m", run.TASKS[0], "intact"): run.answers(run.TASKS[0], "intact", layers=4)}
    table = tables.lens_table(answers)
    assert list(table["layer"]) == [0, 1, 2, 3]
    assert table["probability"].iloc[3] == pytest.approx(next(iter(answers.values()))["lens_03"].mean())
    assert (table["low"] < table["probability"]).all()


def test_gaussianity_splits_columns_into_blocks():
    values = {
        "input_gaussianity/anderson_darling": np.array([1.0, 3.0, 5.0, 7.0]),
        "input_gaussianity/anderson_darling_p": np.array([0.01, 0.5, 0.01, 0.01]),
        "latent_gaussianity/kurtosis": np.float64(1.2),
        "best_step": np.array([3, 4, 5, 6]),
    }
    widths = {"vision": 2, "language": 1, "target": 1}
    table = tables.gaussianity_table([(("m", "t", "intact"), 3, widths, values)])
    assert tuple(table.columns) == tables.GAUSSIANITY_COLUMNS
    assert at(table, block="vision", statistic="anderson_darling").value == 2.0
    assert at(table, block="vision", statistic="anderson_darling_rejected").value == 0.5
    assert at(table, block="target", statistic="anderson_darling").value == 7.0
    assert at(table, block="all", statistic="kurtosis", at="latent").value == 1.2
    assert len(table) == 7


def test_a_file_given_twice_is_refused():
    record = run.record("m", "t", "intact", 2, ONE)
    with pytest.raises(DataError, match="two decompositions of layer 2 of m/t/intact"):
        tables.pid_table([record, record])
