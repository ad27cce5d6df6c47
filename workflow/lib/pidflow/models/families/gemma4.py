"""Gemma 4: one run of image tokens, in the larger models seen by each other in sliding blocks; bounded logits."""

from typing import Any

from pidflow.models.families._family import Family


def _sees(config: Any) -> str:
    text = config.get_text_config()
    return "image-block" if text.use_bidirectional_attention == "vision" else "causal"


FAMILY = Family(name="gemma4", model_type="gemma4", sees=_sees, storage="float32")
