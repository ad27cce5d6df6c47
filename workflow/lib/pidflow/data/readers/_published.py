"""What the readers of published question files share: their rows, their letters and who is asked about."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pidflow.data.items import Dropped, Item, Reading, consistent, drawn
from pidflow.data.readers._cells import word_of
from pidflow.data.readers._rows import Row, read_rows
from pidflow.errors import ConfigError, DataError, shown, shown_path

YES_NO = ("yes", "no")
_LISTED = 12


def rows_of(path: Path, *, needed: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """The rows of a question file.

    Raises
    ------
    DataError
        If the file is missing, unreadable or empty, or lacks a needed column.
    """
    columns, rows = read_rows(path, wanted={*needed, *optional})
    if not rows:
        raise DataError(f"{shown_path(path)} holds no questions")
    absent = [name for name in needed if name not in columns]
    if absent:
        raise DataError(
            f"{shown_path(path)} has no column {shown(absent[0])}, it has {', '.join(columns[:_LISTED])}; "
            "it is not the file that this reader expects"
        )
    return rows


def json_of(path: Path) -> Any:
    """What a JSON file holds.

    Raises
    ------
    DataError
        If it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{shown_path(path)} does not exist; correct the dataset's entry") from None
    except (OSError, ValueError, RecursionError) as err:
        raise DataError(f"{shown_path(path)} cannot be read as JSON: {err}") from None


def chosen(select: str | None, names: Iterable[str], *, reader: str) -> str:
    """The task that a configuration selects, or one sentence with those there are.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    there = list(names)
    if select not in there:
        raise ConfigError(f"reader '{reader}' has no {shown(select)} in select, expected one of: {', '.join(there)}")
    return select


def file_of(folder: str | Path, name: str) -> Path:
    """A question file in its folder, ``~`` expanded.

    Raises
    ------
    DataError
        If no such file is there.
    """
    path = Path(folder).expanduser() / name
    if not path.is_file():
        raise DataError(f"{shown_path(path)} does not exist; fetch it, or correct the folder in the dataset's entry")
    return path


def there(folder: str | Path, pattern: str) -> list[Path]:
    """The files of a folder that a pattern names, sorted; none if there is no such folder."""
    return sorted(path for path in Path(folder).expanduser().glob(pattern) if path.is_file())


def label_of(values: Mapping[str, Any], column: str, labels: Sequence[str]) -> str:
    """A cell that must be one of a few words, in any case."""
    found = word_of(dict(values), column).strip()
    for label in labels:
        if found.casefold() == label.casefold():
            return label
    raise DataError(f"{shown(column)} is {shown(found)}, expected one of: {', '.join(labels)}")


def named_in(question: str, names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that the question has, each once and as it has them: the name or its plural."""
    found = (re.search(rf"(?<!\w){_inflected(name)}(?!\w)", question, re.IGNORECASE) for name in names if name)
    return tuple(dict.fromkeys(match[0] for match in found if match))


def _inflected(name: str) -> str:
    stem = re.escape(name)
    if name.endswith("y"):
        return rf"(?:{stem}s?|{re.escape(name[:-1])}ies)"
    return rf"{stem}(?:e?s)?"


def lettered(question: str, offered: Sequence[str], *, hint: str = "") -> str:
    """A question with its options on lines of their own, ``A. …``, after the hint if there is one."""
    lines = [f"{letter}. {text}" for letter, text in zip(letters(offered), offered, strict=True)]
    return "\n".join(filter(None, [hint, question, *lines]))


def letters(offered: Sequence[str]) -> tuple[str, ...]:
    """``A``, ``B``, … for as many options."""
    return tuple(chr(ord("A") + index) for index in range(len(offered)))


class Collected:
    """Items of a source with the place of each, and rows that were left out, in the order of the source."""

    def __init__(self) -> None:
        self.items: list[tuple[str, Item]] = []
        self.dropped: list[Dropped] = []

    def add(self, place: str, item: Item) -> None:
        """Keep an item."""
        self.items.append((place, item))

    def drop(self, place: str, question: Any, reason: str, detail: str = "") -> None:
        """Leave a row out, and say why."""
        self.dropped.append(Dropped(place, str(question or ""), reason, detail))

    def reading(self, count: int, *, seed: int, what: str) -> Reading:
        """At most ``count`` of the items, drawn; contradictions and repetitions are left out first.

        Raises
        ------
        DataError
            If no item is left, or two have one id.
        """
        ids: dict[str, str] = {}
        for place, item in self.items:
            if item.item_id in ids:
                raise DataError(f"{place}: the id {shown(item.item_id)} is that of {ids[item.item_id]} too")
            ids[item.item_id] = place
        items, more = consistent(self.items)
        dropped = [*self.dropped, *more]
        if not items:
            why = f"; {len(dropped)} were left out, the first ({dropped[0].place}) since {dropped[0].reason}"
            raise DataError(f"no question of {what} is left{why if dropped else ''}")
        return drawn(items, count, seed=seed, dropped=dropped)
