"""Tables of sweeps: the control beside its effect, paired errors, and files that do not belong together."""

import numpy as np
import pytest
from tests.synthetic_sweep import TWO_STAGES, sweep

from pidflow.analysis.sweep_tables import EXCESSES, METRICS, main_windows, sweep_table, transfer_windows_table
from pidflow.analysis.transfer_windows import TransferWindow
from pidflow.errors import DataError
from pidflow.stats import clustered_mean


def row_of(table, **wanted):
    found = table[np.logical_and.reduce([table[name] == value for name, value in wanted.items()])]
    assert len(found) == 1
    return found.iloc[0]


def test_the_control_stands_beside_the_effect():
    summary, details = sweep(controls=("random", "keep"))
    table = sweep_table(summary, details)
    assert set(table["kind"]) == {"cut", "keep"}
    assert len(table) == (summary["kind"] != "random").sum()
    for kind in ("cut", "keep"):
        place = {"edge": "question->last", "window": 3, "centre": 7, "subset": "right"}
        row = row_of(table, kind=kind, **place)
        effect, control = row_of(summary, kind=kind, **place), row_of(summary, kind="random", **place)
        for name in METRICS:
            assert row[name] == effect[name]
            assert row[f"{name}_se"] == effect[f"{name}_se"]
            assert row[f"random_{name}"] == pytest.approx(control[name])
            assert row[f"random_{name}_se"] == pytest.approx(control[f"{name}_se"])
        for name in EXCESSES:
            assert row[f"excess_{name}"] == pytest.approx(effect[name] - control[name])


def test_errors_of_the_excess_are_paired():
    """Effect and control share the images' scatter here, so the difference is surer than either."""
    summary, details = sweep(plateaus={"image->last": (2, 4, -0.3)}, noise=0.02, other_windows=())
    shared = dict(zip(dict.fromkeys(details["image_id"]), np.random.default_rng(0).normal(0, 0.2, 80), strict=True))
    details["change_first"] += details["image_id"].map(shared)
    group = details[details["centre"] == 3].groupby("kind")
    for kind, rows in details.groupby(["kind", "centre"]):
        for subset, chosen in (("all", rows), *rows.groupby("subset")):
            place = (summary["kind"] == kind[0]) & (summary["centre"] == kind[1]) & (summary["subset"] == subset)
            mean = clustered_mean(chosen["change_first"], chosen["image_id"])
            summary.loc[place, ["change_first", "change_first_se"]] = mean.value, mean.se
    row = row_of(sweep_table(summary, details), centre=3, subset="all")
    cut, random = (group.get_group(kind).set_index("item_id") for kind in ("cut", "random"))
    expected = clustered_mean(cut["change_first"] - random["change_first"], cut["image_id"])
    assert row["excess_change_first_se"] == pytest.approx(expected.se)
    assert row["excess_change_first_se"] < 0.3 * row["change_first_se"]


def test_rows_without_questions_are_left_out():
    summary, details = sweep(right=1.0)
    assert (summary["n"] == 0).any()
    table = sweep_table(summary, details)
    assert set(table["subset"]) == {"right", "all"}
    assert table[list(METRICS)].notna().all(axis=None)


def test_other_windows_have_no_control():
    table = sweep_table(*sweep())
    alone = table[table["window"] != 3]
    assert set(alone["window"]) == {1, 12}
    assert alone["random_change_first"].isna().all()
    assert table.loc[table["window"] == 3, "excess_kl_bits_se"].notna().all()


def test_without_controls_there_are_no_columns_for_them():
    assert not [name for name in sweep_table(*sweep(controls=())) if name.startswith(("random_", "excess_"))]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 1}, r"image->question, cut, 3 blocks around block 0, right: the summary has \d+ questions"),
        ({"images": 60}, "come from different runs, delete both and run again"),
        ({"window": 5}, r"the details 0 with nan; they come from different runs"),
    ],
)
def test_a_summary_and_details_of_different_runs_are_refused(other, message):
    summary, _ = sweep(other_windows=())
    _, details = sweep(other_windows=(), **other)
    with pytest.raises(DataError, match=message):
        sweep_table(summary, details)


def test_a_control_of_other_questions_is_refused():
    summary, details = sweep(other_windows=())
    details.loc[(details["kind"] == "random") & (details["item_id"] == "q5"), "item_id"] = "q500"
    with pytest.raises(DataError, match="other questions have the random control than were cut"):
        sweep_table(summary, details)


@pytest.mark.parametrize(("window", "count"), [(3, 12), (1, 12), ("all", 1)])
def test_main_windows_are_those_of_the_setting(window, count):
    _, details = sweep()
    assert len(main_windows(details, window)) == count


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (5, r"sweep.window: 5 asks for 5 blocks around block 0, which the sweep lacks \(it has some of 1, 3, 12"),
        (13, "a window of 13 blocks reaches beyond the model's 12"),
    ],
)
def test_a_sweep_of_other_windows_is_refused(window, message):
    _, details = sweep()
    with pytest.raises(DataError, match=message):
        main_windows(details, window)


def test_transfer_windows_have_a_row_each():
    numbers = dict.fromkeys(("change", "low", "high", "excess", "excess_low", "excess_high"), 0.0)
    found = [TransferWindow(edge, 3, "all", 10, 5, "no", 0, **numbers) for edge in TWO_STAGES]
    table = transfer_windows_table("standin", "a", found)
    assert list(table["edge"]) == list(TWO_STAGES)
    assert list(table.columns[:3]) == ["model", "task", "edge"]
    assert "replicates" not in table
    assert table["onset"].isna().all()
