"""Cut: positions of one span stop attending to those of another."""

from collections.abc import Sequence
from typing import Any

from pidflow.interventions.kinds._edges import EdgeIntervention, EdgeSettings


class Settings(EdgeSettings):
    """No target position attends to a source position."""


class Intervention(EdgeIntervention):
    """No target position attends to a source position."""

    def taken(self, spans: Any, names: Sequence[str], *, first: int) -> Any:
        """Every pair of the edge."""
        from pidflow.interventions.pairs import causal_pairs

        source, target = spans[self.source], spans[self.target]
        return causal_pairs(spans, first=first) & target[:, first:, None] & source[:, None, :]
