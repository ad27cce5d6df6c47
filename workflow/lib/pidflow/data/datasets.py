"""A dataset entry of the configuration: the reader it names, what that reads, and where its pictures lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pidflow.data.items import Reading
from pidflow.data.pictures import listing_digest, picture_folder
from pidflow.errors import DataError, shown_path
from pidflow.files.writing import state_of
from pidflow.plugins import registry
from pidflow.plugins.settings import Settings

READERS = "data.readers"


@dataclass(frozen=True)
class Dataset:
    """A dataset, its settings checked."""

    reader: ModuleType
    settings: Settings

    def read(self, *, select: str | None, count: int, seed: int) -> Reading:
        """At most ``count`` items of the rows that ``select`` chooses (all if None), drawn with ``seed``."""
        return self.reader.read(self.settings, select=select, count=count, seed=seed)

    @property
    def folder(self) -> Path | None:
        """The folder that image paths are relative to; None where the items carry their pictures."""
        return self.reader.folder(self.settings)

    @property
    def tables(self) -> list[Path]:
        """The files that the questions are read from."""
        return self.reader.tables(self.settings)

    @property
    def shaping(self) -> dict[str, Any]:
        """The reader and what results depend on: its settings, and digests in place of where things lie.

        Raises
        ------
        DataError
            If a table or the folder of pictures is missing.
        """
        places = getattr(self.reader, "PLACES", ())
        settings = {key: value for key, value in self.settings.plain().items() if key not in places}
        for path in self.tables:
            if not path.is_file():
                raise DataError(f"table {shown_path(path)} does not exist; correct the dataset's entry")
        pictures = None if self.folder is None else listing_digest(picture_folder(self.folder))
        return {
            "reader": self.reader.__name__.rsplit(".", 1)[-1],
            **settings,
            "tables": [state_of(path) for path in self.tables],
            "pictures": pictures,
        }

    @property
    def same_picture(self) -> str:
        """What makes two pictures one: the same ``"file"`` or the same ``"content"``."""
        return getattr(self.settings, "same_picture", "file")

    @property
    def box_pixels(self) -> str:
        """Which pixels boxes count: those ``"stored"`` in the file or those of the ``"upright"`` picture."""
        return getattr(self.settings, "box_pixels", "stored")


def dataset_of(entry: Mapping[str, Any]) -> Dataset:
    """The dataset that an entry of the configuration describes: ``reader`` and that reader's settings.

    Raises
    ------
    ConfigError
        If no such reader exists or it does not take these settings.
    """
    reader = registry.load(READERS, entry["reader"])
    given = {key: value for key, value in entry.items() if key != "reader"}
    settings = reader.Settings.checked(given, where=f"reader '{entry['reader']}'")
    return Dataset(reader, settings)
