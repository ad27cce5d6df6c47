"""Proof that image tokens lie where the layout says: boxes are painted into pictures and looked for in the pixels."""

from typing import Any

import numpy as np
from PIL import Image
from transformers.image_processing_utils import select_best_resolution

from pidflow.errors import NumericsError
from pidflow.models.layout import BASE, NEWLINE, TILE, Layout
from pidflow.models.loading import LoadedModel

# Width and height of the pictures in shares of the model's own size: square, wide, tall, and both beyond 1 : 3.
_SHAPES = ((1.0, 1.0), (1.6, 0.9), (0.9, 1.6), (2.3, 0.7), (0.7, 2.3))
# Left, top, right, bottom of the boxes in shares of the picture: two corners, the middle, the left half.
_BOXES = ((0.0, 0.0, 0.3, 0.4), (0.6, 0.7, 1.0, 1.0), (0.35, 0.3, 0.75, 0.65), (0.0, 0.0, 0.5, 1.0))
# Rounding a size by one pixel is an eighth of the smallest patch; resampling accounts for a hundredth.
_TOLERANCE = 0.2


def check_layout(loaded: LoadedModel) -> float | None:
    """Largest difference between how much of a patch a painted box covers by its layout and by its pixels.

    Pixels come from the processor, as in a run; the picture is padded first where that was asked for. Shares of a patch
    are from 0 to 1. None for families whose pixels are no grid of patches, which cannot be checked so.

    Raises
    ------
    NumericsError
        If a share differs by more than 0.2, so that boxes would become the wrong image tokens.
    """
    side = getattr(getattr(loaded.model.config, "vision_config", None), "image_size", None)
    if loaded.family.layout is None or not isinstance(side, int):
        return None
    worst = 0.0
    for shape in _SHAPES:
        width, height = (max(8, round(side * share)) for share in shape)
        layout = loaded.layout((height, width))
        blank = np.zeros((height, width, 3), dtype=np.uint8)
        dark = _token_values(loaded, blank, layout)
        if dark is None:
            return None
        contrast = float(np.nanmax(_token_values(loaded, blank + 255, layout) - dark))
        for share in _BOXES:
            box = np.round(np.array(share) * (width, height, width, height)).astype(int)
            painted = blank.copy()
            painted[box[1] : box[3], box[0] : box[2]] = 255
            seen = (_token_values(loaded, painted, layout) - dark) / contrast
            difference = np.nan_to_num(np.abs(seen - covered(layout, box)))
            worst = max(worst, float(difference.max()))
            if worst > _TOLERANCE:
                token = int(difference.argmax())
                raise NumericsError(
                    f"image token {token} of {len(layout)} shows {seen[token]:.0%} of a box painted into a picture of "
                    f"{width} x {height} pixels at {box.tolist()}, by its place {covered(layout, box)[token]:.0%}; the "
                    "image processor moves pictures in a way that its settings do not tell: set image: pad or crop in "
                    "the model's entry"
                )
    return worst


def covered(layout: Layout, box: np.ndarray) -> np.ndarray:
    """Share ``(k,)`` of each token's patch inside the box (left, top, right, bottom); NaN for tokens of no patch."""
    left, top, right, bottom = layout.rectangle.T
    across = np.clip(np.minimum(right, box[2]) - np.maximum(left, box[0]), 0, None)
    down = np.clip(np.minimum(bottom, box[3]) - np.maximum(top, box[1]), 0, None)
    return across * down / ((right - left) * (bottom - top))


def _token_values(loaded: LoadedModel, picture: np.ndarray, layout: Layout) -> np.ndarray | None:
    """Mean pixel value ``(k,)`` of each token's patch; NaN for tokens of no patch."""
    fitted = loaded.fit(Image.fromarray(picture))
    pixels = np.asarray(loaded.processor.image_processor(fitted, return_tensors="np")["pixel_values"])
    tiled, patch = pixels.ndim == 5, getattr(loaded.model.config.vision_config, "patch_size", None)
    if pixels.ndim not in (4, 5) or not isinstance(patch, int):
        return None
    if tiled and not (hasattr(loaded.model.config, "image_grid_pinpoints") and (layout.kind == NEWLINE).any()):
        return None
    values = np.full(len(layout), np.nan)
    placed = np.isfinite(layout.rectangle).all(axis=1) & (layout.kind == BASE)
    means = _patch_means(pixels[0, 0] if tiled else pixels[0], patch).ravel()
    if placed.sum() != len(means):  # patches are merged into fewer tokens
        return None
    values[placed] = means
    if tiled:
        high = _patch_means(_joined(pixels[0, 1:], loaded.model.config, picture.shape[:2]), patch)
        rows = int((layout.kind == NEWLINE).sum())
        columns = int((layout.kind == TILE).sum()) // rows
        top, left = (high.shape[0] - rows) // 2, (high.shape[1] - columns) // 2
        values[layout.kind == TILE] = high[top : top + rows, left : left + columns].ravel()
    return values


def _joined(tiles: np.ndarray, config: Any, size: tuple[int, int]) -> np.ndarray:
    """The tiles ``(n, channels, side, side)`` as one picture ``(channels, height, width)``."""
    across = select_best_resolution(size, config.image_grid_pinpoints)[1] // tiles.shape[-1]
    rows = [np.concatenate(tiles[start : start + across], axis=-1) for start in range(0, len(tiles), across)]
    return np.concatenate(rows, axis=-2)


def _patch_means(pixels: np.ndarray, patch: int) -> np.ndarray:
    """Mean of each patch of a picture ``(channels, height, width)``, what does not fill a patch left out."""
    channels, height, width = pixels.shape
    rows, columns = height // patch, width // patch
    whole = pixels[:, : rows * patch, : columns * patch].astype(np.float64)
    return whole.reshape(channels, rows, patch, columns, patch).mean(axis=(0, 2, 4))
