"""Processes of a run: what they are handed, which work in a folder, the lock of a run that was killed, what waits.

Snakemake locks its folder while it works. Killed by force it leaves the lock, and every later run is refused. So each
Snakemake process notes itself in the folder while it lives, and the next one removes the lock when all that noted
themselves are gone, and only then.
"""

import atexit
import os
import shutil
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

WAITING = ".waiting"  # beside results: folders of what one job made for others
WORK = ".work"  # beside results: folders of what a job has finished of them
_APART = 2.0  # seconds by which two readings of when a process began may differ
# glibc gives memory above 128 KiB back at once and asks for it anew, a page fault for each 4 KiB; jobs here make arrays
# of some megabytes over and over, so they keep what they have freed.
MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


def hand_down(library: str) -> None:
    """Let the processes that this one starts take this copy of the library first, and keep memory that they free.

    Else jobs would take a library that is installed: what Snakemake puts on their search path comes after that. How
    memory is kept is glibc's; who has set that keeps it, and other systems do not look.
    """
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([library, *(each for each in others if each and each != library)])
    if not MEMORY.keys() & os.environ:
        os.environ.update(MEMORY)


def take_part(folder: Path) -> None:
    """Note this process in Snakemake's folder until it ends; remove a lock that nobody living holds.

    Says on stderr what it did, or why the lock stays. A folder that cannot be written to is left alone.
    """
    notes, locks = folder / "processes", folder / "locks"
    me = psutil.Process()
    mine = notes / f"{me.pid}-{me.create_time():.2f}"
    try:
        notes.mkdir(parents=True, exist_ok=True)
        # Before looking at others: two that start at once see each other.
        mine.write_text(socket.gethostname(), encoding="utf-8")
    except OSError:
        return
    atexit.register(_forget, mine, os.getpid())
    others = [note for note in notes.iterdir() if note != mine]
    gone = [note for note in others if _gone(note)]
    if any(locks.glob("*.lock")) and others:
        living = sorted(set(others) - set(gone))
        if living:
            print(f"pidflow: {_sentence(living[0])}", file=sys.stderr)
        else:
            shutil.rmtree(locks, ignore_errors=True)
            print(
                f"pidflow: removed the lock of a run that was killed, going on in {folder.parent.resolve()}",
                file=sys.stderr,
            )
    for note in gone:
        note.unlink(missing_ok=True)


def living(folder: Path) -> list[int]:
    """Numbers of the processes that work in a Snakemake folder, the oldest first."""
    notes = [note for note in (folder / "processes").glob("*-*") if not _gone(note)]
    return [int(note.name.split("-")[0]) for note in sorted(notes, key=lambda note: float(note.name.split("-")[1]))]


def _forget(note: Path, process: int) -> None:
    if os.getpid() == process:  # not in a fork of it
        note.unlink(missing_ok=True)


def _gone(note: Path) -> bool:
    """Whether a process of this machine that noted itself is no more; one of another machine may live."""
    number, began = note.name.split("-")
    try:
        if note.read_text(encoding="utf-8") != socket.gethostname():
            return False
        process = psutil.Process(int(number))
        return abs(process.create_time() - float(began)) > _APART or process.status() == psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, FileNotFoundError):
        return True
    except psutil.Error:
        return False


def _sentence(note: Path) -> str:
    number, host = note.name.split("-")[0], note.read_text(encoding="utf-8")
    if host == socket.gethostname():
        return f"process {number} still works in this folder, perhaps for a run that was killed; wait for it or stop it"
    return (
        f"process {number} on {host} works in this folder or was killed there; if it is gone, run "
        "`snakemake --unlock` once"
    )


def clear_unclaimed(results: Path, *, conditions: Iterable[str]) -> None:
    """Remove what waits for nobody: for a condition that the run has no more, or whose result stands."""
    wanted = set(conditions)
    for path in results.glob(f"*/*/*/{WAITING}/*-*"):
        condition = path.stem.rpartition("-")[0]
        if condition not in wanted or any(path.parent.parent.glob(f"{condition}.*")):
            path.unlink(missing_ok=True)
    for kind in ("activations", "answers"):
        for folder in results.glob(f"{kind}/*/*/{WORK}/*"):
            if folder.name not in wanted or any(folder.parent.parent.glob(f"{folder.name}.*")):
                shutil.rmtree(folder, ignore_errors=True)
    for folder in (*results.glob(f"*/*/*/{WAITING}"), *results.glob(f"*/*/*/{WORK}")):
        with suppress(OSError):  # others wait there
            folder.rmdir()
