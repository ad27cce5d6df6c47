"""How far an intervention reached: in how many questions it changed nothing, and how its control is matched."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from pidflow.names import UNMATCHED, weakest

# A control that changes nothing where the cut does would leave the cut's whole effect over. It judges nothing when it
# is lacking in more than this share of the questions that the cut reaches.
MOST_LACKING = 0.05
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
        How a random control is matched to its edge, by the least matched question that it reaches, one of
        :data:`pidflow.names.CONTROLS` (``unmatched`` where it reaches none); empty where the intervention is no random
        control.
    """

    n: int
    uncut: int
    control: str

    @classmethod
    def of(cls, answers: pd.DataFrame) -> Reach:
        """From the columns ``uncut`` and ``control`` of an answers table."""
        uncut, controls = answers["uncut"].astype(bool), answers["control"].dropna()
        # A question without the edge (no boxes) needs no control and has none.
        reached = controls[~uncut[controls.index]]
        return cls(len(answers), int(uncut.sum()), weakest(reached if len(reached) else controls) or "")

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

    def lacking(self, cut: Reach) -> str:
        """Why this control cannot stand beside a cut of its edge; empty where it can.

        What the cut does not reach the control does not reach either, so the difference of their counts is how many
        questions are cut without a control.
        """
        missing, of = self.uncut - cut.uncut, cut.n - cut.uncut
        return f"it changes nothing in {missing} of {of} questions that are cut" if missing > MOST_LACKING * of else ""
