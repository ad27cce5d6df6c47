"""Where image tokens lie in the picture: through the processor's padding, resizing, cropping and tiling, backwards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from transformers.image_processing_utils import select_best_resolution

from pidflow.errors import ConfigError, DataError

BASE, TILE, NEWLINE = 0, 1, 2
# ASSUME: no model sees more pixels of one picture; a long picture whose short side is resized would fill the memory.
MAX_RESIZED = 64_000_000


@dataclass(frozen=True)
class Layout:
    """The image tokens of one picture, in the order in which they stand in the prompt.

    Attributes
    ----------
    kind
        ``(k,)`` integers: ``BASE`` (the whole picture at low resolution), ``TILE`` (high resolution) or ``NEWLINE``
        (the row separators of LLaVA-1.6).
    rectangle
        ``(k, 4)`` left, top, right, bottom of the patch in pixels of the original picture; it may reach beyond the
        picture where the processor padded it, and is NaN for tokens that are no patch.
    """

    kind: np.ndarray
    rectangle: np.ndarray

    def __len__(self) -> int:
        return len(self.kind)

    def touching(self, boxes: np.ndarray) -> np.ndarray:
        """Which tokens' patches share area with any of the boxes.

        Parameters
        ----------
        boxes
            ``(b, 4)`` of ``x, y, width, height`` in pixels of the original picture.

        Returns
        -------
        Boolean ``(k,)``.
        """
        left, top, right, bottom = (self.rectangle[:, None, side] for side in range(4))
        x, y, width, height = (np.asarray(boxes, dtype=float).reshape(-1, 4)[None, :, side] for side in range(4))
        # Comparisons with NaN are false, so newline and class tokens never touch a box.
        return ((left < x + width) & (x < right) & (top < y + height) & (y < bottom)).any(axis=1)

    def covered(self, box: np.ndarray) -> np.ndarray:
        """Share ``(k,)`` of each token's patch inside a box (left, top, right, bottom); NaN for tokens of no patch."""
        left, top, right, bottom = self.rectangle.T
        across = np.clip(np.minimum(right, box[2]) - np.maximum(left, box[0]), 0, None)
        down = np.clip(np.minimum(bottom, box[3]) - np.maximum(top, box[1]), 0, None)
        return across * down / ((right - left) * (bottom - top))


def panel(rows: int, columns: int, *, box: Sequence[float], kind: int = BASE) -> Layout:
    """A grid of patches, in reading order, that shows one rectangle of the picture.

    Parameters
    ----------
    box
        Left, top, right, bottom in pixels of the original picture.
    """
    left, top, right, bottom = box
    step = (bottom - top) / max(rows, 1), (right - left) / max(columns, 1)
    rectangle = _grid(rows=rows, columns=columns, step=step, origin=(top, left))
    return Layout(kind=np.full(rows * columns, kind), rectangle=rectangle)


def tiled(rows: int, columns: int, cells: int, *, size: tuple[int, int], whole: bool = True) -> Layout:
    """A picture squashed into tiles of ``cells`` x ``cells`` patches, then, where asked for, squashed into one more.

    A picture of one tile is only that: the whole picture.
    """
    height, width = size
    boxes = [
        (column * width / columns, row * height / rows, (column + 1) * width / columns, (row + 1) * height / rows)
        for row in range(rows)
        for column in range(columns)
    ]
    parts = [panel(cells, cells, box=box, kind=TILE) for box in boxes] if len(boxes) > 1 else []
    if whole or not parts:
        parts.append(panel(cells, cells, box=(0, 0, width, height)))
    return Layout(
        kind=np.concatenate([part.kind for part in parts]),
        rectangle=np.concatenate([part.rectangle for part in parts]),
    )


def make_square(images: Any, how: str) -> None:
    """Set an image processor to one of the two ways in which LLaVA-1.5 makes a picture square.

    Parameters
    ----------
    images
        The image processor.
    how
        ``"pad"``: the picture is put into the middle of a square of the mean colour before the processor sees it, as in
        the published evaluations (see :func:`padded`). ``"crop"``: the processor resizes the short side and cuts the
        middle out.

    Raises
    ------
    ConfigError
        If the processor is not set to cut the middle out.
    """
    cuts = images.do_resize and images.size.get("shortest_edge") and images.do_center_crop
    if how == "crop" and not cuts:
        raise ConfigError(
            "image: crop needs an image processor that resizes the shortest edge and crops the centre, this one "
            f"resizes to {dict(images.size)}; leave image out, or set it to pad"
        )
    images.do_pad = False


def padded(picture: Image.Image, *, colour: Sequence[float]) -> Image.Image:
    """The picture in the middle of a square as large as its longer side.

    Parameters
    ----------
    colour
        Of the square, three shares of 1: the mean that the image processor subtracts, which leaves about zero.
    """
    side = max(picture.size)
    square = Image.new("RGB", (side, side), tuple(int(share * 255) for share in colour))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square


def padded_layout(layout: Callable[[tuple[int, int]], Layout], size: tuple[int, int]) -> Layout:
    """Where the image tokens of a picture lie in it if it was padded first.

    Parameters
    ----------
    layout
        Of a picture that is not padded, by its height and width.
    size
        Height and width before padding.
    """
    height, width = size
    side = max(size)
    _check_pixels(side, side)
    square = layout((side, side))
    left, top = (side - width) // 2, (side - height) // 2
    return Layout(kind=square.kind, rectangle=square.rectangle - (left, top, left, top))


def llava_layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    """LLaVA-1.5: one grid of patches over the resized and centre-cropped picture.

    Parameters
    ----------
    processor, config
        The checkpoint's processor and configuration.
    size
        Height and width of the original picture in pixels.
    """
    images = processor.image_processor
    # Image processors of other kinds take do_pad to mean something that does not move the picture.
    if getattr(images, "do_pad", False) and hasattr(images, "pad_to_square"):
        return padded_layout(lambda square: _cropped_layout(processor, config, square), size)
    return _cropped_layout(processor, config, size)


def _cropped_layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    images = processor.image_processor
    patch = config.vision_config.patch_size
    height, width = size
    resized = _resized(images, (height, width)) if images.do_resize else (height, width)
    final = (images.crop_size["height"], images.crop_size["width"]) if images.do_center_crop else resized
    top, left = (resized[0] - final[0]) // 2, (resized[1] - final[1]) // 2
    rectangle = _grid(
        rows=final[0] // patch,
        columns=final[1] // patch,
        step=(patch * height / resized[0], patch * width / resized[1]),
        origin=(top * height / resized[0], left * width / resized[1]),
    )
    class_tokens = processor.num_additional_image_tokens - (processor.vision_feature_select_strategy == "default")
    if class_tokens > 0:
        rectangle = np.concatenate([np.full((class_tokens, 4), np.nan), rectangle])
    return Layout(kind=np.full(len(rectangle), BASE), rectangle=rectangle)


def llava_next_layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    """LLaVA-1.6: the squashed picture, then the unpadded grid of high-resolution tiles with a newline after each row.

    Parameters
    ----------
    processor, config
        The checkpoint's processor and configuration.
    size
        Height and width of the original picture in pixels.
    """
    if processor.vision_feature_select_strategy != "default":
        raise ConfigError(
            "family 'llava-next' needs vision_feature_select_strategy 'default', "
            f"found '{processor.vision_feature_select_strategy}'"
        )
    return _base_and_tiles(config, size, most=None)


def llava_onevision_layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    """LLaVA-OneVision: as LLaVA-1.6, but tiles of many patches are pooled to fewer; parameters as there."""
    return _base_and_tiles(config, size, most=int(processor.vision_aspect_ratio.removeprefix("anyres_max_")))


def _base_and_tiles(config: Any, size: tuple[int, int], *, most: int | None) -> Layout:
    """The squashed picture, then tiles of at most as many patches as so many pictures have."""
    height, width = size
    patch, side = config.vision_config.patch_size, config.vision_config.image_size
    base = panel(side // patch, side // patch, box=(0, 0, width, height))
    best = select_best_resolution(size, config.image_grid_pinpoints)
    scale = min(best[0] / height, best[1] / width)
    if best[1] / width < best[0] / height:
        shown = (min(int(np.ceil(height * scale)), best[0]), best[1])
    else:
        shown = (best[0], min(int(np.ceil(width * scale)), best[1]))
    pasted = (best[0] - shown[0]) // 2, (best[1] - shown[1]) // 2
    rows, columns = best[0] // patch, best[1] // patch
    # The model drops padding rows or columns by this rule, in whole tokens and from the aspect ratio alone.
    cut_rows = cut_columns = 0
    if width / height > columns / rows:
        cut_rows = (rows - int(round(height * (columns / width), 7))) // 2
    else:
        cut_columns = (columns - int(round(width * (rows / height), 7))) // 2
    rows, columns = rows - 2 * cut_rows, columns - 2 * cut_columns
    step = patch * height / shown[0], patch * width / shown[1]
    top = (cut_rows * patch - pasted[0]) * height / shown[0]
    left = (cut_columns * patch - pasted[1]) * width / shown[1]
    box = (left, top, left + columns * step[1], top + rows * step[0])
    ratio = 0.0 if most is None else np.sqrt(rows * columns / (most * (side // patch) ** 2))
    if ratio > 1.1:
        rows, columns = int(rows // ratio), int(columns // ratio)
    tiles = panel(rows, columns, box=box, kind=TILE).rectangle.reshape(rows, columns, 4)
    lines = np.concatenate([tiles, np.full((rows, 1, 4), np.nan)], axis=1)
    kinds = np.full((rows, columns + 1), TILE)
    kinds[:, -1] = NEWLINE
    return Layout(
        kind=np.concatenate([base.kind, kinds.ravel()]),
        rectangle=np.concatenate([base.rectangle, lines.reshape(-1, 4)]),
    )


def _resized(images: Any, size: tuple[int, int]) -> tuple[int, int]:
    """What the image processor resizes ``(height, width)`` to."""
    wanted = images.size
    if wanted.get("shortest_edge") and not wanted.get("longest_edge"):
        edge = wanted["shortest_edge"]
        height, width = size
        resized = (edge, int(edge * width / height)) if height <= width else (int(edge * height / width), edge)
        _check_pixels(*resized)
        return resized
    if wanted.get("height") and wanted.get("width"):
        return wanted["height"], wanted["width"]
    raise DataError(
        f"cannot follow an image processor that resizes to {dict(wanted)}; expected shortest_edge or height and width"
    )


def _check_pixels(height: int, width: int) -> None:
    if height * width > MAX_RESIZED:
        raise DataError(
            f"the picture would have {width:,} x {height:,} pixels after padding or resizing its short side, at most "
            f"{MAX_RESIZED:,} are allowed; crop it or remove its items"
        )


def _grid(*, rows: int, columns: int, step: tuple[float, float], origin: tuple[float, float]) -> np.ndarray:
    """Rectangles ``(rows * columns, 4)`` in reading order, cells of ``step`` (height, width) from ``origin``."""
    top, left = np.meshgrid(
        origin[0] + step[0] * np.arange(rows), origin[1] + step[1] * np.arange(columns), indexing="ij"
    )
    corners = np.stack([left, top, left + step[1], top + step[0]], axis=-1)
    return corners.reshape(-1, 4)
