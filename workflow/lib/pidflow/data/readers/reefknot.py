"""Reefknot (arXiv 2408.09429): relations between objects, as yes or no, as four options and in the open."""

import re
from pathlib import Path
from typing import Any

from pydantic import Field

from pidflow.data.items import Item, Reading
from pidflow.data.readers._cells import text_of, word_of
from pidflow.data.readers._published import (
    YES_NO,
    Collected,
    chosen,
    file_of,
    label_of,
    lettered,
    letters,
    named_in,
    rows_of,
    there,
)
from pidflow.errors import DataError, shown
from pidflow.plugins import settings
from pidflow.plugins.settings import Text

PLACES = ("folder", "images")
FILES = ("YESNO", "Multichoice", "VQA")
KINDS = ("perception", "cognitive")

_YES_NO = "Please answer yes or no."
_FOUR = re.compile(r"(?P<question>.+?)\s+A\. (.+?) B\. (.+?) C\. (.+?) D\. (.+?), please choose\.")
_OPEN = re.compile(r"(.+?)\s+Please answer in the following format:\s*(?P<first>.+?) <relation> (?P<second>.+)\.")
_BETWEEN = re.compile(r"What is the relation with (.+?) and (.+?) in this photo\?")


class Settings(settings.Settings):
    """Where question files and pictures lie."""

    folder: Text = Field(description="The folder of YESNO.jsonl, Multichoice.jsonl and VQA.jsonl.")
    images: Text = Field(description="The folder of Visual Genome's pictures, {image_id}.jpg.")


def folder(settings: Settings) -> Path:
    """The folder of pictures."""
    return Path(settings.images).expanduser()


def tables(settings: Settings) -> list[Path]:
    """Those of the three files that are there."""
    return [path for path in there(settings.folder, "*.jsonl") if path.stem in FILES]


def read(settings: Settings, *, select: str | None, count: int, seed: int) -> Reading:
    """At most ``count`` questions of a file, or of one kind of relation in it: ``YESNO``, ``YESNO-perception``, ….

    The records have no id: an item's is the file's name with the line. What the source asks twice with different
    answers is left out.

    Raises
    ------
    ConfigError
        If ``select`` names neither.
    DataError
        If the file is missing or a record is not what it should be, naming the line.
    """
    names = [name for file in FILES for name in (file, *(f"{file}-{kind}" for kind in KINDS))]
    file, _, kind = chosen(select, names, reader="reefknot").partition("-")
    path = file_of(settings.folder, f"{file}.jsonl")
    collected = Collected()
    for row in rows_of(path, needed=("image_id", "query_prompt", "label", "relation_type")):
        place = f"{path.name} {row.place}"
        try:
            if not kind or label_of(row.values, "relation_type", KINDS) == kind:
                collected.add(place, _item(row.values, file, f"{file}-{row.place.rsplit(' ', 1)[-1]}"))
        except DataError as err:
            raise DataError(f"{place}: {err}") from None
    return collected.reading(count, seed=seed, what=f"Reefknot's {select}")


def _item(values: dict[str, Any], file: str, item_id: str) -> Item:
    image = f"{word_of(values, 'image_id')}.jpg"
    asked = text_of(values, "query_prompt")
    offered: tuple[str, ...] = ()
    if file == "YESNO":
        question = asked.removesuffix(_YES_NO).strip()
        answer, options = label_of(values, "label", YES_NO), YES_NO
    elif file == "Multichoice":
        found = _FOUR.fullmatch(asked)
        if found is None:
            raise DataError(f"'query_prompt' is {shown(asked)}, expected a question with the options A. to D.")
        offered = found.groups()[1:]
        options = letters(offered)
        question, answer = lettered(found["question"], offered), label_of(values, "label", options)
    else:
        if _OPEN.fullmatch(asked) is None:
            raise DataError(f"'query_prompt' is {shown(asked)}, expected a question and the form of its answer")
        question, answer, options = asked, re.sub(r"\.+$", ".", text_of(values, "label")), ()
    between = _BETWEEN.match(asked)
    objects = named_in(question, between.groups()) if between else ()
    return Item(item_id, image, image, question, answer, options, offered=offered, objects=objects)
