"""LLaVA-OneVision: the whole picture, then unpadded tiles, pooled where they are many, a newline after each row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pidflow.models.families._family import Family

if TYPE_CHECKING:
    from pidflow.models.layout import Layout


def _layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    from pidflow.models.layout import llava_onevision_layout

    return llava_onevision_layout(processor, config, size)


FAMILY = Family(name="llava-onevision", model_type="llava_onevision", layout=_layout)
