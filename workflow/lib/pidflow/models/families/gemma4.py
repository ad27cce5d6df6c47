"""Gemma 4: one run of image tokens, in the larger models seen by each other in sliding blocks; bounded logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pidflow.models.families._family import Family

if TYPE_CHECKING:
    from pidflow.models.layout import Layout


def _sees(config: Any) -> str:
    text = config.get_text_config()
    return "image-block" if text.use_bidirectional_attention == "vision" else "causal"


def _layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    from transformers.models.gemma4.image_processing_pil_gemma4 import get_aspect_ratio_preserving_size

    from pidflow.models.layout import panel

    images = processor.image_processor
    pooled = images.pooling_kernel_size
    most = images.max_soft_tokens * pooled**2
    height, width = get_aspect_ratio_preserving_size(*size, images.patch_size, most, pooled)
    side = images.patch_size * pooled
    return panel(height // side, width // side, box=(0, 0, size[1], size[0]))


FAMILY = Family(name="gemma4", model_type=("gemma4", "gemma4_unified"), layout=_layout, sees=_sees, storage="float32")
