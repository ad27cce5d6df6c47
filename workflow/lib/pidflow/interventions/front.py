"""Plans of interventions that change the same last positions, carried through the blocks side by side.

The blocks are the model's own, called one by one with prepared states and with what they received in the intact pass;
the attention function registered in :mod:`pidflow.models.attention` hands its query to the front in force.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from pidflow.interventions.intervention import Intervention
from pidflow.interventions.pairs import unseen_of_picture
from pidflow.interventions.prefix import Prefix
from pidflow.interventions.reached import Reached
from pidflow.interventions.recomputed import KeptCache, Moved, Recomputed
from pidflow.interventions.rewriting import INPUT, SUBLAYERS, hooked, sublayer
from pidflow.models.attention import Kernel, attend_across, front_in_force, is_across, kernel_of, plain_kernel
from pidflow.models.loading import LoadedModel
from pidflow.models.parts import attends_to_picture, attention_of

_LOGITS_AT_ONCE = 1024  # positions; a vocabulary is much wider than a residual stream


class Front:
    """Plans that change the same S last positions, carried through the blocks side by side."""

    def __init__(
        self,
        loaded: LoadedModel,
        prefix: Prefix,
        start: int,
        plans: Sequence[Sequence[Intervention]],
        reached: Reached,
        tokens_at_once: int,
    ) -> None:
        self.loaded, self.prefix, self.start, self.plans, self.reached = loaded, prefix, start, plans, reached
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
        self.chunk, self.kept, self.by_head = range(0), None, []

    def run(self, pools: torch.Tensor | None, *, keep_cache: bool) -> Iterator[Recomputed]:
        """What becomes of the plans, some at a time, named by their places."""
        begins = [first_block(plan) for plan in self.plans]
        width = self.prefix.states[0].shape[-1]
        states = self.prefix.states[0].new_empty(len(self.plans), self.rows, self.size, width)
        moved = Moved(self, pools)
        if keep_cache:
            self.kept = KeptCache(len(self.plans), self.prefix, self.size)
        begun = 0
        for block, layer in enumerate(self.loaded.layers):
            joined = sum(begin <= block for begin in begins)
            states[begun:joined] = self.intact(block)
            begun = joined
            self._rewrite(states[:begun].flatten(0, 1), range(begun), block, INPUT)
            moved.add(block, states[:begun])
            self._enter(block)
            for chunk in chunks(begun, self.together):
                self.chunk, self.mask = chunk, self._mask(block, chunk)
                self.by_head = self._cuts_by_head(block, chunk)
                fed = states[chunk.start : chunk.stop].flatten(0, 1)
                more, named = self.prefix.calls.arguments(block, self.start, len(chunk), self.rows)
                with front_in_force(self.loaded.text_model, self), self._sublayers_rewritten(layer, block, chunk):
                    result = layer(fed, *more, **named)
                result = result[0] if isinstance(result, tuple) else result
                result = result.to(states.device).unflatten(0, (len(chunk), self.rows))
                states[chunk.start : chunk.stop] = result
            added = self.prefix.calls.added[block + 1]
            if added is not None:
                skipped = self.start - self.prefix.start
                prompt = added.shape[1] - skipped
                states[:begun, :, :prompt] += added[:, skipped:]
        moved.add(len(self.loaded.layers), states[:begun])
        speaking = self.prefix.answer_ids.shape[1]
        for chunk in chunks(begun, max(1, _LOGITS_AT_ONCE // (self.rows * speaking))):
            places = slice(chunk.start, chunk.stop)
            normed = self.loaded.normed(states[places, :, -speaking:])
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
            mask = self._mask_by_head(query.shape[1]) if self.by_head else self.mask
            output = kernel(module, laid, keys, values, mask.to(query.device), scaling=scaling, **kwargs)[0]
            return output.unflatten(1, (-1, self.size)).transpose(0, 1).flatten(0, 1)
        folded = self._by_question(query)  # (B, heads, variants, S, head width)
        folded = folded.unflatten(1, (-1, groups)).flatten(2, 4)
        mask = self.mask.to(query.device)
        mask = mask.repeat(1, 1, groups, 1) if groups > 1 else mask
        output = scaled_dot_product_attention(folded, keys, values, attn_mask=mask, scale=scaling)
        output = output.unflatten(2, (groups, -1, self.size)).flatten(1, 2)  # (B, heads, variants, S, head width)
        for place, heads, pairs in self.by_head:
            chosen, mask = list(heads), self._own_mask(place, pairs).to(query.device)
            own = slice(self.start + place * self.size, self.start + (place + 1) * self.size)
            seen = [
                torch.cat([each[:, :, : self.start], each[:, :, own]], 2)[:, [head // groups for head in chosen]]
                for each in (keys, values)
            ]
            asked = self._by_question(query)[:, chosen, place]
            output[:, chosen, place] = scaled_dot_product_attention(asked, *seen, attn_mask=mask, scale=scaling)
        return output.permute(2, 0, 3, 1, 4).flatten(0, 1)

    def _across(
        self, module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        """Attention to the picture itself; who loses a token that stands for the picture gets nothing."""
        variants = query.shape[0] // self.rows
        mask = self.prefix.calls.seen_of_picture(self.block, self.start)
        mask = None if mask is None else mask.to(query.device).repeat(variants, 1, 1, 1)
        image, skipped, unseen = self.prefix.batch.spans["image"], self.start - self.prefix.start, None
        for place, cut in self._cuts(self.block, self.chunk):
            lost = self.reached.lost(cut)
            taken = self.reached.pairs(cut)[:, skipped:], image, None if lost is None else lost[:, skipped:]
            here, heads = unseen_of_picture(*taken), cut.heads_in(self.block)
            if unseen is None:
                unseen = here.new_zeros(*query.shape[:3], key.shape[2])
            rows = slice(place * self.rows, (place + 1) * self.rows)
            unseen[rows, slice(None) if heads is None else list(heads)] |= here[:, None]
        kernel = plain_kernel(kwargs)
        return attend_across(kernel, module, query, key, value, mask, unseen, is_causal=False, **kwargs)

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
        cuts = [(place, cut) for place, cut in self._cuts(block, chunk) if cut.heads_in(block) is None]
        if not cuts:
            return base
        mask = base.clone()
        by_variant = mask[:, 0].unflatten(1, (len(chunk), self.size))
        for place, cut in cuts:
            pairs = self.reached.pairs(cut)[:, self.start - self.prefix.start :]
            by_variant[:, place, :, : self.start].masked_fill_(pairs[..., : self.start], -torch.inf)
            self._own(by_variant, place).masked_fill_(pairs[..., self.start :], -torch.inf)
        return mask

    def _cuts(self, block: int, chunk: range) -> Iterator[tuple[int, Intervention]]:
        """What takes edges in a block, with the place of its variant in the chunk."""
        for place, index in enumerate(chunk):
            plan = (*self.loaded.always, *self.plans[index])
            yield from ((place, each) for each in plan if each.takes_edges and each.acts_in(block))

    def _cuts_by_head(self, block: int, chunk: range) -> list[tuple[int, tuple[int, ...], torch.Tensor]]:
        """Per variant of a chunk the heads that lose pairs of their own, and these ``(B, heads, S, T)``."""
        by_variant: dict[int, dict[int, torch.Tensor]] = {}
        for place, cut in self._cuts(block, chunk):
            for head in cut.heads_in(block) or ():
                pairs = self.reached.pairs(cut)[:, self.start - self.prefix.start :]
                of_variant = by_variant.setdefault(place, {})
                of_variant[head] = pairs | of_variant[head] if head in of_variant else pairs
        return [(place, tuple(heads), torch.stack(list(heads.values()), 1)) for place, heads in by_variant.items()]

    def _own_mask(self, place: int, pairs: torch.Tensor) -> torch.Tensor:
        """Additive ``(B, heads, S, T)``: the mask of one variant, less pairs that heads of it lose."""
        by_variant = self.mask[:, 0].unflatten(1, (-1, self.size))
        own = torch.cat([by_variant[:, place, :, : self.start], self._own(by_variant, place)], 2)
        return own[:, None].expand(pairs.shape).masked_fill(pairs, -torch.inf)

    def _mask_by_head(self, heads: int) -> torch.Tensor:
        """The mask of a call with a head of its own for each, for kernels that attend by themselves."""
        mask = self.mask.repeat(1, heads, 1, 1)
        for place, chosen, pairs in self.by_head:
            queries = slice(place * self.size, (place + 1) * self.size)
            own = self.start + place * self.size
            cut = self._own_mask(place, pairs)
            for number, head in enumerate(chosen):
                mask[:, head, queries, : self.start] = cut[:, number, :, : self.start]
                mask[:, head, queries, own : own + self.size] = cut[:, number, :, self.start :]
        return mask

    def _rewrite(self, states: torch.Tensor, chunk: range, block: int, of: str) -> None:
        """Put other states ``(variants * B, S, width)`` in place, where a variant of the chunk does so."""
        spans, names = self.prefix.batch.spans, self.reached.names
        for place, index in enumerate(chunk):
            for each in self.plans[index]:
                if each.rewrites == of and each.acts_in(block):
                    own = states[place * self.rows : (place + 1) * self.rows]
                    there = own.to(self.loaded.device)
                    own.copy_(each.rewritten(there, spans, names, block=block))

    @contextmanager
    def _sublayers_rewritten(self, layer: nn.Module, block: int, chunk: range) -> Iterator[None]:
        """The block with what its sublayers add rewritten for the variants of a chunk."""
        places = {each.rewrites for index in chunk for each in self.plans[index] if each.acts_in(block)}

        def change(of: str, states: torch.Tensor) -> torch.Tensor:
            states = states.clone()
            self._rewrite(states, chunk, block, of)
            return states

        with ExitStack() as stack:
            for of in places & set(SUBLAYERS):
                rows = len(chunk) * self.rows
                stack.enter_context(hooked(sublayer(layer, of), partial(change, of), rows=rows, of=of))
            yield

    def _own(self, mask: torch.Tensor, place: int) -> torch.Tensor:
        """The part ``(B, S, S)`` of a mask ``(B, variants, S, keys)`` that is one variant's own keys."""
        first = self.start + place * self.size
        return mask[:, place, :, first : first + self.size]


def chunks(count: int, size: int) -> Iterator[range]:
    for first in range(0, count, size):
        yield range(first, min(first + size, count))


def first_block(plan: Sequence[Intervention]) -> int:
    return min(each.first_block() for each in plan)
