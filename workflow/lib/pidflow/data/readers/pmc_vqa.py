"""PMC-VQA (arXiv 2305.10415), version 1 and 2: figures of papers with four choices.

Version 1 gives the right choice's text, under the name ``Answer`` or ``Anwser``, and its letter in ``Answer_label``;
version 2 gives the letter in ``Answer``. Choices carry their letters in front, as `` A:text``.
"""

import re
from pathlib import Path
from typing import Any

from pydantic import Field

from pidflow.data.items import Item, Reading
from pidflow.data.readers._cells import text_of
from pidflow.data.readers._published import Collected, lettered, letters, rows_of
from pidflow.errors import DataError, shown
from pidflow.plugins import settings
from pidflow.plugins.settings import Text

PLACES = ("table", "images")
_CHOICES = tuple(f"Choice {letter}" for letter in "ABCD")
_ANSWERS = ("Answer_label", "Answer", "Anwser")
_MARK = re.compile(r"^\s*([A-D])\s*[:.)]\s*")


class Settings(settings.Settings):
    """Where a table and its figures lie."""

    table: Text = Field(description="test_clean.csv, test.csv or test_2.csv as published.")
    images: Text = Field(description="The folder of figures.")


def folder(settings: Settings) -> Path:
    """The folder of figures."""
    return Path(settings.images).expanduser()


def tables(settings: Settings) -> list[Path]:
    """The table."""
    return [Path(settings.table).expanduser()]


def read(settings: Settings, *, select: str | None, count: int, seed: int) -> Reading:
    """At most ``count`` questions; ``select`` takes those of a ``split`` where the table has this column.

    Rows whose right answer is none of the choices, or is two of them, are left out.

    Raises
    ------
    DataError
        If the table is missing or not PMC-VQA's, naming the line.
    """
    (path,) = tables(settings)
    optional = [*_ANSWERS, "index", "split"]
    collected = Collected()
    for number, row in enumerate(rows_of(path, needed=("Figure_path", "Question", *_CHOICES), optional=optional)):
        place = f"{path.name} {row.place}"
        if select is not None and row.values.get("split") != select:
            continue
        try:
            _collect(collected, place, row.values, number)
        except DataError as err:
            raise DataError(f"{place}: {err}") from None
    return collected.reading(count, seed=seed, what=f"PMC-VQA{'' if select is None else f' in split {select}'}")


def _collect(collected: Collected, place: str, values: dict[str, Any], number: int) -> None:
    question, image = text_of(values, "Question"), text_of(values, "Figure_path")
    offered = tuple(_MARK.sub("", str(values[column])).strip() for column in _CHOICES)
    if not all(offered):
        collected.drop(place, question, "a choice is empty", letters(offered)[offered.index("")])
        return
    if len(set(offered)) < len(offered):
        collected.drop(place, question, "two choices are the same")
        return
    letter = _letter(values, offered)
    if letter is None:
        collected.drop(place, question, "the answer is none of the choices")
        return
    name = str(values.get("index") or number)
    options = letters(offered)
    collected.add(place, Item(name, image, image, lettered(question, offered), letter, options, offered=offered))


def _letter(values: dict[str, Any], offered: tuple[str, ...]) -> str | None:
    """The letter of the right choice, however the version gives it."""
    said = [str(values[column]).strip() for column in _ANSWERS if values.get(column)]
    if not said:
        raise DataError(f"no answer in {', '.join(map(shown, _ANSWERS))}")
    for answer in said:
        if re.fullmatch("[A-D]", answer):
            return answer
    text = _MARK.sub("", said[0]).strip()
    return letters(offered)[offered.index(text)] if text in offered else None
