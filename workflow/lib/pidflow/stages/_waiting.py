"""Results that one job makes for others: they wait under a name that holds what they were made from.

A job that has a model in memory, or torch, can do the work of jobs that come after it and need the same. What it makes
for them waits in a folder beside their results. Such a job takes what waits for it, in no time, or does its work itself
where nothing waits that was made from the same things by the same code.
"""

import logging
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pidflow.errors import PidflowError
from pidflow.files.store import checksum_of, digest_of
from pidflow.running import WAITING

log = logging.getLogger(__name__)


def place(output: str | Path, made_from: Any) -> Path:
    """Where a result waits; `made_from` are plain values."""
    output = Path(output)
    return output.parent / WAITING / f"{output.stem}-{digest_of(made_from)}{output.suffix}"


def take(results: Mapping[Path, str]) -> bool:
    """Rename what waits to what is asked for, in the order given, if all of it waits.

    Their folder stays until the run ends (:func:`pidflow.running.clear_unclaimed`): another job may be about to write
    into it.
    """
    if not all(waiting.is_file() for waiting in results):
        return False
    for waiting, output in results.items():
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        os.replace(waiting, output)
    return True


def clear(output: str | Path, *, name: str | None = None) -> None:
    """Remove what waits beside a result, for the result of one name or for all."""
    for path in (Path(output).parent / WAITING).glob("*"):
        if name is None or path.stem.rpartition("-")[0] == name:
            path.unlink()


def run_along(jobs: Mapping[str, Mapping[str, Any]], *, threads: int) -> None:
    """Do the work of other stages on a flow that was just trained, and leave it waiting for their jobs.

    What is refused is left to its own job, whose message it is.

    Parameters
    ----------
    jobs
        By name of the stage, what its ``run`` takes. Stages are loaded by name, so that their code is no part of the
        digest of the stage that runs them along: an edited critic retrains no flow.
    threads
        CPU threads.
    """
    for stage, arguments in jobs.items():
        clear(arguments["output"], name=Path(arguments["output"]).stem)
        waiting = str(_made_along(**arguments))
        try:
            import_module(f"pidflow.stages.{stage}").run(**arguments | {"output": waiting}, threads=threads)
        except PidflowError as error:
            log.warning("%s will be run by itself: %s", stage, error)


def taken(**arguments: Any) -> bool:
    """Whether the result waited that :func:`run_along` makes of a flow, and has been taken.

    Parameters
    ----------
    **arguments
        Of a stage: ``output``, ``flow``, and what else the result depends on: ``code``, ``seed``, ``settings``.
    """
    if not take({_made_along(**arguments): arguments["output"]}):
        return False
    log.info("was made along with the flow, taken from there")
    return True


def _made_along(*, output: str, flow: str, code: str | None, seed: int, settings: Any = None, **_: Any) -> Path:
    return place(output, [code, settings, seed, checksum_of(flow)])
