"""Tables of VLMEvalKit (MMBench and some 240 more): one TSV with its pictures inside.

``image`` holds a picture in base64, or the index of the row that has it; ``image_path`` names a file instead. Options
stand in the columns ``A``, ``B``, … of which later ones may be empty; without any the question is open. Circular copies
of a question (indices that are equal modulo a million) show the same picture, so that no fold parts them.
"""

import base64
import binascii
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from pydantic import Field

from pidflow.data.items import Item, Reading
from pidflow.data.pictures import content_digest
from pidflow.data.readers._cells import text_of, word_of
from pidflow.data.readers._published import YES_NO, Collected, lettered, letters, rows_of
from pidflow.data.readers._rows import Row
from pidflow.errors import DataError, shown, shown_path
from pidflow.plugins import settings
from pidflow.plugins.settings import Text

PLACES = ("table", "images")
_LONGEST_INDEX = 64
_CIRCULAR = 1_000_000
_OPTIONS = tuple(ascii_uppercase)
_OPTIONAL = ("hint", "answer", "image", "image_path")
_MISSING = ("", "nan", "none")


class Settings(settings.Settings):
    """A table, what its task selects by, and where pictures lie if they are not inside."""

    table: Text = Field(description="A .tsv of VLMEvalKit, such as MMBench_DEV_EN.tsv.")
    images: Text | None = Field(default=None, description="The folder that image_path is relative to, if used.")
    select_by: Text = Field(default="category", description="The column that a task's select is looked up in.")
    circular: bool = Field(default=False, description="Whether circular copies of a question count as questions.")


def folder(settings: Settings) -> Path | None:
    """The folder of pictures; None: they are in the table."""
    return None if settings.images is None else Path(settings.images).expanduser()


def tables(settings: Settings) -> list[Path]:
    """The table."""
    return [Path(settings.table).expanduser()]


def read(settings: Settings, *, select: str | None, count: int, seed: int) -> Reading:
    """At most ``count`` questions whose column ``select_by`` is ``select``; None takes all.

    Left out with the reason: rows without an answer, with several pictures or none, with options that are the same or
    have a gap, and circular copies unless they are asked for.

    Raises
    ------
    DataError
        If the table is missing or damaged, no row is selected, or a picture is not one; naming the line.
    """
    (path,) = tables(settings)
    rows = rows_of(path, needed=("index", "question"), optional=(*_OPTIONAL, *_OPTIONS, settings.select_by))
    held = {word_of(row.values, "index"): row for row in rows}
    if len(held) < len(rows):
        raise DataError(f"{shown_path(path)}: an index stands in two rows; indices must be unique")
    collected = Collected()
    taken = [row for row in rows if select is None or row.values.get(settings.select_by) == select]
    if not taken:
        there = sorted({str(row.values.get(settings.select_by)) for row in rows})[:12]
        raise DataError(
            f"{shown_path(path)}: no row's {shown(settings.select_by)} is {shown(select)}, found {', '.join(there)}"
        )
    for row in taken:
        place = f"{path.name} {row.place}"
        try:
            reason = _unfit(row, held, settings)
            if reason:
                collected.drop(place, row.values.get("question"), *reason)
            else:
                collected.add(place, _item(row.values, held, settings))
        except DataError as err:
            raise DataError(f"{place}: {err}") from None
    return collected.reading(count, seed=seed, what=f"{path.name}, {select or 'all rows'}")


def _said(values: dict[str, Any], column: str) -> str:
    """A cell as text; nothing if it is missing."""
    text = str(values.get(column) or "").strip()
    return "" if text.casefold() in _MISSING else text


def _unfit(row: Row, held: dict[str, Row], settings: Settings) -> tuple[str, ...]:
    """Why a row is no question that can be asked here, with what is special to it; nothing if it is."""
    values = row.values
    index = word_of(values, "index")
    original = str(int(index) % _CIRCULAR) if index.isdigit() else index
    if not settings.circular and original != index and original in held:
        return "a circular copy", f"of question {original}"
    if not _said(values, "answer"):
        return ("the source gives no answer",)
    if _said(values, "image").startswith("[") or _said(values, "image_path").startswith("["):
        return ("it shows several pictures",)
    if not (_said(values, "image") or _said(values, "image_path")):
        return ("it shows no picture",)
    offered = [_said(values, option) for option in _OPTIONS]
    filled = [bool(text) for text in offered]
    if filled != sorted(filled, reverse=True):
        return "an option is empty, but a later one is not", _OPTIONS[filled.index(False)]
    texts = offered[: sum(filled)]
    if len(set(texts)) < len(texts):
        return ("two options are the same",)
    if texts and _said(values, "answer") not in letters(texts):
        return "the answer is none of the options' letters", shown(_said(values, "answer"))
    return ()


def _item(values: dict[str, Any], held: dict[str, Row], settings: Settings) -> Item:
    offered = tuple(filter(None, (_said(values, option) for option in _OPTIONS)))
    question, answer = text_of(values, "question"), _said(values, "answer")
    if not offered and answer.casefold() in YES_NO:
        answer, options = answer.casefold(), YES_NO
    else:
        options = letters(offered)
    image, picture = _picture(values, held, settings)
    return Item(
        item_id=word_of(values, "index"),
        image_id=image,
        image_path=image,
        question=lettered(question, offered, hint=_said(values, "hint")),
        answer=answer,
        options=options,
        offered=offered,
        picture=picture,
    )


def _picture(values: dict[str, Any], held: dict[str, Row], settings: Settings) -> tuple[str, bytes | None]:
    """The name of a row's picture, and its bytes where the table has them."""
    if settings.images is not None and _said(values, "image_path"):
        return _said(values, "image_path"), None
    cell = _said(values, "image")
    if not cell:
        raise DataError("the picture is a file (image_path); set images in the dataset's entry to its folder")
    if len(cell) <= _LONGEST_INDEX:
        owner = held.get(cell)
        cell = "" if owner is None else _said(owner.values, "image")
        if len(cell) <= _LONGEST_INDEX:
            raise DataError(f"'image' refers to row {shown(_said(values, 'image'))}, which has no picture")
    try:
        content = base64.b64decode("".join(cell.split()), validate=True)
    except (binascii.Error, ValueError) as err:
        raise DataError(f"'image' is not base64: {err}") from None
    return content_digest(content), content
