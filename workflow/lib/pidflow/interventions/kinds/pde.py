"""Pde: attention in continuous time, weights that evolve along the keys (arXiv 2505.20666)."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Self

from pydantic import Field

from pidflow.interventions.intervention import Intervention as Base
from pidflow.models.dynamics import AttentionSettings, Dynamics, dynamics_of
from pidflow.plugins.settings import Blocks


class Settings(AttentionSettings):
    """How attention weights evolve, and where."""

    blocks: Blocks = Field(description="Blocks that attend so.")


@dataclass(frozen=True)
class Intervention(Base):
    """A model's blocks attend in continuous time.

    Attributes
    ----------
    dynamics
        Equation, steps and blocks.
    """

    dynamics: Dynamics

    @classmethod
    def of(cls, settings: Settings, *, depth: int, seed: int = 0) -> Self:
        """The intervention that the settings describe."""
        return cls(dynamics_of(settings.model_dump(), depth=depth))

    @property
    def blocks(self) -> tuple[int, ...] | None:
        """Blocks that attend so; None means all."""
        return self.dynamics.blocks

    def in_blocks(self, blocks: tuple[int, ...] | None) -> Self:
        """See :meth:`pidflow.interventions.intervention.Intervention.in_blocks`."""
        return replace(self, dynamics=replace(self.dynamics, blocks=blocks))

    def entered(
        self, loaded: Any, spans: Any, names: Sequence[str] = (), *, first: int = 0
    ) -> AbstractContextManager[None]:
        """See :meth:`pidflow.interventions.intervention.Intervention.entered`."""
        from pidflow.models.continuous_time import continuous_attention

        return continuous_attention(loaded.text_model, self.dynamics)
