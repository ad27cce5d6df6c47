"""Snakemake as a user runs it, on the repository or on a copy of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests import small_study

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def snakemake():
    """Run Snakemake in a folder: ``snakemake(*arguments, cwd=..., root=...)``."""

    def run(*arguments, cwd, root=ROOT, check=True, timeout=600, env=None):
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            str(root / "Snakefile"),
            "--cores",
            "2",
            *arguments,
        ]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, env=env)
        if check and done.returncode:
            pytest.fail(f"snakemake {' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}", pytrace=False)
        return done

    return run


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, snakemake):
    """Results of the small study after a run on this machine."""
    folder = small_study.make(tmp_path_factory.mktemp("undisturbed") / "work")
    snakemake(*small_study.TARGETS, "--configfile", "study.yaml", cwd=folder)
    return small_study.contents(folder)


def turn(label, probabilities):
    values = {f"{short}_{kind}": probabilities for short in ("v", "l", "vl") for kind in ("prob", "orig_prob")}
    return {"from": "gpt", "label": label, "value": label, "v_feature": [1.0, 0.0], "l_feature": [0.5]} | values


@pytest.fixture
def imported(tmp_path):
    """A study with predictions of another program; gives its file."""
    for part, label in (("train", "A"), ("val", "B")):
        questions = [
            {"image": f"{part}{n}", "num_options": 2, "conversations": [turn(label, [0.5, 0.3])]} for n in range(3)
        ]
        (tmp_path / f"{part}.json").write_text(json.dumps(questions))
    entry = {
        "model": "theirs",
        "task": "mmbench",
        "format": "pid-lvlm",
        "training": "train.json",
        "held_out": "val.json",
    }
    (tmp_path / "study.yaml").write_text(
        json.dumps({"run": {"tasks": ["choose-attr"]}, "spectrum": {"imports": [entry]}})
    )
    return tmp_path / "study.yaml"
