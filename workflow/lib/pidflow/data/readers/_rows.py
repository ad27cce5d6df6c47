"""Rows of a table in any of the usual formats, each with the place that a message about it names."""

import csv
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pidflow.errors import ConfigError, DataError, first_line, shown, shown_path

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
# Cells may hold pictures; the library's own limit is 128 KiB, and one for the whole process.
csv.field_size_limit(2**31 - 1)
# ASSUME: no table of questions has more rows or, unpacked, more bytes; what has would fill the memory.
MAX_ROWS, MAX_UNPACKED = 20_000_000, 64 << 30


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes
    ----------
    place
        Where it stands: ``"line 6"`` of a text file as editors count, ``"entry 6"`` of an array, ``"row 6"``.
    values
        Its cells by column; columns that it lacks are absent.
    """

    place: str
    values: dict[str, Any]


def read_rows(path: Path, *, wanted: Collection[str]) -> tuple[list[str], list[Row]]:
    """The columns of a table, in their order, and its rows.

    ``.csv`` and ``.tsv`` have a header and text cells; ``.json`` and ``.jsonl`` hold one array of objects or one object
    a line, whichever their first character says; of ``.parquet`` only the wanted columns are read.

    Raises
    ------
    ConfigError
        If the suffix is of no such format.
    DataError
        If the file is missing or not what its suffix says, with the line where it stops being that.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise ConfigError(
            f"table {shown_path(path)}: expected a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file, found "
            f"{shown(path.suffix)}"
        )
    try:
        if not path.is_file():
            raise DataError(f"table {shown_path(path)} is missing; correct table in the dataset's entry")
        if kind == ".parquet":
            return _parquet(path, wanted)
        with path.open(encoding="utf-8-sig", newline="") as text:
            if kind in (".csv", ".tsv"):
                columns, rows = _delimited(text, "," if kind == ".csv" else "\t", path)
            else:
                columns, rows = _json(text, path)
    except UnicodeDecodeError as err:
        raise DataError(f"table {path} is not UTF-8 text (byte {err.start}: {err.reason}); save it as UTF-8") from None
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or first_line(err)
        raise DataError(f"table {shown_path(path)} cannot be read as {kind}: {reason}") from err
    return columns, rows


def _delimited(text: Any, delimiter: str, path: Path) -> tuple[list[str], list[Row]]:
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    rows = []
    line = 1
    try:
        header = next(reader, [])
        twice = sorted({name for name in header if name and header.count(name) > 1})
        if twice:
            raise DataError(f"table {path} line 1: two columns are called {shown(twice[0])}; rename one")
        line = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(header):
                raise DataError(
                    f"table {path} line {line} has {len(cells)} cells, the header has {len(header)}; a cell with the "
                    f"delimiter {delimiter!r} in it needs quotes around it"
                )
            if cells:
                rows.append(Row(f"line {line}", dict(zip(header, cells, strict=True))))
            line = reader.line_num + 1
    except csv.Error as err:
        raise DataError(f"table {path} line {line}: {err}; check the quotes of the cell") from None
    return header, rows


def _json(text: Any, path: Path) -> tuple[list[str], list[Row]]:
    start = ""
    while (character := text.read(1)) and character.isspace():
        start += character
    rows = []
    text.seek(0)
    for place, found in _array(text, path) if character == "[" else _objects(text, path):
        if not isinstance(found, dict):
            raise DataError(f"table {path} {place} is {shown(found)}, expected an object with the columns as keys")
        rows.append(Row(place, found))
    return list(dict.fromkeys(name for row in rows for name in row.values)), rows


def _array(text: Any, path: Path) -> Iterator[tuple[str, Any]]:
    try:
        found = json.load(text, object_pairs_hook=_once)
    except RecursionError:
        raise DataError(f"table {path} is nested too deeply; expected an array of objects") from None
    except ValueError as err:
        raise DataError(f"table {path} is not an array of JSON objects: {err}") from None
    return ((f"entry {index}", entry) for index, entry in enumerate(found, start=1))


def _objects(text: Any, path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            yield f"line {number}", json.loads(line, object_pairs_hook=_once)
        except RecursionError:
            raise DataError(f"table {path} line {number} is nested too deeply; expected one object") from None
        except ValueError as err:
            what = getattr(err, "msg", None) or str(err)
            at = f" at character {err.pos + 1}" if isinstance(err, json.JSONDecodeError) else ""
            raise DataError(
                f"table {path} line {number} is not a JSON object by itself ({what}{at}): {shown(line.strip())}; "
                "expected one object a line, or one array of objects"
            ) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON text, whose keys may not repeat."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {shown(next(key for key in keys if keys.count(key) > 1))} occurs twice")
    return found


def _parquet(path: Path, wanted: Collection[str]) -> tuple[list[str], list[Row]]:
    import pyarrow
    from pyarrow import parquet

    try:
        about = parquet.read_metadata(path)
        unpacked = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
        for found, most, what in ((about.num_rows, MAX_ROWS, "rows"), (unpacked, MAX_UNPACKED, "bytes unpacked")):
            if found > most:
                raise DataError(f"table {path} has {found:,} {what}, more than the {most:,} allowed; split it")
        columns = about.schema.to_arrow_schema().names
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise DataError(f"table {path}: two columns are called {shown(twice[0])}; rename one")
        found = parquet.read_table(path, columns=[name for name in columns if name in wanted]).to_pylist()
    except (pyarrow.ArrowException, OSError) as err:
        raise DataError(f"table {path} cannot be read as .parquet: {first_line(err)}") from err
    return columns, [Row(f"row {index}", values) for index, values in enumerate(found, start=1)]
