"""Janus: the picture padded to a square, one grid of patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import square_grid

if TYPE_CHECKING:
    from pidflow.models.layout import Layout


def _layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    from pidflow.models.layout import padded_layout

    return padded_layout(lambda square: square_grid(processor.num_image_tokens, square), size)


FAMILY = Family(name="janus", model_type="janus", layout=_layout)
