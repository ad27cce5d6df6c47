"""Attention knockout: pairs of positions lose each other in chosen blocks, through ``AttentionInterface``.

While pairs are cut, every block attends through the library's SDPA kernel with them taken out of an explicit mask, so
blocked weights are exactly 0 and the softmax renormalises the rest. Blocks without a cut get the very mask they always
get. Nothing of the model's forward is replaced.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import nn

from pidflow.errors import ConfigError
from pidflow.interventions.pairs import check_keeps_a_source, unseen_of_picture
from pidflow.models.attention import Kernel, edges_in_force, edges_now
from pidflow.models.loading import LoadedModel


@dataclass(frozen=True, eq=False)
class CutPairs:
    """Pairs of positions that lose each other.

    Attributes
    ----------
    pairs
        Boolean ``(B, Q, T)``: the last Q of T positions as queries, and keys.
    blocks
        The blocks in which they do; None means all.
    heads
        By block the heads in which they do; all of them where that is None or the block is not in it.
    lost
        Boolean ``(B, Q, K)``: keys of the picture that the queries lose in cross-attention; None: none.
    """

    pairs: torch.Tensor
    blocks: tuple[int, ...] | None = None
    heads: Mapping[int, tuple[int, ...] | None] = field(default_factory=dict)
    lost: torch.Tensor | None = None

    def covers(self, block: int) -> bool:
        """Whether the pairs are cut in this block."""
        return self.blocks is None or block in self.blocks

    def way(self, block: int) -> tuple[int, ...] | bool:
        """The heads of a block that they are cut in; True for all, False for none."""
        if not self.covers(block):
            return False
        heads = self.heads.get(block)
        return True if heads is None else heads


class Probe(Protocol):
    """Looks at every block before it attends, while edges are cut."""

    def observe(
        self,
        kernel: Kernel,
        state: "State",
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        mask: Any,
        **kwargs: Any,
    ) -> None:
        """See :meth:`pidflow.models.attention.Edges.observe`."""


@dataclass
class State:
    """What the attention function needs to know while pairs are cut; ``valid`` and ``image`` are boolean ``(B, T)``."""

    config: Any
    cuts: list[CutPairs]
    valid: torch.Tensor
    probe: "Probe | None" = None
    image: torch.Tensor | None = None
    cached: tuple[Any, ...] | None = None
    mask: torch.Tensor | None = None

    def blocked(self, layer: int, queries: int, keys: int) -> torch.Tensor | None:
        """Boolean of the cut pairs, or None: ``(B, 1, queries, keys)`` where all heads lose the same, else with heads.

        Queries are the last of the keys' positions.
        """
        length = self.valid.shape[1]

        def of(cut: CutPairs) -> torch.Tensor:
            begin = cut.pairs.shape[1] - length + keys - queries
            return cut.pairs[:, begin : begin + queries, :keys]

        return self._together(layer, of)

    def _together(self, layer: int, of: Callable[[CutPairs], torch.Tensor]) -> torch.Tensor | None:
        """What the cuts that act in a block take together, ``(B, 1 or heads, queries, keys)``."""
        total = None
        for cut in self.cuts:
            way = cut.way(layer)
            if way is False:
                continue
            taken = of(cut)[:, None]
            if way is not True:
                chosen = torch.zeros(self.config.num_attention_heads, dtype=torch.bool, device=taken.device)
                chosen[list(way)] = True
                taken = taken & chosen[None, :, None, None]
            total = taken if total is None else total | taken
        return total

    def allowed(
        self, layer: int, queries: int, keys: int, base: torch.Tensor | None, *, causal: bool = True
    ) -> torch.Tensor | None:
        """See :meth:`pidflow.models.attention.Edges.allowed`."""
        active = tuple(cut.way(layer) for cut in self.cuts)
        if active.count(False) == len(active):
            return base
        if self.cached is None or self.cached[:3] != (active, queries, keys) or self.cached[3] is not base:
            open_edges = base
            if open_edges is None:  # the library leaves plain causality to the kernel
                open_edges = torch.ones(queries, keys, dtype=torch.bool, device=self.valid.device)
                open_edges = open_edges.tril(keys - queries) if causal else open_edges
            elif open_edges.dtype != torch.bool:
                open_edges = open_edges > torch.finfo(open_edges.dtype).min / 2
            self.mask = open_edges & ~self.blocked(layer, queries, keys).to(open_edges.device)
            self.cached = (active, queries, keys, base)
        return self.mask

    def unseen(self, layer: int, queries: int) -> torch.Tensor | None:
        """See :meth:`pidflow.models.attention.Edges.unseen`."""
        if self.image is None:
            return None

        def of(cut: CutPairs) -> torch.Tensor:
            lost = None if cut.lost is None else cut.lost[:, -queries:]
            return unseen_of_picture(cut.pairs[:, -queries:], self.image, lost)

        return self._together(layer, of)

    def observe(
        self, kernel: Kernel, module: nn.Module, query: torch.Tensor, key: torch.Tensor, mask: Any, **kwargs: Any
    ) -> None:
        if self.probe is not None:
            self.probe.observe(kernel, self, module, query, key, mask, **kwargs)


@contextmanager
def pairs_cut(
    loaded: LoadedModel,
    cuts: Sequence[CutPairs],
    valid: torch.Tensor,
    *,
    image: torch.Tensor | None = None,
    probe: "Probe | None" = None,
) -> Iterator[None]:
    """Run the model with pairs of positions cut, together with those that are cut already.

    Parameters
    ----------
    loaded
        The model, which must use SDPA attention. It keeps the registered function afterwards, which without anything in
        force is SDPA itself, so threads that share a model cannot switch each other's cuts off.
    cuts
        On any device. The forward inside may feed all positions, or only the last ones against cached keys and values
        of the others.
    valid
        Boolean ``(B, T)``: positions that are no padding.
    image
        Boolean ``(B, T)``: tokens that stand for the picture; who loses one of them loses it in cross-attention too.
    probe
        Watches every block.

    Raises
    ------
    ConfigError
        If a position would be left with nothing to attend to.
    """
    text, device = loaded.text_model, loaded.device
    outer = edges_now(text)
    moved = [(cut, cut.lost if cut.lost is None else cut.lost.to(device)) for cut in cuts]
    cuts = [replace(cut, pairs=cut.pairs.to(device), lost=lost) for cut, lost in moved]
    if outer is not None:
        cuts, probe = [*outer.cuts, *cuts], probe or outer.probe
    valid, image = valid.to(device), None if image is None else image.to(device)
    for cut in cuts:
        check_heads(loaded, [head for heads in cut.heads.values() for head in heads or ()])
    check_cuts(cuts, valid, depth=loaded.depth)
    with edges_in_force(text, State(text.config, cuts, valid, probe=probe, image=image)):
        yield


def check_cuts(cuts: Sequence[CutPairs], valid: torch.Tensor, *, depth: int) -> None:
    """No real position may lose everything it attends to, in any head of any block."""
    together = {ways for block in range(depth) for ways in ways_by_head([cut.way(block) for cut in cuts])}
    for active in together:
        pairs = [cut.pairs for cut, here in zip(cuts, active, strict=True) if here]
        if pairs:
            queries = min(each.shape[1] for each in pairs)
            check_keeps_a_source(torch.stack([each[:, -queries:] for each in pairs]).any(0), valid)


def ways_by_head(ways: Sequence[tuple[int, ...] | bool]) -> set[tuple[bool, ...]]:
    """Which of several cuts act together in a head, for each head of a block that any of them names, and the others."""
    named = {head for way in ways if not isinstance(way, bool) for head in way}
    return {tuple(way if isinstance(way, bool) else head in way for way in ways) for head in (*named, -1)}


def check_heads(loaded: LoadedModel, heads: Sequence[int]) -> None:
    """Refuse heads that the model does not have."""
    count = loaded.text_model.config.num_attention_heads
    absent = [head for head in heads if head >= count]
    if absent:
        raise ConfigError(f"the model has the heads 0 to {count - 1}, found head {absent[0]}")
