"""Which positions the plans of interventions change, and which pairs they take, from an intact prefix on."""

from collections.abc import Sequence

import torch

from pidflow.interventions.intervention import Intervention
from pidflow.interventions.knockout import check_heads, ways_by_head
from pidflow.interventions.pairs import check_keeps_a_source, first_dependent
from pidflow.interventions.prefix import Prefix
from pidflow.models.loading import LoadedModel


class Reached:
    """Pairs and positions that each distinct intervention changes, made once for all windows and heads."""

    def __init__(self, prefix: Prefix, names: Sequence[str]) -> None:
        self.prefix, self.names = prefix, names
        self.made: dict[Intervention, torch.Tensor] = {}
        self.gone: dict[Intervention, torch.Tensor | None] = {}
        self.known: dict[Intervention, torch.Tensor] = {}
        self.checked: set[frozenset[Intervention]] = set()

    def pairs(self, intervention: Intervention) -> torch.Tensor:
        """Boolean ``(B, T - start, T)`` over queries and keys; in which blocks does not matter."""
        intervention = intervention.everywhere()
        if intervention not in self.made:
            spans = self.prefix.batch.spans
            self.made[intervention] = intervention.blocked(spans, self.names, first=self.prefix.start)
        return self.made[intervention]

    def lost(self, intervention: Intervention) -> torch.Tensor | None:
        """Boolean ``(B, T - start, K)``: keys of the picture that are lost in cross-attention; None: none."""
        intervention = intervention.everywhere()
        if intervention not in self.gone:
            spans = self.prefix.batch.spans
            self.gone[intervention] = intervention.lost(spans, self.names, first=self.prefix.start)
        return self.gone[intervention]

    def changed(self, intervention: Intervention) -> torch.Tensor:
        """Boolean ``(B, T - start)``: positions that lose an edge or are rewritten, in any block."""
        if intervention.takes_edges:
            found, lost = self.pairs(intervention).any(2), self.lost(intervention)
            return found if lost is None else found | lost.any(2)
        intervention = intervention.everywhere()
        if intervention not in self.known:
            spans = self.prefix.batch.spans
            self.known[intervention] = intervention.changed(spans, self.names, first=self.prefix.start)
        return self.known[intervention]

    def first(self, intervention: Intervention) -> int:
        """The first position that is changed, no later than the one that speaks first."""
        changed = torch.nonzero(self.changed(intervention).any(0))
        spans = self.prefix.batch.spans
        speaks = spans.valid.shape[1] - self.prefix.answer_ids.shape[1]
        start = min(speaks, self.prefix.start + int(changed[0])) if len(changed) else speaks
        return max(self.prefix.start, first_dependent(spans, start))

    def takes_nothing(self, plan: Sequence[Intervention], loaded: LoadedModel) -> bool:
        """Whether the plan takes only pairs that the model never has in those blocks, or none at all."""
        if not all(each.takes_edges for each in plan):
            return False
        for block in range(loaded.depth):
            for each in plan:
                if each.acts_in(block):
                    left, lost = self.pairs(each), self.lost(each)
                    if lost is not None and lost.any():
                        return False
                    for gone in (always for always in loaded.always if always.acts_in(block)):
                        left = left & ~self.pairs(gone)
                    if left.any():
                        return False
        return True

    def check(self, plan: Sequence[Intervention], loaded: LoadedModel) -> None:
        """Blocks and heads exist, and no real position loses everything it attends to in any of them."""
        depth = loaded.depth
        for each in plan:
            each.check_blocks(depth)
            if each.takes_edges:
                check_heads(loaded, [head for block in range(depth) for head in each.heads_in(block) or ()])
        cuts = [each for each in (*loaded.always, *plan) if each.takes_edges]
        for block in range(depth):
            acting = [each for each in cuts if each.acts_in(block)]
            heads = [each.heads_in(block) for each in acting]
            for active in ways_by_head([True if each is None else each for each in heads]):
                together = frozenset(each.everywhere() for each, here in zip(acting, active, strict=True) if here)
                if together and together not in self.checked:
                    lost = torch.stack([self.pairs(each) for each in together]).any(0)
                    check_keeps_a_source(lost, self.prefix.batch.spans.valid)
                    self.checked.add(together)
