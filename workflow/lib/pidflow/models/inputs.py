"""From questions and pictures to what a model is fed: one left-padded batch with its spans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from pidflow.errors import DataError
from pidflow.models.forward import fed_names, positions
from pidflow.models.layout import BASE, NEWLINE, Layout
from pidflow.models.loading import LoadedModel
from pidflow.models.prompt_tokens import ALONG, PromptTokens, tokenised
from pidflow.models.prompts import IMAGE, QUESTION
from pidflow.models.spans import PromptText, Spans, find_spans, patch_spans

_POSITIONS = "position_ids"
# What padding is, where that is not 0.
_FILL = {"image_patches_indices": -1, "image_attention_mask": 1}
# What has done its work once the picture and the prompt are in the cache.
_OF_THE_PROMPT = ("token_type_ids", "mm_token_type_ids", "moe_mm_token_type_ids", "image_patches_indices")


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
    offered
        Texts of the options in the question, where the answers are letters.
    """

    question: str
    options: tuple[str, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    name: str = "item"
    answer: str = ""
    objects: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[tuple[str, ...], str]:
        """Options and right answer as the question shows them: the texts of letters."""
        if not self.offered:
            return self.options, self.answer
        behind = dict(zip(self.options, self.offered, strict=True))
        return self.offered, behind.get(self.answer, "")


@dataclass(frozen=True)
class Batch:
    """What a model is fed.

    Attributes
    ----------
    inputs
        Keyword arguments of the model's forward: ``input_ids`` and ``attention_mask`` ``(B, T)``, ``position_ids``
        ``(B, T)`` or, where positions have several axes, ``(axes, B, T)``, and whatever else the model's processor
        makes.
    spans
        The token spans, on the same device.
    unknown
        Boolean ``(B,)``: the question has words that the tokenizer does not know.
    shares
        By name of an input that does not lie along the tokens: how many of its entries each row has.
    spoken_types
        By name of an input that tells tokens by type: what a token of the answer is, where that is not 0.
    """

    inputs: dict[str, torch.Tensor]
    spans: Spans
    unknown: torch.Tensor
    shares: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    spoken_types: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.unknown)

    def take(self, rows: Any) -> "Batch":
        """Some rows of the batch, padding included."""
        chosen = np.arange(len(self))[rows.cpu().numpy() if isinstance(rows, torch.Tensor) else rows]
        inputs = {}
        for name, tensor in self.inputs.items():
            if name in self.shares:
                parts = tensor.split(self.shares[name])
                inputs[name] = torch.cat([parts[row] for row in chosen]) if len(chosen) else tensor[:0]
            else:
                index = torch.as_tensor(chosen, device=tensor.device)
                inputs[name] = tensor.index_select(_row_axis(name, tensor), index)
        shares = {name: tuple(counts[row] for row in chosen) for name, counts in self.shares.items()}
        return Batch(inputs, self.spans.take(rows), self.unknown[rows], shares, self.spoken_types)

    def alone(self, row: int) -> "Batch":
        """One row without its padding."""
        single = self.take(slice(row, row + 1))
        real = single.spans.valid[0]
        inputs = {
            name: tensor[:, real]
            if name in ALONG and name not in self.shares
            else tensor[..., real]
            if name == _POSITIONS
            else tensor
            for name, tensor in single.inputs.items()
        }
        return replace(single, inputs=inputs, spans=single.spans.without_padding(real))

    def staged(self, loaded: LoadedModel) -> "Batch":
        """The batch as it goes to the model's device: pixels in its precision, for a GPU in memory that it can read."""
        inputs = {
            name: tensor.to(loaded.dtype) if tensor.is_floating_point() else tensor
            for name, tensor in self.inputs.items()
        }
        if loaded.device.type == "cuda":
            inputs = {name: tensor.pin_memory() for name, tensor in inputs.items()}
        return replace(self, inputs=inputs)

    def to(self, loaded: LoadedModel) -> "Batch":
        """The batch on the model's device, pixels in the model's precision; the copy may go on meanwhile."""
        inputs = {
            name: tensor.to(
                loaded.device,
                loaded.dtype if tensor.is_floating_point() else tensor.dtype,
                non_blocking=loaded.device.type == "cuda",
            )
            for name, tensor in self.inputs.items()
        }
        return replace(self, inputs=inputs, spans=self.spans.to(loaded.device))

    def followed(self, ids: torch.Tensor, real: torch.Tensor, spans: Spans) -> "Batch":
        """The batch with the tokens ``(B, n)`` of an answer after its prompts, of which some are real.

        Parameters
        ----------
        spans
            Those of the batch that results.
        """
        old, count = self.inputs, ids.shape[1]
        inputs = dict(old)
        inputs["input_ids"] = torch.cat([old["input_ids"], ids], 1)
        inputs["attention_mask"] = torch.cat([old["attention_mask"], real.to(old["attention_mask"].dtype)], 1)
        if _POSITIONS in old:
            steps = torch.arange(1, count + 1, device=ids.device)
            inputs[_POSITIONS] = torch.cat([old[_POSITIONS], old[_POSITIONS][..., -1:] + steps], -1)
        for name in set(ALONG[2:]) & set(old):
            last = old[name][:, -1:].expand(-1, count, *old[name].shape[2:])  # the picture as the prompt's end sees it
            if last.dim() == 2:
                last = torch.full_like(last, self.spoken_types.get(name, 0))
            inputs[name] = torch.cat([old[name], last], 1)
        return replace(self, inputs=inputs, spans=spans)

    def fed_after(self, first: int) -> dict[str, torch.Tensor]:
        """What is fed of the positions from `first` on, when those before it are cached."""
        fed = {"input_ids": self.inputs["input_ids"][:, first:], "attention_mask": self.inputs["attention_mask"]}
        if _POSITIONS in self.inputs:
            fed[_POSITIONS] = self.inputs[_POSITIONS][..., first:]
        for name in set(ALONG[2:]) & set(self.inputs) - set(_OF_THE_PROMPT):
            fed[name] = self.inputs[name][:, first:]
        return fed


def _row_axis(name: str, tensor: torch.Tensor) -> int:
    return 1 if name == _POSITIONS and tensor.dim() == 3 else 0


def encode(loaded: LoadedModel, examples: Sequence[Example], images: Sequence[Image.Image]) -> Batch:
    """One left-padded batch, on the CPU.

    Every question goes through the processor by itself, so a row never depends on the others.

    Raises
    ------
    DataError
        If a question is empty or holds the image placeholder, a prompt is longer than the model takes, or a span fails
        its self-check (see :func:`pidflow.models.spans.find_spans`).
    """
    rows = [_tokens(loaded, example, image) for example, image in zip(examples, images, strict=True)]
    inputs, shares = _together(loaded, [row.inputs for row in rows])
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    if loaded.max_tokens is not None and ids.shape[1] > loaded.max_tokens:
        longest = examples[int(mask.sum(1).argmax())]
        raise DataError(
            f"{longest.name}: the prompt has {ids.shape[1]} tokens, the model takes {loaded.max_tokens}; "
            "shorten the question"
        )
    before = loaded.prompt.index(QUESTION) - (loaded.prompt.index(IMAGE) + len(IMAGE))
    prompts = [
        PromptText(
            text=row.text,
            question=(row.tail + before, row.tail + before + len(example.question)),
            options=example.shown[0],
            boxes=example.boxes,
            name=example.name,
            answer=example.shown[1],
            objects=example.objects,
            system=loaded.prompting.system,
            instruction=loaded.prompting.instruction,
            picture=image.size,
        )
        for row, example, image in zip(rows, examples, images, strict=True)
    ]
    pads = [ids.shape[1] - len(row.offsets) for row in rows]
    offsets = [np.pad(row.offsets, ((pad, 0), (0, 0))) for row, pad in zip(rows, pads, strict=True)]
    spans = find_spans(
        ids,
        mask,
        torch.from_numpy(np.stack(offsets)),
        prompts=prompts,
        layouts=[
            _over_run(loaded, row, example, image) for row, example, image in zip(rows, examples, images, strict=True)
        ],
        tokenizer=loaded.tokenizer,
        pictures=[row.picture + pad for row, pad in zip(rows, pads, strict=True)],
    )
    spans = replace(spans, mutual=_mutual(loaded, ids, mask, spans))
    if loaded.family.across and loaded.places:
        layouts = [loaded.layout((image.height, image.width)) for image in images]
        spans = replace(spans, patches=patch_spans(layouts, prompts))
    taken = fed_names(loaded.model)
    inputs[_POSITIONS] = positions(loaded, inputs)
    inputs = {name: tensor for name, tensor in inputs.items() if name in taken}
    unknown = torch.zeros(len(examples), dtype=torch.bool)
    if loaded.tokenizer.unk_token_id is not None:
        unknown = ((ids == loaded.tokenizer.unk_token_id) & spans["question"]).any(1)
    shares = {name: counts for name, counts in shares.items() if name in inputs}
    # Where the prompt is one block, what follows it is told by its type.
    types = _FILL | ({"token_type_ids": 1} if loaded.sees == "prefix" else {})
    return Batch(inputs=inputs, spans=spans, unknown=unknown, shares=shares, spoken_types=types)


def _tokens(loaded: LoadedModel, example: Example, image: Image.Image) -> PromptTokens:
    """One question through the processor; a picture that would grow too large is named before that makes it so."""
    try:
        loaded.layout((image.height, image.width))
    except DataError as err:
        raise DataError(f"{example.name}: {err}") from err
    placeholder = loaded.placeholder
    if not example.question.strip():
        raise DataError(f"{example.name}: the question is empty")
    if placeholder in example.question:
        raise DataError(f"{example.name}: the question {example.question!r} holds '{placeholder}'; remove it")
    head, _, tail = loaded.prompt.partition(IMAGE)
    tail = tail.replace(QUESTION, example.question)
    return tokenised(
        loaded.processor,
        tail if loaded.family.in_front else head + placeholder + tail,
        tail,
        loaded.fit(image),
        image_token_id=loaded.image_token_id,
        name=example.name,
    )


def _over_run(loaded: LoadedModel, row: PromptTokens, example: Example, image: Image.Image) -> Layout:
    """The layout of all tokens that stand for the picture, marks among them."""
    known = None if loaded.family.across else loaded.layout((image.height, image.width))
    count = int(row.features.sum())
    if known is None:
        return Layout(kind=np.where(row.features, BASE, NEWLINE), rectangle=np.full((len(row.features), 4), np.nan))
    if len(known) != count:
        raise DataError(
            f"{example.name}: expected {len(known)} image tokens (from the picture's size and the processor's "
            f"resizing, cropping and tiling), found {count}; the processor's settings do not fit the model"
        )
    kind, rectangle = np.full(len(row.features), NEWLINE), np.full((len(row.features), 4), np.nan)
    kind[row.features], rectangle[row.features] = known.kind, known.rectangle
    return Layout(kind=kind, rectangle=rectangle)


def _together(
    loaded: LoadedModel, rows: Sequence[Mapping[str, torch.Tensor]]
) -> tuple[dict[str, torch.Tensor], dict[str, tuple[int, ...]]]:
    """Inputs of all rows, what lies along the tokens padded on the left, and how many entries of others each row has.

    Pictures of different numbers of tiles are filled up with empty ones, as the library's processors do.
    """
    lengths = [row["input_ids"].shape[1] for row in rows]
    inputs, shares = {}, {}
    for name in rows[0]:
        parts = [row[name] for row in rows]
        along = name in ALONG and all(part.shape[1] == length for part, length in zip(parts, lengths, strict=True))
        if along:
            fill = loaded.tokenizer.pad_token_id if name == "input_ids" else _FILL.get(name, 0)
            grown = [(max(lengths) - length, 0) for length in lengths]
            padded = [_padded(part, {1: each}, fill) for part, each in zip(parts, grown, strict=True)]
        else:
            padded = parts
            shares[name] = tuple(len(part) for part in parts)
        most = [max(part.shape[axis] for part in padded) for axis in range(padded[0].dim())]
        free, empty = range(2 if along else 1, padded[0].dim()), _FILL.get(name, 0)
        missing = [{axis: (0, most[axis] - part.shape[axis]) for axis in free} for part in padded]
        inputs[name] = torch.cat([_padded(part, each, empty) for part, each in zip(padded, missing, strict=True)])
    return inputs, shares


def _padded(tensor: torch.Tensor, widths: Mapping[int, tuple[int, int]], value: float) -> torch.Tensor:
    """A tensor with so many entries more before and after, by axis."""
    flat = [width for axis in reversed(range(tensor.dim())) for width in widths.get(axis, (0, 0))]
    return torch.nn.functional.pad(tensor, flat, value=value) if any(flat) else tensor


def _mutual(loaded: LoadedModel, ids: torch.Tensor, mask: torch.Tensor, spans: Spans) -> torch.Tensor:
    """Groups of positions that see each other both ways (see :class:`pidflow.models.spans.Spans`)."""
    if loaded.sees == "prefix":
        return mask.long()
    if loaded.sees == "image-span":
        return spans["image"].long()
    features = ((ids == loaded.image_token_id) & mask.bool()).long()
    if loaded.sees == "causal":
        return torch.zeros_like(features)
    begins = (features - torch.nn.functional.pad(features, (1, 0))[:, :-1]) == 1
    return begins.cumsum(1) * features
