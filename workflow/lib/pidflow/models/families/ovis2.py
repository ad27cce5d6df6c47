"""Ovis 2: the whole picture, then tiles of it, with marks between; each token is a mixture of visual words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pidflow.models.families._family import Family

if TYPE_CHECKING:
    from pidflow.models.layout import Layout


def _layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    from transformers.models.ovis2 import image_processing_pil_ovis2 as ovis

    from pidflow.models.layout import Layout, tiled

    images, count = processor.image_processor, processor.image_seq_length
    rows = columns = 1
    tile = images.size["height"]
    if images.crop_to_patches and images.use_covering_area_grid:
        columns, rows = ovis.get_min_tile_covering_grid(size, tile, images.max_patches)
    elif images.crop_to_patches:
        bounds = images.min_patches, images.max_patches
        columns, rows = ovis.get_optimal_tiled_canvas(size, (tile, tile), *bounds)
    found = tiled(rows, columns, math.isqrt(count), size=size)
    order = [*range(len(found) - count, len(found)), *range(len(found) - count)]  # the whole picture first
    return Layout(kind=found.kind[order], rectangle=found.rectangle[order])


FAMILY = Family(name="ovis2", model_type="ovis2", layout=_layout, image_token="<IMG_ATOM>")
