"""One question as its processor makes it: tokens, the text that was tokenised, and which tokens stand for the picture.

A processor replaces the picture's place in the prompt by what its model expects, adds marks of its own and tokenises
the result, some in several pieces. What it handed to the tokenizer is written down on the way, so that every token
keeps its place in the very text it was made from.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from pidflow.errors import DataError

# What lies along the tokens of a prompt among a processor's results.
ALONG = (
    "input_ids",
    "attention_mask",
    "token_type_ids",
    "mm_token_type_ids",
    "moe_mm_token_type_ids",
    "cross_attention_mask",
    "image_patches_indices",
    "image_token_mask",
)


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """One question and its picture, tokenised.

    Attributes
    ----------
    inputs
        What the processor returns, tensors with one row each.
    text
        What was tokenised, the picture's replacement in it.
    offsets
        ``(T, 2)`` start and end of each token in ``text``; equal where it stands for nothing.
    picture
        ``(k,)`` positions of the tokens that stand for the picture, one run.
    features
        Boolean ``(k,)``: those that features of the picture replace; the others are marks.
    tail
        Where what follows the picture's place in the template begins in ``text``.
    """

    inputs: dict[str, torch.Tensor]
    text: str
    offsets: np.ndarray
    picture: np.ndarray
    features: np.ndarray
    tail: int

    @property
    def ids(self) -> np.ndarray:
        """``(T,)`` token ids."""
        return self.inputs["input_ids"][0].numpy()


def tokenised(
    processor: Any, text: str, tail: str, image: Image.Image, *, image_token_id: int, name: str
) -> PromptTokens:
    """A prompt and a picture through their processor.

    Parameters
    ----------
    text, tail
        The prompt with the processor's placeholder in it, and the part of it after that.
    image_token_id
        Id of the token that features of the picture replace.
    name
        The item, for messages.

    Raises
    ------
    DataError
        If the processor changes the prompt, or makes no token of the picture.
    """
    recorder = _Recorder(processor.tokenizer)
    asked = copy.copy(processor)
    asked.tokenizer = recorder
    found = asked(
        images=[image],
        text=[text],
        return_tensors="pt",
        return_mm_token_type_ids=True,
        return_text_replacement_offsets=True,
    )
    replaced = found.pop("text_replacement_offsets", None)
    inputs = {key: tensor for key, value in found.items() if (tensor := _tensor(value)) is not None}
    ids = inputs["input_ids"][0].tolist()
    whole, offsets = _aligned(ids, recorder.pieces)
    begin = whole.rfind(tail)
    if begin < 0:
        raise DataError(
            f"{name}: the processor changes the prompt: {tail!r} is not in what it tokenises, {whole[-len(tail) :]!r}; "
            "rephrase the question or the prompt"
        )
    picture = _run(ids, offsets, replaced, processor, image_token_id)
    if not len(picture):
        raise DataError(
            f"{name}: no token {image_token_id}, which stands for the picture, is among the prompt's tokens; the "
            "processor does not fit the model"
        )
    features = np.array(ids)[picture] == image_token_id
    return PromptTokens(inputs, whole, offsets, picture, features, begin)


class _Recorder:
    """A tokenizer that notes what it is given and makes of it."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.pieces: list[tuple[str, list[int], list[tuple[int, int]]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self._tokenizer(*args, **kwargs)
        given = args[0] if args else kwargs.get("text")
        texts = [given] if isinstance(given, str) else given
        self.pieces += [
            (text, list(piece.ids), list(piece.offsets))
            for text, piece in zip(texts, result.encodings or (), strict=False)
        ]
        return result


def _tensor(value: Any) -> torch.Tensor | None:
    """What a processor returns, as one tensor; None for what is none."""
    while isinstance(value, list | tuple) and len(value) == 1 and not isinstance(value[0], int | float):
        value = value[0]
        if isinstance(value, torch.Tensor | np.ndarray):
            value = torch.as_tensor(value)[None]
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, list | tuple):
        try:
            value = torch.tensor(value)
        except (TypeError, ValueError):
            return None
    return value if isinstance(value, torch.Tensor) else None


def _aligned(ids: list[int], pieces: Sequence[tuple[str, list[int], list[tuple[int, int]]]]) -> tuple[str, np.ndarray]:
    """The text of some ids, made of the pieces that were tokenised, and each token's place in it, ``(T, 2)``."""
    placed, taken = [], np.zeros(len(ids), dtype=bool)
    for text, piece, offsets in sorted(pieces, key=lambda each: -len(each[1])):
        # A processor may drop the mark that its tokenizer puts in front of a piece.
        for dropped in (0, 1):
            start = _found(ids, piece[dropped:], taken)
            if start is not None:
                taken[start : start + len(piece) - dropped] = True
                placed.append((start, text, offsets[dropped:]))
                break
    whole, places = "", np.zeros((len(ids), 2), dtype=int)
    for start, text, offsets in sorted(placed, key=lambda each: each[0]):
        if offsets:
            places[start : start + len(offsets)] = np.array(offsets) + len(whole)
        whole += text
    return whole, places


def _found(ids: list[int], piece: list[int], taken: np.ndarray) -> int | None:
    """Where a piece stands in some ids, in tokens that no other piece has taken."""
    for start in range(len(ids) - len(piece) + 1 if piece else 0):
        if ids[start : start + len(piece)] == piece and not taken[start : start + len(piece)].any():
            return start
    return None


def _run(ids: list[int], offsets: np.ndarray, replaced: Any, processor: Any, image_token_id: int) -> np.ndarray:
    """Positions of what stands for the picture: what the processor notes that it put there, else from mark to mark."""
    marks = {image_token_id, *(getattr(processor, "image_token_ids", None) or ())}
    at = np.flatnonzero(np.isin(ids, list(marks)))
    if not len(at) or image_token_id not in ids:
        return np.zeros(0, dtype=int)
    first, last = int(at[0]), int(at[-1])
    for each in replaced[0] if replaced else ():
        start, stop = each["new_span"]
        inside = np.flatnonzero((offsets[:, 1] > start) & (offsets[:, 0] < stop) & (offsets[:, 1] > offsets[:, 0]))
        if each["type"] == "image" and len(inside) and image_token_id in np.array(ids)[inside]:
            first, last = min(first, int(inside[0])), max(last, int(inside[-1]))
    begins = processor.tokenizer.bos_token_id
    while begins is not None and last > first and ids[last] == begins:  # Fuyu's begins the text after the picture
        last -= 1
    while begins is not None and first < last and ids[first] == begins:
        first += 1
    return np.arange(first, last + 1)
