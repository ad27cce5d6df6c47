"""Pathway random: as many pairs of positions stay as a pathway keeps, drawn at random. Its control."""

from typing import Self

from pidflow.interventions.kinds._pathways import Pathway, PathwaySettings, RandomPart, pathway_parts


class Settings(PathwaySettings):
    """The pathway that this is the control of."""


class Intervention(Pathway):
    """As many pairs stay in all blocks together, and as many in each as in another."""

    @classmethod
    def of(cls, settings: Settings, *, depth: int, seed: int = 0) -> Self:
        """The control of the pathway that the settings describe."""
        pathway = pathway_parts(settings, depth=depth)
        among = pathway[0].among
        return cls(
            tuple(
                RandomPart("", "", (block,), among=among, pathway=pathway, depth=depth, number=block, seed=seed)
                for block in range(depth)
            )
        )
