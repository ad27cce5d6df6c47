"""The gate of the public numerics: what comes in is turned into plain arrays, or refused with one sentence.

Every public function takes its arrays through here and its settings through :mod:`pidflow.arguments`, so that all of
them accept the same things. Arrays may be lists, numpy arrays, pandas frames and columns, or tensors on any device, of
any float or integer type, with or without a gradient; booleans count as 0 and 1, and groups may be labelled by text.
What would be changed by the step into float64 is refused: masks, imaginary parts, text, dates, missing values, integers
beyond 2^53. A sentence names the argument, what was expected and what was found.
"""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from pidflow import arguments
from pidflow.errors import DataError, NumericsError, first_line

# Larger values overflow when they are squared.
LARGEST = 1e150
# A column whose range is a smaller part of its largest value varies by rounding alone.
ROUNDING = 8 * float(np.finfo(np.float64).eps)
_LARGEST_INTEGER = 2**53
_KINDS = {"c": "complex numbers", "U": "text", "S": "bytes", "M": "dates", "m": "time spans", "V": "records"}


def numbers(values: Any, name: str, *, finite: bool = True) -> np.ndarray:
    """Values of any shape as a float64 array; where not `finite`, NaN and infinity may stand for what is unknown.

    Raises
    ------
    DataError
        When they are no real numbers, not finite, or float64 cannot hold them.
    """
    array = _array(values, name)
    if array.dtype.kind in _KINDS:
        raise DataError(
            f"{name} holds {_KINDS[array.dtype.kind]}, expected real numbers; convert them on purpose first"
        )
    if array.dtype.kind == "O":
        array = _unboxed(array, values, name)
    if array.dtype.kind in "iu" and array.size and max(-int(array.min()), int(array.max())) > _LARGEST_INTEGER:
        raise DataError(f"{name} holds integers beyond 2^53, which float64 cannot tell apart; subtract an offset first")
    array = array.astype(np.float64, copy=False)
    if not finite:
        return array
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.unravel_index(int(np.argmin(np.isfinite(array))), array.shape))
        named = [f"{axis} {i}" for axis, i in zip(("row", "column"), where, strict=False)]
        place = f" at {', '.join(named)}" if 0 < len(where) < 3 else f" at index {where}"
        raise DataError(f"{name} is not finite{place} ({array[where]}); drop such rows from every block first")
    if array.size and max(-array.min(), array.max()) > LARGEST:
        raise DataError(f"{name} holds values beyond {LARGEST:g}, whose squares overflow; choose a larger unit")
    return array


def rows(values: Any, name: str) -> np.ndarray:
    """Rows as a float64 array ``(n, d)`` with ``n >= 1``; one axis counts as one column, ``d = 0`` as no column.

    Raises
    ------
    DataError
        As :func:`numbers`; when there is no row, or the shape is another.
    """
    array = numbers(values, name)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise DataError(f"{name} must have shape (n,) or (n, d), found {array.shape}")
    if not len(array):
        raise DataError(f"{name} has no rows (shape {array.shape}), expected at least one")
    # Sums round by the order in memory: the same rows give the same bits, however they were stored.
    return np.ascontiguousarray(array)


def same_rows(**blocks: Any) -> list[np.ndarray]:
    """Blocks as :func:`rows` of one common length.

    Raises
    ------
    DataError
        As :func:`rows`; when the lengths differ.
    """
    out = {name: rows(values, name) for name, values in blocks.items()}
    if len({len(values) for values in out.values()}) > 1:
        found = ", ".join(f"{name} {len(values)}" for name, values in out.items())
        raise DataError(f"every block must have the same rows, found {found}; align them by item first")
    return list(out.values())


def constant_columns(block: np.ndarray) -> np.ndarray:
    """Which columns of ``(n, d)`` do not vary beyond rounding, shape ``(d,)``."""
    low, high = block.min(axis=0), block.max(axis=0)
    return high - low <= np.maximum(ROUNDING * np.maximum(np.abs(low), np.abs(high)), 1.0 / LARGEST)


def group_index(values: Any, n: int, name: str = "groups") -> np.ndarray:
    """Groups of rows as consecutive integers, in the order of their labels; without labels every row is a group.

    Raises
    ------
    DataError
        When there is not one label a row, a label is missing, or labels of several types do not compare.
    """
    if values is None:
        return np.arange(n)
    array = labels(values, name)
    if array.shape != (n,):
        raise DataError(f"{name} must have shape ({n},), one label a row, found {array.shape}")
    return np.unique(array, return_inverse=True)[1]


def labels(values: Any, name: str) -> np.ndarray:
    """Labels (numbers, text, dates) as an array whose entries compare with each other.

    Raises
    ------
    DataError
        When a label is missing (None, NaN), or labels of several types do not compare.
    """
    array = _array(values, name)
    if array.dtype.kind in "cV":
        raise DataError(f"{name} holds {_KINDS[array.dtype.kind]}, expected labels: whole numbers or text")
    missing = np.flatnonzero(_missing(array))
    if missing.size:
        raise DataError(f"{name} has no label at row {missing[0]} ({missing.size} missing in all); label every row")
    # Numpy turns the numbers of a mixed list into text, and then 1 and "1" are one label.
    given = values if isinstance(values, list | tuple) and array.dtype.kind in "US" else array.ravel()
    kinds = sorted({type(label).__name__ for label in given}) if array.dtype.kind in "OUS" else []
    if len(kinds) > 1 or (array.dtype.kind == "O" and not _comparable(array)):
        raise DataError(f"{name} mixes or nests labels ({', '.join(kinds)}), expected all numbers or all text")
    return array


def _missing(array: np.ndarray) -> np.ndarray:
    """Which labels are None, NaN, NaT or pandas' NA: those that do not equal themselves."""
    if array.dtype.kind == "O":
        return np.array([not _equals_itself(label) for label in array.ravel()], dtype=bool)
    return (array != array).ravel()


def _equals_itself(label: Any) -> bool:
    try:
        return label is not None and bool(label == label)
    except (TypeError, ValueError):
        return False


def _comparable(array: np.ndarray) -> bool:
    return all(isinstance(label, str | bytes | int | float) for label in array.ravel())


def precision(values: Any) -> float:
    """Relative rounding of the type that numbers came in: 2^-8 for bfloat16, 2^-53 for float64 and lists.

    Numbers of float64 that all fit into float32 are taken to come from there.
    """
    kind = str(getattr(values, "dtype", "float64")).removeprefix("torch.")
    known = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-24}
    if kind in known:
        return known[kind]
    plain = numbers(values, "values")
    with np.errstate(over="ignore", under="ignore"):
        return known["float32"] if (plain.astype(np.float32) == plain).all() else 2.0**-53


def refuse_beyond_memory(needed: int, what: str) -> None:
    """Refuse before starting what would die of memory on the way.

    Raises
    ------
    NumericsError
        When `needed` bytes are more than there are.
    """
    available = memory()
    if needed > available:
        raise NumericsError(
            f"{what} would take about {needed / 1e9:.3g} GB of memory, found {available / 1e9:.3g} GB free; "
            "merge symbols, the labels of y above all, or use fewer rows"
        )


def memory() -> int:
    """Bytes of memory that can be had: those free on the machine, within the limit of its control group."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path, pattern in (
        ("/proc/meminfo", r"MemAvailable:\s+(\d+) kB"),
        ("/sys/fs/cgroup/memory.max", r"(\d+)"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", r"(\d+)"),
    ):
        with suppress(OSError):
            found = re.search(pattern, Path(path).read_text())
            free = min(free, int(found[1]) * (1024 if "kB" in pattern else 1)) if found else free
    return free


def _array(values: Any, name: str) -> np.ndarray:
    """Values as a plain numpy array of any type, without a mask, a gradient or a device."""
    if np.ma.isMaskedArray(values):
        if np.ma.getmaskarray(values).any():
            raise DataError(f"{name} is masked in {int(np.ma.count_masked(values))} places; drop such rows first")
        values = values.data
    if hasattr(values, "detach") and hasattr(values, "is_floating_point"):
        values = _from_tensor(values, name)
    elif hasattr(values, "tocsr") or hasattr(values, "sparse"):
        values = _dense(values, name)
    elif hasattr(values, "to_numpy"):
        values = values.to_numpy()
    elif values is None or isinstance(values, dict | set | frozenset | str | bytes) or hasattr(values, "__next__"):
        raise DataError(f"{name} must be an array, found {arguments.shown(values)}")
    try:
        array = np.asarray(values)
    except Exception as err:
        raise DataError(f"{name} is no array: {first_line(err)}; expected rows of equal length") from err
    return array


def _from_tensor(tensor: Any, name: str) -> np.ndarray:
    """Values of a tensor, without importing the library it comes from."""
    if str(getattr(tensor, "layout", "torch.strided")) != "torch.strided":
        raise DataError(f"{name} is a sparse tensor; pass {name}.to_dense()")
    try:
        plain = tensor.detach().cpu()
        return (plain.double() if plain.is_floating_point() else plain).resolve_conj().numpy()
    except Exception as err:
        raise DataError(f"{name} is a tensor that holds no plain numbers: {first_line(err)}") from err


def _dense(values: Any, name: str) -> np.ndarray:
    if hasattr(values, "tocsr"):
        raise DataError(f"{name} is a sparse matrix; pass {name}.toarray()")
    return values.to_numpy()


def _unboxed(array: np.ndarray, values: Any, name: str) -> np.ndarray:
    """Numbers that came as Python objects (mixed columns of a frame), as float64."""
    for index, entry in np.ndenumerate(array):
        if not isinstance(entry, Real | Decimal | np.bool_):
            where = f" at index {index}" if index else ""
            hint = (
                "; rows may be of unequal length" if isinstance(entry, Sequence) and not isinstance(entry, str) else ""
            )
            raise DataError(f"{name} must hold real numbers, found {arguments.shown(entry)}{where}{hint}")
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as err:
        raise DataError(f"{name} holds numbers that float64 cannot: {first_line(err)}") from err
