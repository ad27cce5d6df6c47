"""GQA as published: questions by id, scene graphs, and the six tasks of arXiv 2411.18620 computed from them.

A task is a set of detailed types and a form of the program that answers the question. Options are read from the
program, objects and their boxes from the scene graph.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from pidflow.data.items import Box, Item, Reading, in_question_order
from pidflow.data.readers._cells import boxes_of, text_of, word_of
from pidflow.data.readers._published import YES_NO, Collected, chosen, json_of, named_in
from pidflow.errors import DataError, shown, shown_path
from pidflow.plugins import settings
from pidflow.plugins.settings import Text

PLACES = ("questions", "scenes", "images")


@dataclass(frozen=True)
class Task:
    """What makes a question one of a task: its detailed type and the operations of its program, joined by blanks."""

    detailed: tuple[str, ...]
    program: str


_FILTERED = r"select( filter[ \w]*)*"
TASKS = {
    "ChooseAttr": Task(("chooseAttr", "materialChoose", "typeChoose", "activityChoose"), rf"{_FILTERED} choose[ \w]*"),
    "ChooseCat": Task(("objThisChoose", "categoryThatChoose", "categoryThisChoose"), rf"{_FILTERED} choose name"),
    "ChooseRel": Task(("relChooser",), r"select choose rel"),
    "CompareAttr": Task(("twoCommon",), r"select select common"),
    "LogicalObj": Task(("existThatOr", "existThatOrC"), rf"{_FILTERED} exist {_FILTERED} exist or"),
    "QueryAttr": Task(("positionQuery",), r"select query"),
}
_OBJECT_ID = re.compile(r"\((\d+)\)\s*$")
_NAME = re.compile(r"^(.*?)\s*\([^)]*\)\s*$")
_DIRECTION = re.compile(r"^(?:to the|in)\s+(\w+)\s+of$")


class Settings(settings.Settings):
    """Where questions, scene graphs and pictures lie."""

    questions: Text = Field(description="A questions file of GQA, such as val_balanced_questions.json.")
    scenes: Text | None = Field(
        default=None, description="The scene graphs of the same split, for boxes; null: without boxes."
    )
    images: Text = Field(description="The folder of GQA's pictures, {imageId}.jpg.")


def folder(settings: Settings) -> Path:
    """The folder of pictures."""
    return Path(settings.images).expanduser()


def tables(settings: Settings) -> list[Path]:
    """Questions and, where they are named, scene graphs."""
    return [Path(path).expanduser() for path in (settings.questions, settings.scenes) if path is not None]


def read(settings: Settings, *, select: str | None, count: int, seed: int) -> Reading:
    """At most ``count`` questions of one of :data:`TASKS`; None takes every question.

    Raises
    ------
    ConfigError
        If ``select`` is no task.
    DataError
        If a file is missing or not what GQA publishes, naming the question.
    """
    task = None if select is None else TASKS[chosen(select, TASKS, reader="gqa")]
    questions, *graphs = (_objects(path) for path in tables(settings))
    scenes = graphs[0] if graphs else {}
    collected = Collected()
    for name, values in questions.items():
        place = f"{Path(settings.questions).name} question {name}"
        try:
            if task is not None and not _is_of(values, task):
                continue
            if "answer" not in values:
                collected.drop(place, values.get("question"), "the source gives no answer")
                continue
            collected.add(place, _item(name, values, scenes))
        except DataError as err:
            raise DataError(f"{place}: {err}") from None
    return collected.reading(count, seed=seed, what=f"GQA's {select or 'questions'}")


def _objects(path: Path) -> dict[str, dict[str, Any]]:
    """A file with one object by id."""
    found = json_of(path)
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise DataError(f"{shown_path(path)} holds {type(found).__name__}, expected one object by id, as GQA publishes")
    return found


def _is_of(values: Mapping[str, Any], task: Task) -> bool:
    """Whether a question is one of the task's."""
    types = values.get("types")
    if not isinstance(types, dict):
        raise DataError(f"'types' is {shown(types)}, expected GQA's detailed, semantic and structural types")
    if types.get("detailed") not in task.detailed:
        return False
    return re.fullmatch(task.program, " ".join(name for name, _ in _program(values))) is not None


def _program(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Operations and arguments of the program that answers a question."""
    steps = values.get("semantic", [])
    if not isinstance(steps, list):
        raise DataError(f"'semantic' is {shown(steps)}, expected a list of operations")
    for step in steps:
        if not isinstance(step, dict) or not all(isinstance(step.get(key), str) for key in ("operation", "argument")):
            raise DataError(f"'semantic' has the step {shown(step)}, expected an operation with its argument")
        yield step["operation"], step["argument"]


def _item(name: str, values: dict[str, Any], scenes: Mapping[str, Any]) -> Item:
    question, answer = text_of(values, "question"), word_of(values, "answer").strip()
    image = word_of(values, "imageId")
    steps = list(_program(values))
    ids = [found[1] for _, argument in steps if (found := _OBJECT_ID.search(argument))]
    names = [match[1] for step, argument in steps if step == "select" and (match := _NAME.match(argument))]
    names += [argument.split(",")[0] for step, argument in steps if step in ("relate", "choose rel")]
    return Item(
        item_id=name,
        image_id=f"{image}.jpg",
        image_path=f"{image}.jpg",
        question=question,
        answer=answer,
        options=_options(question, answer, steps),
        objects=named_in(question, names),
        boxes=tuple(_boxes(image, dict.fromkeys(ids), scenes)),
    )


def _options(question: str, answer: str, steps: list[tuple[str, str]]) -> tuple[str, ...]:
    """What the question offers: the alternatives of its last step, or yes and no."""
    if answer in YES_NO:
        return YES_NO
    operation, argument = steps[-1] if steps else ("", "")
    if not operation.startswith("choose"):
        return ()
    offered = argument.split(",")[1] if operation == "choose rel" else argument
    found = {match[1] if (match := _DIRECTION.match(option)) else option for option in offered.split("|")}
    return in_question_order(question, sorted(found)) if answer in found else ()


def _boxes(image: str, ids: Mapping[str, None], scenes: Mapping[str, Any]) -> Iterator[Box]:
    """Boxes of the objects that the program names, where the scene graph has them."""
    objects = scenes.get(image, {}).get("objects", {})
    for found in ids:
        if found in objects:
            sides = {side: objects[found].get(side) for side in "xywh"}
            if sides["w"] and sides["h"]:
                yield from boxes_of(sides, list("xywh"), [])
