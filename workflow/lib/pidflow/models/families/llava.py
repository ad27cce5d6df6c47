"""LLaVA-1.5 and what is built like it: one run of image tokens, one grid of patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pidflow.models.families._family import Family
from pidflow.plugins import settings

if TYPE_CHECKING:
    from pidflow.models.layout import Layout


class Settings(settings.Settings):
    """How pictures become square."""

    image: Literal["pad", "crop"] | None = Field(
        default=None,
        description="Pad pictures to a square of the mean colour, or cut out the middle; null: as the processor says.",
    )


def _layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    from pidflow.models.layout import llava_layout

    return llava_layout(processor, config, size)


FAMILY = Family(name="llava", model_type="llava", layout=_layout, makes_square=True)
