"""Cells of a table as text, answers offered and boxes, or one sentence that states why not."""

import json
import math
import re
from typing import Any

from pidflow.data.items import Box
from pidflow.errors import DataError, shown

SIDES = "[x, y, width, height]"


def text_of(values: dict[str, Any], column: str) -> str:
    """A cell that must hold text, without the blanks around it."""
    if column not in values:
        raise DataError(f"{shown(column)} is missing")
    value = values[column]
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{shown(column)} is {shown(value)}, expected text")
    return _whole(value.strip(), column)


def _whole(text: str, column: str) -> str:
    """The text itself, if it can be stored."""
    if "\0" in text or re.search("[\ud800-\udfff]", text):
        raise DataError(f"{shown(column)} is {shown(text)}, which holds characters that are no text")
    return text


def as_text(value: Any) -> str | None:
    """A text or whole number as text; None for anything else."""
    if isinstance(value, float) and value.is_integer():  # whole numbers of a column with gaps, in parquet
        value = int(value)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def word_of(values: dict[str, Any], column: str) -> str:
    """A cell that must hold text or a whole number, as text."""
    found = as_text(values.get(column))
    if found is None or not found.strip():
        raise DataError(f"{shown(column)} is {shown(values.get(column))}, expected text or a whole number")
    return _whole(found, column)


def options_of(values: dict[str, Any], names: Any, missing: list[str]) -> tuple[str, ...]:
    if names is None:
        return ()
    if isinstance(names, str):
        found = _list(values.get(names), names, "a list of answers")
        column = names
    else:
        cells = [values.get(name) for name in names]
        filled = [not _is_missing(cell, missing) for cell in cells]
        if filled != sorted(filled, reverse=True):
            gap = filled.index(False)
            raise DataError(f"{shown(names[gap])} is empty, but a later option is not")
        found = cells[: sum(filled)]
        column = names[0]
    options = []
    for value in found:
        text = as_text(value)
        if text is None or not text.strip():
            raise DataError(f"{shown(column)} has the option {shown(value)}, expected text")
        if text.strip() in options:
            raise DataError(f"{shown(column)} offers {shown(text)} twice; the options of a question must differ")
        options.append(_whole(text.strip(), column))
    return tuple(options)


def objects_of(values: dict[str, Any], names: Any, missing: list[str]) -> tuple[str, ...]:
    """Names of objects: a cell with a list or one name, or a name in each of several columns; gaps are passed over."""
    if names is None:
        return ()
    cells = [values.get(name) for name in ([names] if isinstance(names, str) else names)]
    if isinstance(names, str) and isinstance(cells[0], str) and not cells[0].lstrip().startswith("["):
        found = cells
    else:
        found = _list(cells[0], names, "a list of names") if isinstance(names, str) else cells
    column = names if isinstance(names, str) else names[0]
    objects = []
    for value in found:
        if _is_missing(value, missing):
            continue
        text = as_text(value)
        if text is None or not text.strip():
            raise DataError(f"{shown(column)} has the name {shown(value)}, expected text")
        objects.append(_whole(text.strip(), column))
    return tuple(dict.fromkeys(objects))


def boxes_of(values: dict[str, Any], names: Any, missing: list[str]) -> tuple[Box, ...]:
    if names is None:
        return ()
    if isinstance(names, str):
        return tuple(_box(box, names) for box in _list(values.get(names), names, f"a list of {SIDES}"))
    boxes = []
    for four in [names] if isinstance(names[0], str) else names:
        cells = [values.get(name) for name in four]
        gaps = [_is_missing(cell, missing) for cell in cells]
        if not any(gaps):
            boxes.append(_box(cells, ", ".join(four)))
        elif not all(gaps):
            raise DataError(f"{shown(four[gaps.index(True)])} is empty, but the other sides of its box are not")
    return tuple(boxes)


def _is_missing(value: Any, missing: list[str]) -> bool:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return isinstance(value, str) and value.strip() in missing


def _list(value: Any, column: str, expected: str) -> list[Any]:
    """The entries of a cell with a list, which is JSON where cells are text; an empty cell has none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    found = value
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            found = None
    if not isinstance(found, list):
        raise DataError(f"{shown(column)} is {shown(value)}, expected {expected} (JSON where cells are text)")
    return found


def _box(box: Any, column: str) -> Box:
    refused = f"{shown(column)} has the box {shown(box)}"
    sides = box if isinstance(box, list | tuple) and len(box) == 4 else []
    try:
        x, y, width, height = (float(side) for side in sides if not isinstance(side, bool))
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{refused}, expected {SIDES}") from None
    if not all(map(math.isfinite, (x, y, width, height))):
        raise DataError(f"{refused}, expected {SIDES} in finite numbers")
    if x < 0 or y < 0 or width <= 0 or height <= 0:
        raise DataError(f"{refused}, expected {SIDES} with x and y of 0 or more and a positive width and height")
    if max(x, y, width, height) <= 1:
        raise DataError(f"{refused}, which looks like shares of the picture, expected {SIDES} in pixels")
    return (x, y, width, height)
