"""Stage ``prepare_items``: the questions of one task and the state of their pictures, with folds split by image."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import pandas as pd

from pidflow.data.datasets import Dataset, dataset_of
from pidflow.data.items import Box, Dropped, Item
from pidflow.data.pictures import Picture, content_digest, picture_file
from pidflow.errors import DataError, PidflowError, shown, shown_path
from pidflow.files.store import write_table
from pidflow.groups import grouped_folds
from pidflow.models.images import read_image, turned_boxes

log = logging.getLogger(__name__)

# ASSUME: a few boxes of an annotated dataset lie outside by mistake (1 of 1,000 in a GQA table), more do not.
_OUTSIDE_AT_MOST = 0.01
_DROPPED = [field.name for field in fields(Dropped)]


def run(*, output: str, dropped: str, task: str, settings: Mapping[str, Any], folds: int, seed: int) -> None:
    """Write one task's questions as parquet, every picture opened once.

    Boxes in the table refer to the upright picture and are cut off where they leave it. ``image_id`` is the picture's
    file, all links resolved, or its content where the dataset asks for that. ``image_digest`` tells what the file held,
    for whoever reads it later.

    Parameters
    ----------
    output
        The parquet file: one row a question.
    dropped
        The CSV file of what the source holds for the task and no item came of: place, question, reason.
    task
        Task id, for messages.
    settings
        The task's entry of the configuration with its dataset spelled out.
    folds
        Number of cross-fitting folds.
    seed
        Random state.

    Raises
    ------
    ConfigError, DataError, NumericsError
        If the questions cannot be read, are none or ask about fewer images than folds, or a picture is missing,
        unreadable or does not hold its boxes; with the task in front.
    """
    try:
        dataset = dataset_of(settings["dataset"])
        reading = dataset.read(select=settings.get("select"), count=settings["items"], seed=seed)
        found, digests = _with_pictures(list(reading.items), dataset)
        image_folds = grouped_folds(len(found), folds=folds, groups=[item.image_id for item in found], seed=seed)
    except PidflowError as err:
        raise type(err)(f"task '{task}': {err}") from err
    if len(found) < settings["items"]:
        log.warning("task '%s' has %d questions, %d were asked for", task, len(found), settings["items"])
    apart = sum(bool(item.options) and item.answer not in item.options for item in found)
    if apart:
        log.warning("task '%s': the answers of %d of %d questions are not among their options", task, apart, len(found))
    frame = pd.DataFrame([asdict(item) for item in found])
    frame["image_digest"] = digests
    frame["fold"] = image_folds
    frame["boxes"] = [[list(box) for box in boxes] for boxes in frame["boxes"]]
    _report_dropped(reading.dropped, task)
    write_table(dropped, pd.DataFrame([asdict(row) for row in reading.dropped], columns=_DROPPED))
    write_table(output, frame)
    log.info("task '%s': %d questions about %d images", task, len(frame), frame["image_id"].nunique())


def _report_dropped(dropped: Sequence[Dropped], task: str) -> None:
    """Say how many rows were left out for each reason."""
    for reason, rows in Counter(row.reason for row in dropped).most_common():
        log.warning("task '%s': %d rows of the source were left out: %s", task, rows, reason)


def _with_pictures(items: list[Item], dataset: Dataset) -> tuple[list[Item], list[str]]:
    """The items with their pictures' identity and the boxes in the upright picture, and the pictures' digests."""
    rows: dict[Picture, list[int]] = {}
    for row, picture in enumerate(_found(items, dataset)):
        rows.setdefault(picture, []).append(row)
    checked, digests, outside = list(items), [""] * len(items), []
    for picture, asked in rows.items():
        try:
            held = Picture(picture.name, content=picture.read())
            digest, size = content_digest(held.content), read_image(held).size
        except DataError as err:
            raise DataError(f"item {shown(items[asked[0]].item_id)}: {err}") from err
        for row in asked:
            item = items[row]
            boxes = turned_boxes(held, item.boxes) if dataset.box_pixels == "stored" else item.boxes
            inside = _inside(boxes, size)
            if len(inside) < len(boxes):
                outside.append(item)
            if picture.file is not None:
                path = picture.file.relative_to(picture.root).as_posix()
                item = replace(item, image_path=path, image_id=path)
            if dataset.same_picture == "content":
                item = replace(item, image_id=digest)
            checked[row], digests[row] = replace(item, boxes=inside), digest
    _report_outside(outside, items)
    return checked, digests


def _found(items: list[Item], dataset: Dataset) -> list[Picture]:
    """The picture of each item; all that cannot be found are counted in one sentence."""
    pictures, lost = [], []
    for item in items:
        try:
            if item.picture is not None:
                pictures.append(Picture(item.image_path, content=item.picture))
            else:
                pictures.append(picture_file(item.image_path, root=dataset.folder))
        except DataError as err:
            lost.append((item, err))
    if lost:
        item, err = lost[0]
        rest = f"; the pictures of {len(lost) - 1} more items are lost" if len(lost) > 1 else ""
        raise DataError(f"item {shown(item.item_id)}: {err}{rest}") from err
    return pictures


def _inside(boxes: tuple[Box, ...], size: tuple[int, int]) -> tuple[Box, ...]:
    """What of each box lies in a picture of that width and height; boxes without a pixel of it are left out."""
    kept = []
    for x, y, width, height in boxes:
        left, right = max(x, 0.0), min(x + width, size[0])
        top, bottom = max(y, 0.0), min(y + height, size[1])
        if left < right and top < bottom:
            kept.append((left, top, right - left, bottom - top))
    return tuple(kept)


def _report_outside(outside: list[Item], items: list[Item]) -> None:
    """Say which boxes lie outside their pictures, and refuse if they are too many to be slips of annotation."""
    if not outside:
        return
    where = (
        f"the boxes of {len(outside)} of {len(items)} questions lie outside their pictures, first in item "
        f"{shown(outside[0].item_id)}: {[list(box) for box in outside[0].boxes]} in {shown_path(outside[0].image_path)}"
    )
    if len(outside) > _OUTSIDE_AT_MOST * len(items):
        raise DataError(f"{where}; expected [x, y, width, height] in pixels of the picture as it is")
    log.warning("%s; these boxes are left out", where)
