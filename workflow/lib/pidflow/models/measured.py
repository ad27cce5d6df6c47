"""Where image tokens lie, measured: ramps of grey go through the processor, and every pixel tells where it is from.

An image processor resizes, crops, pads and cuts; each of its tiles is a rectangle of the picture, scaled. Two ramps
show which one, whatever the processor's settings are called.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from pidflow.models.families._family import Family
from pidflow.models.layout import BASE, TILE, Layout
from pidflow.models.processors import image_token_of, placeholder_of

_PLAIN = Family(name="generic")  # families whose tokens are called otherwise know their own geometry
_LINEAR = 0.02  # of the picture: how far a tile's pixels may lie from a straight line
_APART = 1e-3  # of the picture: what lies nearer is one row or column
_WHOLE = 0.02  # of the picture: what a tile of the whole of it may leave out


def measured_layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout | None:
    """Where the image tokens of a picture of ``(height, width)`` pixels lie, from what the processor makes of ramps.

    Two orders of tokens are known: tiles of ``(channels, height, width)``, in each of which the tokens are a grid in
    reading order; and patches whose pixels are one row each, of which every token has as many, one after the other.

    Returns
    -------
    None where tokens are in neither order, so that nobody knows what they show.
    """
    return _measured(processor, image_token_of(_PLAIN, processor, config), size)


@lru_cache(maxsize=2048)
def _measured(processor: Any, image_token_id: int, size: tuple[int, int]) -> Layout | None:
    height, width = size
    try:
        black, count = _seen(processor, np.zeros(size), image_token_id)
    except ValueError:  # some take no picture without the words that stand around it
        return None
    white, _ = _seen(processor, np.full(size, 255.0), image_token_id)
    name = _brightened(black, white)
    if name is None or not count:
        return None
    contrast = white[name] - black[name]
    inside = np.abs(contrast) > 0.5 * np.abs(contrast).max()

    def places(ramp: np.ndarray) -> np.ndarray:
        shown, _ = _seen(processor, np.broadcast_to(255 * ramp, size), image_token_id)
        return np.where(inside, (shown[name] - black[name]) / np.where(inside, contrast, 1), np.nan)

    across = places((np.arange(width)[None] + 0.5) / width)
    down = places((np.arange(height)[:, None] + 0.5) / height)
    tiles = across.ndim >= 4 and np.prod(across.shape[:-3]) <= count
    found = _of_tiles(across, down, count) if tiles else _of_patches(across, down, count)
    if found is None:
        return None
    kind, rectangle = found
    return Layout(kind=kind, rectangle=rectangle * (width, height, width, height))


def _seen(processor: Any, grey: np.ndarray, image_token_id: int) -> tuple[dict[str, np.ndarray], int]:
    """Everything the processor makes of a grey picture, as numbers, and how many image tokens."""
    picture = Image.fromarray(np.round(grey).astype(np.uint8)).convert("RGB")
    found = processor(images=[picture], text=[placeholder_of(_PLAIN, processor)], return_tensors="pt")
    count = int((found["input_ids"] == image_token_id).sum())
    numbers = {name: each for name, each in found.items() if hasattr(each, "shape")}
    return {name: np.asarray(each.double(), dtype=np.float64) for name, each in numbers.items()}, count


def _brightened(black: dict[str, np.ndarray], white: dict[str, np.ndarray]) -> str | None:
    """The one result that tells a white picture from a black one."""
    names = [name for name in black if black[name].shape == white[name].shape and (black[name] != white[name]).any()]
    return names[0] if len(names) == 1 else None


Found = tuple[np.ndarray, np.ndarray] | None


def _of_tiles(across: np.ndarray, down: np.ndarray, count: int) -> Found:
    """Kinds and rectangles of tokens that are a grid in each tile, in shares of the picture."""
    shape = (-1, *across.shape[-3:])
    tiles = [(x[0], y[0]) for x, y in zip(across.reshape(shape), down.reshape(shape), strict=True)]
    tiles = [(x, y) for x, y in tiles if np.isfinite(x).any()]
    if not tiles or count % len(tiles):
        return None
    height, width = tiles[0][0].shape
    each = count // len(tiles)
    rows = round(np.sqrt(each * height / width))
    if not rows or each % rows:
        return None
    columns = each // rows
    kinds, rectangles = [], []
    for x, y in tiles:
        edges = _edges(_along(x, 0), columns), _edges(_along(y, 1), rows)
        if edges[0] is None or edges[1] is None:
            return None
        left, top = np.meshgrid(edges[0][:-1], edges[1][:-1])
        right, bottom = np.meshgrid(edges[0][1:], edges[1][1:])
        rectangles.append(np.stack([left, top, right, bottom], axis=-1).reshape(-1, 4))
        whole = all(edge[0] < _WHOLE and edge[-1] > 1 - _WHOLE for edge in edges)
        kinds.append(np.full(each, BASE if whole or len(tiles) == 1 else TILE))
    return np.concatenate(kinds), np.concatenate(rectangles)


def _along(places: np.ndarray, axis: int) -> np.ndarray:
    """What the pixels of each column (axis 0) or row (1) show, NaN where they show nothing of the picture."""
    shown = np.isfinite(places)
    count = shown.sum(axis)
    return np.where(count, np.where(shown, places, 0).sum(axis) / np.maximum(count, 1), np.nan)


def _edges(places: np.ndarray, cells: int) -> np.ndarray | None:
    """Edges of so many cells of equal width along pixels that show these places, which lie on a line."""
    at = np.flatnonzero(np.isfinite(places))
    if len(at) < 2:
        return None
    inner = at[1:-1] if len(at) > 3 else at  # resampling bends the ends
    slope, start = np.polyfit(inner, places[inner], 1)
    if np.abs(start + slope * inner - places[inner]).max() > _LINEAR:
        return None
    return start + slope * (np.linspace(0, len(places), cells + 1) - 0.5)


def _of_patches(across: np.ndarray, down: np.ndarray, count: int) -> Found:
    """Kinds and rectangles of tokens that have as many patches each, one after the other, in shares of the picture."""
    pixels = 1 if across.ndim < 4 else 3  # axes
    patches = [each.reshape(-1, int(np.prod(each.shape[-pixels:]))) for each in (across, down)]
    shown = np.isfinite(patches[0]).any(1)
    if not shown.any() or shown.sum() % count:
        return None
    sides = []
    for each in patches:
        centres = each[shown].reshape(count, -1)
        if not np.isfinite(centres).all():
            return None
        lower, upper, lines = _cells(centres.mean(1))
        if (np.ptp(centres, axis=1) > (upper - lower) + _LINEAR).any():  # patches from all over the picture
            return None
        sides.append((lower, upper, lines))
    (left, right, columns), (top, bottom, rows) = sides
    if rows * columns != count:
        return None
    return np.full(count, BASE), np.stack([left, top, right, bottom], axis=1)


def _cells(centres: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Lower and upper edges of cells that lie around these centres without gaps, and how many there are in a line."""
    order = np.sort(centres)
    lines = order[np.concatenate([[True], np.diff(order) > _APART])]
    if len(lines) == 1:  # the whole picture
        return np.zeros_like(centres), np.ones_like(centres), 1
    step = (lines[-1] - lines[0]) / (len(lines) - 1)
    return centres - step / 2, centres + step / 2, len(lines)
