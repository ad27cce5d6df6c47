"""Settings of plug-ins whose files do not hold them yet; a plug-in's own file goes first."""

from typing import Self

from pydantic import Field, model_validator

from pidflow.models.dynamics import AttentionSettings
from pidflow.settings import Blocks, Settings, Span, forwards


class EdgeSettings(Settings):
    """An edge of attention in some blocks."""

    source: Span = Field(description="Positions attended to.")
    target: Span = Field(description="Positions that attend.")
    layers: Blocks = Field(description="Blocks that the intervention acts in.")

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        forwards(self.source, self.target)
        return self


class Pde(AttentionSettings):
    """Attention in continuous time, under one condition."""

    layers: Blocks = Field(description="Blocks that attend so.")


SETTINGS = {
    "interventions.kinds": {"cut": EdgeSettings, "keep": EdgeSettings, "random": EdgeSettings, "pde": Pde},
}
