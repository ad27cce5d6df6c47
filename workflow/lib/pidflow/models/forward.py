"""One forward pass of any family's model: what it is fed, which positions its tokens have, the logits it gives."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from pidflow.models.loading import LoadedModel
from pidflow.models.parts import attends_to_picture


def fed_names(model: nn.Module) -> frozenset[str]:
    """What the forward of a model takes by name."""
    names = set(inspect.signature(model.forward).parameters)
    # Language models that are called with whatever is left over take positions too.
    passed_on = {"position_ids"} if any(_is_open(each) for each in _parameters(model)) else set()
    return frozenset((names | passed_on) - {"labels"})


def run(
    loaded: LoadedModel, inputs: Mapping[str, torch.Tensor], *, cache: DynamicCache | None = None, keep: int = 1
) -> torch.Tensor:
    """Logits ``(B, keep, V)`` of the last positions that are fed, in the model's precision.

    Parameters
    ----------
    inputs
        As of :class:`pidflow.models.inputs.Batch`.
    cache
        Takes, and gives, keys and values; None: nothing is cached.
    keep
        How many positions; 0: all.
    """
    given = dict(loaded.family.together(inputs)) | {"use_cache": cache is not None}
    if cache is not None:
        given["past_key_values"] = cache
    pixels = inspect.signature(loaded.model.forward).parameters.get("pixel_values")
    if pixels is not None and pixels.default is pixels.empty and "pixel_values" not in inputs:
        states = loaded.text_model(**given).last_hidden_state  # such a model takes no text without a picture
        return loaded.logits_of(states[:, -keep:].to(loaded.device))
    if "logits_to_keep" in inspect.signature(loaded.model.forward).parameters:
        given["logits_to_keep"] = keep
    return loaded.model(**given).logits[:, -keep:].to(loaded.device)


def positions(loaded: LoadedModel, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Positions of the tokens of a left-padded batch: ``(B, T)``, or ``(axes, B, T)`` as the model itself counts them.

    They count from the first real token, so a row does not depend on how much padding it got.
    """
    mask = inputs["attention_mask"]
    of_axes = getattr(getattr(loaded.model, "model", None), "get_rope_index", None)
    if of_axes is None:
        return (mask.cumsum(1) - 1).clamp(min=0) + loaded.family.first_position
    asked = inspect.signature(of_axes).parameters
    return of_axes(**{name: inputs[name] for name in asked if name in inputs})[0]


def crop(loaded: LoadedModel, cache: DynamicCache, length: int) -> None:
    """Drop what a cache holds beyond so many positions of the text; the picture's own keys stay."""
    for block, layer in zip(loaded.layers, cache.layers, strict=False):
        if layer.keys is not None and not attends_to_picture(block) and layer.keys.shape[2] > length:
            layer.keys, layer.values = layer.keys[:, :, :length], layer.values[:, :, :length]


def cached_length(loaded: LoadedModel, cache: DynamicCache) -> int:
    """Positions of the text that a cache holds."""
    texts = [layer for block, layer in zip(loaded.layers, cache.layers, strict=False) if not attends_to_picture(block)]
    return texts[0].keys.shape[2] if texts and texts[0].keys is not None else 0


def _parameters(model: nn.Module) -> list[inspect.Parameter]:
    return list(inspect.signature(model.forward).parameters.values())


def _is_open(parameter: Any) -> bool:
    return parameter.kind is inspect.Parameter.VAR_KEYWORD
