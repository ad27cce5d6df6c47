"""What a pathway and its control have in common: edges that stay in some blocks and go elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field

from pidflow.errors import ConfigError
from pidflow.interventions.draws import pair_hashes, row_seed
from pidflow.interventions.edges import edge_of
from pidflow.interventions.intervention import Intervention, blocks_of
from pidflow.interventions.kinds._edges import EdgeIntervention
from pidflow.names import span_parts
from pidflow.plugins.settings import Blocks, EdgeName, Settings, Unique

if TYPE_CHECKING:
    import torch

    from pidflow.models.spans import Spans

Ends = tuple[str, str]


class Kept(Settings):
    """An edge that stays, and where."""

    edge: EdgeName = Field(description="The edge, source->target.")
    blocks: Blocks = Field(description="Blocks in which it stays.")


class PathwaySettings(Settings):
    """The edges of a pathway, and those among which it is chosen."""

    kept: Annotated[list[Kept], Field(min_length=1)] = Field(description="Edges that stay, each in its blocks.")
    among: Annotated[list[EdgeName], Field(min_length=1), Unique] | None = Field(
        default=None,
        description="Edges that are cut where they are not kept; null for every pair of a position with another one.",
    )


@dataclass(frozen=True)
class PathwayPart(EdgeIntervention):
    """Some edges go, others stay, the same in all its blocks.

    Attributes
    ----------
    among
        Source and target of the edges that go; None: every pair of a position with another one.
    kept
        Source and target of those that stay all the same.
    """

    among: tuple[Ends, ...] | None = None
    kept: tuple[Ends, ...] = ()

    def spans_used(self) -> tuple[str, ...]:
        """See :meth:`pidflow.interventions.intervention.Intervention.spans_used`."""
        return tuple(dict.fromkeys(span for ends in (*(self.among or ()), *self.kept) for span in ends))

    def blocked(self, spans: "Spans", names: Sequence[str] = (), *, first: int = 0) -> "torch.Tensor":
        """See :meth:`pidflow.interventions.intervention.Intervention.blocked`."""
        return self.candidates(spans, first=first) & ~edges_of(self.kept, spans, first=first)

    def candidates(self, spans: "Spans", *, first: int = 0) -> "torch.Tensor":
        """Boolean ``(B, T - first, T)``: the pairs that go unless they are kept; no position loses itself."""
        import torch

        from pidflow.interventions.pairs import causal_pairs

        for source, target in (*(self.among or ()), *self.kept):
            if spans.patches_of(source) is not None and "image" not in map(str.strip, span_parts(source)):
                raise ConfigError(
                    f"pathway with the edge '{source}->{target}': expected '{source}' to be tokens, found a part of "
                    "the picture of a model that reads it through cross-attention, where a pathway keeps or takes the "
                    "whole picture alone; name image as the source, cut or keep the part by an intervention of its own "
                    "(kinds cut, keep), or leave the condition out for this model"
                )
        pairs = causal_pairs(spans, first=first)
        if self.among is not None:
            pairs = pairs & edges_of(self.among, spans, first=first)
        itself = torch.eye(spans.valid.shape[1], dtype=torch.bool, device=pairs.device)[first:]
        return pairs & ~itself


@dataclass(frozen=True)
class RandomPart(PathwayPart):
    """As many pairs stay in one block, drawn at random, as a pathway keeps in a block on the average.

    Attributes
    ----------
    pathway
        The parts of the pathway.
    depth, number
        Blocks of the model, and which of them this is.
    seed
        Of the draw, which also depends on each item's name.
    """

    pathway: tuple[PathwayPart, ...] = ()
    depth: int = 1
    number: int = 0
    seed: int = 0

    def blocked(self, spans: "Spans", names: Sequence[str] = (), *, first: int = 0) -> "torch.Tensor":
        """See :meth:`pidflow.interventions.intervention.Intervention.blocked`."""
        import numpy as np
        import torch

        asked = ~spans.spoken[:, :, None]
        everything = self.candidates(spans)
        stay = torch.stack([(everything & ~part.blocked(spans) & asked).sum((1, 2)) for part in self.pathway])
        times = torch.tensor([len(part.blocks or range(self.depth)) for part in self.pathway], device=stay.device)
        total = (stay * times[:, None]).sum(0)
        # What does not come out even goes to the first blocks, so that all blocks together keep as many.
        counts = (total // self.depth + (self.number < total % self.depth)).tolist()
        found = everything.clone().cpu()
        for row, name in enumerate(names or [""] * len(spans.valid)):
            columns = spans.valid[row].cpu().nonzero()[:, 0]
            pairs = everything[row].cpu()[columns][:, columns].numpy()
            place = np.arange(len(columns))
            values = pair_hashes(row_seed(self.seed + 1 + self.number, name), place, place)
            prompt = pairs & asked[row, columns.to(asked.device)].cpu().numpy()
            ranked = np.sort(values[prompt])
            most = ranked[counts[row] - 1] if counts[row] else -1
            kept = pairs & (values <= np.uint64(most)) if counts[row] else np.zeros_like(pairs)
            found[row][columns[:, None], columns] = torch.from_numpy(pairs & ~kept)
        return found[:, first:].to(spans.valid.device)


@dataclass(frozen=True)
class Pathway(Intervention):
    """A pathway or its control, as the parts that do it together.

    Attributes
    ----------
    of_blocks
        The parts; each acts in blocks of its own.
    """

    of_blocks: tuple[PathwayPart, ...]
    blocks = None

    def parts(self) -> tuple[Intervention, ...]:
        """See :meth:`pidflow.interventions.intervention.Intervention.parts`."""
        return self.of_blocks

    def entered(self, loaded, spans, names=(), *, first=0):
        """See :meth:`pidflow.interventions.intervention.Intervention.entered`."""
        from pidflow.interventions.intervention import entered

        return entered(loaded, self.of_blocks, spans, names, first=first)

    def in_blocks(self, blocks: tuple[int, ...] | None) -> Self:
        """The same: a pathway has places of its own."""
        return replace(self)


def pathway_parts(settings: PathwaySettings, *, depth: int) -> tuple[PathwayPart, ...]:
    """One part for all blocks that keep the same edges."""
    among = None if settings.among is None else tuple(map(_ends, settings.among))
    kept = [(_ends(each.edge), blocks_of(each.blocks, depth=depth)) for each in settings.kept]
    alike: dict[tuple[Ends, ...], list[int]] = {}
    for block in range(depth):
        here = tuple(dict.fromkeys(ends for ends, blocks in kept if blocks is None or block in blocks))
        alike.setdefault(here, []).append(block)
    return tuple(PathwayPart("", "", tuple(blocks), among=among, kept=here) for here, blocks in alike.items())


def edges_of(ends: Sequence[Ends], spans: "Spans", *, first: int = 0) -> "torch.Tensor":
    """Boolean ``(B, T - first, T)``: pairs of any of some edges."""
    import torch

    length = spans.valid.shape[1]
    found = torch.zeros(len(spans.valid), length - first, length, dtype=torch.bool, device=spans.valid.device)
    for source, target in ends:
        found |= spans[target][:, first:, None] & spans[source][:, None, :]
    return found


def _ends(edge: str) -> Ends:
    found = edge_of(edge)
    return found.source, found.target
