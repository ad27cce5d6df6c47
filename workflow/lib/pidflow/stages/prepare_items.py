"""Stage ``prepare_items``: the questions of one task, with folds split by image."""

import logging
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from pidflow.data.readers import read
from pidflow.errors import DataError
from pidflow.groups import grouped_folds
from pidflow.store import write_table

log = logging.getLogger(__name__)


def run(*, output: str, images: str, task: str, settings: dict, folds: int, seed: int) -> None:
    """Write one task's questions as parquet.

    Parameters
    ----------
    output
        The parquet file: one row a question.
    images
        The folder image paths are relative to; scenes are drawn into it.
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
    DataError
        If the task has no rows, or fewer images than folds.
    """
    found = read(
        settings["dataset"], select=settings.get("select"), count=settings["items"], images=Path(images), seed=seed
    )
    if not found:
        raise DataError(
            f"task '{task}' has no rows: nothing in dataset reader '{settings['dataset']['reader']}' is selected by "
            f"'{settings.get('select')}'; check tasks.{task}.select in the config"
        )
    if len(found) < settings["items"]:
        log.warning("task '%s' has %d questions, %d were asked for", task, len(found), settings["items"])
    frame = pd.DataFrame([asdict(item) for item in found])
    frame["fold"] = grouped_folds(len(frame), folds=folds, groups=frame["image_id"], seed=seed)
    frame["boxes"] = [[list(box) for box in boxes] for boxes in frame["boxes"]]
    write_table(output, frame)
    log.info("task '%s': %d questions about %d images", task, len(frame), frame["image_id"].nunique())
