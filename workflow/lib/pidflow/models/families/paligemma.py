"""PaliGemma 1 and 2: the squashed picture in front; the whole prompt sees itself both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import square_grid

if TYPE_CHECKING:
    from pidflow.models.layout import Layout


def _layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    return square_grid(processor.image_seq_length, size)


FAMILY = Family(
    name="paligemma",
    model_type="paligemma",
    layout=_layout,
    sees="prefix",
    first_position=1,
    storage="float32",
    notes="early states depend on the question, so no state of the picture is vision alone",
)
