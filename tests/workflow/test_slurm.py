"""The small study through profiles/slurm on a SLURM of one node: jobs are killed, results are a local run's.

`make test-slurm` installs what this needs and runs it.
"""

import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests import slurm_node, small_study

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ("--profile", str(ROOT / "profiles/cluster"), "--profile", str(ROOT / "profiles/slurm"))
LIMIT = 1800  # seconds for the whole study


def lacking():
    if find_spec("snakemake_executor_plugin_slurm") is None:
        return "no executor plug-in: pip install '.[slurm]'"
    return slurm_node.missing()


REASON = lacking()
pytestmark = [pytest.mark.slurm, pytest.mark.skipif(REASON is not None, reason=str(REASON))]


def jobs_in_queue():
    """By number: state, what it is, partition, memory and generic resources of the jobs that SLURM knows."""
    rows = [line.split("|") for line in slurm_node.ask("squeue", "-h", "-t", "all", "-o", "%i|%T|%k|%P|%m|%b").split()]
    names = ("state", "what", "partition", "memory", "gres")
    found = {number: dict(zip(names, row, strict=True)) for number, *row in rows}
    for job in found.values():
        job["what"] = job["what"].removeprefix("rule_").split("_")[0]  # of a group, its name
    return found


@pytest.fixture(scope="module")
def through_slurm(tmp_path_factory):
    """The study run through SLURM. The extraction is cancelled once, the first flows are queued again once."""
    work = small_study.make(tmp_path_factory.mktemp("slurm") / "work")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *small_study.TARGETS]
    command += [*PROFILES, "--slurm-init-seconds-before-status-checks", "5", "--configfile", "study.yaml"]
    disturb = {"extraction": ["scancel"], "flows": ["scontrol", "requeue"]}
    disturbed, seen, restarts = {}, {}, ""
    with slurm_node.running(work.parent / "node"), open(work / "driver.log", "w") as log:
        driver = subprocess.Popen(command, cwd=work, stdout=log, stderr=subprocess.STDOUT)
        started = time.monotonic()
        try:
            while driver.poll() is None and time.monotonic() - started < LIMIT:
                for number, job in jobs_in_queue().items():
                    seen[number] = job
                    if job["state"] == "RUNNING" and job["what"] in disturb:
                        time.sleep(2)  # into its work
                        subprocess.run([*disturb.pop(job["what"]), number], check=True)
                        disturbed[job["what"]] = number
                if "flows" in disturbed:  # SLURM forgets jobs after five minutes
                    restarts = slurm_node.ask("scontrol", "show", "job", disturbed["flows"]) or restarts
                time.sleep(1)
            seen |= jobs_in_queue()
        finally:
            driver.kill()
            driver.wait()
    output = (work / "driver.log").read_text()
    assert driver.returncode == 0, output
    return work, output, seen, disturbed, restarts


def test_results_are_those_of_a_local_run_bit_by_bit(through_slurm, undisturbed):
    work, *_ = through_slurm
    assert small_study.differing(small_study.contents(work), undisturbed) == []


def test_a_cancelled_job_is_tried_again_with_more_memory(through_slurm):
    _, output, seen, disturbed, _ = through_slurm
    first = disturbed["extraction"]
    again = [job for number, job in seen.items() if job["what"] == "extraction" and number != first]
    assert seen[first]["state"] == "CANCELLED"
    assert "Trying to restart job" in output
    assert [job["memory"] for job in [seen[first], *again]] == ["32000M", "64000M"]


def test_a_job_that_slurm_queued_again_ends_well(through_slurm):
    _, _, seen, disturbed, restarts = through_slurm
    assert "Restarts=1" in restarts
    assert seen[disturbed["flows"]]["state"] == "COMPLETED"


def test_jobs_that_ask_for_a_gpu_get_one_in_its_partition_and_no_others_do(through_slurm):
    _, _, seen, *_ = through_slurm
    places = {job["what"]: (job["partition"], "gpu" in job["gres"]) for job in seen.values()}
    assert places.pop("extraction") == ("gpu", True)
    assert set(places.values()) == {("cpu", False)}


def test_small_jobs_travel_together(through_slurm):
    """Jobs of the extraction, of a unit's flows and of all figures: a submission each."""
    _, _, seen, *_ = through_slurm
    whats = [job["what"] for job in seen.values()]
    assert whats.count("flows") == 2
    assert whats.count("figures") == 1
    assert sorted(set(whats)) == ["collect", "estimate", "extraction", "figures", "flows", "prepare"]
