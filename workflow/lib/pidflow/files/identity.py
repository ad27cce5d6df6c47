"""What a result file is about and what it was made from, compared in one place with what was asked for."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pidflow.errors import DataError

# What two conditions must have in common before one is subtracted from the other.
_SHARED = ("model", "task", "revision", "prompt", "dtype", "items", "settings")


@dataclass(frozen=True)
class Identity:
    """What a file is about and what it was made from; None where that is not known or not asked for.

    Attributes
    ----------
    model, task, condition
        The ids of the unit.
    revision
        Commit or digest of the weights.
    prompt
        Digest of the prompt.
    dtype
        Precision in which the model ran.
    items
        Digest of the questions.
    settings
        Digest of the settings that made the file, the intervention apart (see :func:`digest_of`).
    made_from
        Checksum of the file that this one was computed from.
    """

    model: str | None = None
    task: str | None = None
    condition: str | None = None
    revision: str | None = None
    prompt: str | None = None
    dtype: str | None = None
    items: str | None = None
    settings: str | None = None
    made_from: str | None = None

    def known(self) -> dict[str, str]:
        """The fields that are known, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, where: str) -> "Identity":
        """The identity that a file recorded.

        Raises
        ------
        DataError
            If it is no mapping of known fields to text.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(values, Mapping) or not all(
            name in names and isinstance(value, str) for name, value in values.items()
        ):
            raise DataError(
                f"{where}: its identity is {str(values)[:80]!r}, expected text for some of {', '.join(names)}; "
                "delete it and run again"
            )
        return cls(**values)

    def check(self, expected: "Identity", *, where: str) -> None:
        """Refuse a file that is about something else than what was asked for.

        Raises
        ------
        DataError
            If a field of ``expected`` is known and this identity differs in it, or lacks it; names both sides.
        """
        wanted = expected.known()
        wrong = [name for name in wanted if getattr(self, name) != wanted[name]]
        if wrong:
            raise DataError(
                f"{where}: was made for {_sides(self, wrong)}, asked for is {_sides(expected, wrong)}; "
                "the file lies at the wrong place or is out of date, delete it and run again"
            )

    def check_comparable(self, other: "Identity", *, where: str, other_where: str) -> None:
        """Refuse two conditions that differ in more than the condition.

        Raises
        ------
        DataError
            If model, task, revision, prompt, dtype, items or settings differ; names both sides.
        """
        wrong = [name for name in _SHARED if getattr(self, name) != getattr(other, name)]
        if wrong:
            raise DataError(
                f"{where} and {other_where} cannot be compared: one was made with {_sides(self, wrong)}, the other "
                f"with {_sides(other, wrong)}; delete the older and run again"
            )


def digest_of(value: Any) -> str:
    """Digest of a value of plain types (mappings in any order, lists, text, numbers), 16 characters."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def _sides(identity: Identity, names: list[str]) -> str:
    words = {name: "the checksum of its source" if name == "made_from" else name for name in names}
    return ", ".join(
        f"{words[name]} '{value}'" if (value := getattr(identity, name)) is not None else f"no {words[name]}"
        for name in names
    )
