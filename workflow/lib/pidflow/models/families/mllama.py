"""Llama 3.2 Vision: one token stands for the picture, whose patches enter through blocks of cross-attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pidflow.models.families._family import Family

if TYPE_CHECKING:
    from pidflow.models.layout import Layout


def _layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    """The keys of cross-attention: a class token and patches of each tile, of tiles that are not used too."""
    import numpy as np
    from transformers.models.mllama import image_processing_pil_mllama as mllama

    from pidflow.models.layout import NEWLINE, TILE, Layout, panel

    images, tile = processor.image_processor, processor.image_processor.size["height"]
    canvas = tuple(map(int, mllama.get_optimal_tiled_canvas(*size, images.max_image_tiles, tile)))
    shown = mllama.get_image_size_fit_to_canvas(*size, *canvas, tile)
    step = [tile * side / inside for side, inside in zip(size, shown, strict=True)]  # pixels of the picture in a tile
    cells = tile // config.vision_config.patch_size
    rectangles = np.full((config.vision_config.max_num_tiles, cells**2 + 1, 4), np.nan)
    for place in range(canvas[0] // tile * (canvas[1] // tile)):
        row, column = divmod(place, canvas[1] // tile)
        box = column * step[1], row * step[0], (column + 1) * step[1], (row + 1) * step[0]
        rectangles[place, 1:] = panel(cells, cells, box=box).rectangle
    rectangles = rectangles.reshape(-1, 4)
    return Layout(kind=np.where(np.isfinite(rectangles).all(1), TILE, NEWLINE), rectangle=rectangles)


FAMILY = Family(
    name="mllama",
    model_type="mllama",
    layout=_layout,
    across=True,
    notes="one token stands for the picture; who loses it loses the picture in cross-attention too",
)
