"""Any table of questions: one row a question, in CSV, TSV, JSON, JSON lines or parquet.

A folder of parquet files is one table, as Hugging Face publishes data sets; their image cells hold the picture itself.
"""

import os
import re
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pidflow.data.items import Item, Reading, drawn, in_question_order
from pidflow.data.pictures import content_digest
from pidflow.data.readers._cells import as_text, boxes_of, objects_of, options_of, text_of, word_of
from pidflow.data.readers._rows import Row, read_rows
from pidflow.errors import DataError, shown, shown_path
from pidflow.plugins import settings
from pidflow.plugins.settings import Text

_VALUES_NAMED = 8

FourNames = Annotated[list[Text], Field(min_length=4, max_length=4)]
_LISTS = {"expected": "the name of a column with lists, or a list of columns with one answer each"}
_NAMES = {"expected": "the name of a column with names or lists of them, or a list of columns with one name each"}
_SIDES = {
    "expected": "the name of a column with lists, or the four columns of x, y, width and height (a list of such four)"
}


class Columns(settings.Settings):
    """Names in the table; a field that is left out has its own name there."""

    id: Text | None = Field(default="id", description="What results join the table by; null or absent: row numbers.")
    image: Text = Field(default="image", description="Image path below the folder of images.")
    question: Text = Field(default="question", description="The bare question.")
    answer: Text = Field(default="answer", description="The right answer.")
    task: Text = Field(default="task", description="What a task selects rows by.")
    options: Text | Annotated[list[Text], Field(min_length=2)] | None = Field(
        default="options", description="The answers offered; optional.", json_schema_extra=_LISTS
    )
    boxes: Text | FourNames | Annotated[list[FourNames], Field(min_length=1)] | None = Field(
        default="boxes", description="Boxes of the objects asked about; optional.", json_schema_extra=_SIDES
    )
    objects: Text | Annotated[list[Text], Field(min_length=1)] | None = Field(
        default="objects", description="Names of the objects asked about; optional.", json_schema_extra=_NAMES
    )


# Settings that say where things lie; what lies there is digested instead.
PLACES = ("table", "images")


class Settings(settings.Settings):
    """A table, the folder of its pictures, and how its columns are to be read."""

    table: Text = Field(
        description="A .csv, .tsv, .json, .jsonl or .parquet file, or a folder of the last, one question a row."
    )
    images: Text | None = Field(
        default=None,
        description="The folder that image paths are relative to and may not leave; null: cells hold the pictures.",
    )
    columns: Columns = Field(default=Columns(), description="Names of columns that are not called by their field.")
    image_name: Text | None = Field(
        default=None,
        description="Image path made of columns, where none holds it: {img_id}.jpg, or {img_id:012}.jpg with zeros.",
    )
    missing: list[str] = Field(
        default=["", "-"], description="Cells that stand for no option, no object and no side of a box."
    )
    box_pixels: Literal["stored", "upright"] = Field(
        default="stored",
        description="Whether boxes count the pixels in the file or those of the picture turned upright by its camera.",
    )
    same_picture: Literal["file", "content"] = Field(
        default="file", description="What makes two pictures one, which no fold splits: the same file or equal files."
    )

    @field_validator("image_name")
    @classmethod
    def _plain_fields(cls, value: str | None) -> str | None:
        """Refuse what the template could not be filled with."""
        if value is not None:
            _fields(value)
        return value


def folder(settings: Settings) -> Path | None:
    """The folder of images; None: they are in the table."""
    return None if settings.images is None else Path(settings.images).expanduser()


def tables(settings: Settings) -> list[Path]:
    """The table, or the parquet files of a folder in the order of their names."""
    path = Path(settings.table).expanduser()
    return (sorted(path.glob("*.parquet")) if os.path.isdir(path) else []) or [path]


def read(settings: Settings, *, select: str | None, count: int, seed: int) -> Reading:
    """At most ``count`` items of the rows whose ``task`` column is ``select`` (all if None), drawn without replacement.

    Raises
    ------
    DataError
        If the table is missing, unreadable or empty, a column is missing, no row is selected, or a cell does not hold
        what its column must; the message names the line.
    """
    path = Path(settings.table).expanduser()
    columns, rows = _rows(settings, select=select)
    if not rows:
        raise DataError(
            f"table {shown_path(path)} holds no rows, expected one question a row; fill it, or correct table in the "
            "dataset's entry"
        )
    if select is not None:
        rows = _selected(rows, settings.columns.task, select, path)
    items, places = [], {}
    for index, row in rows if select is not None else enumerate(rows):
        try:
            item = _item(settings, row.values, index=index, has_id=settings.columns.id in columns)
            if item.item_id in places:
                raise DataError(
                    f"{shown(settings.columns.id)} is {shown(item.item_id)}, as in {places[item.item_id]}; ids must be "
                    "unique: set columns.id to another column, or to null for row numbers"
                )
        except DataError as err:
            raise DataError(f"table {shown_path(path)} {row.place}: {err}") from None
        places[item.item_id] = row.place
        items.append(item)
    return drawn(items, count, seed=seed)


def _rows(settings: Settings, *, select: str | None) -> tuple[list[str], list[Row]]:
    """Columns and rows of all files of the table."""
    files, found = tables(settings), []
    for file in files:
        columns, rows = read_rows(file, wanted=_wanted(settings))
        if rows:
            _check_columns(settings, columns, select=select, path=file)
        mark = f"{file.name} " if len(files) > 1 else ""
        found += [Row(mark + row.place, row.values) for row in rows]
    return columns, found


def _wanted(settings: Settings) -> set[str]:
    """Every column that is read."""
    found: set[str] = {name for name, _ in _fields(settings.image_name or "")}
    for value in dict(settings.columns).values():
        found |= set(_flat(value))
    return found


def _flat(names: Any) -> list[str]:
    if names is None:
        return []
    return [names] if isinstance(names, str) else [name for each in names for name in _flat(each)]


def _check_columns(settings: Settings, columns: list[str], *, select: str | None, path: Path) -> None:
    """Refuse a table without a column that is needed or that the configuration names."""
    names = settings.columns
    needed = [names.question, names.answer]
    needed += [name for name, _ in _fields(settings.image_name)] if settings.image_name else [names.image]
    if select is not None:
        needed.append(names.task)
    for field in names.model_fields_set - ({"image"} if settings.image_name else set()):
        needed += _flat(getattr(names, field))
    absent = [name for name in needed if name not in columns]
    if absent:
        parted = len(columns) == 1 and any(mark in columns[0] for mark in ",;\t")
        what = (
            "cells of .csv are parted by commas, those of .tsv by tabs"
            if parted
            else "name the column of yours under columns in the dataset's entry"
        )
        raise DataError(f"table {shown_path(path)} has no column {shown(absent[0])}, it has {_listed(columns)}; {what}")


def _selected(rows: list[Row], column: str, select: str, path: Path) -> list[tuple[int, Row]]:
    found = [(index, row) for index, row in enumerate(rows) if as_text(row.values.get(column)) == select]
    if not found:
        there = sorted({as_text(row.values.get(column)) or "" for row in rows})
        raise DataError(
            f"table {shown_path(path)} has no row whose column {shown(column)} is {shown(select)}, it holds "
            f"{_listed(there)}; correct the task's select"
        )
    return found


def _listed(values: list[str]) -> str:
    rest = f" and {len(values) - _VALUES_NAMED} more" if len(values) > _VALUES_NAMED else ""
    return ", ".join(shown(value, length=40) for value in values[:_VALUES_NAMED]) + rest


def _item(settings: Settings, values: dict[str, Any], *, index: int, has_id: bool) -> Item:
    names = settings.columns
    if settings.image_name:
        image = "".join(
            literal + (_filled(values, name, zeros) if name is not None else "")
            for literal, name, zeros in _pieces(settings.image_name)
        )
    else:
        image = values[names.image] if names.image in values else text_of(values, names.image)
    image, picture = _picture(settings, image, names.image)
    question = text_of(values, names.question)
    return Item(
        item_id=word_of(values, names.id) if has_id else str(index),
        image_id=image,
        image_path=image,
        question=question,
        answer=text_of(values, names.answer),
        options=in_question_order(question, options_of(values, names.options, settings.missing)),
        boxes=boxes_of(values, names.boxes, settings.missing),
        picture=picture,
        objects=objects_of(values, names.objects, settings.missing),
    )


def _picture(settings: Settings, cell: Any, column: str) -> tuple[str, bytes | None]:
    """The path of a row's picture or, with its digest for a name, the picture that the cell holds."""
    if isinstance(cell, list) and len(cell) == 1:
        cell = cell[0]
    if isinstance(cell, dict) and isinstance(cell.get("bytes"), bytes):
        cell = cell["bytes"]
    elif isinstance(cell, dict) and cell.get("bytes") is None:
        cell = cell.get("path")
    if isinstance(cell, bytes):
        return content_digest(cell), cell
    path = text_of({column: cell}, column)
    if settings.images is None:
        raise DataError(
            f"{shown(column)} names the file {shown(path)}; set images in the dataset's entry to its folder"
        )
    return path, None


def _pieces(template: str) -> list[tuple[str, str | None, int]]:
    """Literal text, the column after it and to how many digits that is filled with zeros."""
    found = []
    try:
        for literal, name, spec, conversion in Formatter().parse(template):
            if name is not None and (not name or conversion or (spec and not re.fullmatch(r"0\d{1,2}", spec))):
                raise ValueError
            found.append((literal, name, int(spec or 0)))
    except ValueError:
        raise ValueError(
            f"found {shown(template)}, expected columns in braces, as in {{img_id}}.jpg, or with a number of digits, "
            "as in {img_id:012}.jpg"
        ) from None
    return found


def _fields(template: str) -> list[tuple[str, int]]:
    """The columns of a template, and their numbers of digits."""
    return [(name, zeros) for _, name, zeros in _pieces(template) if name is not None]


def _filled(values: dict[str, Any], column: str, zeros: int) -> str:
    return word_of(values, column).strip().zfill(zeros)
