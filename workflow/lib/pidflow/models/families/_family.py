"""What a file of a family holds as ``FAMILY``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pidflow.models.layout import Layout  # takes seconds to import, and the workflow reads every family


@dataclass(frozen=True)
class Family:
    """What the checkpoints of one family have in common.

    Attributes
    ----------
    name
        The id used in the configuration.
    model_type
        ``model_type`` in the checkpoint's ``config.json``.
    layout
        Where each image token lies in the picture: ``(processor, config, (height, width)) -> Layout``.
    makes_square
        Whether the picture is one square, so that the configuration may choose how it becomes one.
    text_model, layers, final_norm, unembedding
        Dotted places of the language model, its decoder blocks, its final norm and the unembedding.
    """

    name: str
    model_type: str
    layout: Callable[[Any, Any, tuple[int, int]], Layout]
    makes_square: bool = False
    text_model: str = "model.language_model"
    layers: str = "model.language_model.layers"
    final_norm: str = "model.language_model.norm"
    unembedding: str = "lm_head"
