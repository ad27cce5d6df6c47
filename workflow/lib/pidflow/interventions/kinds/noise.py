"""Noise: Gaussian noise on the states of a span, by default on its embeddings (causal tracing)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from pydantic import Field

from pidflow.interventions.draws import row_seed
from pidflow.interventions.intervention import blocks_of
from pidflow.interventions.kinds._states import StateIntervention
from pidflow.plugins import settings
from pidflow.plugins.settings import Blocks, Span


class Settings(settings.Settings):
    """How much noise, on what, and at the inputs of which blocks."""

    span: Span = Field(description="Positions whose states get noise.")
    size: float = Field(gt=0, le=1000, description="Standard deviation, in units of each state's root mean square.")
    blocks: Blocks = Field(default=[0, 0], description="Blocks whose inputs get it; [0, 0] are the embeddings.")


@dataclass(frozen=True)
class Intervention(StateIntervention):
    """Noise is added to the states that blocks receive.

    Attributes
    ----------
    size
        Standard deviation of the noise, over the root mean square of the state that it is added to.
    seed
        Of the draw, which also depends on each item's name and the place in the span.
    """

    size: float = 1.0
    seed: int = 0
    rewrites = "input"

    @classmethod
    def of(cls, settings: Settings, *, depth: int, seed: int = 0) -> Self:
        """The intervention that the settings describe."""
        return cls(settings.span, blocks_of(settings.blocks, depth=depth), settings.size, seed)

    def rewritten(self, states: Any, spans: Any, names: Sequence[str], *, block: int) -> Any:
        """States with the noise on them."""
        import torch

        from pidflow.interventions.rewriting import placed

        where = self.touched(spans)
        place = where.cumsum(1)[:, -states.shape[1] :] - 1
        drawn = torch.zeros(states.shape, dtype=torch.float32)
        for row, name in enumerate(names or [""] * len(states)):
            here = where[row, -states.shape[1] :].cpu()
            of_row = place[row].cpu()[here]
            if len(of_row):
                drawn[row, here] = _noise(self.seed, name, int(of_row[-1]) + 1, states.shape[-1])[of_row]
        size = states.float().square().mean(-1, keepdim=True).sqrt() * self.size
        return placed(states, where, states.float() + size * drawn.to(states.device))


@lru_cache(maxsize=64)  # every window of a sweep asks for the same
def _noise(seed: int, name: str, count: int, width: int) -> Any:
    """Noise ``(count, width)`` of one question; the first rows do not depend on how many there are."""
    import numpy as np
    import torch

    rng = np.random.default_rng(row_seed(seed, name))
    return torch.from_numpy(rng.standard_normal((count, width), dtype=np.float32))
