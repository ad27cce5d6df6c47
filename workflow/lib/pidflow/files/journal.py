"""A list of what is done, each entry on the disk before the work goes on; a process killed meanwhile harms no entry.

A line is the CRC-32 of an entry and the entry as JSON. A damaged line ends the list, as one half written does.
"""

import fcntl
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pidflow.errors import DataError


class Journal(AbstractContextManager):
    """Entries in a file that one process at a time writes.

    What a killed process has left of a line is cut off, as is a damaged line with all that follow.

    Attributes
    ----------
    first, last
        The first and the last entry; None of none.
    length
        How many there are.

    Raises
    ------
    DataError
        If another process has it open.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = open(self.path, "a+b")  # noqa: SIM115 - closed by __exit__
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise DataError(f"{self.path}: another process is at this work; wait for it or stop it") from None
        except OSError:
            pass  # a file system without locks
        self._recover()

    def _recover(self) -> None:
        self.first = self.last = None
        self.length = whole = 0
        self._file.seek(0)
        for line in self._file:
            entry = _entry(line)
            if entry is None:
                break
            self.first, self.last = (entry if self.first is None else self.first), entry
            self.length, whole = self.length + 1, whole + len(line)
        self._file.truncate(whole)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add an entry of plain values; it is on the disk when this returns."""
        said = json.dumps(entry, ensure_ascii=False).encode()
        self._file.write(b"%08x %b\n" % (zlib.crc32(said), said))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.first, self.last = (entry if self.first is None else self.first), entry
        self.length += 1

    def clear(self) -> None:
        """Begin anew."""
        self._file.truncate(0)
        self._recover()

    def __exit__(self, *_: object) -> None:
        self._file.close()


def entries(path: str | Path) -> Iterator[dict[str, Any]]:
    """The entries of a journal, one after the other."""
    with open(path, "rb") as file:
        for line in file:
            if (entry := _entry(line)) is None:
                return
            yield entry


def _entry(line: bytes) -> dict[str, Any] | None:
    """What a line holds; None of a line that was not finished or has changed."""
    checksum, _, said = line.removesuffix(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(said):
        return None
    return json.loads(said)
