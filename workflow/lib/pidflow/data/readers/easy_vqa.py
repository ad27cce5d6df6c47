"""easy-VQA: 5,000 real PNGs and 48,248 questions from the PyPI package of that name, nothing to download."""

import json
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field

from pidflow.data.items import Item, Reading, drawn
from pidflow.errors import ConfigError, DataError
from pidflow.plugins import settings

SHAPES = ("circle", "rectangle", "triangle")
TASKS = {"shape": "easy-shape", "colour": "easy-colour", "yesno": "easy-yesno"}


class Settings(settings.Settings):
    """Which of the package's two splits."""

    split: Literal["train", "test"] = Field(description="The stand-in was trained on train.")


@dataclass(frozen=True)
class EasyQuestion:
    """One question of the package: its task id, text (with a space before the question mark), answer and image."""

    task: str
    text: str
    answer: str
    image_index: int


def root() -> Path:
    """The folder of the installed package's data."""
    spec = find_spec("easy_vqa")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "dataset 'easy-vqa' needs the PyPI package easy-vqa, which is not installed: pip install easy-vqa"
        )
    return Path(spec.origin).parent / "data"


def image_path(split: str, image_index: int) -> Path:
    """Where the PNG of one image lies; image indices restart in each split."""
    return root() / split / "images" / f"{image_index}.png"


def background(image: Image.Image) -> np.ndarray:
    """Colour ``(3,)`` of a picture's background, which is of one colour: that of most pixels on the rim."""
    pixels = np.asarray(image.convert("RGB"))
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colours, counts = np.unique(rim, axis=0, return_counts=True)
    return colours[counts.argmax()]


def shape_box(image: Image.Image) -> tuple[int, int, int, int]:
    """Box ``(left, top, right, bottom)`` of the one shape of a picture: all pixels that are not of the background.

    The package tells no places.
    """
    rows, columns = np.nonzero((np.asarray(image.convert("RGB")) != background(image)).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def questions(split: str) -> list[EasyQuestion]:
    """All questions of the ``train`` or ``test`` split, in the package's order."""
    if split not in ("train", "test"):
        raise ConfigError(f"easy-vqa has the splits train and test, not '{split}'")
    path = root() / split / "questions.json"
    if not path.is_file():
        raise DataError(f"{path} is missing: reinstall the package easy-vqa")
    return [
        EasyQuestion(_task_of(answer), text.replace("?", " ?"), answer, index)
        for text, answer, index in json.loads(path.read_text())
    ]


def _task_of(answer: str) -> str:
    if answer in ("yes", "no"):
        return TASKS["yesno"]
    return TASKS["shape"] if answer in SHAPES else TASKS["colour"]


def folder(settings: Settings) -> Path:
    """The package's folder of the split's pictures."""
    return root() / settings.split / "images"


def tables(settings: Settings) -> list[Path]:
    """The package's questions of the split."""
    return [root() / settings.split / "questions.json"]


def read(settings: Settings, *, select: str | None, count: int, seed: int) -> Reading:
    """At most ``count`` questions of the task ``select`` of a split, or of all tasks, drawn without replacement.

    No question says what it may be answered with. Yes and no are offered where all questions are of that task; among
    all tasks an offer would tell which task a question is of.

    Raises
    ------
    ConfigError
        If ``select`` is neither None nor one of the tasks.
    """
    if select not in (None, *TASKS.values()):
        raise ConfigError(
            f"unknown easy-vqa task '{select}' in select, expected one of: {', '.join(TASKS.values())}; or none for all"
        )
    split = settings.split
    found = [
        Item(
            item_id=f"{split}-{index:05d}",
            image_id=f"{split}-{question.image_index}",
            image_path=f"{question.image_index}.png",
            question=question.text,
            answer=question.answer,
            options=("yes", "no") if select == TASKS["yesno"] else (),
        )
        for index, question in enumerate(questions(split))
        if select in (None, question.task)
    ]
    chosen = drawn(found, count, seed=seed).items
    return Reading(tuple(replace(item, boxes=(_box(split, item.image_path),)) for item in chosen))


def _box(split: str, name: str) -> tuple[float, float, float, float]:
    with Image.open(root() / split / "images" / name, formats=["PNG"]) as image:
        left, top, right, bottom = shape_box(image)
    return (left, top, right - left, bottom - top)
