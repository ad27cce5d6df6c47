"""Questions about images, and their folds."""

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
        The bare question and its right answer.
    options
        The answers offered, in the order of the question; empty when open.
    boxes
        Objects asked about, ``(x, y, width, height)`` in pixels of the image; empty when unknown.
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
    picture: bytes | None = None


def sample(items: list[Item], count: int, *, seed: int) -> list[Item]:
    """At most ``count`` of the items, drawn without replacement, in their order."""
    if len(items) <= count:
        return items
    chosen = np.sort(np.random.default_rng(seed).choice(len(items), size=count, replace=False))
    return [items[index] for index in chosen]
