"""Where the parts of a model are: language model, decoder blocks, final norm, unembedding."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from pidflow.errors import ConfigError
from pidflow.models.families._family import Family

_INSIDE = ("model", "decoder", "text_model", "language_model")
_BLOCKS = ("layers", "h", "blocks")
_NORMS = ("norm", "final_layernorm", "final_layer_norm", "embedding_norm", "layer_norm", "ln_f")
# Attributes of a decoder block that attend, and whether their keys are the text itself.
_ATTENTION = {"self_attn": False, "cross_attn": True, "attention": False, "attn": False}


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a model that are read and changed.

    Attributes
    ----------
    text_model
        Embeddings, decoder blocks and final norm.
    layers
        The decoder blocks 0 … L-1.
    final_norm
        Between the last block and the unembedding.
    unembedding
        From the normed state to token logits.
    """

    text_model: nn.Module
    layers: nn.ModuleList
    final_norm: nn.Module
    unembedding: nn.Module


def parts_of(model: nn.Module, family: Family) -> Parts:
    """The parts of a model, where its family states they are or else where the library's own decoder has them.

    Raises
    ------
    ConfigError
        If a part is not found.
    """
    text = model.get_submodule(family.text_model) if family.text_model else _decoder(model)
    layers = model.get_submodule(family.layers) if family.layers else _blocks(text)
    norm = model.get_submodule(family.final_norm) if family.final_norm else _child(text, _NORMS, nn.Module)
    head = model.get_submodule(family.unembedding) if family.unembedding else _head(model)
    missing = {"decoder blocks": layers, "final norm": norm, "unembedding": head}
    absent = [name for name, part in missing.items() if part is None]
    if text is None or absent:
        raise ConfigError(
            f"family '{family.name}': {type(model).__name__} has no {' or '.join(absent) or 'language model'} where "
            "the library's models have them; add a file of its family that states where they are"
        )
    return Parts(text, layers, norm, head)


def attention_of(block: nn.Module) -> nn.Module | None:
    """The module of a decoder block that attends; None where it does not attend."""
    return next(
        (getattr(block, name) for name in _ATTENTION if isinstance(getattr(block, name, None), nn.Module)), None
    )


def attends_to_picture(block: nn.Module) -> bool:
    """Whether a decoder block attends to the picture itself, not to the text (cross-attention)."""
    return any(across and hasattr(block, name) for name, across in _ATTENTION.items())


def _decoder(model: nn.Module) -> nn.Module | None:
    """The library's decoder of a model, without the unembedding that may wrap it."""
    try:
        found = model.get_decoder()
    except (AttributeError, TypeError, ValueError):
        return None
    while found is not None and _blocks(found) is None:
        found = _child(found, _INSIDE, nn.Module)
    return found


def _blocks(text: Any) -> nn.ModuleList | None:
    return _child(text, _BLOCKS, nn.ModuleList)


def _child(parent: Any, names: tuple[str, ...], kind: type[nn.Module]) -> Any:
    return next((found for name in names if isinstance(found := getattr(parent, name, None), kind)), None)


def _head(model: nn.Module) -> nn.Module | None:
    try:
        return model.get_output_embeddings()
    except (AttributeError, NotImplementedError):
        return None
