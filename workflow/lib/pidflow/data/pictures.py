"""Picture files: a digest of a folder of them, and their bytes, read without ever leaving that folder."""

import hashlib
import os
import stat
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pidflow.errors import DataError, shown, shown_path

# ASSUME: nobody changes a picture of a larger folder without changing its size or its time.
_HASHED_BYTES = 256 << 20
# ASSUME: no compressed picture of a question-answering dataset is larger; what is would fill the memory.
MAX_BYTES = 256 << 20
_ADVICE = "correct the table's image column, or images in the dataset's entry"


@dataclass(frozen=True)
class Picture:
    """Where the bytes of one picture come from: a file inside a folder, or a table that carries them.

    Attributes
    ----------
    name
        What messages call it: the file, or the item's own name for it.
    root
        The folder that the file must lie in, all symbolic links resolved.
    file
        The file, all symbolic links resolved; None if ``content`` holds the picture.
    content
        The bytes themselves.
    digest
        Expected :func:`content_digest`; None: not checked.
    """

    name: str
    root: Path | None = None
    file: Path | None = None
    content: bytes | None = None
    digest: str | None = None

    def read(self) -> bytes:
        """The picture's bytes, as they were when its digest was taken.

        Raises
        ------
        DataError
            If the file is gone, has become a link, is larger than ``MAX_BYTES``, or changed since the digest was taken.
        """
        content = self.content if self.file is None else _read_inside(self.root, self.file)
        if self.digest is not None and content_digest(content) != self.digest:
            raise DataError(f"image {self.name} changed after its items were prepared; run prepare_items again")
        return content


def picture_file(path: str, *, root: str | Path) -> Picture:
    """The picture at ``path`` below ``root``, or absolute but inside it, both after links are resolved.

    Raises
    ------
    DataError
        If the folder is missing, the path leaves it, or no file is there.
    """
    base = picture_folder(root)
    try:
        file = (base / path).resolve(strict=True)
    except FileNotFoundError:
        raise DataError(
            f"image {shown_path(base / path)} does not exist; fetch the dataset's images or {_ADVICE}"
        ) from None
    except (OSError, RuntimeError, ValueError) as err:  # too long, a loop of links, a null character
        raise DataError(f"image path {shown(path)} cannot be followed ({_reason(err)}); {_ADVICE}") from None
    if not file.is_relative_to(base):
        raise DataError(f"image path {shown(path)} leaves the dataset's folder {base}; {_ADVICE}")
    if not file.is_file():
        raise DataError(f"image {shown_path(base / path)} is not a file; {_ADVICE}")
    return Picture(str(file), root=base, file=file)


def picture_folder(root: str | Path) -> Path:
    """The folder itself, ``~`` expanded and all links resolved.

    Raises
    ------
    DataError
        If no folder is there.
    """
    try:
        base = Path(root).expanduser().resolve(strict=True)
        found = base.is_dir()
    except (OSError, RuntimeError, ValueError):
        found = False
    if not found:
        raise DataError(f"image folder {shown_path(root)} does not exist; correct images in the dataset's entry")
    return base


def content_digest(content: bytes) -> str:
    """What a picture is: the first 16 bytes of the SHA-256 of its file, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()[:32]


@cache
def listing_digest(folder: str | Path) -> str:
    """Digest of all files below a folder: their names and contents or, beyond 256 MiB, names, sizes and times.

    It changes when a picture is added, removed or changed, and does not when a small folder is copied. Hidden files and
    folders are left out; a folder that does not exist has the digest ``"missing"``. One process asks the disk once.
    """
    try:
        base = picture_folder(folder)
    except DataError:
        return "missing"
    found = []
    for place, inner, names in os.walk(base):
        inner[:] = [name for name in inner if name[0] != "."]  # what os.walk goes on to
        for name in names:
            try:
                status = os.stat(os.path.join(place, name))
            except OSError:  # a link to nothing is not a picture
                continue
            if name[0] != "." and stat.S_ISREG(status.st_mode):
                found.append((Path(place, name), status))
    found.sort()
    small = sum(status.st_size for _, status in found) <= _HASHED_BYTES
    digest = hashlib.sha256()
    for file, status in found:
        mark = content_digest(file.read_bytes()) if small else f"{status.st_size} {status.st_mtime_ns}"
        digest.update(f"{file.relative_to(base)}\0{mark}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _read_inside(root: Path, file: Path) -> bytes:
    """The bytes of a resolved file, every step from ``root`` taken without following a link swapped in meanwhile."""
    *folders, name = file.relative_to(root).parts
    place = -1
    try:
        place = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
            os.close(place)
            place = inner
        # Without O_NONBLOCK a pipe swapped in for the picture would be waited for.
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place), "rb") as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DataError(f"image {file} is not a file any more; fetch it again or remove its items")
            content = opened.read(MAX_BYTES + 1)
    except OSError as err:
        raise DataError(
            f"image {file} cannot be opened ({_reason(err)}); it was moved or replaced after its path was checked"
        ) from err
    finally:
        if place >= 0:
            os.close(place)
    if len(content) > MAX_BYTES:
        raise DataError(f"image {file} has more than {MAX_BYTES:,} bytes; scale it down or remove its items")
    return content


def _reason(err: Exception) -> str:
    return getattr(err, "strerror", None) or str(err)
