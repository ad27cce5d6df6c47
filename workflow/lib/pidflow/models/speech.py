"""What the model said, from the tokens of its greedy answer, and what it holds where the answer goes on.

The positions of an answer belong to the spans ``answer``, ``last`` and ``text``, as each in its turn is what speaks: a
model that is cut off from the image only at its last prompt position would read the image one token later.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from pidflow.models.capture import Reading, read_steps
from pidflow.models.forward import crop, run
from pidflow.models.inputs import Batch
from pidflow.models.loading import LoadedModel
from pidflow.models.spans import Spans

GROWING = ("text", "last", "answer")  # spans that the answer's own tokens join

Entering = Callable[[Spans, int], AbstractContextManager[None]]
"""What intervenes in a forward: given the spans of the whole batch, and the first position that is fed."""


@dataclass(frozen=True)
class Spoken:
    """The greedy answers to B questions.

    Attributes
    ----------
    ids
        Per row its tokens, without the one that ended it.
    texts
        Per row what it said, decoded, without special tokens and without white space at its ends.
    truncated
        Per row whether it was cut off before it ended.
    blanks
        Per row how many tokens at its beginning are white space alone ("▁" before a number in Llama 2's tokens).
    """

    ids: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]
    truncated: tuple[bool, ...]
    blanks: tuple[int, ...]


def spoken(loaded: LoadedModel, ids: torch.Tensor, real: torch.Tensor) -> Spoken:
    """The answers of token ids ``(B, m)`` of which some are real (the token that ends an answer is)."""
    ends, tokenizer = end_tokens(loaded), loaded.tokenizer
    whole = [row[:count] for row, count in zip(ids.tolist(), real.sum(1).tolist(), strict=True)]
    said = tuple(tuple(until_end(row, ends)) for row in whole)
    return Spoken(
        ids=said,
        texts=tuple(text_of(tokenizer, row) for row in said),
        truncated=tuple(len(row) == len(all_of_it) for row, all_of_it in zip(said, whole, strict=True)),
        blanks=tuple(min(leading_blanks(tokenizer, row), ids.shape[1] - 1) for row in said),
    )


def reading_of(
    loaded: LoadedModel,
    batch: Batch,
    reading: Reading,
    answers: Spoken,
    cache: DynamicCache,
    *,
    entering: Entering = lambda spans, first: nullcontext(),
) -> Reading:
    """What the position holds that chose the first token of each answer that is not blank.

    Parameters
    ----------
    batch
        The prompts, on the model's device.
    reading
        What their last positions hold; kept where an answer does not begin with a blank.
    cache
        Begins with the keys and values of the prompts; anything after them is dropped.
    entering
        What intervenes, as it did in the pass over the prompts.
    """
    if not any(answers.blanks):
        return reading
    said = [ids[:count] for ids, count in zip(answers.ids, answers.blanks, strict=True)]
    with _following(loaded, batch, cache, said, entering) as fed:
        found = read_steps(loaded, fed, cache)
    place = torch.tensor([max(count - 1, 0) for count in answers.blanks], device=loaded.device)
    after = torch.tensor([count > 0 for count in answers.blanks], device=loaded.device)
    return reading.replaced(after, found.at(place))


def logits_after(
    loaded: LoadedModel,
    batch: Batch,
    cache: DynamicCache,
    said: Sequence[Sequence[int]],
    *,
    entering: Entering = lambda spans, first: nullcontext(),
) -> torch.Tensor:
    """Logits ``(B, f, V)`` of what follows each of some tokens after the prompts, f the most of a row; float32.

    Parameters are those of :func:`reading_of`. What lies beyond a shorter row means nothing.
    """
    with torch.inference_mode(), _following(loaded, batch, cache, said, entering) as fed:
        return run(loaded, fed, cache=cache, keep=0).float()


def grown(spans: Spans, count: int) -> Spans:
    """The spans of a batch with `count` positions of the answer after the prompt, all of them real."""
    new = torch.ones(len(spans.valid), count, dtype=torch.bool, device=spans.valid.device)
    return spans.followed(new, growing=GROWING)


def end_tokens(loaded: LoadedModel) -> set[int]:
    """Ids that end an answer."""
    configured = getattr(loaded.model.generation_config, "eos_token_id", None)
    ends = configured if isinstance(configured, list) else [configured]
    return {end for end in (*ends, loaded.tokenizer.eos_token_id) if end is not None}


def until_end(ids: Sequence[int], ends: set[int]) -> Iterator[int]:
    """The tokens before the one that ends the answer."""
    for index in ids:
        if index in ends:
            return
        yield index


def text_of(tokenizer: Any, ids: Sequence[int]) -> str:
    """An answer's tokens as text."""
    return tokenizer.decode(list(ids), skip_special_tokens=True).strip()


def is_blank(tokenizer: Any, index: int) -> bool:
    """Whether a token is white space alone."""
    return index not in tokenizer.all_special_ids and not tokenizer.decode([index]).strip()


def leading_blanks(tokenizer: Any, ids: Sequence[int]) -> int:
    """How many tokens come before the first one that states something."""
    return next((place for place, index in enumerate(ids) if not is_blank(tokenizer, index)), len(ids))


@contextmanager
def _following(
    loaded: LoadedModel, batch: Batch, cache: DynamicCache, said: Sequence[Sequence[int]], entering: Entering
) -> Iterator[dict[str, torch.Tensor]]:
    """What is fed to say some tokens after each prompt, with what intervenes in force and the cache made ready."""
    length = batch.inputs["input_ids"].shape[1]
    crop(loaded, cache, length)
    count = max(map(len, said))
    ids = torch.zeros(len(said), count, dtype=torch.long)
    for row, each in enumerate(said):
        ids[row, : len(each)] = torch.tensor(each, dtype=torch.long)
    spans = grown(batch.spans, count)
    with entering(spans, length):
        ids = ids.to(spans.valid.device)
        yield batch.followed(ids, torch.ones_like(ids, dtype=torch.bool), spans).fed_after(length)
