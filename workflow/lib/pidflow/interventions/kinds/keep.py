"""Keep: positions of one span attend to those of another and themselves, to nothing else. Shows sufficiency."""

from collections.abc import Sequence
from typing import Any

from pidflow.interventions.kinds._edges import EdgeIntervention, EdgeSettings


class Settings(EdgeSettings):
    """A target position attends to the source and itself alone."""


class Intervention(EdgeIntervention):
    """A target position attends to the source and itself alone; where there is no source, nothing is taken."""

    def taken(self, spans: Any, names: Sequence[str], *, first: int) -> Any:
        """Every pair into the target that is neither of the edge nor of a position with itself."""
        import torch

        from pidflow.interventions.pairs import causal_pairs

        source, target = spans[self.source], spans[self.target]
        itself = torch.eye(target.shape[1], dtype=torch.bool, device=target.device)[first:]
        patches = spans.patches_of(self.source)
        there = source.any(1) if patches is None else source.any(1) | patches.any(1)
        into = causal_pairs(spans, first=first) & target[:, first:, None] & there[:, None, None]
        if patches is not None:  # the token that stands for the picture stays, or the patches would go with it
            source = source | spans["image"]
        return into & ~source[:, None, :] & ~itself

    def taken_patches(self, source: Any, spans: Any, names: Sequence[str]) -> Any:
        """Every patch that is none of the source, where there is one."""
        return spans.patches["image"] & ~source & source.any(1, keepdim=True)
