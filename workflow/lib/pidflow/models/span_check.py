"""Proof that spans hold the text that they stand for: their tokens are decoded and compared with it."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from pidflow.errors import DataError
from pidflow.models.prompt_text import PromptText


class SpanReader:
    """Decodes spans and compares them with the text they stand for."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.unknown = tokenizer.unk_token_id
        self.special = set(tokenizer.all_special_ids) - {self.unknown}
        self.special_words = tuple(tokenizer.all_special_tokens)

    def check_question(self, ids: np.ndarray, prompt: PromptText) -> None:
        """The question is there, whole, and made of ordinary tokens."""
        if self.special.intersection(ids.tolist()):
            raise DataError(
                f"{prompt.name}: the question {prompt.asked!r} holds a special token of the tokenizer; remove it"
            )
        self.check(ids, prompt, "question", prompt.asked)

    def check(self, ids: np.ndarray, prompt: PromptText, name: str, expected: str) -> None:
        """The self-check: the span holds what the text holds; unknown words count as whatever stands there."""
        pieces: list[list[int]] = [[]]
        for index in ids.tolist():
            if index == self.unknown:
                pieces.append([])
            elif index not in self.special:
                pieces[-1].append(index)
        decoded = [_plain(self.tokenizer.decode(piece)) for piece in pieces]
        for word in self.special_words:  # a template may hold some, such as [/INST]: left out on both sides
            expected = expected.replace(word, "")
        wanted = _plain(expected)
        if not holds_in_turn(wanted, decoded):
            raise DataError(
                f"{prompt.name}: the span '{name}' decodes to {self.tokenizer.decode(ids)!r}, expected {expected!r}; "
                "the tokenizer changes this text or glues it to its neighbours: rephrase the question or the prompt"
            )

    def check_option(self, ids: np.ndarray, prompt: PromptText, expected: str) -> None:
        """An option's tokens spell at least the option."""
        decoded = self.tokenizer.decode(ids)
        if _plain(expected) not in _plain(decoded) and self.unknown not in ids:
            raise DataError(
                f"{prompt.name}: the tokens of option {expected!r} decode to {decoded!r}; "
                f"rephrase the question {prompt.asked!r}"
            )


def holds_in_turn(text: str, pieces: Sequence[str]) -> bool:
    """Whether the text is these pieces one after the other, with something, whatever it is, between any two of them."""
    first, *rest = pieces
    if not rest:
        return text == first
    *middle, last = rest
    if not text.startswith(first):
        return False
    place = len(first)
    for piece in middle:  # the leftmost place leaves the most room for what follows
        place = text.find(piece, place + 1)
        if place < 0:
            return False
        place += len(piece)
    return text.endswith(last) and len(text) - len(last) > place


def _plain(text: str) -> str:
    """Text as the comparison sees it: compatibility-normalised, caseless, without white space."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
