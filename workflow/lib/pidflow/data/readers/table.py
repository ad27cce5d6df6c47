"""Any table of questions: one row a question, in CSV, JSON lines or parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pidflow.data.items import Item, sample
from pidflow.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd  # half a second to import, and every start of the workflow imports the readers

_REQUIRED = ("image", "question", "answer")
_OPTIONAL = ("options", "boxes")


def items(path: Path, columns: dict[str, str], *, select: str | None, count: int, seed: int) -> list[Item]:
    """At most ``count`` items of a table.

    Parameters
    ----------
    path
        The table: ``.csv``, ``.jsonl`` or ``.parquet``. All cells are read as text; lists are JSON in CSV.
    columns
        Name in the table of each of image, question, answer, options, boxes, task that goes by another name.
    select
        Keep the rows whose ``task`` column has this value; every row if None.
    count, seed
        Largest number of items, drawn without replacement with this seed.

    Raises
    ------
    DataError
        If the file is missing or unreadable, a column is missing, or a cell is empty where it may not be.
    """
    frame = _read(path)
    name = {field: columns.get(field, field) for field in (*_REQUIRED, *_OPTIONAL, "task")}
    missing = [name[field] for field in _REQUIRED if name[field] not in frame]
    if select is not None and name["task"] not in frame:
        missing.append(name["task"])
    if missing:
        raise DataError(f"{path}: no column '{missing[0]}', found: {', '.join(map(str, frame.columns))}; set columns")
    if select is not None:
        frame = frame[frame[name["task"]] == select]
    found = []
    for row, record in frame.iterrows():
        values = {field: record[name[field]] for field in _REQUIRED}
        for field, value in values.items():
            if not isinstance(value, str) or not value.strip():
                raise DataError(f"{path} row {row}: '{name[field]}' is {value!r}, expected text")
        found.append(
            Item(
                item_id=str(row),
                image_id=values["image"],
                image_path=values["image"],
                question=values["question"].strip(),
                answer=values["answer"].strip(),
                options=tuple(str(option) for option in _list(record, name["options"], path, row)),
                boxes=tuple(_box(box, path, row) for box in _list(record, name["boxes"], path, row)),
            )
        )
    return sample(found, count, seed=seed)


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise DataError(f"table {path} is missing; check datasets in the config")
    try:
        match path.suffix:
            case ".csv":
                return pd.read_csv(path, dtype=str, keep_default_na=False)
            case ".jsonl":
                with path.open(encoding="utf-8") as lines:
                    return pd.DataFrame([json.loads(line) for line in lines if line.strip()])
            case ".parquet":
                return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise DataError(f"table {path} cannot be read as {path.suffix}: {error}") from error
    raise ConfigError(f"table {path}: expected a .csv, .jsonl or .parquet file, found '{path.suffix}'")


def _list(record: pd.Series, column: str, path: Path, row) -> list:
    value = record.get(column)
    if value is None or (isinstance(value, float) and value != value) or (isinstance(value, str) and not value):
        return []
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise DataError(f"{path} row {row}: '{column}' is {value!r}, expected a JSON list") from None
    if not hasattr(value, "__iter__") or isinstance(value, dict):
        raise DataError(f"{path} row {row}: '{column}' is {value!r}, expected a list")
    return list(value)


def _box(box, path: Path, row) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = (float(value) for value in box)
    except (TypeError, ValueError):
        raise DataError(f"{path} row {row}: box {box!r}, expected [x, y, width, height]") from None
    return (x, y, width, height)
