"""Chameleon: the picture as words of a vocabulary of its own, none of which can be an answer."""

from __future__ import annotations

from typing import Any

from pidflow.models.families._family import Family, softcapped


def _logits(output: Any, config: Any) -> Any:
    """Words of pictures are left out of what can be said."""
    import torch

    pictured = [index for name, index in config.vocabulary_map.items() if name.startswith("IMGIMG")]
    logits = softcapped(output, config).clone()
    logits[..., pictured] = torch.finfo(logits.dtype).min
    return logits


FAMILY = Family(name="chameleon", model_type="chameleon", logits=_logits)
