"""Random: other pairs of positions than an edge's, matched to them. The control of a cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field

from pidflow.interventions.draws import AUTO, MATCHES, Drawn, draw, row_seed
from pidflow.interventions.intervention import Reach
from pidflow.interventions.kinds._edges import EdgeIntervention, EdgeSettings, places_of
from pidflow.plugins.settings import Span


class Settings(EdgeSettings):
    """The control of a cut of the same edge."""

    match: Literal[(AUTO, *MATCHES)] = Field(
        default=AUTO,
        description="Which pairs stand for the edge's: other sources, other targets, a random half, or the first of "
        "these that is possible.",
    )
    spared: Span | None = Field(
        default=None, description="Positions, such as bos, that lose and are lost to nothing; null for none."
    )


@dataclass(frozen=True)
class Intervention(EdgeIntervention):
    """Other pairs than the edge's lose each other (see :func:`pidflow.interventions.draws.draw`).

    Attributes
    ----------
    match
        ``"auto"`` or one of :data:`pidflow.interventions.draws.MATCHES`.
    seed
        Of the draw, which also depends on each item's name.
    spared
        A span that no pair is drawn from; None: all positions may be drawn.
    """

    match: str = AUTO
    seed: int = 0
    spared: str | None = None

    @classmethod
    def of(cls, settings: Settings, *, depth: int, seed: int = 0) -> Self:
        """The control that the settings describe."""
        return cls(
            settings.source,
            settings.target,
            match=settings.match,
            seed=seed,
            spared=settings.spared,
            **places_of(settings, depth=depth),
        )

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
        """The control of an edge."""
        return cls(source, target, blocks, seed=seed, spared=spared)

    def taken(self, spans: Any, names: Sequence[str], *, first: int) -> Any:
        """The pairs drawn for each row."""
        import torch

        length = spans.valid.shape[1]
        found = torch.zeros(len(spans.valid), length - first, length, dtype=torch.bool)
        for row, (columns, drawn) in enumerate(self._drawn(spans, names)):
            queries = columns[drawn.queries]
            inside = queries >= first
            found[row, queries[inside] - first, columns[drawn.keys[inside]]] = True
        return found.to(spans.valid.device)

    def reach(self, spans: Any, names: Sequence[str] = ()) -> list[Reach]:
        """What is drawn for each row, and how it matches the edge."""
        drawn = [each for _, each in self._drawn(spans, names)]
        found = super().reach(spans, names)
        return [Reach(each.changed, each.pairs, one.control) for each, one in zip(found, drawn, strict=True)]

    def _drawn(self, spans: Any, names: Sequence[str]) -> list[tuple[Any, Drawn]]:
        """Per row the places of its real positions, and its draw among them."""
        import torch

        names = names or [""] * len(spans.valid)
        spared = spans[self.spared] if self.spared else torch.zeros_like(spans.valid)
        mutual = torch.zeros_like(spans.valid).long() if spans.mutual is None else spans.mutual
        masks = (spans.valid, spans[self.source], spans[self.target], spans.spoken, spared, mutual)
        valid, source, target, spoken, spared, mutual = (mask.cpu().numpy() for mask in masks)
        found = []
        for row, name in enumerate(names):
            columns = valid[row].nonzero()[0]
            spoken_here = spoken[row, columns]
            seed = row_seed(self.seed, name)
            drawn = draw(
                source[row, columns],
                target[row, columns],
                spoken_here,
                seed=seed,
                match=self.match,
                spared=spared[row, columns],
                mutual=mutual[row, columns],
            )
            found.append((columns, drawn))
        return found
