"""Snakemake as a user runs it, on the repository or on a copy of it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def snakemake():
    """Run Snakemake in a folder: ``snakemake(*arguments, cwd=..., root=...)``."""

    def run(*arguments, cwd, root=ROOT, check=True, timeout=600):
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
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode:
            pytest.fail(f"snakemake {' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}", pytrace=False)
        return done

    return run
