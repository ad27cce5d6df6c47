"""What a model says under each of many cuts, and whether that is right, with as little decoding as it takes.

A sweep scores the intact answer's tokens under every cut. As long as the most likely token is the intact one, the
answer is the intact one. Where it is another, most answers are settled by it: "no" will not become "yes". Only those
that may still become right are spoken to their end, in a pass of their own with the cut in force.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
import torch
from transformers import DynamicCache

from pidflow.interventions.intervention import Intervention, entered
from pidflow.interventions.prefix import Prefix, say
from pidflow.models.answers import PUBLISHED, Expected
from pidflow.models.forward import run
from pidflow.models.inputs import Batch
from pidflow.models.loading import LoadedModel
from pidflow.models.speech import end_tokens, leading_blanks, spoken, text_of, until_end


@dataclass(frozen=True)
class Verdicts:
    """What was said and whether it is right, by the rule in use and by the published one; arrays of one shape."""

    spoken: np.ndarray
    right: np.ndarray
    right_published: np.ndarray

    @classmethod
    def empty(cls, *shape: int) -> "Verdicts":
        """Arrays to fill."""
        return cls(np.full(shape, "", dtype=object), np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool))

    def put(self, place: tuple[int, ...], text: str, expected: Expected) -> None:
        """Judge an answer."""
        self.spoken[place] = text
        self.right[place] = expected.right(text)
        self.right_published[place] = expected.right(text, rule=PUBLISHED)


class Answers:
    """The answers to B questions: the intact ones, and those under each of P plans.

    Attributes
    ----------
    intact
        Verdicts ``(B,)`` on the intact answers.
    first
        ``(B,)``: which of the intact answer's tokens is the first that is not blank.
    """

    def __init__(self, loaded: LoadedModel, prefix: Prefix, expected: Sequence[Expected]) -> None:
        self.loaded, self.prefix, self.expected = loaded, prefix, expected
        self.ends = end_tokens(loaded)
        real = prefix.answer_mask.sum(1).tolist()
        self.own = [ids[:count] for ids, count in zip(prefix.answer_ids.tolist(), real, strict=True)]
        self.intact = Verdicts.empty(len(expected))
        for row, ids in enumerate(self.own):
            self.intact.put((row,), self._text(ids), expected[row])
        blanks = [leading_blanks(loaded.tokenizer, list(until_end(ids, self.ends))) for ids in self.own]
        first = [min(blank, count - 1) for blank, count in zip(blanks, real, strict=True)]
        self.first = torch.tensor(first, device=prefix.answer_ids.device)
        self.heard: dict[int, np.ndarray] = {}

    def hear(self, which: Sequence[int], best: torch.Tensor) -> None:
        """Take note of the most likely tokens ``(k, B, m)`` under some of the plans."""
        for plan, ids in zip(which, best.cpu().numpy(), strict=True):
            self.heard[plan] = ids

    def finished(
        self, batch: Batch, plans: Sequence[Sequence[Intervention]], *, names: Sequence[str], at_most: int
    ) -> Verdicts:
        """Verdicts ``(P, B)``.

        Parameters
        ----------
        batch
            The prompts alone, on the model's device.
        names
            Per question its id, which its random edges are drawn for.
        at_most
            Largest length of an answer.
        """
        found, open_ones = Verdicts.empty(len(plans), len(self.own)), []
        for plan, best in self.heard.items():
            for row, own in enumerate(self.own):
                text = self._settled(row, best[row, : len(own)].tolist(), at_most)
                if text is None:
                    open_ones.append((plan, row))
                elif text == self.intact.spoken[row]:
                    found.spoken[plan, row] = text
                    found.right[plan, row] = self.intact.right[row]
                    found.right_published[plan, row] = self.intact.right_published[row]
                else:
                    found.put((plan, row), text, self.expected[row])
        for (plan, row), text in self._spoken(batch, plans, open_ones, names=names, at_most=at_most):
            found.put((plan, row), text, self.expected[row])
        return found

    def _settled(self, row: int, best: list[int], at_most: int) -> str | None:
        """What is said, as far as it takes to judge it; None if that takes more tokens, of which there may be some."""
        own = self.own[row]
        differs = next((place for place, index in enumerate(own) if best[place] != index), None)
        if differs is None:
            return self.intact.spoken[row]
        text = self._text(best[: differs + 1])
        if best[differs] in self.ends or differs + 1 >= at_most or not self.expected[row].still_open(text):
            return text
        return None

    def _spoken(
        self,
        batch: Batch,
        plans: Sequence[Sequence[Intervention]],
        pairs: Sequence[tuple[int, int]],
        *,
        names: Sequence[str],
        at_most: int,
    ) -> Iterator[tuple[tuple[int, int], str]]:
        """The whole answers of some plans to some questions."""
        for place, of_plan in groupby(pairs, key=itemgetter(0)):
            rows = [row for _, row in of_plan]
            asked, called, cache = batch.take(rows), [names[row] for row in rows], DynamicCache()
            plan = [each.take(rows) for each in plans[place]]
            with torch.inference_mode(), entered(self.loaded, plan, asked.spans, called):
                logits = run(self.loaded, asked.inputs, cache=cache)[:, -1]
            said = say(self.loaded, asked, cache, logits, plan, names=called, answer_tokens=at_most)
            texts = spoken(self.loaded, said.ids, said.real).texts
            yield from zip(((place, row) for row in rows), texts, strict=True)

    def _text(self, ids: Sequence[int]) -> str:
        return text_of(self.loaded.tokenizer, list(until_end(ids, self.ends)))
