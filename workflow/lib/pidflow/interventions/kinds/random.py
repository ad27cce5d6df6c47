"""Random: other pairs of positions than an edge's, matched to them. The control of a cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field

from pidflow.interventions.draws import AUTO, MATCHES, Drawn, draw, draw_patches, row_seed
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

    def taken_patches(self, source: Any, spans: Any, names: Sequence[str]) -> Any:
        """As many other patches as the source has, or a random half of it where there are not so many."""
        return self._patches(source, spans, names)[0]

    def _patches(self, source: Any, spans: Any, names: Sequence[str]) -> tuple[Any, list[str | None]]:
        """Boolean ``(B, K)``, and how each row's patches match the edge; None where no patch is drawn."""
        import torch

        found, controls = torch.zeros_like(source), []
        for row, name in enumerate(names or [""] * len(source)):
            here = source[row].cpu().numpy()
            if here.all() or not here.any():  # the whole picture goes by the token that stands for it
                controls.append(None)
                continue
            shown = ~(spans.patches["separators"] | spans.patches["padding"])[row]
            chosen, control = draw_patches(here, shown.cpu().numpy(), seed=row_seed(self.seed, name), match=self.match)
            found[row] = torch.from_numpy(chosen).to(found.device)
            controls.append(control)
        return found, controls

    def reach(self, spans: Any, names: Sequence[str] = ()) -> list[Reach]:
        """What is drawn for each row, and how it matches the edge."""
        controls = [each.control for _, each in self._drawn(spans, names)]
        source = spans.patches_of(self.source)
        if source is not None:
            controls = [b or a for a, b in zip(controls, self._patches(source, spans, names)[1], strict=True)]
        found = super().reach(spans, names)
        return [Reach(each.changed, each.pairs, control) for each, control in zip(found, controls, strict=True)]

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
