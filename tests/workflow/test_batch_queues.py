"""The first rules of the small study through profiles/pbs and profiles/lsf, with stand-ins for the commands.

`make test-clusters` installs what this needs.
"""

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests import small_study

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {"pbs": ("qsub", "qstat", "qdel"), "lsf": ("bsub", "bjobs", "bkill")}
# What is asked for: to read questions, to run the model, to run it again after it was killed.
SUBMITTED = {
    "pbs": [
        "-A pidflow -q workq -l select=1:ncpus=1:mem=4000mb:ngpus=0 -l walltime=0:60:0 ",
        "-A pidflow -q gpu -l select=1:ncpus=1:mem=32000mb:ngpus=1 -l walltime=0:240:0 ",
        "-A pidflow -q gpu -l select=1:ncpus=1:mem=64000mb:ngpus=1 -l walltime=0:480:0 ",
    ],
    "lsf": [
        "-P pidflow -q normal -n 1 -R span[hosts=1] -M 4000MB -W 60 ",
        "-P pidflow -q gpu -gpu num=1 -n 1 -R span[hosts=1] -M 32000MB -W 240 ",
        "-P pidflow -q gpu -gpu num=1 -n 1 -R span[hosts=1] -M 64000MB -W 480 ",
    ],
}


@pytest.fixture(scope="module")
def here(tmp_path_factory, snakemake):
    """The first results after a run on this machine."""
    folder = small_study.make(tmp_path_factory.mktemp("here") / "work")
    snakemake(small_study.ANSWERS, "--configfile", "study.yaml", cwd=folder)
    return small_study.contents(folder)


@pytest.mark.skipif(
    find_spec("snakemake_executor_plugin_cluster_generic") is None,
    reason="no executor plug-in: make test-clusters installs it",
)
@pytest.mark.parametrize("system", COMMANDS)
def test_jobs_go_through_the_queue_and_one_that_it_killed_is_tried_again(system, here, tmp_path, snakemake):
    work, queue, commands = small_study.make(tmp_path / "work"), tmp_path / "queue", tmp_path / "bin"
    queue.mkdir()
    commands.mkdir()
    for name in COMMANDS[system]:
        (commands / name).symlink_to(ROOT / "tests/batch_queue.sh")
    profiles = ("--profile", str(ROOT / "profiles/cluster"), "--profile", str(ROOT / f"profiles/{system}"))
    done = snakemake(
        small_study.ANSWERS,
        *(*profiles, "--seconds-between-status-checks", "1", "--configfile", "study.yaml"),
        cwd=work,
        timeout=1800,
        env=os.environ | {"QUEUE": str(queue), "PATH": f"{commands}:{os.environ['PATH']}"},
    )
    found = [(queue / f"{number}.submitted").read_text() for number in (1, 2, 3)]
    assert [text[: len(expected)] for text, expected in zip(found, SUBMITTED[system], strict=True)] == SUBMITTED[system]
    assert not (queue / "4.submitted").exists()
    assert "Trying to restart" in done.stderr
    assert small_study.differing(small_study.contents(work), here) == []


@pytest.mark.parametrize(
    ("system", "reply", "status"),
    [
        ("pbs", "    job_state = Q", "running"),
        ("pbs", "    job_state = F\n    Exit_status = 0", "success"),
        ("pbs", "    job_state = F\n    Exit_status = -29", "failed"),
        ("pbs", "qstat: Unknown Job Id 12.here", "failed"),
        ("pbs", "Connection refused\nqstat: cannot connect to server here (errno=111)", "running"),
        ("lsf", "PEND", "running"),
        ("lsf", "DONE", "success"),
        ("lsf", "EXIT", "failed"),
        ("lsf", "Job <12> is not found", "failed"),
        ("lsf", "LSF is down. Please wait ...", "running"),
    ],
)
def test_what_the_queue_says_in_snakemakes_words(system, reply, status, tmp_path):
    command = tmp_path / COMMANDS[system][1]
    command.write_text(f"#!/bin/sh\nprintf '%s\\n' '{reply}'\n")
    command.chmod(0o755)
    done = subprocess.run(
        [ROOT / f"profiles/{system}/status.sh", "12"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{status}\n"
