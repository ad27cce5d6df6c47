"""Many cuts of the same questions at the price of few: only what a cut can change is computed again, exactly.

Each plan of interventions runs only the positions that it can change, only from its first block on, against the keys
and values of the intact pass. All plans and questions go through a block together, so weights are read once, and attend
to the shared keys and values where they lie: the variants of a question are laid along the query axis of one SDPA call,
each seeing the shared keys and its own. Nothing is approximated.

The blocks are the model's own, called one by one with prepared states and with what they received in the intact pass;
the attention function registered in :mod:`pidflow.models.attention` hands its query to the front in force.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from pidflow.errors import ConfigError
from pidflow.interventions.intervention import Intervention, entered
from pidflow.interventions.pairs import check_keeps_a_source, first_dependent
from pidflow.interventions.prefix import Prefix
from pidflow.models.attention import Kernel, front_in_force, is_across, kernel_of, plain_kernel, use_registered
from pidflow.models.forward import run
from pidflow.models.loading import LoadedModel
from pidflow.models.parts import attends_to_picture, attention_of

TOKENS_AT_ONCE = 4096
_LOGITS_AT_ONCE = 1024  # positions; a vocabulary is much wider than a residual stream


@dataclass(frozen=True, eq=False)
class Recomputed:
    """What k plans make of the B questions of a prefix.

    Attributes
    ----------
    which
        Indices of the plans.
    changed
        Boolean ``(k, B)``: the question's last position is changed; others are the intact ones up to rounding.
    logits
        ``(k, B, m, V)`` float32: what the answer's tokens are chosen from.
    normed
        ``(k, B, m, width)``: the states behind them, after the final norm.
    moved
        ``(k, L + 1, P, B, width)`` float32: by how much each pooled state of each layer moves; None without pools.
    keys, values
        Per block ``(k, B, key heads, S, head width)`` of the last S positions, where they are kept.
    """

    which: list[int]
    changed: torch.Tensor
    logits: torch.Tensor
    normed: torch.Tensor
    moved: torch.Tensor | None = None
    keys: tuple[torch.Tensor, ...] = ()
    values: tuple[torch.Tensor, ...] = ()


def recompute(
    loaded: LoadedModel,
    prefix: Prefix,
    plans: Sequence[Sequence[Intervention]],
    *,
    names: Sequence[str] = (),
    pools: torch.Tensor | None = None,
    keep_cache: bool = False,
    tokens_at_once: int = TOKENS_AT_ONCE,
) -> Iterator[Recomputed]:
    """What every plan changes, equal to full passes with that plan in force.

    Parameters
    ----------
    prefix
        From :func:`pidflow.interventions.prefix.read_prefix`, with the same plans and names.
    plans
        Each one or several interventions that are recomputable, applied to all questions.
    names
        One per question, which random parts of interventions depend on.
    pools
        ``(B, P, T)`` float32: weights of positions, whose sums of states are followed through the blocks.
    keep_cache
        Keep keys and values too.
    tokens_at_once
        Positions that go through a block together; bounds memory.

    Yields
    ------
    Some of the plans at a time, every plan once, in no particular order.

    Raises
    ------
    ConfigError
        If a span or block does not exist, an edge runs against causality, or a position would be left with nothing to
        attend to.
    """
    blocked = _Blocked(prefix, names)
    fronts: dict[int, list[int]] = {}
    for index, plan in enumerate(plans):
        if not plan:
            raise ConfigError("a plan without cuts has nothing to recompute; its logits are those of the prefix")
        blocked.check(plan, loaded.depth)
        fronts.setdefault(min(blocked.first(each) for each in plan), []).append(index)
    use_registered(loaded.text_model)
    with torch.inference_mode():
        for start, members in fronts.items():
            members.sort(key=lambda index: _first_block(plans[index]))
            chosen = [plans[index] for index in members]
            front = _Front(loaded, prefix, start, chosen, blocked, tokens_at_once)
            for found in front.run(pools, keep_cache=keep_cache):
                yield replace(found, which=[members[place] for place in found.which])


def full_pass(
    loaded: LoadedModel, prefix: Prefix, plan: Sequence[Intervention], *, names: Sequence[str] = ()
) -> torch.Tensor:
    """What :func:`recompute` equals: ``(B, m, V)`` logits of one pass over all positions with the plan in force."""
    with torch.inference_mode(), entered(loaded, plan, prefix.batch.spans, names):
        answer = prefix.answer_ids.shape[1]
        return run(loaded, prefix.batch.inputs, keep=answer).float()


class _Blocked:
    """The pairs of positions that each distinct intervention blocks, made once and shared by all windows."""

    def __init__(self, prefix: Prefix, names: Sequence[str]) -> None:
        self.prefix, self.names = prefix, names
        self.made: dict[Intervention, torch.Tensor] = {}
        self.checked: set[frozenset[Intervention]] = set()

    def pairs(self, intervention: Intervention) -> torch.Tensor:
        """Boolean ``(B, T - start, T)`` over queries and keys; in which blocks does not matter."""
        intervention = replace(intervention, blocks=None)
        if intervention not in self.made:
            spans = self.prefix.batch.spans
            self.made[intervention] = intervention.blocked(spans, self.names, first=self.prefix.start)
        return self.made[intervention]

    def first(self, intervention: Intervention) -> int:
        """The first position that is changed, no later than the one that speaks first."""
        changed = torch.nonzero(self.pairs(intervention).any(2).any(0))
        spans = self.prefix.batch.spans
        speaks = spans.valid.shape[1] - self.prefix.answer_ids.shape[1]
        start = min(speaks, self.prefix.start + int(changed[0])) if len(changed) else speaks
        return max(self.prefix.start, first_dependent(spans, start))

    def check(self, plan: Sequence[Intervention], depth: int) -> None:
        """Blocks exist, and no real position loses everything it attends to in any of them."""
        for each in plan:
            each.check_blocks(depth)
        for block in range(depth):
            together = frozenset(replace(each, blocks=None) for each in plan if each.acts_in(block))
            if together and together not in self.checked:
                lost = torch.stack([self.pairs(each) for each in together]).any(0)
                check_keeps_a_source(lost, self.prefix.batch.spans.valid)
                self.checked.add(together)


class _Front:
    """Plans that change the same S last positions, carried through the blocks side by side."""

    def __init__(
        self,
        loaded: LoadedModel,
        prefix: Prefix,
        start: int,
        plans: Sequence[Sequence[Intervention]],
        blocked: _Blocked,
        tokens_at_once: int,
    ) -> None:
        self.loaded, self.prefix, self.start, self.plans, self.blocked = loaded, prefix, start, plans, blocked
        self.rows, length = prefix.batch.spans.valid.shape
        self.size = length - start
        # Variants that share a call also pay for each other's keys: keep that below a tenth of what a position costs.
        most = (0.6 * loaded.width + 0.1 * start) // self.size
        self.together = int(max(1, min(most, tokens_at_once // (self.size * self.rows), len(plans))))
        attending = [attention_of(layer) for layer in loaded.layers]
        if any(kernel_of(each) for each in attending if each is not None):
            self.together = 1  # another kernel than SDPA may care how keys lie to each other
        self.config = loaded.text_model.config
        self.block, self.mask = 0, None
        self.bases: dict[tuple[int, ...], torch.Tensor] = {}
        self.chunk, self.kept = range(0), None

    def run(self, pools: torch.Tensor | None, *, keep_cache: bool) -> Iterator[Recomputed]:
        """What becomes of the plans, some at a time, named by their places."""
        begins = [_first_block(plan) for plan in self.plans]
        width = self.prefix.states[0].shape[-1]
        states = self.prefix.states[0].new_empty(len(self.plans), self.rows, self.size, width)
        moved = _Moved(self, pools)
        if keep_cache:
            self.kept = _KeptCache(len(self.plans), self.prefix, self.size)
        begun = 0
        for block, layer in enumerate(self.loaded.layers):
            joined = sum(begin <= block for begin in begins)
            states[begun:joined] = self.intact(block)
            begun = joined
            self._enter(block)
            for chunk in _chunks(begun, self.together):
                self.chunk, self.mask = chunk, self._mask(block, chunk)
                fed = states[chunk.start : chunk.stop].flatten(0, 1)
                more, named = self.prefix.calls.arguments(block, self.start, len(chunk), self.rows)
                with front_in_force(self.loaded.text_model, self):
                    result = layer(fed, *more, **named)
                result = result[0] if isinstance(result, tuple) else result
                states[chunk.start : chunk.stop] = result.unflatten(0, (len(chunk), self.rows))
            added = self.prefix.calls.added[block + 1]
            if added is not None:
                skipped = self.start - self.prefix.start
                prompt = added.shape[1] - skipped
                states[:begun, :, :prompt] += added[:, skipped:]
            moved.add(block + 1, states[:begun])
        speaking = self.prefix.answer_ids.shape[1]
        for chunk in _chunks(begun, max(1, _LOGITS_AT_ONCE // (self.rows * speaking))):
            places = slice(chunk.start, chunk.stop)
            normed = self.loaded.final_norm(states[places, :, -speaking:])
            logits = self.loaded.logits_of(normed).float()
            kept = self.kept.of(places) if self.kept else {}
            yield Recomputed(list(chunk), logits=logits, normed=normed, **moved.of(places), **kept)

    def intact(self, layer: int) -> torch.Tensor:
        """The intact states ``(B, S, width)`` of a layer at the front's positions."""
        return self.prefix.states[layer][:, self.start - self.prefix.start :]

    def _enter(self, block: int) -> None:
        """Make ready the keys and values of a block that all variants share."""
        self.block = block
        if attends_to_picture(self.loaded.layers[block]):
            return
        keys, values = self.prefix.keys[block], self.prefix.values[block]
        width = self.start + self.together * self.size
        self.keys, self.values = (each.new_empty(*each.shape[:2], width, each.shape[3]) for each in (keys, values))
        self.keys[:, :, : self.start] = keys[:, :, : self.start]
        self.values[:, :, : self.start] = values[:, :, : self.start]

    def attend(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        kernel: Kernel | None,
        scaling: float | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Attention ``(variants * B, S, heads, head width)`` of each variant to the shared positions and its own."""
        if is_across(module):
            return self._across(module, query, key, value, scaling=scaling, **kwargs)
        if self.kept is not None:
            self.kept.add(self.block, self.chunk, key, value)
        groups = query.shape[1] // key.shape[1]
        end = self.start + query.shape[0] // self.rows * self.size
        for scratch, own in ((self.keys, key), (self.values, value)):
            scratch[:, :, self.start : end].unflatten(2, (-1, self.size)).copy_(self._by_question(own))
        keys, values = self.keys[:, :, :end], self.values[:, :, :end]
        if kernel is None and kwargs.get("softcap") is not None:
            kernel = plain_kernel(kwargs)
        if kernel is not None:
            laid = self._by_question(query).flatten(2, 3)  # one after the other along the queries of their question
            output = kernel(module, laid, keys, values, self.mask, scaling=scaling, **kwargs)[0]
            return output.unflatten(1, (-1, self.size)).transpose(0, 1).flatten(0, 1)
        folded = self._by_question(query)  # (B, heads, variants, S, head width)
        folded = folded.unflatten(1, (-1, groups)).flatten(2, 4)
        mask = self.mask.repeat(1, 1, groups, 1) if groups > 1 else self.mask
        output = scaled_dot_product_attention(folded, keys, values, attn_mask=mask, scale=scaling)
        output = output.unflatten(2, (groups, -1, self.size)).flatten(1, 2)
        return output.permute(2, 0, 3, 1, 4).flatten(0, 1)

    def _across(
        self, module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        """Attention to the picture itself; who loses a token that stands for the picture gets nothing."""
        variants = query.shape[0] // self.rows
        mask = self.prefix.calls.seen_of_picture(self.block, self.start)
        mask = None if mask is None else mask.repeat(variants, 1, 1, 1)
        output = plain_kernel(kwargs)(module, query, key, value, mask, is_causal=False, **kwargs)[0]
        image, skipped = self.prefix.batch.spans["image"], self.start - self.prefix.start
        for place, index in enumerate(self.chunk):
            for cut in self.plans[index]:
                if cut.acts_in(self.block):
                    blind = (self.blocked.pairs(cut)[:, skipped:] & image[:, None]).any(2)
                    rows = slice(place * self.rows, (place + 1) * self.rows)
                    output[rows] = output[rows].masked_fill(blind[:, :, None, None], 0)
        return output

    def _by_question(self, states: torch.Tensor) -> torch.Tensor:
        """``(variants * B, heads, S, head width)`` as ``(B, heads, variants, S, head width)``."""
        return states.unflatten(0, (-1, self.rows)).permute(1, 2, 0, 3, 4)

    def _base_mask(self, block: int) -> torch.Tensor:
        """Additive ``(B, 1, variants * S, start + variants * S)``: the library's mask, no variant sees another."""
        masks = tuple(map(id, self.prefix.calls.masks[block]))
        if masks in self.bases:
            return self.bases[masks]
        start, size = self.start, self.size
        valid = self.prefix.batch.spans.valid
        total, device = valid.shape[1], valid.device
        seen = self.prefix.calls.open_pairs(block, start, total, self.rows, device) & valid[:, None]
        shape = (self.rows, self.together, size, start + self.together * size)
        open_edges = torch.zeros(shape, dtype=torch.bool, device=device)
        open_edges[..., :start] = seen[:, None, :, :start]
        itself = torch.eye(size, dtype=torch.bool, device=device)  # padding must attend to something
        for place in range(self.together):
            self._own(open_edges, place).copy_(seen[:, :, start:] | (itself & ~valid[:, start:, None]))
        closed = torch.zeros(open_edges.shape, dtype=self.loaded.dtype, device=device)
        self.bases[masks] = closed.masked_fill_(~open_edges, -torch.inf).flatten(1, 2)[:, None]
        return self.bases[masks]

    def _mask(self, block: int, chunk: range) -> torch.Tensor | None:
        """The mask of one call: the base, less what each variant of the chunk cuts in this block."""
        if attends_to_picture(self.loaded.layers[block]):
            return None
        width = len(chunk) * self.size
        base = self._base_mask(block)[:, :, :width, : self.start + width]
        cuts = [(place, cut) for place, index in enumerate(chunk) for cut in self.plans[index] if cut.acts_in(block)]
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


class _Moved:
    """By how much pooled states move at each layer, while plans are carried through the blocks.

    A row that begins later in the batch than another is computed again from before its own first change on: there its
    states are the intact ones up to rounding, and are left out.
    """

    def __init__(self, front: _Front, pools: torch.Tensor | None) -> None:
        self.front = front
        blocked, skipped = front.blocked, front.start - front.prefix.start
        taken = [torch.stack([blocked.pairs(each) for each in plan]).any(0).any(2) for plan in front.plans]
        self.changed = torch.stack(taken)[:, :, skipped:].cumsum(2) > 0  # (plans, B, S)
        self.pools = None if pools is None else pools[:, :, front.start :] * self.changed[:, :, None]
        self.moved: torch.Tensor | None = None
        if pools is not None:
            shape = (len(front.plans), front.loaded.depth + 1, pools.shape[1], front.rows, front.loaded.width)
            self.moved = torch.zeros(shape, device=pools.device)

    def add(self, layer: int, states: torch.Tensor) -> None:
        """States ``(k, B, S, width)`` of the first k plans."""
        if self.pools is None or self.moved is None:
            return
        intact = self.front.intact(layer).float()
        for place, each in enumerate(states):
            self.moved[place, layer] = (self.pools[place] @ (each.float() - intact)).transpose(0, 1)

    def of(self, places: slice) -> dict[str, Any]:
        """Those of some plans."""
        moved = None if self.moved is None else self.moved[places]
        return {"changed": self.changed[places, :, -1], "moved": moved}


class _KeptCache:
    """Keys and values of the positions that are computed again; blocks below a plan's first keep the intact ones."""

    def __init__(self, plans: int, prefix: Prefix, size: int) -> None:
        self.keys, self.values = (
            [each[:, :, -size:].expand(plans, *each[:, :, -size:].shape).clone() for each in blocks]
            for blocks in (prefix.keys, prefix.values)
        )

    def add(self, block: int, chunk: range, key: torch.Tensor, value: torch.Tensor) -> None:
        """Keys and values ``(k * B, heads, S, head width)`` of a chunk of plans."""
        for kept, own in ((self.keys, key), (self.values, value)):
            kept[block][chunk.start : chunk.stop] = own.unflatten(0, (len(chunk), -1))

    def of(self, places: slice) -> dict[str, tuple[torch.Tensor, ...]]:
        """Those of some plans."""
        return {
            "keys": tuple(block[places] for block in self.keys),
            "values": tuple(block[places] for block in self.values),
        }


def _chunks(count: int, size: int) -> Iterator[range]:
    for first in range(0, count, size):
        yield range(first, min(first + size, count))


def _first_block(plan: Sequence[Intervention]) -> int:
    return min(each.first_block() for each in plan)
