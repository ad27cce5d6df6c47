"""What kinds of intervention that take attention edges away have in common."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from pidflow.interventions.intervention import Intervention, Reach, blocks_of
from pidflow.settings import Blocks, Settings, Span, forwards

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

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        forwards(self.source, self.target)
        return self


@dataclass(frozen=True)
class EdgeIntervention(Intervention):
    """Takes attention edges away in some blocks; a kind says which, in :meth:`taken`.

    Attributes
    ----------
    source, target
        Names of spans (see :class:`pidflow.models.spans.Spans`), or several joined by ``+``.
    blocks
        Blocks 0 … L-1; None means all.
    """

    source: str
    target: str
    blocks: tuple[int, ...] | None = None
    takes_edges_only: ClassVar[bool] = True

    @classmethod
    def of(cls, settings: EdgeSettings, *, depth: int, seed: int = 0) -> Self:
        """The intervention that the settings describe."""
        return cls(settings.source, settings.target, blocks_of(settings.blocks, depth=depth))

    @classmethod
    def on(cls, source: str, target: str, blocks: tuple[int, ...] | None, *, seed: int = 0) -> Self:
        """The intervention on an edge, everything else by default; `seed` is that of random parts."""
        return cls(source, target, blocks)

    def spans_used(self) -> tuple[str, ...]:
        """See :meth:`Intervention.spans_used`."""
        return (self.source, self.target)

    def taken(self, spans: "Spans", names: Sequence[str], *, first: int) -> "torch.Tensor":
        """Boolean ``(B, T - first, T)``: queries and keys that lose each other."""
        raise NotImplementedError

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
        return pairs_cut(loaded, [CutPairs(pairs, self.blocks)], spans.valid, image=spans["image"])

    def reach(self, spans: "Spans", names: Sequence[str] = ()) -> list[Reach]:
        """See :meth:`Intervention.reach`."""
        from pidflow.interventions.pairs import composition

        return [Reach(bool(pairs), pairs) for pairs in composition(self.blocked(spans, names), spans)]
