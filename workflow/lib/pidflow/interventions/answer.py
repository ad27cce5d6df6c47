"""The model's answer to each question of a batch, spoken under the interventions that the prompt was read under."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from transformers import DynamicCache

from pidflow.interventions.intervention import Intervention, entered
from pidflow.interventions.prefix import say
from pidflow.models.capture import Reading
from pidflow.models.first_tokens import AnswerStarts
from pidflow.models.inputs import Batch
from pidflow.models.loading import LoadedModel
from pidflow.models.readout import Readout, read_out
from pidflow.models.spans import Spans
from pidflow.models.speech import Spoken, reading_of, spoken


@dataclass(frozen=True, eq=False)
class Answered:
    """Answers to B questions.

    Attributes
    ----------
    spoken
        What was said.
    reading
        What the position holds that chose the first token that is not blank; the target is read there.
    readout
        How sure the model was, and since which layer.
    """

    spoken: Spoken
    reading: Reading
    readout: Readout


def answer(
    loaded: LoadedModel,
    batch: Batch,
    reading: Reading,
    cache: DynamicCache,
    interventions: Sequence[Intervention] = (),
    *,
    names: Sequence[str] = (),
    starts: Sequence[AnswerStarts],
    at_most: int,
) -> Answered:
    """The answers to a batch of questions whose prompts have been read.

    Parameters
    ----------
    batch
        The prompts, on the model's device.
    reading, cache
        What the pass over them left: their last positions, keys and values. The cache grows.
    interventions, names
        What was in force in that pass, and the ids of the questions.
    starts
        How the right answer of each question begins.
    at_most
        Largest number of tokens of an answer, the ending one included.
    """

    def entering(spans: Spans, first: int) -> AbstractContextManager[None]:
        return entered(loaded, interventions, spans, names, first=first)

    said = say(loaded, batch, cache, reading.logits, interventions, names=names, answer_tokens=at_most)
    found = spoken(loaded, said.ids, said.real)
    reading = reading_of(loaded, batch, reading, found, cache, entering=entering)
    readout = read_out(loaded, batch, reading, found, cache, starts=starts, entering=entering)
    return Answered(found, reading, readout)
