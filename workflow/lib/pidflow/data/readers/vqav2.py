"""VQAv2: a questions file and an annotations file, joined by the number of the question."""

from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import Field

from pidflow.data.items import Item, Reading
from pidflow.data.readers._cells import as_text, text_of, word_of
from pidflow.data.readers._published import YES_NO, Collected, chosen, json_of
from pidflow.errors import DataError, shown_path
from pidflow.plugins import settings
from pidflow.plugins.settings import Text

PLACES = ("questions", "annotations", "images")
KINDS = ("yes/no", "number", "other")


class Settings(settings.Settings):
    """Where questions, annotations and COCO's pictures lie."""

    questions: Text = Field(description="v2_OpenEnded_mscoco_val2014_questions.json or another split's.")
    annotations: Text = Field(description="v2_mscoco_val2014_annotations.json or that split's.")
    images: Text = Field(description="The folder of COCO's pictures, COCO_val2014_000000000042.jpg.")


def folder(settings: Settings) -> Path:
    """The folder of pictures."""
    return Path(settings.images).expanduser()


def tables(settings: Settings) -> list[Path]:
    """Questions and annotations."""
    return [Path(settings.questions).expanduser(), Path(settings.annotations).expanduser()]


def read(settings: Settings, *, select: str | None, count: int, seed: int) -> Reading:
    """At most ``count`` questions of a kind of answer, ``yes/no``, ``number`` or ``other``; None takes all.

    The answer is what most people said; where two answers are said equally often there is none, and the question is
    left out.

    Raises
    ------
    ConfigError
        If ``select`` is no kind of answer.
    DataError
        If a file is missing or not what VQAv2 publishes, or a question has no annotation.
    """
    kind = None if select is None else chosen(select, KINDS, reader="vqav2")
    asked, said = tables(settings)
    questions, split = _list(asked, "questions")
    annotations = {as_text(values.get("question_id")): values for values in _list(said, "annotations")[0]}
    collected = Collected()
    for index, values in enumerate(questions, start=1):
        place = f"{asked.name} entry {index}"
        try:
            name = word_of(values, "question_id")
            if name not in annotations:
                raise DataError(f"question {name} has no annotation in {said.name}; the two files are of other splits")
            given = annotations[name]
            answer = _majority(given)
            if kind is not None and given.get("answer_type", _kind(answer)) != kind:
                continue
            if answer is None:
                collected.drop(place, values.get("question"), "no answer was given most often")
                continue
            image = f"COCO_{split}_{int(word_of(values, 'image_id')):012}.jpg"
            options = YES_NO if answer in YES_NO else ()
            collected.add(place, Item(name, image, image, text_of(values, "question"), answer, options))
        except (DataError, ValueError) as err:
            raise DataError(f"{place}: {err}") from None
    return collected.reading(count, seed=seed, what=f"VQAv2's {select or 'questions'}")


def _list(path: Path, key: str) -> tuple[list[dict[str, Any]], str]:
    """The entries of a file, and the split that its pictures are named after."""
    found = json_of(path)
    entries = found.get(key) if isinstance(found, dict) else None
    split = found.get("data_subtype") if isinstance(found, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{shown_path(path)} has no list '{key}'; expected a file as VQAv2 publishes it")
    if not isinstance(split, str) or not split.isalnum():
        raise DataError(f"{shown_path(path)} has no 'data_subtype' such as val2014, which names its pictures")
    return entries, split


def _majority(values: dict[str, Any]) -> str | None:
    """The answer that the file calls the most common, or counts as such; None where there is a tie."""
    if isinstance(values.get("multiple_choice_answer"), str):
        return text_of(values, "multiple_choice_answer")
    given = values.get("answers")
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise DataError("the annotation has neither 'multiple_choice_answer' nor a list of 'answers'")
    counts = Counter(text_of(each, "answer") for each in given).most_common(2)
    if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
        return None
    return counts[0][0]


def _kind(answer: str | None) -> str:
    """The kind of an answer, as VQAv2 names them, where the file leaves it out."""
    if answer in YES_NO:
        return "yes/no"
    return "number" if answer is not None and answer.isdigit() else "other"
