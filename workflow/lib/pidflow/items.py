"""Questions about images, and their folds."""

from dataclasses import dataclass

import numpy as np

from pidflow.errors import DataError


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
        Path of the image below the dataset's image folder.
    question, answer
        The bare question and its right answer.
    options
        The answers offered, in the order of the question; empty when open.
    boxes
        Objects asked about, ``(x, y, width, height)`` in pixels of the image; empty when unknown.
    """

    item_id: str
    image_id: str
    image_path: str
    question: str
    answer: str
    options: tuple[str, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()


def folds_by_image(image_ids: list[str], folds: int, *, seed: int) -> np.ndarray:
    """Fold labels (n,) such that all questions about one image share a fold and folds are about equally large.

    Raises
    ------
    DataError
        If there are fewer images than folds.
    """
    images, counts = np.unique(image_ids, return_counts=True)
    if len(images) < folds:
        raise DataError(f"{folds} folds need at least as many images, found {len(images)}: lower items.folds")
    order = np.random.default_rng(seed).permutation(len(images))
    order = order[np.argsort(-counts[order], kind="stable")]
    size = np.zeros(folds, dtype=int)
    fold_of: dict[str, int] = {}
    for index in order:
        smallest = int(size.argmin())
        fold_of[str(images[index])] = smallest
        size[smallest] += counts[index]
    return np.array([fold_of[str(image)] for image in image_ids], dtype=np.int64)


def sample(items: list[Item], count: int, *, seed: int) -> list[Item]:
    """At most ``count`` of the items, drawn without replacement, in their order."""
    if len(items) <= count:
        return items
    chosen = np.sort(np.random.default_rng(seed).choice(len(items), size=count, replace=False))
    return [items[index] for index in chosen]
