"""Snakemake as a user runs it, on the repository or on a copy of it."""

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
