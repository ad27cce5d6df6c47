"""Stage ``record_provenance``: what a set of tables was made from, with what, and where.

The record holds no time and no number of a process: two runs that made the same tables in the same way leave the same
record.
"""

import hashlib
import logging
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from pidflow.errors import DataError, shown_path
from pidflow.files.store import Identity, checksum_of, identity_of, reading_h5, table_identity, write_json
from pidflow.versions import library_versions

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1


def run(
    *,
    output: str,
    tables: Sequence[str],
    items: Sequence[str],
    answered: Sequence[str],
    sources: Mapping[str, Sequence[str]],
    configuration: Mapping[str, Any],
    code: Mapping[str, Mapping[str, str]],
    repository: str,
    threads: int,
) -> None:
    """Write the record of one set of tables.

    Parameters
    ----------
    output
        The record.
    tables
        Parquet files of the set.
    items
        Items tables that they go back to.
    answered
        What models said, one file a unit: tables of answers or files of predictions. They say which weights ran.
    sources
        Files of each data set that questions were read from, by name of the data set.
    configuration
        The configuration as resolved.
    code
        Digests of the code: ``stages`` and ``plug_ins`` by name.
    repository
        Folder of the workflow.
    threads
        Threads of a job.

    Raises
    ------
    DataError
        If a file is missing or damaged.
    """
    units = [_about(Path(path)) for path in answered]
    record = {
        "schema_version": SCHEMA_VERSION,
        "seed": configuration["seed"],
        "repository": _repository(repository),
        "configuration": dict(configuration),
        "code": code,
        "versions": {"python": platform.python_version(), **library_versions()},
        "machine": _machine(threads),
        "inputs": {
            "items": {Path(path).stem: checksum_of(path) for path in items},
            "sources": {name: _digests(paths) for name, paths in sources.items()},
            "units": {f"{each.model}/{each.task}": each.known() for each in units},
        },
        "tables": {Path(path).stem: checksum_of(path) for path in tables},
    }
    write_json(output, record)
    log.info("%d tables of %d units recorded", len(tables), len(units))


def _about(path: Path) -> Identity:
    """What a file of answers or predictions is about."""
    if path.suffix == ".parquet":
        return table_identity(path)
    with reading_h5(path, kind="predictions") as file:
        return identity_of(file)


def _digests(paths: Sequence[str]) -> dict[str, str]:
    """SHA-256 of the content of files, by name below the folder that they share."""
    found = [Path(path) for path in paths]
    same = [path.name for path in found]
    names = same if len(set(same)) == len(same) else [path.as_posix() for path in found]
    digests = {}
    for name, path in zip(names, found, strict=True):
        try:
            with open(path, "rb") as file:
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as err:
            raise DataError(
                f"{shown_path(path)}: questions were read from it and it cannot be read any more ({err.strerror}); "
                "put it back, or correct the data set's entry"
            ) from err
    return digests


def _repository(folder: str) -> dict[str, Any] | None:
    """Commit of the workflow and whether its files differ from it; None where it is no clone."""
    top = _git(folder, "rev-parse", "--show-toplevel")
    commit = _git(folder, "rev-parse", "HEAD")
    if top is None or commit is None or Path(top).resolve() != Path(folder).resolve():
        return None
    return {"commit": commit, "changed": _git(folder, "status", "--porcelain") != ""}


def _git(folder: str, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", folder, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _machine(threads: int) -> dict[str, Any]:
    """What the tables were made on: this machine, which in a cluster is that of the last job."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "threads": threads,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": _gpus(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, None) or platform.processor() or "unknown"


def _gpus() -> list[str]:
    """Names and drivers of NVIDIA's GPUs; none where their tool is not there."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    asked = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []
