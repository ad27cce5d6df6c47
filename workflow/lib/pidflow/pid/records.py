"""Decompositions as files hold them: written from the record, validated when read.

A file holds the decompositions of one layer, one for each estimator and definition. Field names are those of
:class:`pidflow.pid.results.Decomposition` and of what it holds, with the two sources called vision and language.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from json import dumps
from typing import Any

import numpy as np

from pidflow.errors import DataError, shown
from pidflow.names import ATOMS, INFORMATIONS, INTACT, NUMBERED, OWN, TARGETS
from pidflow.pid.results import QUANTITIES, UNBOUNDED, Decomposition
from pidflow.stats import jackknife_se

SCHEMA_VERSION = 4

_WORDS = {number: word for word, number in NUMBERED.items()}
# What a record may lack; any other null stands for a number that does not exist.
_OPTIONAL = ("twin", "uncorrected")
# How the four atoms make up the informations.
_SUMS = {
    "mi_1": ("redundancy", "unique_1"),
    "mi_2": ("redundancy", "unique_2"),
    "mi_12": tuple(NUMBERED[atom] for atom in ATOMS),
}
# Numbers that must agree were computed from each other in float64; this is far above the rounding of any of them.
_ROUNDING = 1e-6


def to_json(found: Sequence[Decomposition]) -> dict[str, Any]:
    """The decompositions of one layer as a mapping ready for JSON.

    Raises
    ------
    DataError
        When a record contradicts itself: what could not be read again is not written. Numbers of an estimate whose
        information has no bound become null.
    """
    for place, each in enumerate(found):
        _check(each, where=f"decompositions.{place}")
    return {
        "schema_version": SCHEMA_VERSION,
        "decompositions": [_nulls(_renamed(asdict(each), _WORDS)) for each in found],
    }


def from_json(record: Mapping[str, Any], *, where: str) -> list[Decomposition]:
    """The decompositions in a record of one layer.

    Parameters
    ----------
    record
        The mapping that a file holds.
    where
        Path of the file, for errors.

    Raises
    ------
    DataError
        When the record is of another version, lacks something, holds what is no number where a number belongs, or
        contradicts itself; the sentence names the file and the field.
    """
    version = record.get("schema_version") if isinstance(record, Mapping) else None
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{where}: expected a decomposition of schema version {SCHEMA_VERSION}, found {shown(version)}; "
            "delete the file and run again"
        )
    # Heavy to import, and those who only estimate read no records.
    from pydantic import ValidationError

    listed = _renamed(record.get("decompositions"), NUMBERED)
    without = isinstance(listed, list) and any(map(_without_numbers, listed))
    if without:
        listed = [_numbers(each) if _without_numbers(each) else each for each in listed]
    try:
        found = _validator(without).validate_json(dumps(listed))
    except ValidationError as err:
        first = err.errors()[0]
        field = ".".join(str(_WORDS.get(part, part)) for part in ("decompositions", *first["loc"]))
        value = "nothing" if first["type"] == "missing" else shown(first["input"])
        raise DataError(
            f"{where}: {field}: {first['msg']}, found {value}; the file is damaged, delete it and run again"
        ) from err
    for place, each in enumerate(found):
        _check(each, where=f"{where}: decompositions.{place}")
    return found


@cache
def _validator(without_numbers: bool):
    from pydantic import ConfigDict, TypeAdapter

    # The dataclasses of the record inherit this.
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=without_numbers)
    return TypeAdapter(list[Decomposition], config=config)


def _without_numbers(record: Any) -> bool:
    """Whether a record states that its information has no bound."""
    estimate = record.get("estimate") if isinstance(record, Mapping) else None
    return isinstance(estimate, Mapping) and estimate.get("union_correction") == UNBOUNDED


def _nulls(value: Any) -> Any:
    """The value with null, which JSON can say, for each NaN in it."""
    if isinstance(value, Mapping):
        return {key: _nulls(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_nulls(inner) for inner in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def _numbers(value: Any, key: str = "") -> Any:
    """The value with NaN for each null in it that stands for a number."""
    if isinstance(value, Mapping):
        return {name: _numbers(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_numbers(inner) for inner in value]
    return np.nan if value is None and key not in _OPTIONAL else value


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The value with the keys of every mapping in it renamed, where `names` has another name for them."""
    if isinstance(value, Mapping):
        return {names.get(key, key): _renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(inner, names) for inner in value]
    return value


def _check(found: Decomposition, *, where: str) -> None:
    """Refuse a record that contradicts itself."""
    for field, problem in _contradictions(found):
        words = ".".join(_WORDS.get(part, part) for part in field.split("."))
        raise DataError(f"{where}.{words} {problem}; the record contradicts itself, delete the file and run again")


def _contradictions(found: Decomposition) -> Iterator[tuple[str, str]]:
    """Fields that cannot be what they are beside the others, and why."""
    estimate, twin = found.estimate, found.twin
    if estimate.bounded and not np.isfinite(list(_floats(asdict(found)))).all():
        yield "estimate", "holds a number that is not finite"
    for name, at_least in (("layer", 0), ("images", 1), ("dropped", 0)):
        if getattr(found, name) < at_least:
            yield name, f"is {getattr(found, name)}, expected at least {at_least}"
    if found.target not in TARGETS or (found.condition == INTACT and found.target != OWN):
        yield "target", f"is '{found.target}' of condition '{found.condition}', expected one of: {', '.join(TARGETS)}"
    if min(found.dims) < 0:
        yield "dims", f"are {found.dims}, no block has fewer columns than none"
    if not found.images <= estimate.n:
        yield "images", f"are {found.images} behind {estimate.n} rows"
    informations = [NUMBERED[name] for name in INFORMATIONS]
    for name, keys in (("se", QUANTITIES), ("raw", QUANTITIES), ("replicates", QUANTITIES), ("mi_bias", informations)):
        yield from _keys(f"estimate.{name}", getattr(estimate, name), keys)
    for name in ("truth", "bits", "se") if twin else ():
        yield from _keys(f"twin.{name}", getattr(twin, name), QUANTITIES)
    before = estimate.uncorrected
    for name in ("bits", "se") if before else ():
        yield from _keys(f"estimate.uncorrected.{name}", getattr(before, name), QUANTITIES)
    lengths = {len(values) for values in estimate.replicates.values()}
    if len(lengths) > 1 or min(lengths) < 2:
        yield "estimate.replicates", f"are {sorted(lengths)} a quantity, expected as many of each and two at least"
    if twin and twin.groups != estimate.groups:
        yield "twin.groups", f"are {twin.groups}, the estimate has {estimate.groups}"
    bits = {name: getattr(estimate, name) for name in QUANTITIES}
    for where, values in (
        ("estimate", bits),
        ("estimate.raw", estimate.raw),
        ("estimate.replicates", estimate.replicates),
        *([("estimate.uncorrected.bits", before.bits)] if before else []),
        *((("twin.truth", twin.truth), ("twin.bits", twin.bits)) if twin else ()),
    ):
        yield from _sums(where, values)
    yield from _errors(found)
    if not 0 < estimate.p_value <= 1:
        yield "estimate.p_value", f"is {estimate.p_value}, expected a share above 0 and up to 1"
    if _apart(estimate.union, estimate.mi_1 + estimate.mi_2 - estimate.redundancy):
        yield "estimate.union", f"is {estimate.union} bits, the atoms say {estimate.mi_1 + estimate.unique_2:.6g}"
    if estimate.clipped != (abs(estimate.union - estimate.union_corrected) > 1e-12):
        yield (
            "estimate.clipped",
            f"is {estimate.clipped}, the union went from {estimate.union_corrected} to {estimate.union}",
        )
    if not estimate.ratio > 0:
        yield "estimate.ratio", f"is {estimate.ratio}, rows and columns are not negative"


def _keys(where: str, values: Mapping[str, Any], expected: Sequence[str]) -> Iterator[tuple[str, str]]:
    if set(values) != set(expected):
        lacking = [_WORDS[name] for name in expected if name not in values]
        extra = [name for name in values if name not in expected]
        yield where, f"lacks {', '.join(lacking) or 'nothing'} and has {', '.join(extra) or 'nothing'} beside"


def _sums(where: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Atoms that do not add up to the informations; each value a number or a list of replicates."""
    for information, parts in _SUMS.items():
        total = np.sum([values[part] for part in parts], axis=0)
        if _apart(values[information], total):
            shown_total = f"{total:.6g}" if np.ndim(total) == 0 else "other numbers"
            yield (
                f"{where}.{information}",
                f"is {shown(values[information])}, its atoms ({', '.join(_WORDS[part] for part in parts)}) "
                f"add up to {shown_total}",
            )


def _errors(found: Decomposition) -> Iterator[tuple[str, str]]:
    """Standard errors that are none, or not those of their replicates."""
    estimate, twin = found.estimate, found.twin
    errors = [
        ("estimate.se", estimate.se),
        ("missed", {"se": found.missed.se}),
        *([("estimate.uncorrected.se", estimate.uncorrected.se)] if estimate.uncorrected else []),
        *([("twin.se", twin.se)] if twin else []),
    ]
    for where, values in errors:
        for name, se in values.items():
            if se < 0:
                yield f"{where}.{name}", f"is {se}, a standard error is not negative"
    for name in QUANTITIES:
        if _apart(estimate.se[name], spread := float(jackknife_se(estimate.replicates[name]))):
            yield f"estimate.se.{name}", f"is {estimate.se[name]}, its replicates scatter by {spread:.6g}"


def _apart(a: Any, b: Any) -> bool:
    """Whether two numbers, or arrays of one shape, differ by more than rounding."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return a.shape != b.shape or not np.allclose(a, b, rtol=_ROUNDING, atol=_ROUNDING, equal_nan=True)


def _floats(value: Any) -> Iterator[float]:
    """Every float in a value."""
    if isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _floats(inner)
    elif isinstance(value, float):
        yield value
