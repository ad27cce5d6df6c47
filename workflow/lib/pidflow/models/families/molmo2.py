"""Molmo 2: the whole picture, then crops of it as one grid, marks after each row; all of these see each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pidflow.models.families._family import Family

if TYPE_CHECKING:
    from pidflow.models.layout import Layout


def _layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    import numpy as np
    from transformers.models.molmo2.image_processing_molmo2 import compute_crop_geometry

    from pidflow.models.layout import TILE, Layout, panel

    images = processor.image_processor
    patch, side = images.patch_size, images.size["height"]
    *_, high, wide = compute_crop_geometry(
        *size, max_crops=images.max_crops, overlap_margins=images.overlap_margins, crop_size=side, patch_size=patch
    )
    (rows, columns, more_rows, more_columns), _ = images.get_image_grid_and_crops(*size)
    whole = _pooled(rows, columns, (side, side), images, size)
    crops = _pooled(more_rows, more_columns, (high, wide), images, size)
    parts = panel(rows, columns, box=whole), panel(more_rows, more_columns, box=crops, kind=TILE)
    return Layout(
        kind=np.concatenate([part.kind for part in parts]),
        rectangle=np.concatenate([part.rectangle for part in parts]),
    )


def _pooled(rows: int, columns: int, canvas: tuple[int, int], images: Any, size: tuple[int, int]) -> tuple[float, ...]:
    """What a grid of pooled patches shows of a picture squashed onto a canvas; half a window may hang over each end."""
    box = []
    for count, pixels, pool, side in zip((rows, columns), canvas, images.pooling_size, size, strict=True):
        patches = pixels // images.patch_size
        first = -((count * pool - patches) // 2)
        box.append([place * side / patches for place in (first, first + count * pool)])
    (top, bottom), (left, right) = box
    return left, top, right, bottom


def _together(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Patches are numbered picture by picture; the model counts them through the batch."""
    pooled = inputs.get("image_token_pooling")
    if pooled is None:
        return inputs
    grids, crops = inputs["image_grids"], inputs["image_num_crops"]
    tokens = grids[:, 0] * grids[:, 1] + grids[:, 2] * grids[:, 3]
    before = ((crops.cumsum(0) - crops) * inputs["pixel_values"].shape[1]).repeat_interleave(tokens)
    return {**inputs, "image_token_pooling": pooled.where(pooled < 0, pooled + before[:, None])}


FAMILY = Family(
    name="molmo2",
    model_type="molmo2",
    layout=_layout,
    together=_together,
    sees="image-span",
    image_token="<im_patch>",
)
