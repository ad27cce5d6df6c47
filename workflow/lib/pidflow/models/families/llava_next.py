"""LLaVA-1.6 (LLaVA-NeXT): the picture at low resolution, then high-resolution tiles with a newline after each row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pidflow.models.families._family import Family
from pidflow.plugins import settings

if TYPE_CHECKING:
    from pidflow.models.layout import Layout


class Settings(settings.Settings):
    """Nothing of its own beside what every family has."""


def _layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    from pidflow.models.layout import llava_next_layout

    return llava_next_layout(processor, config, size)


FAMILY = Family(name="llava-next", model_type=("llava_next", "llava_next_video"), layout=_layout)
