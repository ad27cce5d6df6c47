"""Result files: the one writer and reader of HDF5, tables and JSON. A file is whole or absent.

Every file is written under a temporary name in its own directory, flushed to disk and renamed into place, so a killed
job, a full disk or an exception never leaves half a file. HDF5 files carry their kind, a schema version and the
versions of the libraries that made them; readers check these and the shapes before they hand anything out.
"""

import dataclasses
import io
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from pidflow.errors import DataError
from pidflow.names import layer_name

if TYPE_CHECKING:
    import pandas as pd  # half a second to import: only the functions that handle tables do so

SCHEMA_VERSION = 1
BLOCKS = ("vision", "question", "text", "last")

_CHUNK_BYTES = 1 << 20
_RECORDED = ("pidflow", "torch", "transformers", "tokenizers", "numpy", "h5py", "pillow", "scikit-learn", "zuko")
_TEXT = h5py.string_dtype("utf-8")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name when the block ends well and vanishes when it does not.

    Use it around any writer that takes a path (figures, safetensors, archives).

    Raises
    ------
    DataError
        If the operating system refuses to write (disk full, no permission).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_directory(path.parent)
    except OSError as err:
        if err.filename is not None and Path(err.filename) not in {temporary, path, *path.parents}:
            raise  # another file's trouble
        raise DataError(
            f"{path}: could not be written ({err}); free disk space or fix permissions in {path.parent}, then run again"
        ) from err
    finally:
        with suppress(OSError):
            temporary.unlink()


def _sync_directory(folder: Path) -> None:
    """Make the rename itself durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing_h5(path: str | Path, *, kind: str, attrs: Mapping[str, Any] | None = None) -> Iterator[h5py.File]:
    """An open HDF5 file that becomes ``path`` when the block ends well.

    Parameters
    ----------
    path
        The final name.
    kind
        What the file is (``"activations"``, ``"pca"``, ...); readers ask for it.
    attrs
        Root attributes. Numbers and strings are stored as they are, everything else as JSON.
    """
    with replacing(path) as temporary, _Sink(temporary) as sink, h5py.File(sink, "w") as file:
        everything = {"schema_version": SCHEMA_VERSION, "kind": kind, "versions": library_versions(), **(attrs or {})}
        for name, value in everything.items():
            file.attrs[name] = (
                value if isinstance(value, str | int | float | np.number) else to_json(value, indent=None)
            )
        yield file


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


def write_h5(path: str | Path, arrays: Mapping[str, Any], *, kind: str, attrs: Mapping[str, Any] | None = None) -> None:
    """Write named arrays (``"layer-00/vision"`` makes groups; sequences of strings become utf-8) as one HDF5 file."""
    with writing_h5(path, kind=kind, attrs=attrs) as file:
        for name, values in arrays.items():
            put(file, name, values)


def put(file: h5py.Group, name: str, values: Any) -> h5py.Dataset:
    """Store one array, chunked by rows; an array of strings becomes utf-8 text."""
    array = np.asarray(values)
    if array.dtype.kind in "UO":
        dataset = reserve(file, name, array.shape, _TEXT)
        dataset[...] = array.astype(object)
        return dataset
    dataset = reserve(file, name, array.shape, array.dtype)
    dataset[...] = array
    return dataset


def reserve(file: h5py.Group, name: str, shape: tuple[int, ...], dtype: Any) -> h5py.Dataset:
    """An unfilled dataset, chunked by whole rows of about a megabyte, to be filled slab by slab."""
    chunks = None
    if shape and all(shape):
        row = max(1, int(np.prod(shape[1:]))) * np.dtype(dtype).itemsize
        chunks = (min(shape[0], max(1, _CHUNK_BYTES // row)), *shape[1:])
    return file.create_dataset(name, shape=shape, dtype=dtype, chunks=chunks)


@contextmanager
def reading_h5(path: str | Path, *, kind: str) -> Iterator[h5py.File]:
    """An open HDF5 file whose kind and schema version were checked.

    Raises
    ------
    DataError
        If the file is missing, damaged, not ours, of another kind or of another schema version; also when a dataset
        turns out to be damaged while it is read inside the block.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; run the step that makes it")
    try:
        with h5py.File(path, "r") as file:
            _check_header(path, file, kind)
            yield file
    except OSError as err:
        if err.errno is not None and not h5py.is_hdf5(path):
            raise
        raise DataError(f"{path}: not a readable HDF5 file ({err}); it is damaged, delete it and run again") from err


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
        If the dataset is missing or shaped otherwise.
    """
    where = file.file.filename
    if name not in file or not isinstance(file[name], h5py.Dataset):
        raise DataError(f"{where}: dataset '{file.name.rstrip('/')}/{name}' is missing; delete the file and run again")
    dataset = file[name]
    expected = dataset.shape if shape is None else shape
    if len(expected) != dataset.ndim or any(e not in (None, f) for e, f in zip(expected, dataset.shape, strict=True)):
        wanted = tuple("any" if e is None else e for e in expected)
        raise DataError(
            f"{where}: '{dataset.name}' has shape {dataset.shape}, expected {wanted}; "
            "the file is damaged, delete it and run again"
        )
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return dataset.asstr()[...]
    return dataset[...]


@dataclasses.dataclass(frozen=True)
class Activations:
    """An open activation file.

    Attributes
    ----------
    layers
        Number of blocks L; states run from layer 0 (embedding output) to layer L.
    n, width
        Rows and residual width.
    item_id, image_id, fold
        Per row, shape ``(n,)``.
    attrs
        Root attributes: model, revision, task, condition, seed, ...
    """

    file: h5py.File
    layers: int
    n: int
    width: int
    item_id: np.ndarray
    image_id: np.ndarray
    fold: np.ndarray
    attrs: dict[str, Any]

    def state(self, layer: int, block: str) -> np.ndarray:
        """Pooled states ``(n, width)`` in float64 of one layer and one of the blocks vision, question, text, last."""
        return take(self.file, f"{layer_name(layer)}/{block}", shape=(self.n, self.width)).astype(np.float64)

    def target(self) -> np.ndarray:
        """The target ``(n, m)`` in float64."""
        return take(self.file, "target", shape=(self.n, None)).astype(np.float64)


@contextmanager
def reading_activations(path: str | Path) -> Iterator[Activations]:
    """An open activation file whose layers, rows and widths agree with each other and with its attributes."""
    with reading_h5(path, kind="activations") as file:
        attrs = {name: value.item() if isinstance(value, np.generic) else value for name, value in file.attrs.items()}
        layers = attrs.get("layers")
        if not isinstance(layers, int):
            raise DataError(
                f"{path}: attribute 'layers' is {layers!r}, expected a whole number; delete it and run again"
            )
        expected = {layer_name(layer) for layer in range(layers + 1)}
        found = {name for name in file if name.startswith("layer-")}
        if found != expected:
            raise DataError(
                f"{path}: says {layers} blocks, so {layers + 1} layers, but holds {len(found)} "
                f"(missing {sorted(expected - found)}, unexpected {sorted(found - expected)}); delete it and run again"
            )
        item_id = take(file, "item_id", shape=(None,))
        n = len(item_id)
        width = file[layer_name(0)]["vision"].shape[-1] if "vision" in file[layer_name(0)] else 0
        for name in sorted(expected):
            for block in BLOCKS:
                _check_shape(path, file, f"{name}/{block}", (n, width))
        yield Activations(
            file=file,
            layers=layers,
            n=n,
            width=width,
            item_id=item_id,
            image_id=take(file, "image_id", shape=(n,)),
            fold=take(file, "fold", shape=(n,)),
            attrs=attrs,
        )


def _check_shape(path: str | Path, file: h5py.File, name: str, shape: tuple[int, ...]) -> None:
    found = file[name].shape if name in file else "nothing"
    if found != shape:
        raise DataError(
            f"{path}: '{name}' holds {found}, expected {shape}; the file is damaged, delete it and run again"
        )


def write_table(path: str | Path, frame: "pd.DataFrame") -> None:
    """Write a table without its index, as parquet or csv by the suffix of ``path``."""
    suffix = Path(path).suffix
    with replacing(path) as temporary:
        if suffix == ".parquet":
            frame.to_parquet(temporary, index=False)
        elif suffix == ".csv":
            frame.to_csv(temporary, index=False)
        else:
            raise DataError(f"{path}: tables are written as .parquet or .csv, not '{suffix}'")


def read_table(path: str | Path, *, columns: Iterable[str] = ()) -> "pd.DataFrame":
    """A parquet table that has at least the ``columns`` asked for.

    Raises
    ------
    DataError
        If the file is missing, unreadable or lacks a column.
    """
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; run the step that makes it")
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as err:
        raise DataError(f"{path}: not a readable parquet table ({err}); delete it and run again") from err
    missing = [name for name in columns if name not in frame]
    if missing:
        raise DataError(f"{path}: lacks the columns {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")
    return frame


def write_json(path: str | Path, value: Any) -> None:
    """Write strict JSON (dataclasses, NumPy numbers and arrays, and paths included); NaN and infinity are refused."""
    write_text(path, to_json(value, indent=1) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in utf-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def to_json(value: Any, *, indent: int | None) -> str:
    """JSON text of a value."""
    try:
        return json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False, default=_plain)
    except ValueError as err:
        raise DataError(
            f"a value cannot be written as JSON ({err}); use null for a number that does not exist"
        ) from err


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")


def read_json(path: str | Path) -> Any:
    """The value in a JSON file.

    Raises
    ------
    DataError
        If the file is missing or not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise DataError(f"{path}: no such file; run the step that makes it") from err
    except ValueError as err:
        raise DataError(f"{path}: not JSON ({err}); delete it and run again") from err


def library_versions() -> dict[str, str]:
    """Versions of the libraries that shape results, of those installed."""
    found = {}
    for name in _RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
