"""InternVL 2.5 and 3 over Qwen2 or Llama: tiles of the squashed picture, then the whole of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pidflow.models.families._family import Family
from pidflow.models.families._layouts import tiles_and_whole

if TYPE_CHECKING:
    from pidflow.models.layout import Layout


def _layout(processor: Any, config: Any, size: tuple[int, int]) -> Layout:
    return tiles_and_whole(processor.image_processor, math.isqrt(processor.image_seq_length), size)


FAMILY = Family(name="internvl", model_type="internvl", layout=_layout)
