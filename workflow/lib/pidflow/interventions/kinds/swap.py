"""Swap: the states of a span become those of another question (activation patching)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pydantic import Field

from pidflow.interventions.intervention import blocks_of
from pidflow.interventions.kinds._states import StateIntervention
from pidflow.plugins import settings
from pidflow.plugins.settings import Blocks, Span


class Settings(settings.Settings):
    """Which states are taken from another question of the task, with another picture and answer where there is one."""

    span: Span = Field(description="Positions whose states are swapped.")
    blocks: Blocks = Field(description="Blocks whose inputs are swapped.")


@dataclass(frozen=True)
class Intervention(StateIntervention):
    """The states that blocks receive at a span are those that they receive in another question, its donor.

    Positions are matched in their order. Where the donor's span is longer or shorter, each position takes the state of
    the one at the same share of the way. What the model says itself is never swapped.

    Attributes
    ----------
    donors
        Spans of the donors, row by row, once :meth:`informed`.
    states
        By block the donors' states ``(B, T', width)``.
    """

    donors: Any = field(default=None, compare=False, repr=False)
    states: Mapping[int, Any] | None = field(default=None, compare=False, repr=False)
    rewrites = "input"

    @classmethod
    def of(cls, settings: Settings, *, depth: int, seed: int = 0) -> Self:
        """The intervention that the settings describe."""
        return cls(settings.span, blocks_of(settings.blocks, depth=depth))

    @property
    def needs(self) -> str | None:
        """See :class:`pidflow.interventions.intervention.Intervention`."""
        return "donors" if self.states is None else None

    def informed(self, loaded: Any, others: Any) -> Self:
        """With the states of donors, a batch of one question for each."""
        from pidflow.interventions.intervention import entered
        from pidflow.interventions.kinds.sublayer import read_through
        from pidflow.interventions.rewriting import read_along

        blocks = [block for block in range(loaded.depth) if self.acts_in(block)]
        with read_along(loaded, "input", blocks) as found:
            read_through(loaded, others, entered)
        return replace(self, donors=others.spans, states=dict(found))

    def take(self, rows: Any) -> Self:
        """See :meth:`pidflow.interventions.intervention.Intervention.take`."""
        states = None if self.states is None else {block: each[rows] for block, each in self.states.items()}
        return replace(self, donors=self.donors and self.donors.take(rows), states=states)

    def touched(self, spans: Any) -> Any:
        """The span, where the donor has it too."""
        where = super().touched(spans) & ~spans.spoken
        return where if self.donors is None else where & super().touched(self.donors).any(1)[:, None]

    def rewritten(self, states: Any, spans: Any, names: Sequence[str], *, block: int) -> Any:
        """States with the donors' at the span."""
        import torch

        from pidflow.interventions.rewriting import placed

        where, there = self.touched(spans), super().touched(self.donors)
        counts = there.sum(1, keepdim=True), where.sum(1, keepdim=True).clamp(min=1)
        rank = (where.cumsum(1) - 1).clamp(min=0) * counts[0] // counts[1]
        order = (~there).int().argsort(dim=1, stable=True)  # positions of the donor's span first, in their order
        place = order.gather(1, rank.clamp(max=order.shape[1] - 1))[:, -states.shape[1] :]
        rows = torch.arange(len(states), device=states.device)[:, None]
        return placed(states, where, self.states[block][rows, place])
