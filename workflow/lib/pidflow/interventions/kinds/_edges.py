"""What kinds of intervention that take attention edges away have in common."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from pidflow.errors import ConfigError
from pidflow.interventions.intervention import Intervention, Reach, blocks_of
from pidflow.plugins.settings import Blocks, Heads, Settings, Span, forwards

if TYPE_CHECKING:
    import torch

    from pidflow.models.loading import LoadedModel
    from pidflow.models.spans import Spans


class EdgeSettings(Settings):
    """An edge of attention in some blocks."""

    renamed: ClassVar = {"layers": "blocks"}

    source: Span = Field(description="Positions attended to.")
    target: Span = Field(description="Positions that attend.")
    blocks: Blocks = Field(description="Blocks that the intervention acts in.")
    heads: Heads | None = Field(
        default=None, description="Attention heads that it acts in; null for all. A pair is a head of one block."
    )

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        forwards(self.source, self.target)
        return self


@dataclass(frozen=True)
class EdgeIntervention(Intervention):
    """Takes attention edges away in some blocks; a kind states which, in :meth:`taken`.

    Attributes
    ----------
    source, target
        Names of spans (see :class:`pidflow.models.spans.Spans`), or several joined by ``+``.
    blocks
        Blocks 0 … L-1; None means all.
    heads
        Heads of each of these blocks; None means all.
    pairs
        ``(block, head)`` instead: heads of single blocks; None where `heads` says it.
    """

    source: str
    target: str
    blocks: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = field(default=None, kw_only=True)
    pairs: tuple[tuple[int, int], ...] | None = field(default=None, kw_only=True)
    takes_edges: ClassVar[bool] = True

    @classmethod
    def of(cls, settings: EdgeSettings, *, depth: int, seed: int = 0) -> Self:
        """The intervention that the settings describe."""
        return cls(settings.source, settings.target, **places_of(settings, depth=depth))

    @classmethod
    def on(
        cls,
        source: str,
        target: str,
        blocks: tuple[int, ...] | None,
        *,
        seed: int = 0,
        spared: str | None = None,
    ) -> Self:
        """The intervention on an edge, everything else by default.

        `seed` is that of random parts, `spared` a span that these draw nothing from.
        """
        return cls(source, target, blocks)

    def everywhere(self) -> Self:
        """See :meth:`Intervention.everywhere`."""
        return replace(self, blocks=None, heads=None, pairs=None)

    def in_blocks(self, blocks: tuple[int, ...] | None) -> Self:
        """See :meth:`Intervention.in_blocks`."""
        if self.pairs is not None:
            raise ConfigError("heads of single blocks cannot be moved through the model; name heads without blocks")
        return replace(self, blocks=blocks)

    def heads_in(self, block: int) -> tuple[int, ...] | None:
        """See :meth:`Intervention.heads_in`."""
        if self.pairs is None:
            return self.heads
        return tuple(head for where, head in self.pairs if where == block)

    def spans_used(self) -> tuple[str, ...]:
        """See :meth:`Intervention.spans_used`."""
        return (self.source, self.target)

    def taken(self, spans: "Spans", names: Sequence[str], *, first: int) -> "torch.Tensor":
        """Boolean ``(B, T - first, T)``: queries and keys that lose each other."""
        raise NotImplementedError

    def lost(self, spans: "Spans", names: Sequence[str] = (), *, first: int = 0) -> "torch.Tensor | None":
        """See :meth:`Intervention.lost`: what is drawn or named of the patches of the source."""
        source = spans.patches_of(self.source)
        if source is None:
            return None
        asks = spans[self.target] & spans.valid & (spans["image"].cumsum(1) > 0)
        return asks[:, first:, None] & self.taken_patches(source, spans, names)[:, None]

    def taken_patches(self, source: "torch.Tensor", spans: "Spans", names: Sequence[str]) -> "torch.Tensor":
        """Boolean ``(B, K)``: which patches a target position loses, of those of the source ``(B, K)``; here all."""
        return source

    def blocked(self, spans: "Spans", names: Sequence[str] = (), *, first: int = 0) -> "torch.Tensor":
        """See :meth:`Intervention.blocked`; refuses an edge that runs against causality."""
        from pidflow.interventions.pairs import check_causality

        check_causality(self.source, self.target, spans)
        return self.taken(spans, names, first=first)

    def entered(
        self, loaded: "LoadedModel", spans: "Spans", names: Sequence[str] = (), *, first: int = 0
    ) -> AbstractContextManager[None]:
        """See :meth:`Intervention.entered`."""
        from pidflow.interventions.knockout import CutPairs, pairs_cut

        self.check_blocks(loaded.depth)
        pairs = self.blocked(spans, names, first=first)
        heads = {block: self.heads_in(block) for block in range(loaded.depth) if self.acts_in(block)}
        cut = CutPairs(pairs, self.blocks, heads, lost=self.lost(spans, names, first=first))
        return pairs_cut(loaded, [cut], spans.valid, image=spans["image"])

    def reach(self, spans: "Spans", names: Sequence[str] = ()) -> list[Reach]:
        """See :meth:`Intervention.reach`."""
        from pidflow.interventions.pairs import composition, patch_composition

        found, lost = composition(self.blocked(spans, names), spans), self.lost(spans, names)
        if lost is not None:
            for row, more in zip(found, patch_composition(lost, spans), strict=True):
                row.update({way: row.get(way, 0) + count for way, count in more.items()})
        return [Reach(bool(pairs), pairs) for pairs in found]


def places_of(settings: EdgeSettings, *, depth: int) -> dict[str, Any]:
    """Blocks and heads that settings name, as fields of :class:`EdgeIntervention`."""
    blocks, heads = blocks_of(settings.blocks, depth=depth), settings.heads
    if heads is None or not isinstance(heads[0], list):
        return {"blocks": blocks, "heads": None if heads is None else tuple(heads)}
    pairs = tuple(map(tuple, heads))
    named = tuple(sorted({block for block, _ in pairs}))
    inside = range(depth) if blocks is None else blocks
    outside = [block for block in named if block not in inside]
    if outside:
        raise ConfigError(
            f"heads names a head of block {outside[0]}, which is none of the blocks {inside[0]} to {inside[-1]} of the "
            "intervention"
        )
    return {"blocks": named, "pairs": pairs}
