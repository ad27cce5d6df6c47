"""One intact pass, kept: keys and values of every block, and the states of the positions that interventions can change.

Taking edges away changes no state before the first query that loses a key, and other states at some positions none
before these. So one intact pass per batch
(:func:`read_prefix`) serves any number of them: :mod:`pidflow.interventions.recompute` runs only the later positions
again, from the first block that is changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from pidflow.interventions.block_calls import BlockCalls, states_kept
from pidflow.interventions.intervention import Intervention, entered
from pidflow.interventions.pairs import first_dependent
from pidflow.models.forward import run
from pidflow.models.inputs import Batch
from pidflow.models.loading import LoadedModel
from pidflow.models.spans import Spans
from pidflow.models.speech import GROWING, end_tokens


@dataclass(frozen=True, eq=False)
class Prefix:
    """One intact pass over B questions and the model's own answers to them.

    Attributes
    ----------
    batch
        The questions, followed by the answer tokens that were fed back: ``(B, T)`` with T = prompt + m - 1. Those
        tokens are the span ``answer`` and belong to ``last`` and ``text``, as each in its turn is what speaks.
    answer_ids, answer_mask
        ``(B, m)``: the greedy answer, and which of its tokens are real (the token that ends it is; what pads a short
        answer is not).
    logits
        ``(B, m, V)`` float32: what the answer's tokens were chosen from.
    keys, values
        Per block ``(B, key heads, T, head width)``, positions rotated in.
    states
        Per layer 0 … L its state ``(B, T - start, width)`` from position ``start`` on.
    start
        The first position whose states were kept.
    calls
        What each block was called with, and what it attended through.
    """

    batch: Batch
    answer_ids: torch.Tensor
    answer_mask: torch.Tensor
    logits: torch.Tensor
    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    states: tuple[torch.Tensor, ...]
    start: int
    calls: BlockCalls


def first_changed(interventions: Sequence[Intervention], spans: Spans, names: Sequence[str] = ()) -> int:
    """The first position whose state the interventions can change, in any row; the last one if they change none."""
    start = spans.valid.shape[1] - 1
    for each in interventions:
        places = torch.nonzero(each.changed(spans, names).any(0))
        if len(places):
            start = min(start, int(places[0]))
    return first_dependent(spans, start)


def read_prefix(
    loaded: LoadedModel,
    batch: Batch,
    plans: Sequence[Sequence[Intervention]],
    *,
    names: Sequence[str] = (),
    answer_tokens: int = 1,
) -> Prefix:
    """The intact pass that all plans share.

    Parameters
    ----------
    batch
        On the model's device.
    plans
        What :func:`pidflow.interventions.recompute.recompute` will be asked for, each one or several interventions
        that are recomputable; they decide which states are kept.
    names
        One per question, which random parts of interventions depend on.
    answer_tokens
        Largest length m of the greedy answer; 1 looks at its first token alone.

    Raises
    ------
    ConfigError
        If a plan names an unknown span.
    """
    length = batch.spans.valid.shape[1]
    distinct = {each.everywhere() for plan in plans for each in plan}
    start = first_changed(list(distinct), batch.spans, names)
    cache = DynamicCache()
    with torch.inference_mode(), states_kept(loaded, length, start) as kept:
        with entered(loaded, (), batch.spans):
            logits = run(loaded, batch.inputs, cache=cache)[:, -1]
        said = say(loaded, batch, cache, logits, answer_tokens=answer_tokens)
    return prefix_of(said, cache, kept, start)


def prefix_of(said: "Said", cache: DynamicCache, kept: BlockCalls, start: int) -> Prefix:
    """What a pass left: its cache, and the states that :func:`states_kept` kept from `start` on."""
    return Prefix(
        batch=said.batch,
        answer_ids=said.ids,
        answer_mask=said.real,
        logits=said.logits,
        keys=tuple(layer.keys for layer in cache.layers),
        values=tuple(layer.values for layer in cache.layers),
        states=tuple(torch.cat(list(states), 1) if len(states) > 1 else states[0] for states in kept.states),
        start=start,
        calls=kept,
    )


@dataclass(frozen=True, eq=False)
class Said:
    """A greedy answer: ``ids``, ``real`` ``(B, m)``, ``logits`` ``(B, m, V)``, ``batch`` with its tokens fed back."""

    ids: torch.Tensor
    real: torch.Tensor
    logits: torch.Tensor
    batch: Batch


def said_first(batch: Batch, logits: torch.Tensor) -> Said:
    """The first token of a greedy answer, from its logits ``(B, V)``."""
    answer = _Answer()
    answer.add(logits, torch.ones(len(batch), dtype=torch.bool, device=logits.device))
    return answer.said(batch)


def say(
    loaded: LoadedModel,
    batch: Batch,
    cache: DynamicCache,
    logits: torch.Tensor,
    interventions: Sequence[Intervention] = (),
    *,
    names: Sequence[str] = (),
    answer_tokens: int,
) -> Said:
    """The greedy answer that follows a prompt, its interventions in force while it is spoken.

    Parameters
    ----------
    batch
        The questions.
    cache
        Keys and values of the prompt; those of the answer's tokens are added to it.
    logits
        ``(B, V)``: what the first token is chosen from.
    answer_tokens
        Largest length m.
    """
    ends = torch.tensor(sorted(end_tokens(loaded)), device=loaded.device)
    going = torch.ones(len(batch), dtype=torch.bool, device=loaded.device)
    found = _Answer()
    with torch.inference_mode():
        while True:
            found.add(logits, going)
            going = going & ~torch.isin(found.ids[-1], ends)
            if len(found.ids) == answer_tokens or not going.any():
                return found.said(batch)
            batch = _with_spoken(batch, found.ids[-1], going)
            length = batch.spans.valid.shape[1] - 1
            with entered(loaded, interventions, batch.spans, names, first=length):
                logits = run(loaded, batch.fed_after(length), cache=cache)[:, -1]


class _Answer:
    """An answer while it is spoken."""

    def __init__(self) -> None:
        self.ids: list[torch.Tensor] = []
        self.real: list[torch.Tensor] = []
        self.logits: list[torch.Tensor] = []

    def add(self, logits: torch.Tensor, going: torch.Tensor) -> None:
        self.logits.append(logits.float())
        self.ids.append(logits.argmax(-1))
        self.real.append(going)

    def said(self, batch: Batch) -> Said:
        return Said(torch.stack(self.ids, 1), torch.stack(self.real, 1), torch.stack(self.logits, 1), batch)


def _with_spoken(batch: Batch, ids: torch.Tensor, real: torch.Tensor) -> Batch:
    """The batch with one more token per row; a row whose answer has ended gets padding."""
    new = real[:, None]
    return batch.followed(ids[:, None], new, batch.spans.followed(new, growing=GROWING))
