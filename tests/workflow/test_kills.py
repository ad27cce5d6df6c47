"""Driver and jobs killed by force: the next run goes on and ends with the same bytes; living runs are safe."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from pidflow import running
from pidflow.models.standin.architecture import build_model, build_processor

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "workflow" / "lib"
KILLS = 20


def lock(folder):
    (folder / "locks").mkdir(parents=True, exist_ok=True)
    (folder / "locks" / "0.output.lock").write_text("results/a\n")


def locked(folder):
    return any((folder / "locks").glob("*.lock"))


def end(process):
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def other(tmp_path):
    """Another process that takes part in the same folder, and waits."""
    code = (
        "import sys, time; from pathlib import Path; from pidflow import running; running.take_part(Path(sys.argv[1]))"
    )
    code += "; print('in', flush=True); time.sleep(600)"
    started = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], env={"PYTHONPATH": str(LIBRARY)}, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout.readline() == "in\n"
    yield started
    end(started)


def test_the_lock_of_a_living_run_stays(tmp_path, other, capsys):
    lock(tmp_path)
    running.take_part(tmp_path)
    assert locked(tmp_path)
    assert f"process {other.pid} still works in this folder" in capsys.readouterr().err


def test_the_lock_of_a_killed_run_goes(tmp_path, other, capsys):
    lock(tmp_path)
    end(other)
    running.take_part(tmp_path)
    assert not locked(tmp_path)
    assert "removed the lock of a run that was killed" in capsys.readouterr().err
    assert len(list((tmp_path / "processes").iterdir())) == 1


def test_a_process_that_got_the_number_of_a_killed_one_is_not_taken_for_it(tmp_path):
    lock(tmp_path)
    (tmp_path / "processes").mkdir()
    began = psutil.Process(os.getppid()).create_time() - 100
    (tmp_path / "processes" / f"{os.getppid()}-{began:.2f}").write_text(running.socket.gethostname())
    running.take_part(tmp_path)
    assert not locked(tmp_path)


def test_a_process_on_another_machine_may_live(tmp_path, capsys):
    lock(tmp_path)
    (tmp_path / "processes").mkdir()
    (tmp_path / "processes" / "12-34.00").write_text("elsewhere")
    running.take_part(tmp_path)
    assert locked(tmp_path)
    assert "process 12 on elsewhere works in this folder or was killed there" in capsys.readouterr().err


def test_a_lock_of_nobody_known_stays(tmp_path):
    lock(tmp_path)
    running.take_part(tmp_path)
    assert locked(tmp_path)


def start(repository, work, *targets):
    command = [sys.executable, "-m", "snakemake", *targets, "--snakefile", str(repository / "Snakefile")]
    command += ["--cores", "2", "--configfile", "study.yaml"]
    return subprocess.Popen(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(driver):
    """Wait for a run that must succeed; gives what it printed."""
    output, _ = driver.communicate()
    assert driver.returncode == 0, output
    return output


def kill_all(driver):
    """SIGKILL for the driver and everything it started, the driver first: nobody is left to clean up."""
    family = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
    for process in family:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=30)
    driver.communicate()


def contents(work):
    kept = [path for path in (work / "results").rglob("*") if path.is_file()]
    return {
        path.relative_to(work): path.read_bytes()
        for path in kept
        if path.relative_to(work).parts[1] not in ("logs", "benchmarks")
    }


@pytest.fixture
def places(tmp_path):
    """``places(**changes)``: a copy of the repository, and two folders with the tiny study, changed likewise."""
    from tests.workflow.test_end_to_end import STUDY

    def make(**changes):
        for name in ("workflow", "scripts", "config", "envs", "profiles", "Snakefile", "pyproject.toml"):
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / "repository" / name)
        for name in ("calm", "killed"):
            work = tmp_path / name
            work.mkdir()
            build_model(seed=0, width=32, depth=2).save_pretrained(work / "tiny")
            build_processor().save_pretrained(work / "tiny")
            (work / "study.yaml").write_text(yaml.safe_dump(STUDY | changes))
        return tmp_path / "repository", tmp_path / "calm", tmp_path / "killed"

    return make


def kill_and_resume(repository, work, *targets, kills, moments):
    """Kill a run again and again and start it anew with nothing done in between; then let it end.

    Parameters
    ----------
    moments
        Gives the seconds after which the next kill comes.
    """
    while kills:
        driver = start(repository, work, *targets)
        time.sleep(moments())
        if driver.poll() is None:
            kill_all(driver)
            kills -= 1
        else:  # done before it could be killed: once more from the start
            finish(driver)
            shutil.rmtree(work / "results")
    return finish(start(repository, work, *targets))


def check_same(calm, killed):
    expected, found = contents(calm), contents(killed)
    assert set(found) == set(expected)
    assert [path for path in expected if found[path] != expected[path]] == []
    assert list(killed.rglob("*.tmp")) == []


def test_a_killed_run_goes_on_and_a_second_one_at_once_is_refused(places):
    tasks = {"run": {"models": ["tiny"], "tasks": ["logical-obj"], "conditions": ["intact", "image-question"]}}
    repository, calm, killed = places(**tasks, tasks={"logical-obj": {"items": 60}})
    started = time.monotonic()
    driver = start(repository, calm, "activations")
    while not locked(calm / ".snakemake"):
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.05)
    planned = time.monotonic() - started
    driver.send_signal(signal.SIGSTOP)  # so that it cannot end before the second one asks
    second, _ = (other := start(repository, calm, "activations")).communicate()
    driver.send_signal(signal.SIGCONT)
    resumed = time.monotonic()
    assert other.returncode != 0
    assert f"process {driver.pid} still works in this folder" in second
    finish(driver)
    worked = time.monotonic() - resumed
    random_ = random.Random(0)
    output = kill_and_resume(
        repository, killed, "activations", kills=2, moments=lambda: planned + random_.uniform(0.1, 0.8) * worked
    )
    assert "removed the lock of a run that was killed" in output
    check_same(calm, killed)


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_with_the_same_bytes(places):
    repository, calm, killed = places()
    started = time.monotonic()
    finish(start(repository, calm))
    whole = time.monotonic() - started
    random_ = random.Random(0)
    kill_and_resume(repository, killed, kills=KILLS, moments=lambda: random_.uniform(0.02, 0.35) * whole)
    check_same(calm, killed)
