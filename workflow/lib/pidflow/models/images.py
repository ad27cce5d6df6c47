"""Pictures decoded with distrust: upright, in RGB with 8 bits a channel, and a bad one is named, never skipped."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import ExifTags, Image

from pidflow.data.pictures import Picture
from pidflow.errors import DataError

# By name: what the library would try otherwise includes formats for which it starts other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# ASSUME: no picture of a question-answering dataset has more pixels; what does is a decompression bomb.
MAX_PIXELS = 64_000_000
# ASSUME: nobody asks about a picture that is so much longer than wide. Resizing its short side to a model's size would
# make gigabytes of it.
MAX_ASPECT = 50

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N", "I")
# Where a box (left, top, right, bottom) of a stored picture of (w, h) lies after the turn of the same EXIF orientation.
_BOX_TURNS = {
    2: lambda left, top, right, bottom, w, h: (w - right, top, w - left, bottom),
    3: lambda left, top, right, bottom, w, h: (w - right, h - bottom, w - left, h - top),
    4: lambda left, top, right, bottom, w, h: (left, h - bottom, right, h - top),
    5: lambda left, top, right, bottom, w, h: (top, left, bottom, right),
    6: lambda left, top, right, bottom, w, h: (h - bottom, left, h - top, right),
    7: lambda left, top, right, bottom, w, h: (h - bottom, w - right, h - top, w - left),
    8: lambda left, top, right, bottom, w, h: (top, w - right, bottom, w - left),
}

# What the library's decoders raise on damaged files, found by flipping bits.
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, struct.error)

Box = tuple[float, float, float, float]


def image_size(picture: Picture) -> tuple[int, int]:
    """Height and width of the upright picture in pixels, from the header alone."""
    with _opened(picture) as image:
        width, height = _stored_size(image)
        return (width, height) if _orientation(image) >= 5 else (height, width)


def read_image(picture: Picture) -> Image.Image:
    """The upright picture in RGB.

    Grey levels of 16 bits and floating-point numbers from 0 to 1 are scaled to 8 bits. What is transparent shows white.

    Raises
    ------
    DataError
        If the file is damaged, of another format than ``FORMATS``, an animation, too large or too long, or holds
        numbers whose range is unknown.
    """
    with _opened(picture) as image:
        if getattr(image, "is_animated", False) and image.format != "MPO":  # a photo with its preview is one picture
            raise DataError(
                f"image {picture.name} has {image.n_frames} frames, expected one; store the frame asked about"
            )
        turn = None if image.format == "TIFF" else _TURNS.get(_orientation(image))  # the library turns a TIFF itself
        image.load()
        upright = _in_rgb(image, picture.name)
        return upright if turn is None else upright.transpose(turn)


def turned_boxes(picture: Picture, boxes: tuple[Box, ...]) -> tuple[Box, ...]:
    """Boxes ``(x, y, width, height)`` in pixels as stored, moved to the picture as :func:`read_image` turns it."""
    with _opened(picture) as image:
        turn = _BOX_TURNS.get(_orientation(image))
        width, height = _stored_size(image)
    if turn is None:
        return boxes
    corners = [turn(x, y, x + w, y + h, width, height) for x, y, w, h in boxes]
    return tuple((left, top, right - left, bottom - top) for left, top, right, bottom in corners)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 … 8; 1 where the tags cannot be read, as browsers take it."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, OSError, struct.error):
        return 1
    return found if found in _TURNS else 1


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as stored, of a picture that is not loaded yet."""
    # The library turns a TIFF by itself, and tells its size after that.
    return image.size[::-1] if image.format == "TIFF" and _orientation(image) >= 5 else image.size


def _in_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode in _GREY_16 or image.mode == "F":
        image = Image.fromarray(_levels(image, name))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _levels(image: Image.Image, name: str) -> np.ndarray:
    """Grey levels 0 … 255 of a picture with more of them."""
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    top = 1.0 if image.mode == "F" else 65535.0
    if not (low >= 0 and high <= top):  # false for NaN
        raise DataError(
            f"image {name} holds values from {low:g} to {high:g} in mode {image.mode}, expected 0 to {top:g}, which "
            "are scaled; store it with 8 bits a channel"
        )
    return np.rint(values.astype(np.float64) * (255 / top)).astype(np.uint8)


@contextmanager
def _opened(picture: Picture) -> Iterator[Image.Image]:
    content = picture.read()
    name = picture.name
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            short, long = sorted(image.size)
            if short * long > MAX_PIXELS:
                raise DataError(
                    f"image {name} has {image.width} x {image.height} pixels, more than the {MAX_PIXELS:,} allowed; "
                    "scale it down or remove its items"
                )
            if long > short * MAX_ASPECT:
                raise DataError(
                    f"image {name} has {image.width} x {image.height} pixels, its sides may differ {MAX_ASPECT}-fold "
                    "at most; crop it or remove its items"
                )
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as err:
        raise DataError(f"image {name} is too large to open safely ({err}); scale it down or remove its items") from err
    except Image.UnidentifiedImageError as err:
        raise DataError(
            f"image {name} cannot be read as {', '.join(FORMATS)}; it is damaged, fetch it again or remove its items"
        ) from err
    except _DAMAGE as err:
        raise DataError(
            f"image {name} cannot be read ({err}); it is damaged, fetch it again or remove its items"
        ) from err
