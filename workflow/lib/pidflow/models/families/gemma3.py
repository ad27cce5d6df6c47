"""Gemma 3: the squashed picture in one square; its tokens see each other both ways, states pass what float16 holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import square_grid

if TYPE_CHECKING:
    from pidflow.models.layout import Layout


def _layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout | None:
    if processor.image_processor.do_pan_and_scan:  # crops chosen by the shape of the picture, with words between
        return None
    return square_grid(processor.image_seq_length, size)


FAMILY = Family(name="gemma3", model_type="gemma3", layout=_layout, sees="image-block", storage="float32")
