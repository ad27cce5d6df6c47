"""Stage ``collect_sweeps``: files to tables, and files that do not belong together."""

import numpy as np
import pandas as pd
import pytest
from tests.synthetic_sweep import TWO_STAGES, sweep

from pidflow.errors import ConfigError, DataError
from pidflow.files.store import read_table, write_table
from pidflow.stages import collect_sweeps as stage

TASKS = ("choose-attr", "easy-shape")


@pytest.fixture
def write(tmp_path):
    """``write(summary, details)``: a sweep on disk; gives the two paths."""

    def store(summary, details, name=None):
        folder = tmp_path / (name or f"{summary['model'].iloc[0]}/{summary['task'].iloc[0]}")
        for stem, frame in (("summary", summary), ("details", details)):
            write_table(folder / f"{stem}.parquet", frame)
        return str(folder / "summary.parquet"), str(folder / "details.parquet")

    return store


@pytest.fixture
def collect(tmp_path):
    """``collect(paths, ...)``: run the stage; gives the three tables."""

    def run(paths, **settings):
        tables = {name: [str(tmp_path / f"{name}.{suffix}") for suffix in ("parquet", "csv")] for name in NAMES}
        stage.run(
            summaries=[summary for summary, _ in paths],
            details=[details for _, details in paths],
            **{f"{name}_table": found for name, found in tables.items()},
            **{"window": 3, "resamples": 200} | settings,
        )
        return tuple(read_table(found[0]) for found in tables.values())

    return run


NAMES = ("sweeps", "transfer_windows", "two_stages")


def test_tables_of_a_run(write, collect, tmp_path):
    paths = [write(*sweep(model=model, task=task)) for model in ("one", "two") for task in TASKS]
    sweeps, windows, two_stages = collect(paths)
    place = ["model", "task", "edge", "kind", "window", "centre", "subset"]
    assert not sweeps.duplicated(place).any()
    assert len(sweeps) == 2 * 2 * 3 * (12 + 12 + 1) * 3
    assert not windows.duplicated(["model", "task", "edge", "window", "subset"]).any()
    assert len(windows) == 2 * 2 * 3 * 3
    found = windows[(windows["subset"] == "all") & (windows["present"] == "yes")]
    for row in found.itertuples():
        assert (row.onset, row.end) == TWO_STAGES[row.edge][:2]
    assert set(found["edge"]) == {"image->question", "question->last"}
    assert len(two_stages) == 2 * 4 * (2 + 1)
    assert set(two_stages.loc[two_stages["id"] == "first-stage-precedes-second", "verdict"]) == {"supported"}
    for name, table in zip(NAMES, (sweeps, windows, two_stages), strict=True):
        assert len(pd.read_csv(tmp_path / f"{name}.csv")) == len(table)


def test_an_edge_that_a_task_lacks_is_left_out_of_it(write, collect):
    plateaus = TWO_STAGES | {"options->last": (2, 4, -0.5)}
    with_options, without = sweep(task="a", plateaus=plateaus), sweep(task="b", plateaus=plateaus)
    summary, details = without
    lacking = summary["edge"] == "options->last"
    numbers = summary.columns[summary.columns.get_loc("images") + 1 :]
    summary.loc[lacking, ["n", "images"]] = 0
    summary.loc[lacking, numbers] = np.nan
    sweeps, windows, _ = collect([write(*with_options), write(summary, details[details["edge"] != "options->last"])])
    for table in (sweeps, windows):
        assert set(table.loc[table["edge"] == "options->last", "task"]) == {"a"}
    assert sweeps["change_first"].notna().all()


def test_equal_input_gives_equal_tables(write, collect):
    paths = [write(*sweep())]
    for first, second in zip(collect(paths), collect(paths), strict=True):
        pd.testing.assert_frame_equal(first, second)
    other = collect(paths, seed=1)[1]
    assert not np.allclose(other["low"], collect(paths)[1]["low"])


def test_a_sweep_given_twice_is_refused(write, collect):
    one = write(*sweep())
    with pytest.raises(DataError, match=r"details.parquet: a sweep of standin, choose-attr was given already"):
        collect([one, one])


def test_a_summary_with_the_details_of_another_task_is_refused(write, collect):
    (summary, _), (_, details) = sweep(task="a"), sweep(task="b")
    with pytest.raises(DataError, match=r"summary.parquet is about standin, a, .*details.parquet about standin, b"):
        collect([write(summary, details)])
    both = pd.concat([summary, summary.assign(task="c")])
    with pytest.raises(DataError, match=r"expected the sweep of one model and task, found 2"):
        collect([write(both, details)])


def test_details_of_an_older_run_are_refused(write, collect):
    summary, _ = sweep()
    _, details = sweep(seed=1)
    with pytest.raises(DataError, match=r"^standin, choose-attr: image->question, cut, .* come from different runs"):
        collect([write(summary, details)])


def test_tasks_of_different_runs_are_refused(write, collect):
    paths = [write(*sweep(task="a")), write(*sweep(task="b", depth=10))]
    with pytest.raises(DataError, match="standin: task 'b' was swept in other windows than 'a'"):
        collect(paths)


def test_another_window_than_was_swept_is_refused(write, collect):
    with pytest.raises(DataError, match=r"^standin, choose-attr: sweep.window: 9 asks for 9 blocks around block 0"):
        collect([write(*sweep())], window=9)


def test_other_mistakes_have_a_sentence(write, collect):
    summary, details = write(*sweep())
    with pytest.raises(ConfigError, match="standin, choose-attr: the least change that counts is a share"):
        collect([(summary, details)], least=0)
    with pytest.raises(DataError, match=r"summary.parquet: lacks the columns item_id, image_id, change_first"[:40]):
        collect([(summary, summary)])
    write_table(details, read_table(details).drop(columns="kl_bits"))
    with pytest.raises(DataError, match=r"details.parquet: lacks the columns kl_bits"):
        collect([(summary, details)])
