"""The small study through profiles/slurm on a SLURM of one node: jobs are killed, results are a local run's.

`make test-slurm` installs what this needs and runs it.
"""

import re
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
        return "no executor plug-in: make test-slurm installs it"
    return slurm_node.missing()


REASON = lacking()
pytestmark = [pytest.mark.slurm, pytest.mark.skipif(REASON is not None, reason=str(REASON))]


def known_jobs():
    """By number, what SLURM says of each job; ``what`` is its rule, or of a group the group."""
    found = {}
    for line in slurm_node.ask("scontrol", "show", "job", "--oneliner").splitlines():
        if job := dict(re.findall(r"(\w+)=(\S*)", line)):
            found[job["JobId"]] = job | {"what": job["Comment"].removeprefix("rule_").split("_")[0]}
    return found


def megabytes(amount):
    return float(amount[:-1]) * {"M": 1, "G": 1024}[amount[-1]]


@pytest.fixture(scope="module")
def through_slurm(tmp_path_factory):
    """The study run through SLURM. The extraction is cancelled once, the first flows are queued again once."""
    work = small_study.make(tmp_path_factory.mktemp("slurm") / "work")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *small_study.TARGETS]
    command += [*PROFILES, "--slurm-init-seconds-before-status-checks", "5", "--configfile", "study.yaml"]
    disturb = {"extraction": ["scancel"], "flows": ["scontrol", "requeue"]}
    disturbed, seen = {}, {}  # the second: SLURM forgets jobs after five minutes
    with slurm_node.running(work.parent / "node"), open(work / "driver.log", "w") as log:
        driver = subprocess.Popen(command, cwd=work, stdout=log, stderr=subprocess.STDOUT)
        started = time.monotonic()
        try:
            while driver.poll() is None and time.monotonic() - started < LIMIT:
                for number, job in known_jobs().items():
                    seen[number] = job
                    if job["JobState"] == "RUNNING" and job["what"] in disturb:
                        time.sleep(2)  # into its work
                        subprocess.run([*disturb.pop(job["what"]), number], check=True)
                        disturbed[job["what"]] = number
                time.sleep(1)
            seen |= known_jobs()
        finally:
            driver.kill()
            driver.wait()
    output = (work / "driver.log").read_text()
    assert driver.returncode == 0, output
    return work, output, seen, disturbed


def test_results_are_those_of_a_local_run_bit_by_bit(through_slurm, undisturbed):
    work, *_ = through_slurm
    assert small_study.differing(small_study.contents(work), undisturbed) == []


def test_a_cancelled_job_is_tried_again_with_more_memory(through_slurm):
    _, output, seen, disturbed = through_slurm
    first = disturbed["extraction"]
    again = [job for number, job in seen.items() if job["what"] == "extraction" and number != first]
    assert seen[first]["JobState"] == "CANCELLED"
    assert "Trying to restart job" in output
    assert [megabytes(job["MinMemoryNode"]) for job in [seen[first], *again]] == [32000, 64000]


def test_a_job_that_slurm_queued_again_ends_well(through_slurm):
    _, _, seen, disturbed = through_slurm
    job = seen[disturbed["flows"]]
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")


def test_jobs_that_ask_for_a_gpu_get_one_in_its_partition_and_no_others_do(through_slurm):
    _, _, seen, *_ = through_slurm
    places = {job["what"]: (job["Partition"], job.get("TresPerJob")) for job in seen.values()}
    assert places.pop("extraction") == ("gpu", "gres:gpu:1")
    assert set(places.values()) == {("cpu", None)}


def test_small_jobs_travel_together(through_slurm):
    """Jobs of the extraction, of a unit's flows and of all figures: a submission each."""
    _, _, seen, *_ = through_slurm
    whats = [job["what"] for job in seen.values()]
    assert whats.count("flows") == 2
    assert whats.count("figures") == 1
    assert sorted(set(whats)) == ["collect", "estimate", "extraction", "figures", "flows", "prepare"]
