"""Strict JSON text of the values that results are made of."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from pidflow.errors import DataError


def to_json(value: Any, *, indent: int | None) -> str:
    """JSON text of a value (dataclasses, NumPy numbers and arrays, and paths included).

    Raises
    ------
    DataError
        If it holds NaN or infinity, which JSON cannot say.
    """
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
