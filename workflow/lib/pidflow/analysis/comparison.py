"""Two runs beside each other: what differs in how they were made, and in their tables, a line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pidflow.errors import shown

if TYPE_CHECKING:
    import pandas as pd

# Parts of a record of provenance, in the order in which their differences are listed, and what a line calls them.
PARTS = {
    "seed": "seed",
    "repository": "repository",
    "configuration": "configuration",
    "code": "code",
    "versions": "version",
    "machine": "machine",
    "inputs": "input",
}
_ABSENT = object()
_LENGTH = 64  # of a value in a line
_DIGEST = 12  # characters of a digest that a line shows
_IDS = ("model", "task", "condition", "layer", "estimator", "definition", "atom")


def record_differences(other: Mapping[str, Any], this: Mapping[str, Any]) -> list[str]:
    """How two runs were made differently, a line for each value: where it stands, then, the other's → this one's."""
    lines = []
    for part, word in PARTS.items():
        there, here = flat(other.get(part)), flat(this.get(part))
        for place in dict.fromkeys([*there, *here]):
            old, new = there.get(place, _ABSENT), here.get(place, _ABSENT)
            if old is _ABSENT or new is _ABSENT or old != new:
                lines.append(f"{f'{word} {place}'.strip()}: {_said(old)} → {_said(new)}")
    return lines


def flat(value: Any, place: str = "") -> dict[str, Any]:
    """Values of nested mappings by the path of keys that leads to each; an empty mapping is a value."""
    if not isinstance(value, Mapping) or not value:
        return {place: value}
    found = {}
    for key, inner in value.items():
        found |= flat(inner, f"{place}.{key}" if place else str(key))
    return found


def _said(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    if isinstance(value, str):
        kind, _, digits = value.rpartition(":")
        if len(digits) > _DIGEST and set(digits) <= set("0123456789abcdef"):
            return f"{kind}:{digits[:_DIGEST]}…" if kind else f"{digits[:_DIGEST]}…"
    return value if isinstance(value, str) and len(value) <= _LENGTH else shown(value, length=_LENGTH)


def table_differences(name: str, other: pd.DataFrame, this: pd.DataFrame) -> list[str]:
    """What two tables of one name hold differently, a line a column; none if all values are the same.

    Rows are compared in their order. Numbers are the same where they are equal or both missing.
    """
    lines = [f"table {name}: column {each} → nothing" for each in other if each not in this]
    lines += [f"table {name}: nothing → column {each}" for each in this if each not in other]
    if len(other) != len(this):
        return [*lines, f"table {name}: {len(other)} rows → {len(this)} rows"]
    for column in other:
        if column in this:
            found = _column_difference(other[column], this[column])
            lines += [] if found is None else [f"table {name}, column {column}: {found(this)}"]
    return lines


def _column_difference(there: pd.Series, here: pd.Series):
    """What differs in a column, as a function of the table that shows it; None for nothing."""
    numbers = all(each.dtype.kind in "fiub" for each in (there, here))
    old, new = (
        each.to_numpy(dtype=float) if numbers else each.astype(str).to_numpy(dtype=object) for each in (there, here)
    )
    differ = old != new
    if numbers:
        differ &= ~(np.isnan(old) & np.isnan(new))
    if not differ.any():
        return None
    if numbers:
        size = np.where(differ, np.abs(new - old), -1.0)
        size[np.isnan(size)] = np.inf
        row = int(size.argmax())
        largest = f"the largest difference {size[row]:.2g}, {_number(old[row])} → {_number(new[row])}"
    else:
        row = int(differ.argmax())
        largest = f"first {shown(old[row], length=_LENGTH)} → {shown(new[row], length=_LENGTH)}"
    return lambda table: f"{differ.sum()} of {len(old)} rows differ, {largest} ({_row(table, row)})"


def _number(value: float) -> str:
    return f"{value:.6g}"


def _row(table: pd.DataFrame, row: int) -> str:
    """A row by its ids."""
    ids = [f"{name} {table[name].iloc[row]}" for name in _IDS if name in table]
    return ", ".join([f"row {row}", *ids])
