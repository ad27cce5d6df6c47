"""How far an intervention reached: in how many questions it changed nothing, and how its control is matched."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from pidflow.names import UNMATCHED, weakest

_IN_WORDS = {
    "other-sources": "the same targets lose other sources",
    "other-targets": "the same sources are lost by other later targets",
    "half": "the targets lose a random half of the sources",
}


@dataclass(frozen=True)
class Reach:
    """What the answers of one (model, task, condition) say of its intervention.

    Attributes
    ----------
    n, uncut
        Questions, and those in which the intervention changed nothing (no options, no boxes).
    control
        How a random control is matched to its edge, by its least matched question, one of
        :data:`pidflow.names.CONTROLS`; empty where the intervention is no random control.
    """

    n: int
    uncut: int
    control: str

    @classmethod
    def of(cls, answers: pd.DataFrame) -> Reach:
        """From the columns ``uncut`` and ``control`` of an answers table."""
        return cls(len(answers), int(answers["uncut"].sum()), weakest(answers["control"].dropna()) or "")

    @property
    def warning(self) -> str:
        """What a reader of a difference must know; empty where the intervention reached every question."""
        return f"{self.uncut} of {self.n} questions have nothing to cut and ran intact" if self.uncut else ""

    @property
    def matched(self) -> bool:
        """Whether the random pairs end where those of the edge end, so that they can stand for it."""
        return self.control != UNMATCHED

    @property
    def in_words(self) -> str:
        """Which random pairs the control takes."""
        return f"control: {_IN_WORDS[self.control]}" if self.matched else "control: random pairs that match nothing"
