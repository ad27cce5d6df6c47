"""The six GQA task tables of arXiv 2411.18620, as its repository ships them.

``type_detailed`` equals the answer in the table of LogicalObj and ``true option`` equals it wherever there is one:
neither enters a prompt, and options come in the order of the question.
"""

from pathlib import Path
from typing import Any

from pydantic import Field

from pidflow.data.items import Item, Reading, in_question_order
from pidflow.data.readers._cells import boxes_of, text_of, word_of
from pidflow.data.readers._published import YES_NO, Collected, chosen, file_of, named_in, rows_of, there
from pidflow.errors import DataError
from pidflow.plugins import settings
from pidflow.plugins.settings import Text

PLACES = ("folder", "images")
TASKS = ("ChooseAttr", "ChooseCat", "ChooseRel", "CompareAttr", "LogicalObj", "QueryAttr")

_FILE = "GQA_val_correct_question_with_{}_{}.csv"
_ASKED = {
    "ChooseAttr": "choose",
    "ChooseCat": "categoryThatThisChoose_objThisChoose",
    "ChooseRel": "relChooser",
    "CompareAttr": "twoCommon",
    "LogicalObj": "existThatOr",
    "QueryAttr": "positionQuery",
}
_OPTIONS = ("true option", "false option")
_OBJECTS = ("central object", "object1", "object2")
_NEEDED = ("question_id", "img_id", "question", "answer")


class Settings(settings.Settings):
    """Where the tables and GQA's pictures lie."""

    folder: Text = Field(description="The folder of the six GQA_val_correct_question_with_*.csv files.")
    images: Text = Field(description="The folder of GQA's pictures, {img_id}.jpg.")


def folder(settings: Settings) -> Path:
    """The folder of pictures."""
    return Path(settings.images).expanduser()


def tables(settings: Settings) -> list[Path]:
    """Those of the six tables that are there."""
    return there(settings.folder, _FILE.format("*", "*"))


def read(settings: Settings, *, select: str | None, count: int, seed: int) -> Reading:
    """At most ``count`` questions of one of :data:`TASKS`, with options, boxes and objects' words where it has them.

    Raises
    ------
    ConfigError
        If ``select`` is none of them.
    DataError
        If the table is missing or a cell does not hold what its column must.
    """
    task = chosen(select, TASKS, reader="gqa-tasks")
    path = file_of(settings.folder, _FILE.format(_ASKED[task], task))
    columns = [f"{which} {side}" for which in _OBJECTS for side in ("name", *"whxy")]
    collected = Collected()
    for row in rows_of(path, needed=_NEEDED, optional=[*_OPTIONS, *columns]):
        place = f"{path.name} {row.place}"
        try:
            collected.add(place, _item(row.values, task))
        except DataError as err:
            raise DataError(f"{place}: {err}") from None
    return collected.reading(count, seed=seed, what=f"GQA's {task}")


def _item(values: dict[str, Any], task: str) -> Item:
    image = f"{word_of(values, 'img_id')}.jpg"
    question = text_of(values, "question")
    options: tuple[str, ...] = YES_NO if task == "LogicalObj" else ()
    if _OPTIONS[0] in values:
        options = in_question_order(question, sorted(text_of(values, name) for name in _OPTIONS))
    objects = [which for which in _OBJECTS if f"{which} x" in values]
    return Item(
        item_id=word_of(values, "question_id"),
        image_id=image,
        image_path=image,
        question=question,
        answer=text_of(values, "answer"),
        options=options,
        objects=named_in(question, (str(values.get(f"{which} name", "")) for which in objects)),
        boxes=boxes_of(values, [[f"{which} {side}" for side in "xywh"] for which in objects], ["", "-"]),
    )
