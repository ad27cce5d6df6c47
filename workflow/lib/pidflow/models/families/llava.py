"""LLaVA-1.5 and what is built like it: one run of image tokens, one grid of patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pidflow import settings
from pidflow.models.families._family import Family

if TYPE_CHECKING:
    from pidflow.models.layout import Layout


class Settings(settings.Settings):
    """Nothing of its own beside what every family has."""


def _layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    from pidflow.models.layout import llava_layout

    return llava_layout(processor, config, size)


FAMILY = Family(name="llava", model_type="llava", layout=_layout)
