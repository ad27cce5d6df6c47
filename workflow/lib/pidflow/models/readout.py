"""How sure the model is of what it is about to say, how likely it finds the right answer, and since which layer.

All of it is read at the position that chooses the first token of the answer that is not blank: the last position of the
prompt, or one after it where the answer begins with a blank.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from pidflow.errors import ConfigError
from pidflow.models.capture import Reading
from pidflow.models.first_tokens import AnswerStarts, Candidate
from pidflow.models.inputs import Batch
from pidflow.models.loading import LoadedModel
from pidflow.models.speech import Entering, Spoken, logits_after

TARGETS = ("state", "logits", "answer-embedding")


@dataclass(frozen=True)
class Readout:
    """One row per item.

    Attributes
    ----------
    predicted_id, predicted
        The most likely token and its text without surrounding space.
    probability
        Its probability.
    answer_probability
        Probability that the answer begins as the right one and no other candidate does, all spellings together; NaN if
        no token tells it apart.
    lens
        ``(B, L + 1)``: the logit lens, probability of the predicted token if the state at each layer went straight
        through the final norm and the unembedding; at layer L it is ``probability``.
    """

    predicted_id: torch.Tensor
    predicted: list[str]
    probability: torch.Tensor
    answer_probability: torch.Tensor
    lens: torch.Tensor


def read_out(
    loaded: LoadedModel,
    batch: Batch,
    reading: Reading,
    spoken: Spoken,
    cache: DynamicCache,
    *,
    starts: Sequence[AnswerStarts],
    entering: Entering = lambda spans, first: nullcontext(),
) -> Readout:
    """What the model makes of a batch of ``B`` questions.

    Parameters
    ----------
    reading, spoken
        From :func:`pidflow.models.speech.reading_of`, and the answers themselves.
    cache, entering
        As there.
    starts
        How the right answer of each row begins.
    """
    probability, predicted_id = reading.logits.softmax(-1).max(-1)
    first = reading.logits.log_softmax(-1).cpu()
    direct = [_direct(row, of_row) for row, of_row in zip(first, starts, strict=True)]
    shared = _after_shared(loaded, batch, first, spoken, cache, starts, entering)
    return Readout(
        predicted_id=predicted_id,
        predicted=[text.strip() for text in loaded.tokenizer.batch_decode(predicted_id[:, None])],
        probability=probability,
        answer_probability=torch.stack(direct) + shared,
        lens=logit_lens(loaded, reading.last, predicted_id),
    )


def _direct(scores: torch.Tensor, of_row: AnswerStarts) -> torch.Tensor:
    """Probability that the first token tells the answer, from log-probabilities ``(V,)``; NaN if no token does."""
    ids = [index for start in of_row.starts if not start.shared for index in start.ids]
    return scores[ids].exp().sum() if of_row.starts else torch.tensor(torch.nan)


def _after_shared(
    loaded: LoadedModel,
    batch: Batch,
    first: torch.Tensor,
    spoken: Spoken,
    cache: DynamicCache,
    starts: Sequence[AnswerStarts],
    entering: Entering,
) -> torch.Tensor:
    """``(B,)``: probability that a later token does; those before it are said for the model, a start a row a round."""
    total = torch.zeros(len(starts))
    waiting = [[start for start in of_row.starts if start.shared] for of_row in starts]
    blanks = [ids[:count] for ids, count in zip(spoken.ids, spoken.blanks, strict=True)]
    while any(waiting):
        turn = [of_row.pop() if of_row else None for of_row in waiting]
        said = [(*blank, *(start.shared if start else ())) for blank, start in zip(blanks, turn, strict=True)]
        after = logits_after(loaded, batch, cache, said, entering=entering)
        for row, start in enumerate(turn):
            if start is not None:
                scores = after[row, len(blanks[row]) : len(said[row])].log_softmax(-1).cpu()
                reached = first[row, start.shared[0]] + sum(
                    scores[place, index] for place, index in enumerate(start.shared[1:])
                )
                total[row] += (reached + scores[-1, list(start.ids)].logsumexp(0)).exp()
    return total


def logit_lens(loaded: LoadedModel, states: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """Probability ``(B, L + 1)`` of one token per row from states ``(L + 1, B, width)``."""
    columns = []
    with torch.inference_mode():
        for state in states:  # layer by layer: all layers at once would hold L + 1 times the vocabulary
            logits = loaded.logits_of(loaded.normed(state.to(loaded.dtype))).float()
            columns.append(logits.softmax(-1).gather(1, token_ids[:, None])[:, 0])
    return torch.stack(columns, 1)


def target(loaded: LoadedModel, reading: Reading, *, kind: str, candidates: Sequence[Candidate] = ()) -> torch.Tensor:
    """The target variable Y of each row, float32.

    Parameters
    ----------
    kind
        ``"state"``: the state after the final norm, ``(B, width)``. ``"logits"``: the logit of each candidate answer,
        all its spellings together, ``(B, K)``. ``"answer-embedding"``: the input embedding of the predicted token,
        ``(B, width)``.
    candidates
        The K candidate answers; only for ``"logits"``.
    """
    if kind == "state":
        return reading.final
    if kind == "logits":
        return torch.stack([reading.logits[:, list(each.ids)].logsumexp(1) for each in candidates], 1)
    if kind == "answer-embedding":
        return loaded.model.get_input_embeddings()(reading.logits.argmax(-1)).float().to(loaded.device)
    raise ConfigError(f"unknown target '{kind}', expected one of: {', '.join(TARGETS)}")
