"""A run on one screen, from what Snakemake prints and from the benchmark files that lie there."""

import socket

import psutil
import pytest

from pidflow import status
from pidflow.logs import spoken

DRY_RUN = """Building DAG of jobs...
rule prepare_items:
    output: results/items/a.parquet, results/items/a.dropped.csv
    log: results/logs/prepare_items/a.log
    jobid: 3
    benchmark: results/benchmarks/prepare_items/a.tsv
    reason: Missing output files: results/items/a.parquet
    resources: tmpdir=/tmp

rule extract_activations:
    input: results/items/b.parquet
    output: results/activations/m/b/intact.h5
    log: results/logs/extract_activations/m/b/intact.log
    reason: Params have changed since last execution: Params added to job: x

rule plot_overview:
    input: results/tables/pid.parquet
    log: results/logs/plot_overview/m.log
    reason: Missing output files: x.svg; Input files updated by another job: results/tables/pid.parquet

rule all:
    input: x.svg
    reason: Input files updated by another job: x.svg
"""
SUMMARY = "output_file\tdate\trule\tlog-file(s)\tstatus\tplan\n" + "".join(
    f"{file}\tnow\t{rule}\t{log}\t{state}\t{plan}\n"
    for file, rule, log, state, plan in (
        ("results/items/a.parquet", "prepare_items", "-", "missing", "update pending"),
        ("results/items/b.parquet", "prepare_items", "results/logs/prepare_items/b.log", "ok", "no update"),
        ("results/items/b.dropped.csv", "prepare_items", "results/logs/prepare_items/b.log", "ok", "no update"),
        (
            "results/activations/m/b/intact.h5",
            "extract_activations",
            "results/logs/extract_activations/m/b/intact.log",
            "params changed",
            "update pending",
        ),
    )
)


@pytest.fixture
def rules():
    return status.plan(DRY_RUN, SUMMARY)


@pytest.fixture
def results(tmp_path):
    for place, seconds in (("prepare_items/b", 4.0), ("prepare_items/c", 8.0), ("extract_activations/m/b/intact", 600)):
        path = tmp_path / "results/benchmarks" / f"{place}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\n{seconds}\t0:00:01\n")
    return tmp_path / "results"


def test_what_is_done_and_what_would_run_and_why(rules):
    assert rules["prepare_items"].done == 1, "two files of one job are one job"
    assert rules["prepare_items"].waiting == {"a": "not made yet"}
    assert rules["extract_activations"].done == 0
    assert rules["extract_activations"].waiting == {"m/b/intact": "settings, code or data changed"}
    assert rules["plot_overview"].waiting == {"m": "not made yet"}
    assert "all" not in rules


def test_a_job_takes_as_long_as_it_did_or_as_others_of_its_rule(results):
    assert status.seconds_of(results, "prepare_items", "b") == 4.0
    assert status.seconds_of(results, "prepare_items", "a") == 6.0
    assert status.seconds_of(results, "plot_overview", "m") is None
    (results / "benchmarks/prepare_items/d.tsv").write_text("")  # being written
    assert status.seconds_of(results, "prepare_items", "a") == 6.0


def test_the_screen(rules, results):
    head, _, titles, *lines = status.screen(rules, results, folder=results.parent / ".snakemake")
    assert (
        head == "1 of 4 jobs done; the others take 10 min one after another, and 1 of a kind that was never timed here"
    )
    assert titles.split() == ["rule", "done", "to", "do", "time", "left", "why"]
    assert " ".join(lines[0].split()) == "extract_activations 0 1 10 min settings, code or data changed 1"
    assert " ".join(lines[1].split()) == "plot_* 0 1 unknown not made yet 1"
    assert lines[-1] == "no run is going on in this folder"


def test_a_finished_run(results):
    head, *_ = status.screen(
        status.plan("Nothing to be done", SUMMARY.replace("missing", "ok")), results, folder=results
    )
    assert head.startswith("2 of 2 jobs done, nothing to do")


def test_a_run_that_is_going_on_shows_the_last_line_of_each_log(rules, results):
    me = psutil.Process()
    note = results.parent / ".snakemake/processes" / f"{me.pid}-{me.create_time():.2f}"
    note.parent.mkdir(parents=True)
    note.write_text(socket.gethostname())
    log = results / "logs/extract_activations/m/b/intact.log"
    log.parent.mkdir(parents=True)
    log.write_text("one\n300 of 900 items done, 2 min left\n")
    lines = status.screen(rules, results, folder=results.parent / ".snakemake")
    assert lines[-2:] == [
        f"a run is going on in this folder (process {me.pid}):",
        "  extract_activations m/b/intact: 300 of 900 items done, 2 min left",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "1 h 0 min"), (7260, "2 h 1 min")]
)
def test_durations_in_words(seconds, words):
    assert spoken(seconds) == words
