"""Pathway: only some edges stay, each in some blocks (arXiv 2510.13251). Do the edges found effective suffice?"""

from typing import Self

from pidflow.interventions.kinds._pathways import Pathway, PathwaySettings, pathway_parts


class Settings(PathwaySettings):
    """The pathway."""


class Intervention(Pathway):
    """Edges are cut where they are not kept."""

    @classmethod
    def of(cls, settings: Settings, *, depth: int, seed: int = 0) -> Self:
        """The pathway that the settings describe."""
        return cls(pathway_parts(settings, depth=depth))
