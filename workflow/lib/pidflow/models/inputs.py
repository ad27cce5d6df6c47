"""From questions and pictures to what a model is fed: one left-padded batch with its spans."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from pidflow.errors import DataError
from pidflow.models.layout import Layout
from pidflow.models.loading import LoadedModel
from pidflow.models.prompts import IMAGE, QUESTION
from pidflow.models.spans import PromptText, Spans, find_spans

_FED = ("input_ids", "attention_mask", "pixel_values", "image_sizes")


@dataclass(frozen=True)
class Example:
    """One question about one picture.

    Attributes
    ----------
    question
        The bare question; the prompt is put around it.
    options
        Words offered as answers, if any.
    boxes
        ``x, y, width, height`` in pixels of the original picture of the objects asked about, if known.
    name
        The item, for messages.
    answer
        The right answer, if known: it tells the true option from the false ones.
    objects
        Names of the objects asked about, if known.
    """

    question: str
    options: tuple[str, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    name: str = "item"
    answer: str = ""
    objects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """What a model is fed.

    Attributes
    ----------
    inputs
        Keyword arguments of the model's forward: ``input_ids``, ``attention_mask``, ``position_ids`` ``(B, T)``,
        ``pixel_values`` and, for tiled families, ``image_sizes``.
    spans
        The token spans, on the same device.
    unknown
        Boolean ``(B,)``: the question has words that the tokenizer does not know.
    """

    inputs: dict[str, torch.Tensor]
    spans: Spans
    unknown: torch.Tensor

    def __len__(self) -> int:
        return len(self.unknown)

    def take(self, rows: Any) -> "Batch":
        """Some rows of the batch, padding included."""
        inputs = {name: tensor[rows] for name, tensor in self.inputs.items()}
        return Batch(inputs, self.spans.take(rows), self.unknown[rows])

    def to(self, loaded: LoadedModel) -> "Batch":
        """The batch on the model's device, pixels in the model's precision."""
        inputs = {
            name: tensor.to(loaded.device, loaded.dtype if tensor.is_floating_point() else tensor.dtype)
            for name, tensor in self.inputs.items()
        }
        return Batch(inputs, self.spans.to(loaded.device), self.unknown)


def encode(loaded: LoadedModel, examples: Sequence[Example], images: Sequence[Image.Image]) -> Batch:
    """One left-padded batch, on the CPU.

    Raises
    ------
    DataError
        If a question is empty or holds the image placeholder, a prompt is longer than the model takes, or a span fails
        its self-check (see :func:`pidflow.models.spans.find_spans`).
    """
    placeholder = loaded.processor.image_token
    texts = []
    for example in examples:
        if not example.question.strip():
            raise DataError(f"{example.name}: the question is empty")
        if placeholder in example.question:
            raise DataError(f"{example.name}: the question {example.question!r} holds '{placeholder}'; remove it")
        texts.append(loaded.prompt.replace(IMAGE, placeholder).replace(QUESTION, example.question))
    layouts = [_layout(loaded, example, image) for example, image in zip(examples, images, strict=True)]
    encoded = loaded.processor(
        images=[loaded.fit(image) for image in images],
        text=texts,
        padding=True,
        return_offsets_mapping=True,
        return_tensors="pt",
    )
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    if ids.shape[1] > loaded.max_tokens:
        longest = examples[int(mask.sum(1).argmax())]
        raise DataError(
            f"{longest.name}: the prompt has {ids.shape[1]} tokens, the model takes {loaded.max_tokens}; "
            "shorten the question"
        )
    before = loaded.prompt.index(QUESTION) - len(IMAGE)
    counts = ((ids == loaded.image_token_id) & mask.bool()).sum(1).tolist()
    prompts = [
        PromptText(
            text=text.replace(placeholder, placeholder * count),
            question=(before + len(placeholder) * count, before + len(placeholder) * count + len(example.question)),
            options=example.options,
            boxes=example.boxes,
            name=example.name,
            answer=example.answer,
            objects=example.objects,
            system=loaded.prompting.system,
            instruction=loaded.prompting.instruction,
            picture=image.size,
        )
        for text, count, example, image in zip(texts, counts, examples, images, strict=True)
    ]
    spans = find_spans(
        ids,
        mask,
        encoded["offset_mapping"],
        prompts=prompts,
        layouts=layouts,
        tokenizer=loaded.tokenizer,
        image_token_id=loaded.image_token_id,
    )
    inputs = {name: encoded[name] for name in _FED if name in encoded}
    # Rotary positions count from the first real token, so a row does not depend on how much padding it got.
    inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    unknown = torch.zeros(len(examples), dtype=torch.bool)
    if loaded.tokenizer.unk_token_id is not None:
        unknown = ((ids == loaded.tokenizer.unk_token_id) & spans["question"]).any(1)
    return Batch(inputs=inputs, spans=spans, unknown=unknown)


def _layout(loaded: LoadedModel, example: Example, image: Image.Image) -> Layout:
    """Where the image tokens lie; a picture that would grow too large is named before the processor makes it so."""
    try:
        return loaded.layout((image.height, image.width))
    except DataError as err:
        raise DataError(f"{example.name}: {err}") from err
