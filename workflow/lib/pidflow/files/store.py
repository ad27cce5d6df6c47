"""Result files: one place that writes and reads HDF5, tables, JSON and tensors.

A file is whole or absent, carries a checksum of itself (:mod:`pidflow.files.writing`), and says what it is about and
what it was made from (:class:`pidflow.files.identity.Identity`). Readers take the identity they expect and compare.
Every fault of a file is a :class:`~pidflow.errors.DataError` of one sentence.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pidflow.errors import DataError, first_line
from pidflow.files.activations import BLOCKS, Activations, reading_activations, stored_layers
from pidflow.files.hdf5 import (
    SCHEMA_VERSION,
    identity_of,
    places_in,
    put,
    reading_h5,
    reserve,
    reserve_in_place,
    seal_h5,
    take,
    unfinished_h5,
    write_h5,
    writing_h5,
)
from pidflow.files.identity import Identity, digest_of
from pidflow.files.json_text import to_json
from pidflow.files.tensors import read_tensors, write_tensors
from pidflow.files.writing import BLANK, check_seal, find_seal, replacing, seal

if TYPE_CHECKING:
    import pandas as pd  # half a second to import: only the functions that handle tables do so

__all__ = (
    "BLOCKS",
    "SCHEMA_VERSION",
    "Activations",
    "Identity",
    "checksum_of",
    "digest_of",
    "identity_of",
    "places_in",
    "put",
    "read_json",
    "read_table",
    "read_tables",
    "read_tensors",
    "reading_activations",
    "reading_h5",
    "replacing",
    "reserve",
    "reserve_in_place",
    "save_table",
    "seal_h5",
    "stored_layers",
    "table_about",
    "table_identity",
    "take",
    "to_json",
    "unfinished_h5",
    "write_h5",
    "write_json",
    "write_table",
    "write_tensors",
    "write_text",
    "writing_h5",
)

_AT_END = {".parquet": True, ".json": True, ".h5": False, ".safetensors": False}
_CHECKSUM = "checksum"


def checksum_of(path: str | Path) -> str:
    """The checksum that a file carries, or that of a foreign file: two files of equal checksum hold the same.

    Raises
    ------
    DataError
        If the file is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; run the step that makes it")
    found = find_seal(path, at_end=_AT_END.get(path.suffix, True))
    if found is None:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def write_table(
    path: str | Path,
    frame: "pd.DataFrame",
    *,
    identity: Identity | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a table without its index, as parquet or csv by its suffix; csv has no place for an identity and more."""
    suffix = Path(path).suffix
    with replacing(path) as temporary:
        if suffix == ".parquet":
            save_table(temporary, frame, identity=identity, about=about)
        elif suffix == ".csv":
            frame.to_csv(temporary, index=False)
        else:
            raise DataError(f"{path}: tables are written as .parquet or .csv, not '{suffix}'")


def save_table(
    temporary: str | Path,
    frame: "pd.DataFrame",
    *,
    identity: Identity | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a parquet table to a path that :func:`replacing` gave, with checksums of its pages and of the whole.

    Parameters
    ----------
    about
        What else the file is to tell, as plain values, for :func:`table_about`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    with pq.ParquetWriter(str(temporary), table.schema, write_page_checksum=True) as writer:
        writer.write_table(table)
        known = {"identity": (identity or Identity()).known(), "about": dict(about or {})}
        metadata = {f"pidflow.{name}": to_json(value, indent=None) for name, value in known.items()}
        writer.add_key_value_metadata(metadata | {f"pidflow.{_CHECKSUM}": BLANK})
    seal(Path(temporary), at_end=True)


def read_table(path: str | Path, *, columns: Iterable[str] = (), expected: Identity | None = None) -> "pd.DataFrame":
    """A parquet table that has at least the ``columns`` asked for.

    Parameters
    ----------
    columns
        Columns that the table must have.
    expected
        What the table must be about, as far as it is known. With None a table of another program is read as well.

    Raises
    ------
    DataError
        If the file is missing, damaged or unreadable, about something else, or lacks a column.
    """
    import pandas as pd

    path = Path(path)
    if expected is not None:
        table_identity(path).check(expected, where=str(path))
    elif not path.is_file():
        raise DataError(f"{path}: no such file; run the step that makes it")
    elif find_seal(path, at_end=True) is not None:
        check_seal(path, at_end=True)
    try:
        frame = pd.read_parquet(path, page_checksum_verification=True)
    except (OSError, ValueError) as err:
        raise DataError(f"{path}: not a readable parquet table ({first_line(err)}); delete it and run again") from err
    missing = [name for name in columns if name not in frame]
    if missing:
        raise DataError(f"{path}: lacks the columns {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")
    return frame


def read_tables(folder: str | Path = "results/tables") -> dict[str, "pd.DataFrame"]:
    """The tables of a run by name: ``read_tables()["claims"]``.

    Parameters
    ----------
    folder
        Where the tables lie, one ``.parquet`` file each.

    Raises
    ------
    DataError
        If there are none, or one is damaged.
    """
    files = sorted(Path(folder).glob("*.parquet"))
    if not files:
        raise DataError(f"{folder}: holds no tables (.parquet); run the workflow, or name the folder of another run")
    return {file.stem: read_table(file) for file in files}


def table_identity(path: str | Path) -> Identity:
    """What a parquet table of ours is about and what it was made from, after comparing its checksum."""
    return Identity.from_mapping(_metadata(Path(path), "identity"), where=str(path))


def table_about(path: str | Path) -> dict[str, Any]:
    """What else a parquet table of ours tells, beside what it is about, after comparing its checksum."""
    return _metadata(Path(path), "about")


def _metadata(path: Path, name: str) -> dict[str, Any]:
    import pyarrow.parquet as pq

    check_seal(path, at_end=True)
    try:
        return json.loads((pq.read_metadata(path).metadata or {})[f"pidflow.{name}".encode()])
    except (OSError, KeyError, ValueError) as err:
        raise DataError(f"{path}: has no readable {name} ({first_line(err)}); delete it and run again") from err


def write_json(path: str | Path, value: Any, *, identity: Identity | None = None) -> None:
    """Write a mapping or a dataclass as strict JSON, with its identity, if given, in front and its checksum at the end.

    Raises
    ------
    DataError
        If the value is neither, holds NaN or infinity, or has a key ``identity`` or ``checksum`` of its own.
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    reserved = {_CHECKSUM} | ({"identity"} if identity is not None else set())
    if not isinstance(value, Mapping) or reserved & set(value):
        raise DataError(
            f"{path}: results in JSON are mappings without a key {' or '.join(sorted(reserved))}, "
            f"found {type(value).__name__}"
        )
    about = {} if identity is None else {"identity": identity.known()}
    text = to_json({**about, **value, _CHECKSUM: BLANK}, indent=1) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
        seal(temporary, at_end=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in utf-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | Path, *, expected: Identity | None = None) -> dict[str, Any]:
    """The mapping in a JSON file of ours, its checksum compared and left out.

    Parameters
    ----------
    expected
        What the file must be about, as far as it is known.

    Raises
    ------
    DataError
        If the file is missing, damaged, not ours or about something else.
    """
    path = Path(path)
    check_seal(path, at_end=True)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        del value[_CHECKSUM]
    except (ValueError, TypeError, KeyError, RecursionError) as err:
        raise DataError(f"{path}: not a result in JSON ({first_line(err)}); delete it and run again") from err
    if expected is not None:
        Identity.from_mapping(value.get("identity", {}), where=str(path)).check(expected, where=str(path))
    return value
