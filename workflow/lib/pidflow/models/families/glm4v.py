"""GLM-4V and GLM-4.6V: one grid of merged patches; positions on three axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pidflow.models.families._family import Family

if TYPE_CHECKING:
    from pidflow.models.layout import Layout


def _layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    from transformers.models.glm4v.image_processing_pil_glm4v import smart_resize

    from pidflow.models.layout import panel

    images = processor.image_processor
    side = images.patch_size * images.merge_size
    bounds = {"min_pixels": images.size["shortest_edge"], "max_pixels": images.size["longest_edge"]}
    frames = images.temporal_patch_size
    height, width = smart_resize(frames, *size, temporal_factor=frames, factor=side, **bounds)
    return panel(height // side, width // side, box=(0, 0, size[1], size[0]))


FAMILY = Family(name="glm4v", model_type=("glm4v", "glm4v_moe", "glm46v"), layout=_layout)
