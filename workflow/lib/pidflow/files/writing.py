"""Files that are whole or absent, and that say when a bit of them has changed.

A file is written under a temporary name in its own directory, flushed to disk and renamed into place, so a killed job,
a full disk or an exception never leaves half a file. Every result that is read again carries its own checksum: the
writer leaves a blank where the file's format has room for one, :func:`seal` fills it with the SHA-256 of the file (the
blank counted as zeros), and :func:`check_seal` compares. One mechanism thus covers what no format covers by itself:
attributes, names, shapes, headers and footers as well as the data.
"""

import contextlib
import hashlib
import os
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from pidflow.errors import DataError

_MARK = b"pidflow-sha256:"
_ZEROS = b"0" * 64
# ASSUME: nobody changes a file of more than this without changing its size or its time.
HASHED_BYTES = 64 << 20
BLANK = (_MARK + _ZEROS).decode()

_SEAL = re.compile(re.escape(_MARK) + rb"([0-9a-f]{64})")
_WINDOW = 1 << 20  # the seal lies this near to the start or the end of a file
_PIECE = 1 << 22


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name when the block ends well and vanishes when it does not.

    Use it around any writer that takes a path (figures, archives). What a killed writer of the same path has left is
    removed first.

    Raises
    ------
    DataError
        If the operating system refuses to write (disk full, no permission).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        yield temporary
        put_in_place(temporary, path)
    except OSError as err:
        if err.filename is not None and Path(err.filename) not in {temporary, path, *path.parents}:
            raise  # another file's trouble
        raise _unwritable(path, err) from err
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def writing_to(path: str | Path) -> Iterator[None]:
    """Around what writes to a path: refusals of the operating system become one sentence that names it."""
    try:
        yield
    except OSError as err:
        raise _unwritable(Path(path), err) from err


def _unwritable(path: Path, err: OSError) -> DataError:
    return DataError(
        f"{path}: could not be written ({err.strerror or err}); free disk space or fix permissions in "
        f"{path.parent}, then run again"
    )


def put_in_place(unfinished: Path, path: Path) -> None:
    """Give a file its final name on the same disk, all of it written before."""
    with open(unfinished, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    _sync_directory(path.parent)


def _host() -> str:
    """This machine in eight characters: process numbers mean something on one machine only."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _remove_abandoned(path: Path) -> None:
    """Remove temporaries of ``path`` whose process is gone."""
    pattern = re.compile(re.escape(f".{path.name}.{_host()}-") + r"(\d+)-[0-9a-f]{8}\.tmp")
    for name in os.listdir(path.parent):
        if (match := pattern.fullmatch(name)) and not _writing(int(match[1]), path.parent / name):
            with contextlib.suppress(OSError):
                (path.parent / name).unlink()


def _writing(process: int, temporary: Path) -> bool:
    """Whether a process of that number runs that may have written a file: it is not younger than the file."""
    import psutil  # as Snakemake does

    try:
        return psutil.Process(process).create_time() <= temporary.stat().st_mtime + 1
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False
    except psutil.Error:
        return True


def _sync_directory(folder: Path) -> None:
    """Make the rename itself durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def state_of(path: Path, *, hashed_bytes: int = HASHED_BYTES) -> str:
    """What tells whether a file has changed, cheap enough for every start: its content or, if large, size and time."""
    status = path.stat()
    if status.st_size > hashed_bytes:
        return f"{status.st_size} {status.st_mtime_ns}"
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(path: Path, *, at_end: bool) -> None:
    """Fill the blank that a file's writer left near its start or its end with the checksum of the file."""
    with open(path, "rb+") as file:
        place = _window_start(file, at_end=at_end)
        content = file.read(_WINDOW)
        blank = content.rfind(BLANK.encode()) if at_end else content.find(BLANK.encode())
        if blank < 0:
            raise ValueError(f"{path} has no blank for its checksum")
        digits = place + blank + len(_MARK)
        checksum = _checksum(file, digits)
        file.seek(digits)
        file.write(checksum.encode())


def find_seal(path: Path, *, at_end: bool) -> str | None:
    """The checksum that a file carries, None if it carries none."""
    return _found(path, at_end=at_end)[0]


def check_seal(path: Path, *, at_end: bool) -> str:
    """The checksum that a file carries, after comparing it with the file's content.

    Raises
    ------
    DataError
        If the file carries no checksum, or has changed since it was written.
    """
    try:
        recorded, digits = _found(path, at_end=at_end)
        if recorded is not None:
            with open(path, "rb") as file:
                found = _checksum(file, digits)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run the step that makes it") from None
    except OSError as err:
        raise DataError(
            f"{path}: could not be read ({err.strerror or err}); check the disk and the permissions"
        ) from err
    if recorded is None:
        raise DataError(
            f"{path}: carries no checksum, so pidflow did not write it, or it is cut short or damaged; "
            "delete it and run again"
        )
    if recorded != found:
        raise DataError(
            f"{path}: changed since it was written (its checksum is {recorded[:12]}…, that of its content "
            f"{found[:12]}…); it is damaged, delete it and run again"
        )
    return recorded


def _found(path: Path, *, at_end: bool) -> tuple[str | None, int]:
    with open(path, "rb") as file:
        place = _window_start(file, at_end=at_end)
        seals = list(_SEAL.finditer(file.read(_WINDOW)))
    if not seals:
        return None, 0
    chosen = seals[-1 if at_end else 0]
    return chosen[1].decode(), place + chosen.start(1)


def _window_start(file, *, at_end: bool) -> int:
    place = max(0, file.seek(0, os.SEEK_END) - _WINDOW) if at_end else 0
    file.seek(place)
    return place


def _checksum(file, digits: int) -> str:
    """SHA-256 of a file with zeros for the 64 digits at ``digits``."""
    digest = hashlib.sha256()
    for start, stop in ((0, digits), (digits + len(_ZEROS), None)):
        file.seek(start)
        left = stop - start if stop is not None else None
        while piece := file.read(_PIECE if left is None else min(_PIECE, left)):
            digest.update(piece)
            left = None if left is None else left - len(piece)
        if stop is not None:
            digest.update(_ZEROS)
    return digest.hexdigest()
