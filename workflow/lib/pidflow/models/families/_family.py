"""What a file of a family holds as ``FAMILY``: how its checkpoints differ from the others, by default in nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pidflow.models.layout import Layout  # takes seconds to import, and the workflow reads every family


def softcapped(logits: Any, config: Any) -> Any:
    """Logits scaled and bounded as the language model's configuration states it."""
    scaling = getattr(config, "logits_scaling", None)
    if scaling is not None:  # Granite divides by what HyperCLOVA X multiplies with
        logits = logits * scaling if "hyperclova" in config.model_type else logits / scaling
    logits = logits * (getattr(config, "output_multiplier", None) or 1)
    bound = getattr(config, "final_logit_softcapping", None)
    return logits if bound is None else bound * (logits / bound).tanh()


def as_it_is(processor: Any) -> None:
    """Nothing to be done to a processor."""


def as_they_are(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Nothing to be done to the inputs of several rows."""
    return inputs


def as_loaded(model: Any) -> None:
    """Nothing to be done to a model."""


def nothing_wrong(folder: Path) -> None:
    """A checkpoint that needs no look of its own."""


@dataclass(frozen=True)
class Family:
    """What the checkpoints of one family have in common.

    Attributes
    ----------
    name
        The id used in the configuration.
    model_type
        ``model_type`` in the checkpoint's ``config.json``; several where one class serves them; none: any that has no
        family of its own.
    layout
        Where each image token lies in the picture: ``(processor, config, (height, width)) -> Layout``. None: unknown,
        so the spans of an object are empty.
    across
        The picture enters through cross-attention: the layout is that of its keys, and one token stands for all.
    measured
        Whether the layout counts only for checkpoints of which painted boxes have proven it (see
        :func:`pidflow.models.painted.painted_boxes_move_their_tokens`); of others it is unknown.
    makes_square
        Whether the picture is one square, so that the configuration may choose how it becomes one.
    text_model, layers, final_norm, unembedding
        Dotted places of the language model, its decoder blocks, its final norm and the unembedding; None: found (see
        :func:`pidflow.models.parts.parts_of`).
    embedder
        Dotted place of what puts the picture into embeddings, where that is a part of the language model.
    placeholder
        What stands for the picture in a prompt; None: the processor's ``image_token``.
    in_front
        The processor itself puts the picture before the text, which holds no placeholder.
    image_token
        The token that image features replace; None: the configuration's ``image_token_id``.
    sees
        Who sees whom beside what comes before: ``"causal"`` nobody, ``"image-block"`` the image tokens each other,
        ``"image-span"`` they and the marks between them each other, ``"prefix"`` all positions of the prompt each
        other; or a function that tells it from the configuration. The self-check compares it with what the model does.
    reads_question
        The part of the model that reads the picture reads the question too, so vision alone still holds language.
    first_position
        Position of the first token.
    logits
        What becomes of the unembedding's output before it is a logit: ``(output, language model's configuration)``.
    prepare
        What a processor needs before it is used.
    prepare_model
        What a model needs before it is used.
    together
        What becomes of the inputs of rows, each made alone, when they are fed at once.
    loader
        The library's class that loads it.
    check_folder
        What is wrong with a checkpoint's folder, if anything, as the end of a sentence.
    storage
        Smallest type that holds its states: some pass what float16 can hold.
    notes
        What a reader of its numbers should know.
    """

    name: str
    model_type: str | tuple[str, ...] = ()
    layout: Callable[[Any, Any, tuple[int, int]], Layout | None] | None = None
    across: bool = False
    measured: bool = False
    makes_square: bool = False
    text_model: str | None = None
    layers: str | None = None
    final_norm: str | None = None
    unembedding: str | None = None
    embedder: str | None = None
    placeholder: str | None = None
    in_front: bool = False
    image_token: str | None = None
    sees: Literal["causal", "image-block", "image-span", "prefix"] | Callable[[Any], str] = "causal"
    reads_question: bool = False
    first_position: int = 0
    logits: Callable[[Any, Any], Any] = softcapped
    prepare: Callable[[Any], None] = as_it_is
    prepare_model: Callable[[Any], None] = as_loaded
    together: Callable[[Mapping[str, Any]], Mapping[str, Any]] = as_they_are
    loader: str = "AutoModelForImageTextToText"
    check_folder: Callable[[Path], str | None] = nothing_wrong
    storage: Literal["float16", "float32"] = "float16"
    notes: str = ""

    @property
    def model_types(self) -> tuple[str, ...]:
        """The model types of its checkpoints."""
        return (self.model_type,) if isinstance(self.model_type, str) else self.model_type
