"""POPE (arXiv 2305.10355): is this object in the picture? Files of JSON lines and arrays, both called ``.json``."""

from pathlib import Path

from pydantic import Field

from pidflow.data.items import Item, Reading
from pidflow.data.readers._cells import text_of, word_of
from pidflow.data.readers._published import YES_NO, Collected, chosen, label_of, named_in, rows_of, there
from pidflow.errors import ConfigError, DataError, shown_path
from pidflow.plugins import settings
from pidflow.plugins.settings import Text

PLACES = ("folder", "images")
_QUESTION = ("Is there ", " in the image?")


class Settings(settings.Settings):
    """Where question files and pictures lie."""

    folder: Text = Field(description="The folder of question files, such as coco_pope_random.json.")
    images: Text = Field(description="The folder of their pictures: COCO val2014, or GQA's.")


def folder(settings: Settings) -> Path:
    """The folder of pictures."""
    return Path(settings.images).expanduser()


def tables(settings: Settings) -> list[Path]:
    """All question files of the folder."""
    return there(settings.folder, "*pope*.json")


def read(settings: Settings, *, select: str | None, count: int, seed: int) -> Reading:
    """At most ``count`` questions of the file that ``select`` names without its suffix; None takes all files.

    Numbers of questions repeat in every file: an item's id is the file's name with the number.

    Raises
    ------
    ConfigError
        If there is no such file.
    DataError
        If a file is not what it should be, naming the line.
    """
    files = {path.stem: path for path in tables(settings)}
    if not files:
        raise ConfigError(
            f"reader 'pope': {shown_path(settings.folder)} holds no question files (*pope*.json); correct folder in "
            "the dataset's entry"
        )
    taken = files if select is None else {select: files[chosen(select, files, reader="pope")]}
    collected = Collected()
    for stem, path in taken.items():
        for row in rows_of(path, needed=("question_id", "image", "text", "label")):
            place = f"{path.name} {row.place}"
            try:
                question, image = text_of(row.values, "text"), text_of(row.values, "image")
                label = label_of(row.values, "label", YES_NO)
                number = word_of(row.values, "question_id")
            except DataError as err:
                raise DataError(f"{place}: {err}") from None
            collected.add(
                place,
                Item(f"{stem}-{number}", image, image, question, label, YES_NO, objects=_object(question)),
            )
    return collected.reading(count, seed=seed, what=f"POPE's {select or 'files'}")


def _object(question: str) -> tuple[str, ...]:
    """What the question asks for, without its article."""
    begin, end = _QUESTION
    if not (question.startswith(begin) and question.endswith(end)):
        return ()
    asked = question[len(begin) : -len(end)]
    return named_in(question, [asked.split(" ", 1)[-1]])
