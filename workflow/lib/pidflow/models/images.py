"""Pictures from a dataset's folder, opened with distrust: a bad file is named, never skipped."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from pidflow.errors import DataError

# ASSUME: no picture of a question-answering dataset has more pixels; what does is a decompression bomb.
MAX_PIXELS = 64_000_000


def image_file(path: str, *, root: str | Path) -> Path:
    """The file of one picture: ``path`` below ``root``, or absolute but inside it.

    Raises
    ------
    DataError
        If the path leaves the dataset's folder or nothing is there.
    """
    base = Path(os.path.abspath(root))
    file = Path(os.path.abspath(base / path))
    if not file.is_relative_to(base):
        raise DataError(f"image path '{path}' leaves the dataset's folder {base}; correct image_path or image_root")
    if not file.is_file():
        raise DataError(f"image {file} does not exist; fetch the dataset's images or correct image_path or image_root")
    return file


def image_size(file: Path) -> tuple[int, int]:
    """Height and width in pixels, from the header alone."""
    with _opened(file) as image:
        return image.height, image.width


def read_image(file: Path) -> Image.Image:
    """The decoded picture in RGB, not rotated by EXIF: boxes refer to the pixels as they lie in the file."""
    with _opened(file) as image:
        if image.mode == "P" and "transparency" in image.info:
            return image.convert("RGBA").convert("RGB")
        return image.convert("RGB")


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"image {file} has {image.width} x {image.height} pixels, more than the {MAX_PIXELS:,} allowed; "
                    "scale it down or remove its items"
                )
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as err:
        raise DataError(f"image {file} is too large to open safely ({err}); scale it down or remove its items") from err
    except (OSError, SyntaxError, ValueError) as err:
        raise DataError(
            f"image {file} cannot be read ({err}); it is damaged, fetch it again or remove its items"
        ) from err
