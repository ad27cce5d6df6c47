"""Cohere2 Vision: tiles with a line break after each, then the whole picture; sliding blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import tiles_and_whole

if TYPE_CHECKING:
    from pidflow.models.layout import Layout


def _layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    return tiles_and_whole(processor.image_processor, processor.patch_size, size)


FAMILY = Family(
    name="cohere2-vision",
    model_type="cohere2_vision",
    layout=_layout,
    notes="logits are not scaled as in the language model alone; probabilities do not compare with a threshold",
)
