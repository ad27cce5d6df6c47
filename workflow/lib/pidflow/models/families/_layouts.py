"""Where image tokens lie in families whose processors treat pictures alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pidflow.models.layout import Layout


def merged_grid(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    """One grid over the picture, resized to whole blocks of merged patches (Qwen2-VL and what is built like it)."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    from pidflow.models.layout import panel

    images = processor.image_processor
    side = images.patch_size * images.merge_size
    bounds = {"min_pixels": images.size["shortest_edge"], "max_pixels": images.size["longest_edge"]}
    height, width = smart_resize(*size, factor=side, **bounds)
    return panel(height // side, width // side, box=(0, 0, size[1], size[0]))


def square_grid(count: int, size: tuple[int, int]) -> Layout:
    """A picture squashed into a square of so many patches."""
    from pidflow.models.layout import panel

    return panel(math.isqrt(count), math.isqrt(count), box=(0, 0, size[1], size[0]))


def measured(processor: Any, config: Any, size: tuple[int, int]) -> Layout | None:
    """Whatever the processor does: found out from what it makes of ramps of grey."""
    from pidflow.models.measured import measured_layout

    return measured_layout(processor, config, size)


def tiles_and_whole(images: Any, cells: int, size: tuple[int, int]) -> Layout:
    """Tiles of the squashed picture, then the whole of it (InternVL, Aya Vision, Cohere2 Vision)."""
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

    from pidflow.models.layout import tiled

    rows = columns = 1
    if images.crop_to_patches:
        tile = images.size["height"], images.size["width"]
        columns, rows = get_optimal_tiled_canvas(size, tile, images.min_patches, images.max_patches)
    return tiled(rows, columns, cells, size=size)


def split_frames(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    """Tiles of the picture resized to whole tiles, then the whole of it (Idefics3, SmolVLM)."""
    from pidflow.models.layout import tiled

    _, rows, columns = processor.image_processor.get_number_of_image_patches(*size)
    return tiled(max(rows, 1), max(columns, 1), math.isqrt(processor.image_seq_len), size=size)


def patch_rows(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    """One grid over the picture, scaled down to fit and resized to whole patches (Pixtral, Mistral 3)."""
    from transformers.models.pixtral.image_processing_pil_pixtral import _num_image_tokens

    from pidflow.models.layout import panel

    images = processor.image_processor
    side = processor.patch_size * processor.spatial_merge_size
    ratio = max(1.0, max(size) / images.size["longest_edge"])
    shown = tuple(math.floor(each / ratio) for each in size) if ratio > 1 else size
    rows, columns = _num_image_tokens(shown, (side, side))
    return panel(rows, columns, box=(0, 0, size[1], size[0]))
