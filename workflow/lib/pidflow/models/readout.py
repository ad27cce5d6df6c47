"""What the model says: its first answer token, how sure it is, whether it is right, and since which layer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pidflow.errors import ConfigError, DataError
from pidflow.models.capture import Captured
from pidflow.models.loading import LoadedModel
from pidflow.models.prompts import IMAGE, QUESTION

TARGETS = ("state", "logits", "answer-embedding")
_SAMPLE_QUESTION = "what is this ?"


@dataclass(frozen=True)
class AnswerTokens:
    """How an answer may begin.

    Attributes
    ----------
    ids
        First-token ids of its spellings in this prompt (as given, lower case, capitalised; with and without a space).
        Of spellings that are cut into different pieces only those whose first piece spells the most are kept: "T" of
        "Teal" would count "Triangle" as right. Empty if the tokenizer does not know the word.
    piece
        The text of that first piece.
    """

    ids: tuple[int, ...]
    piece: str


@dataclass(frozen=True)
class Readout:
    """One row per item.

    Attributes
    ----------
    predicted_id, predicted
        The most likely next token and its text without surrounding space.
    probability
        Its probability.
    answer_probability
        Probability that the next token begins the gold answer, all spellings together; 0 if no token can.
    correct
        Whether the predicted token begins the gold answer.
    lens
        ``(B, L + 1)``: the logit lens, probability of the predicted token if the state at each layer went straight
        through the final norm and the unembedding; at layer L it is ``probability``.
    """

    predicted_id: torch.Tensor
    predicted: list[str]
    probability: torch.Tensor
    answer_probability: torch.Tensor
    correct: torch.Tensor
    lens: torch.Tensor


def answer_tokens(loaded: LoadedModel, answers: Iterable[str]) -> dict[str, AnswerTokens]:
    """How each distinct answer may begin right after the prompt.

    The ids come from tokenising prompt and answer together, kept only where the prompt's own ids stay what they were.
    """
    tokenizer = loaded.tokenizer
    prompt = loaded.prompt.replace(IMAGE, loaded.processor.image_token).replace(QUESTION, _SAMPLE_QUESTION)
    prefix = tokenizer(prompt)["input_ids"]
    found = {}
    for answer in dict.fromkeys(answers):
        word = answer.strip()
        if not word:
            raise DataError("an item has an empty answer; give every item the answer its question has")
        spellings = list(dict.fromkeys((word, word.lower(), word[:1].upper() + word[1:])))
        space = "" if prompt[-1].isspace() else " "
        apart = _first_pieces(tokenizer, prefix, [prompt + space + spelling for spelling in spellings])
        joined = _first_pieces(tokenizer, prefix, [prompt + spelling for spelling in spellings])
        longest = max(apart.values(), key=len, default="")
        ids = [index for index, piece in (apart | joined).items() if piece == longest and apart]
        found[answer] = AnswerTokens(ids=tuple(ids), piece=longest)
    return found


def _first_pieces(tokenizer: Any, prefix: list[int], texts: list[str]) -> dict[int, str]:
    """Caseless text of the first token after the prompt, per token id."""
    pieces = {}
    for ids in tokenizer(texts)["input_ids"]:
        if ids[: len(prefix)] == prefix and len(ids) > len(prefix) and ids[len(prefix)] != tokenizer.unk_token_id:
            pieces[ids[len(prefix)]] = tokenizer.decode([ids[len(prefix)]]).strip().casefold()
    return pieces


def read_out(
    loaded: LoadedModel, captured: Captured, *, answers: Sequence[str], tokens: Mapping[str, AnswerTokens]
) -> Readout:
    """The model's first answer token and the logit lens on it.

    Parameters
    ----------
    captured
        One forward pass of ``B`` rows.
    answers
        The gold answer of each row.
    tokens
        From :func:`answer_tokens`.
    """
    probabilities = captured.logits.softmax(-1)
    probability, predicted_id = probabilities.max(-1)
    begins = [tokens[answer].ids for answer in answers]
    gold = [float(probabilities[row, list(ids)].sum()) if ids else 0.0 for row, ids in enumerate(begins)]
    correct = [index in ids for index, ids in zip(predicted_id.tolist(), begins, strict=True)]
    return Readout(
        predicted_id=predicted_id,
        predicted=[text.strip() for text in loaded.tokenizer.batch_decode(predicted_id[:, None])],
        probability=probability,
        answer_probability=torch.tensor(gold),
        correct=torch.tensor(correct),
        lens=logit_lens(loaded, captured.last, predicted_id),
    )


def logit_lens(loaded: LoadedModel, states: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """Probability ``(B, L + 1)`` of one token per row from last-position states ``(L + 1, B, width)``."""
    columns = []
    with torch.inference_mode():
        for state in states:  # layer by layer: all layers at once would hold L + 1 times the vocabulary
            logits = loaded.unembedding(loaded.final_norm(state.to(loaded.dtype))).float()
            columns.append(logits.softmax(-1).gather(1, token_ids[:, None])[:, 0])
    return torch.stack(columns, 1)


def target(
    loaded: LoadedModel, captured: Captured, *, kind: str, candidates: Sequence[AnswerTokens] = ()
) -> torch.Tensor:
    """The target variable Y of each row, float32.

    Parameters
    ----------
    kind
        ``"state"``: the last position after the final norm, ``(B, width)``. ``"logits"``: the logit of each candidate
        answer, all its spellings together, ``(B, K)``. ``"answer-embedding"``: the input embedding of the predicted
        first token, ``(B, width)``.
    candidates
        The K candidate answers; only for ``"logits"``.
    """
    if kind == "state":
        return captured.final
    if kind == "logits":
        return torch.stack([captured.logits[:, list(each.ids)].logsumexp(1) for each in candidates], 1)
    if kind == "answer-embedding":
        return loaded.model.get_input_embeddings()(captured.logits.argmax(-1)).float()
    raise ConfigError(f"unknown target '{kind}', expected one of: {', '.join(TARGETS)}")
