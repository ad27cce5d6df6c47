"""Many cuts of the same questions at the price of few: only what a cut can change is computed again, exactly.

A cut changes no state before its first target position and none below its first block. So one intact pass per batch
keeps every block's keys and values and the states of the later positions (:func:`read_prefix`); each plan of cuts then
runs only those positions, only from its first block on (:func:`recompute`). All plans and questions go through a block
together, so weights are read once, and attend to the shared keys and values where they lie: the variants of a question
are laid along the query axis of one SDPA call, each seeing the shared keys and its own. Nothing is approximated.

The blocks are the model's own, called one by one with prepared states; the attention function registered in
:mod:`pidflow.interventions.knockout` hands its query to the front that travels through the block's keyword arguments.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import DynamicCache

from pidflow.errors import ConfigError
from pidflow.interventions.edges import RANDOM, blocked_pairs, row_seed
from pidflow.interventions.knockout import Cut, Plan, check_causality, check_keeps_a_source, knockout, seeded
from pidflow.models.attention import Kernel, kernel_of
from pidflow.models.inputs import Batch
from pidflow.models.loading import LoadedModel
from pidflow.models.spans import Spans

TOKENS_AT_ONCE = 4096
_LOGITS_AT_ONCE = 1024  # positions; a vocabulary is much wider than a residual stream

_GROWING = ("text", "last", "answer")  # spans that the answer's own tokens join while the model says them


@dataclass(frozen=True, eq=False)
class Prefix:
    """One intact pass over B questions and the model's own answers to them, kept for :func:`recompute`.

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
        Per block its input ``(B, T - start, width)`` from position ``start`` on.
    start
        The first position whose states were kept.
    """

    batch: Batch
    answer_ids: torch.Tensor
    answer_mask: torch.Tensor
    logits: torch.Tensor
    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    states: tuple[torch.Tensor, ...]
    start: int


def read_prefix(loaded: LoadedModel, batch: Batch, plans: Sequence[Plan], *, answer_tokens: int = 1) -> Prefix:
    """The intact pass that all plans share.

    Parameters
    ----------
    batch
        On the model's device.
    plans
        What :func:`recompute` will be asked for; they decide which states are kept.
    answer_tokens
        Largest length m of the greedy answer; 1 looks at its first token alone.

    Raises
    ------
    ConfigError
        If the model attends through a sliding window shorter than the prompt, or a plan names an unknown span.
    """
    length = batch.spans.valid.shape[1]
    window = getattr(loaded.text_model.config, "sliding_window", None)
    if window is not None and window < length + answer_tokens:
        raise ConfigError(
            f"the model attends {window} positions back, the prompt has {length}; the prefix cache needs full attention"
        )
    start = _first_kept(plans, batch.spans)
    kept: list[list[torch.Tensor]] = [[] for _ in loaded.layers]

    def keep(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states = args[0] if args else kwargs["hidden_states"]
        kept[layer.self_attn.layer_idx].append(states[:, start:].clone() if states.shape[1] == length else states)

    cache = DynamicCache()
    ends = torch.tensor(sorted(_end_tokens(loaded)), device=loaded.device)
    going = torch.ones(len(batch), dtype=torch.bool, device=loaded.device)
    ids, real, logits = [], [], []
    fed = batch.inputs
    with torch.inference_mode(), ExitStack() as hooks:
        for layer in loaded.layers:
            hooks.callback(layer.register_forward_pre_hook(keep, with_kwargs=True).remove)
        while True:
            found = loaded.model(**fed, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
            logits.append(found.float())
            ids.append(found.argmax(-1))
            real.append(going)
            going = going & ~torch.isin(ids[-1], ends)
            if len(ids) == answer_tokens or not going.any():
                break
            batch = _with_spoken(batch, ids[-1], going)
            fed = {name: batch.inputs[name][:, -1:] for name in ("input_ids", "position_ids")}
            fed["attention_mask"] = batch.inputs["attention_mask"]
    return Prefix(
        batch=batch,
        answer_ids=torch.stack(ids, 1),
        answer_mask=torch.stack(real, 1),
        logits=torch.stack(logits, 1),
        keys=tuple(layer.keys for layer in cache.layers),
        values=tuple(layer.values for layer in cache.layers),
        states=tuple(torch.cat(states, 1) if len(states) > 1 else states[0] for states in kept),
        start=start,
    )


def recompute(
    loaded: LoadedModel,
    prefix: Prefix,
    plans: Sequence[Plan],
    *,
    names: Sequence[str] = (),
    tokens_at_once: int = TOKENS_AT_ONCE,
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """The logits of every plan, equal to those of full passes with that plan in force.

    Parameters
    ----------
    prefix
        From :func:`read_prefix`, with the same plans.
    plans
        Each applies to all questions.
    names
        One per question, for the seeds of random edges (see :func:`pidflow.interventions.edges.row_seed`).
    tokens_at_once
        Positions that go through a block together; bounds memory, does not affect results.

    Yields
    ------
    Indices of k plans and ``(k, B, m, V)`` float32 logits at the positions that choose the answer's tokens; every plan
    once, in no particular order.

    Raises
    ------
    ConfigError
        If a span or block does not exist, an edge runs against causality, or a position would be left with nothing to
        attend to.
    """
    blocked = _Blocked(prefix, names)
    fronts: dict[int, list[int]] = {}
    for index, plan in enumerate(plans):
        if not plan.cuts:
            raise ConfigError("a plan without cuts has nothing to recompute; its logits are those of the prefix")
        blocked.check(plan, loaded.depth)
        fronts.setdefault(min(blocked.first(cut) for cut in plan.cuts), []).append(index)
    # A plan of its own: none in force, but the model made ready to call the registered attention function.
    with torch.inference_mode(), knockout(loaded, Plan(), prefix.batch.spans):
        for start, members in fronts.items():
            members.sort(key=lambda index: _first_block(plans[index]))
            front = _Front(loaded, prefix, start, [plans[index] for index in members], blocked, tokens_at_once)
            for chunk, logits in front.run():
                yield [members[place] for place in chunk], logits


def full_pass(loaded: LoadedModel, prefix: Prefix, plan: Plan, *, names: Sequence[str] = ()) -> torch.Tensor:
    """What :func:`recompute` equals: ``(B, m, V)`` logits of one pass over all positions with the plan in force."""
    plans = [seeded(plan, name) for name in names] if names else plan
    with torch.inference_mode(), knockout(loaded, plans, prefix.batch.spans):
        answer = prefix.answer_ids.shape[1]
        return loaded.model(**prefix.batch.inputs, use_cache=False, logits_to_keep=answer).logits.float()


class _Blocked:
    """The pairs of positions that each distinct cut blocks, made once and shared by all windows."""

    def __init__(self, prefix: Prefix, names: Sequence[str]) -> None:
        self.prefix, self.names = prefix, names or [""] * len(prefix.batch)
        self.made: dict[Cut, torch.Tensor] = {}
        self.checked: set[frozenset[Cut]] = set()

    def pairs(self, cut: Cut) -> torch.Tensor:
        """Boolean ``(B, T - start, T)`` over queries and keys; a cut's blocks do not matter."""
        cut = replace(cut, layers=None)
        if cut not in self.made:
            spans = self.prefix.batch.spans
            seeds = [row_seed(cut.seed, name) for name in self.names] if cut.kind == RANDOM else None
            source, target = spans[cut.source], spans[cut.target]
            check_causality(cut, source, target)
            self.made[cut] = blocked_pairs(
                cut.kind, source, target, spans.valid, first=self.prefix.start, seeds=seeds, spoken=spans.spoken
            )
        return self.made[cut]

    def first(self, cut: Cut) -> int:
        """The first position that the cut changes, no later than the one that speaks first."""
        changed = torch.nonzero(self.pairs(cut).any(2).any(0))
        speaks = self.prefix.batch.spans.valid.shape[1] - self.prefix.answer_ids.shape[1]
        return min(speaks, self.prefix.start + int(changed[0])) if len(changed) else speaks

    def check(self, plan: Plan, depth: int) -> None:
        """Blocks exist, and no real position loses everything it attends to in any of them."""
        for cut in plan.cuts:
            if cut.layers is not None and not all(0 <= layer < depth for layer in cut.layers):
                raise ConfigError(f"{cut}: the model has the blocks 0 to {depth - 1}")
        for block in range(depth):
            together = frozenset(replace(cut, layers=None) for cut in plan.cuts if _covers(cut, block))
            if together and together not in self.checked:
                lost = torch.stack([self.pairs(cut) for cut in together]).any(0)
                check_keeps_a_source(lost, self.prefix.batch.spans.valid)
                self.checked.add(together)


class _Front:
    """Plans that change the same S last positions, carried through the blocks side by side."""

    def __init__(
        self,
        loaded: LoadedModel,
        prefix: Prefix,
        start: int,
        plans: Sequence[Plan],
        blocked: _Blocked,
        tokens_at_once: int,
    ) -> None:
        self.loaded, self.prefix, self.start, self.plans, self.blocked = loaded, prefix, start, plans, blocked
        self.rows, length = prefix.batch.spans.valid.shape
        self.size = length - start
        # Variants that share a call also pay for each other's keys: keep that below a tenth of what a position costs.
        most = (0.6 * loaded.width + 0.1 * start) // self.size
        self.together = int(max(1, min(most, tokens_at_once // (self.size * self.rows), len(plans))))
        if any(kernel_of(layer.self_attn) for layer in loaded.layers):
            self.together = 1  # another kernel than SDPA may care how keys lie to each other
        width = self.together * self.size
        _, heads, _, head_width = prefix.keys[0].shape
        scratch = prefix.keys[0].new_empty(2, self.rows, heads, start + width, head_width)
        self.keys, self.values = scratch.unbind(0)
        self.base = self._base_mask()
        self.mask = self.base
        positions = prefix.batch.inputs["position_ids"][:, start:].repeat(self.together, 1)
        self.rotary = loaded.text_model.rotary_emb(prefix.states[0], position_ids=positions)

    def run(self) -> Iterator[tuple[range, torch.Tensor]]:
        """Places of plans and their logits, chunk by chunk."""
        begins = [_first_block(plan) for plan in self.plans]
        width = self.prefix.states[0].shape[-1]
        states = self.prefix.states[0].new_empty(len(self.plans), self.rows, self.size, width)
        begun = 0
        for block, layer in enumerate(self.loaded.layers):
            joined = sum(begin <= block for begin in begins)
            states[begun:joined] = self.prefix.states[block][:, self.start - self.prefix.start :]
            begun = joined
            self.keys[:, :, : self.start] = self.prefix.keys[block][:, :, : self.start]
            self.values[:, :, : self.start] = self.prefix.values[block][:, :, : self.start]
            for chunk in _chunks(begun, self.together):
                self.mask = self._mask(block, chunk)
                fed = states[chunk.start : chunk.stop].flatten(0, 1)
                rotary = tuple(each[: len(fed)] for each in self.rotary)
                result = layer(fed, attention_mask=None, position_embeddings=rotary, front=self)
                result = result[0] if isinstance(result, tuple) else result
                states[chunk.start : chunk.stop] = result.unflatten(0, (len(chunk), self.rows))
        speaking = self.prefix.answer_ids.shape[1]
        for chunk in _chunks(begun, max(1, _LOGITS_AT_ONCE // (self.rows * speaking))):
            last = self.loaded.final_norm(states[chunk.start : chunk.stop, :, -speaking:])
            yield chunk, self.loaded.unembedding(last).float()

    def attend(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        kernel: Kernel | None,
        scaling: float,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Attention ``(variants * B, S, heads, head width)`` of each variant to the shared positions and its own."""
        groups = query.shape[1] // key.shape[1]
        end = self.start + query.shape[0] // self.rows * self.size
        for scratch, own in ((self.keys, key), (self.values, value)):
            scratch[:, :, self.start : end].unflatten(2, (-1, self.size)).copy_(self._by_question(own))
        keys, values = self.keys[:, :, :end], self.values[:, :, :end]
        if kernel is not None:
            return kernel(module, query, keys, values, self.mask, scaling=scaling, **kwargs)[0]
        folded = self._by_question(query)  # (B, heads, variants, S, head width)
        folded = folded.unflatten(1, (-1, groups)).flatten(2, 4)
        mask = self.mask.repeat(1, 1, groups, 1) if groups > 1 else self.mask
        output = scaled_dot_product_attention(folded, keys, values, attn_mask=mask, scale=scaling)
        output = output.unflatten(2, (groups, -1, self.size)).flatten(1, 2)
        return output.permute(2, 0, 3, 1, 4).flatten(0, 1)

    def _by_question(self, states: torch.Tensor) -> torch.Tensor:
        """``(variants * B, heads, S, head width)`` as ``(B, heads, variants, S, head width)``."""
        return states.unflatten(0, (-1, self.rows)).permute(1, 2, 0, 3, 4)

    def _base_mask(self) -> torch.Tensor:
        """Additive ``(B, 1, variants * S, start + variants * S)``: causal, padding closed, no variant sees another."""
        valid, start, size = self.prefix.batch.spans.valid, self.start, self.size
        open_edges = torch.zeros(
            self.rows, self.together, size, start + self.together * size, dtype=torch.bool, device=valid.device
        )
        open_edges[..., :start] = valid[:, None, None, :start]
        own = torch.ones(size, size, dtype=torch.bool, device=valid.device).tril() & valid[:, None, start:]
        own = own | torch.eye(size, dtype=torch.bool, device=valid.device)  # padding must attend to something
        for place in range(self.together):
            self._own(open_edges, place).copy_(own)
        closed = torch.zeros(open_edges.shape, dtype=self.loaded.dtype, device=valid.device)
        return closed.masked_fill_(~open_edges, -torch.inf).flatten(1, 2)[:, None]

    def _mask(self, block: int, chunk: range) -> torch.Tensor:
        """The mask of one call: the base, less what each variant of the chunk cuts in this block."""
        width = len(chunk) * self.size
        base = self.base[:, :, :width, : self.start + width]
        cuts = [
            (place, cut) for place, index in enumerate(chunk) for cut in self.plans[index].cuts if _covers(cut, block)
        ]
        if not cuts:
            return base
        mask = base.clone()
        by_variant = mask[:, 0].unflatten(1, (len(chunk), self.size))
        for place, cut in cuts:
            pairs = self.blocked.pairs(cut)[:, self.start - self.prefix.start :]
            by_variant[:, place, :, : self.start].masked_fill_(pairs[..., : self.start], -torch.inf)
            self._own(by_variant, place).masked_fill_(pairs[..., self.start :], -torch.inf)
        return mask

    def _own(self, mask: torch.Tensor, place: int) -> torch.Tensor:
        """The part ``(B, S, S)`` of a mask ``(B, variants, S, keys)`` that is one variant's own keys."""
        first = self.start + place * self.size
        return mask[:, place, :, first : first + self.size]


def _chunks(count: int, size: int) -> Iterator[range]:
    for first in range(0, count, size):
        yield range(first, min(first + size, count))


def _covers(cut: Cut, block: int) -> bool:
    return cut.layers is None or block in cut.layers


def _first_block(plan: Plan) -> int:
    return min(0 if cut.layers is None else min(cut.layers) for cut in plan.cuts)


def _first_kept(plans: Sequence[Plan], spans: Spans) -> int:
    """The first position that any plan can change; random edges may start anywhere."""
    start = spans.valid.shape[1] - 1
    for kind, name in {(cut.kind, cut.target) for plan in plans for cut in plan.cuts}:
        changed = torch.nonzero(spans[name].any(0))
        if kind == RANDOM:
            start = 0
        elif len(changed):
            start = min(start, int(changed[0]))
    return start


def _end_tokens(loaded: LoadedModel) -> set[int]:
    """Ids that end an answer."""
    configured = getattr(loaded.model.generation_config, "eos_token_id", None)
    ends = configured if isinstance(configured, list) else [configured]
    return {end for end in (*ends, loaded.tokenizer.eos_token_id) if end is not None}


def _with_spoken(batch: Batch, ids: torch.Tensor, real: torch.Tensor) -> Batch:
    """The batch with one more token per row; a row whose answer has ended gets padding."""
    old = batch.inputs
    inputs = {
        **old,
        "input_ids": torch.cat([old["input_ids"], ids[:, None]], 1),
        "attention_mask": torch.cat([old["attention_mask"], real[:, None].to(old["attention_mask"].dtype)], 1),
        "position_ids": torch.cat([old["position_ids"], old["position_ids"][:, -1:] + 1], 1),
    }
    masks = {
        name: torch.cat([mask, (real if name in _GROWING else torch.zeros_like(real))[:, None]], 1)
        for name, mask in (batch.spans.masks | {"answer": batch.spans.spoken}).items()
    }
    spans = Spans(masks, torch.cat([batch.spans.valid, real[:, None]], 1))
    return replace(batch, inputs=inputs, spans=spans)
