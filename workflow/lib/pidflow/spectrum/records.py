"""The spectrum of a task as its file holds it, ``results/spectrum/{model}/{task}.json``; checked when read."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from json import dumps
from typing import Any

from pidflow.errors import DataError, shown
from pidflow.names import ATOMS, QUANTITIES
from pidflow.spectrum.results import Spectrum, TaskSpectrum

SCHEMA_VERSION = 2
_ROUNDING = 1e-6


def to_json(found: TaskSpectrum) -> dict[str, Any]:
    """The mapping that a file holds.

    Raises
    ------
    DataError
        When a record contradicts itself: what could not be read again is not written.
    """
    _check(found, where=f"spectrum of {found.model}/{found.task}")
    return {"schema_version": SCHEMA_VERSION, "found": asdict(found)}


def from_json(record: Mapping[str, Any], *, where: str) -> TaskSpectrum:
    """The spectrum in a file's mapping; `where` is the file's path, for errors.

    Raises
    ------
    DataError
        When the record is of another version, lacks something, holds what is no number where a number belongs, or
        contradicts itself.
    """
    version = record.get("schema_version") if isinstance(record, Mapping) else None
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{where}: expected a spectrum of schema version {SCHEMA_VERSION}, found {shown(version)}; delete the file "
            "and run again"
        )
    from pydantic import ValidationError

    try:
        found = _validator().validate_json(dumps([record.get("found")]))[0]
    except ValidationError as err:
        first = err.errors()[0]
        value = "nothing" if first["type"] == "missing" else shown(first["input"])
        field = ".".join(map(str, first["loc"][1:]))
        raise DataError(
            f"{where}: {field}: {first['msg']}, found {value}; the file is damaged, delete it and run again"
        ) from err
    _check(found, where=where)
    return found


@cache
def _validator():
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(list[TaskSpectrum], config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))


def _check(found: TaskSpectrum, *, where: str) -> None:
    for place, each in enumerate(found.spectra):
        problem = _contradiction(each)
        if (each.model, each.task) != (found.model, found.task):
            problem = f"is about {each.model}/{each.task}, the file about {found.model}/{found.task}"
        if problem:
            raise DataError(f"{where}: spectra.{place} {problem}; delete the file and run again")
    for each in found.passes:
        if len(each.right) != len(each.right_published) or not all(0 <= v <= 1 for v in each.right):
            raise DataError(
                f"{where}: pass {each.key} has shares of right answers that are none; delete it and run again"
            )


def _contradiction(found: Spectrum) -> str | None:
    for name in ("bits", "replicates"):
        if set(getattr(found, name)) != set(QUANTITIES):
            return f"has {name} of {', '.join(getattr(found, name)) or 'nothing'}, expected {', '.join(QUANTITIES)}"
    if len({len(values) for values in found.replicates.values()}) != 1:
        return "has more replicates of one quantity than of another"
    total = sum(found.bits[atom] for atom in ATOMS)
    if abs(total - found.raw_sum) > _ROUNDING:
        return f"has atoms that add up to {total:.6g}, not to its raw sum {found.raw_sum:.6g}"
    if found.mode == "repaired" and abs(total - found.bits["mi_joint"]) > _ROUNDING:
        return f"has atoms that add up to {total:.6g}, not to the joint information {found.bits['mi_joint']:.6g}"
    if (found.lens is None) != (found.layer is None):
        return "has a layer without a lens, or a lens without a layer"
    return None
