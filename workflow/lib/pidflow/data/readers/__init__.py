"""Readers: one module per source of questions, each turning it into a list of items."""

from pathlib import Path

from pidflow.data.items import Item
from pidflow.data.readers import easy_vqa, scene_items, table


def read(dataset: dict, *, select: str | None, count: int, images: Path, seed: int) -> list[Item]:
    """At most ``count`` items of a dataset entry of the configuration.

    Parameters
    ----------
    dataset
        The entry: ``reader`` and that reader's own keys.
    select
        Which of the dataset's rows; all of them if None.
    count
        Largest number of items.
    images
        The folder that image paths are relative to. The ``scenes`` reader draws its pictures into it.
    seed
        Random state of the choice, and of the scenes drawn.
    """
    match dataset["reader"]:
        case "scenes":
            return scene_items.draw(
                select, count=count, language_prior=dataset["language_prior"], folder=images, seed=seed
            )
        case "easy-vqa":
            return easy_vqa.items(dataset["split"], select, count=count, seed=seed)
        case _:
            return table.items(
                Path(dataset["table"]), dataset.get("columns", {}), select=select, count=count, seed=seed
            )


def image_folder(dataset: dict, *, drawn: str) -> str:
    """The folder that a dataset's image paths are relative to; ``drawn`` for datasets that draw their own."""
    match dataset["reader"]:
        case "scenes":
            return drawn
        case "easy-vqa":
            return str(easy_vqa.root() / dataset["split"] / "images")
        case _:
            return dataset["images"]
