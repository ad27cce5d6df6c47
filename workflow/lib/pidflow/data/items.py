"""Questions about images, and the rows of a source that gave none."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Item:
    """One question about one image.

    Attributes
    ----------
    item_id
        Unique within its task.
    image_id
        The same for all questions about one image.
    image_path
        Path of the image below the dataset's image folder; only a name where ``picture`` holds it.
    question, answer
        The bare question and its right answer. A question with lettered options holds their lines and is answered by a
        letter.
    options
        The answers offered, in the order of the question; empty when open.
    boxes
        Objects asked about, ``(x, y, width, height)`` in pixels of the image; empty when unknown.
    objects
        Names of the objects asked about, as words of the question; empty when unknown.
    offered
        What the question offers where the options are its letters: the text of each, in the same order.
    picture
        The image itself, as an encoded file; None where ``image_path`` names a file.
    """

    item_id: str
    image_id: str
    image_path: str
    question: str
    answer: str
    options: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    objects: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()
    picture: bytes | None = None


@dataclass(frozen=True)
class Dropped:
    """A row of a source that became no item.

    Attributes
    ----------
    place
        Where it stands: file and line, entry or row.
    question
        What it asks, as far as it has that.
    reason
        Why it was left out, in the same words for all rows of a kind.
    detail
        What this row has to say to that.
    """

    place: str
    question: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Reading:
    """What a source gave for one task.

    Attributes
    ----------
    items
        The questions drawn, in the order of the source.
    dropped
        Rows of the task that became no item, and why.
    """

    items: tuple[Item, ...]
    dropped: tuple[Dropped, ...] = ()


def drawn(items: Iterable[Item], count: int, *, seed: int, dropped: Iterable[Dropped] = ()) -> Reading:
    """At most ``count`` of the items, without replacement and in their order."""
    found = tuple(items)
    if len(found) > count:
        chosen = np.sort(np.random.default_rng(seed).choice(len(found), size=count, replace=False))
        found = tuple(found[index] for index in chosen)
    return Reading(found, tuple(dropped))


def consistent(items: Iterable[tuple[str, Item]]) -> tuple[list[Item], list[Dropped]]:
    """Items without those asked twice: a repetition is dropped, and all that the source answers in two ways.

    Parameters
    ----------
    items
        Where each stands in its source, and the item.
    """
    found = list(items)
    answers: dict[tuple[str, str], set[str]] = {}
    for _, item in found:
        answers.setdefault((item.image_path, item.question), set()).add(item.answer)
    kept: dict[tuple[str, str], tuple[str, Item]] = {}
    dropped = []
    for place, item in found:
        asked = (item.image_path, item.question)
        if len(answers[asked]) > 1:
            said = ", ".join(sorted(answers[asked]))
            dropped.append(Dropped(place, item.question, "the source gives several answers", said))
        elif asked in kept:
            dropped.append(Dropped(place, item.question, "asked before of the same picture", kept[asked][0]))
        else:
            kept[asked] = place, item
    return [item for _, item in kept.values()], dropped


def in_question_order(question: str, options: Iterable[str]) -> tuple[str, ...]:
    """The options as the question offers them, so that their order tells nothing; as given where it does not."""
    said = question.casefold()
    found = tuple(options)
    places = [_place(said, option.casefold()) for option in found]
    if min(places, default=0) < 0:
        return found
    return tuple(option for _, option in sorted(zip(places, found, strict=True)))


def _place(text: str, word: str) -> int:
    """Where a word first stands whole in a text, else -1."""
    match = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)
    return match.start() if match else -1
