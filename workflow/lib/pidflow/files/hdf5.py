"""HDF5 files: the one writer and the one reader.

Files carry their kind, a schema version, their identity and the versions of the libraries that made them; the reader
checks these, the checksum of the whole file, and shapes, before it hands anything out. Datasets carry checksums of
their own besides (fletcher32), for readers other than this one; those that are filled in place do not.
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pidflow.errors import DataError
from pidflow.files.identity import Identity
from pidflow.files.json_text import to_json
from pidflow.files.writing import BLANK, check_seal, replacing, seal
from pidflow.versions import library_versions

SCHEMA_VERSION = 2

_CHUNK_BYTES = 1 << 20
# What HDF5 says of an object or an attribute that is not there.
_LACKING = re.compile(r"Unable to .*\((?:object ('.*') doesn't exist|can't locate (attribute: '.*')|[^)]*)\)")
_USER_BLOCK = 512  # HDF5 leaves these bytes in front to the user: the checksum lies there


@contextmanager
def writing_h5(
    path: str | Path, *, kind: str, identity: Identity | None = None, attrs: Mapping[str, Any] | None = None
) -> Iterator[h5py.File]:
    """An open HDF5 file that becomes ``path`` when the block ends well.

    Parameters
    ----------
    path
        The final name.
    kind
        What the file is (``"activations"``, ``"pca"``, ...); readers ask for it.
    identity
        What the file is about and what it was made from; readers compare it.
    attrs
        Root attributes. Numbers and strings are stored as they are, everything else as JSON.
    """
    with replacing(path) as temporary:
        with unfinished_h5(temporary, kind=kind, identity=identity, attrs=attrs) as file:
            yield file
        seal_h5(temporary)


@contextmanager
def unfinished_h5(
    path: str | Path, *, kind: str, identity: Identity | None = None, attrs: Mapping[str, Any] | None = None
) -> Iterator[h5py.File]:
    """As :func:`writing_h5`, but the file stays where it is, and no reader takes it before :func:`seal_h5`."""
    everything = {"schema_version": SCHEMA_VERSION, "kind": kind, "versions": library_versions(), **(attrs or {})}
    everything["identity"] = (identity or Identity()).known()
    with _Sink(path) as sink, h5py.File(sink, "w", userblock_size=_USER_BLOCK) as file:
        for name, value in everything.items():
            file.attrs[name] = (
                value if isinstance(value, str | int | float | np.number) else to_json(value, indent=None)
            )
        yield file


def seal_h5(path: str | Path) -> None:
    """Give a file its checksum, after which it is read."""
    with open(path, "rb+") as whole:
        whole.write(f"{BLANK}\n".encode())
    seal(Path(path), at_end=False)


class _Sink(io.FileIO):
    """A file that remembers a failed write and raises it when it is closed, not before.

    HDF5 flushes its buffers where errors cannot be raised: h5py drops them when a dataset is let go (a truncated file
    would pass for whole), and a file that HDF5 failed to close makes the process crash later.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        try:
            while left and self.error is None:
                left = left[super().write(left) :]
        except OSError as err:
            self.error = err
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size) if self.error is None else 0
        except OSError as err:
            self.error = err
            return 0

    def close(self) -> None:
        super().close()
        if self.error is not None:
            error, self.error = self.error, None
            raise error


def write_h5(
    path: str | Path,
    arrays: Mapping[str, Any],
    *,
    kind: str,
    identity: Identity | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> None:
    """Write named arrays (``"layer-00/vision"`` makes groups; sequences of strings become utf-8) as one HDF5 file."""
    with writing_h5(path, kind=kind, identity=identity, attrs=attrs) as file:
        for name, values in arrays.items():
            put(file, name, values)


def put(file: h5py.Group, name: str, values: Any) -> h5py.Dataset:
    """Store one array, chunked by rows; an array of strings becomes utf-8 text."""
    array = np.asarray(values)
    if array.dtype.kind in "UO":
        encoded = np.array([str(text).encode() for text in array.flat], dtype=bytes).reshape(array.shape)
        # Text of one length: HDF5 puts no checksum on text of any length.
        dataset = reserve(file, name, array.shape, h5py.string_dtype("utf-8", max(1, encoded.dtype.itemsize)))
        dataset[...] = encoded.astype(dataset.dtype)
        return dataset
    dataset = reserve(file, name, array.shape, array.dtype)
    dataset[...] = array
    return dataset


def reserve(file: h5py.Group, name: str, shape: tuple[int, ...], dtype: Any) -> h5py.Dataset:
    """An unfilled dataset, chunked by whole rows of about a megabyte, to be filled slab by slab."""
    if not (shape and all(shape)):
        return file.create_dataset(name, shape=shape, dtype=dtype)  # a single value has no chunk, so no fletcher32
    row = max(1, int(np.prod(shape[1:]))) * np.dtype(dtype).itemsize
    chunks = (min(shape[0], max(1, _CHUNK_BYTES // row)), *shape[1:])
    return file.create_dataset(name, shape=shape, dtype=dtype, chunks=chunks, fletcher32=True)


def reserve_in_place(file: h5py.Group, name: str, shape: tuple[int, ...], dtype: Any) -> h5py.Dataset:
    """An unfilled dataset in one piece, whose rows have their places in the file from now on (:func:`places_in`).

    It has no checksum of its own. Its rows may be written at their places by any number of processes, one after the
    other or each its own rows, and what is around them never changes.
    """
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_layout(h5py.h5d.CONTIGUOUS)
    how.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    how.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return file.create_dataset(name, shape=shape, dtype=dtype, dcpl=how)


def places_in(path: str | Path, names: Iterable[str]) -> dict[str, int]:
    """Byte in the file at which each dataset of :func:`reserve_in_place` begins, row after row without a gap."""
    with h5py.File(path, "r", locking=False) as file:
        return {name: file[name].id.get_offset() for name in names}


@contextmanager
def reading_h5(path: str | Path, *, kind: str, expected: Identity | None = None) -> Iterator[h5py.File]:
    """An open HDF5 file whose checksum, kind, schema version and identity were checked.

    The file is opened without locking it: another reader, or a file system that knows no locks, is no fault of it.

    Parameters
    ----------
    expected
        What the file must be about, as far as it is known.

    Raises
    ------
    DataError
        If the file is missing, damaged, not ours, of another kind, of another schema version or about something else;
        also when the block asks for a dataset or an attribute that the file lacks.
    """
    path = Path(path)
    check_seal(path, at_end=False)
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as err:
        raise DataError(f"{path}: not a readable HDF5 file ({err}); delete it and run again") from err
    with file:
        _check_header(path, file, kind)
        identity_of(file).check(expected or Identity(), where=str(path))
        try:
            yield file
        except KeyError as err:
            lacking = _LACKING.search(str(err))
            if lacking is None:
                raise  # not HDF5's
            raise DataError(
                f"{path}: lacks {lacking[1] or lacking[2] or 'a part'}, which a file of kind '{kind}' has; "
                "it is incomplete, delete it and run again"
            ) from err


def identity_of(file: h5py.File) -> Identity:
    """What an open file is about and what it was made from."""
    where = str(file.filename)
    try:
        values = json.loads(file.attrs["identity"])
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{where}: has no readable identity; delete it and run again") from None
    return Identity.from_mapping(values, where=where)


def _check_header(path: Path, file: h5py.File, kind: str) -> None:
    found, schema = file.attrs.get("kind"), file.attrs.get("schema_version")
    if found is None or schema is None:
        raise DataError(
            f"{path}: an HDF5 file without 'kind' and 'schema_version', so not one of ours; expected '{kind}'"
        )
    if found != kind:
        raise DataError(f"{path}: holds '{found}', expected '{kind}'; check which file was given")
    if schema != SCHEMA_VERSION:
        raise DataError(
            f"{path}: schema version {schema}, this version of pidflow reads {SCHEMA_VERSION}; delete it and run again"
        )


def take(file: h5py.Group, name: str, *, shape: tuple[int | None, ...] | None = None) -> np.ndarray:
    """One whole dataset as an array (text as ``str`` objects).

    Parameters
    ----------
    shape
        What the shape must be; None leaves a dimension free.

    Raises
    ------
    DataError
        If the file has no such dataset (the message lists what it has) or one shaped otherwise.
    """
    where = file.file.filename
    dataset = find(file, name)
    expected = dataset.shape if shape is None else shape
    if len(expected) != dataset.ndim or any(e not in (None, f) for e, f in zip(expected, dataset.shape, strict=True)):
        wanted = tuple("any" if e is None else e for e in expected)
        raise DataError(
            f"{where}: '{dataset.name}' has shape {dataset.shape}, expected {wanted}; "
            "the file contradicts itself, delete it and run again"
        )
    try:
        return dataset.asstr()[...] if h5py.check_string_dtype(dataset.dtype) is not None else dataset[...]
    except OSError as err:
        raise DataError(f"{where}: '{dataset.name}' cannot be read ({err}); delete the file and run again") from err


def find(file: h5py.Group, name: str) -> h5py.Dataset:
    """One dataset, unread; as :func:`take` if there is none."""
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{file.file.filename}: no dataset '{file.name.rstrip('/')}/{name}'; {_nearest(file, name)}")
    return dataset


def _nearest(file: h5py.Group, name: str) -> str:
    """What the deepest group on the way to a missing name holds."""
    group = file
    for part in name.split("/")[:-1]:
        inner = group.get(part)
        if not isinstance(inner, h5py.Group):
            break
        group = inner
    names = sorted(group)
    shown = names if len(names) <= 12 else [*names[:6], "…", *names[-5:]]
    place = "the file" if group.name == "/" else f"'{group.name}'"
    return f"{place} has {', '.join(shown) or 'nothing'}; check which layer and block were asked for"
