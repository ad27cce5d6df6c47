"""What the stages that let a model answer share: what its answers are held against, how long they may be, the log."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from pidflow.errors import ConfigError
from pidflow.interventions.answer import Answered
from pidflow.models.answers import PUBLISHED, Expected, checked_rule
from pidflow.models.first_tokens import AnswerStarts, answer_starts, token_spellings, tokens_needed
from pidflow.models.inputs import Example
from pidflow.models.loading import LoadedModel
from pidflow.models.prompts import QUESTION

log = logging.getLogger(__name__)

_SHOWN = 5


@dataclass(frozen=True)
class Answering:
    """The questions of a task as something to be answered, one entry a question.

    Attributes
    ----------
    expected
        The right answer with the options and the rule.
    spelled
        Token ids of every candidate answer (see :func:`pidflow.models.first_tokens.token_spellings`).
    rivals
        The answers that the right one has to be told from: the question's options, or all answers of the task.
    at_most
        Tokens after which an answer is cut off: what the longest candidate takes and a margin, or the bound if less.
    """

    loaded: LoadedModel
    expected: tuple[Expected, ...]
    spelled: dict[str, tuple[tuple[int, ...], ...]]
    rivals: tuple[tuple[str, ...], ...]
    at_most: int

    def starts(self) -> list[AnswerStarts]:
        """How the right answer of each question begins as no rival does."""

        @cache
        def of(answer: str, rivals: tuple[str, ...]) -> AnswerStarts:
            return answer_starts(self.loaded, answer, rivals, self.spelled)

        return [of(each.answer, rivals) for each, rivals in zip(self.expected, self.rivals, strict=True)]


def answering(
    loaded: LoadedModel, table: pd.DataFrame, examples: Sequence[Example], *, rule: str, answer_tokens: int
) -> Answering:
    """A table of questions as something to be answered.

    Parameters
    ----------
    rule
        When an answer is right, one of :data:`pidflow.models.answers.RULES`.
    answer_tokens
        Bound on the tokens of an answer.

    Raises
    ------
    ConfigError
        If there is no such rule, or an answer may not hold a token.
    """
    checked_rule(rule)
    if answer_tokens < 1:
        raise ConfigError(f"an answer has at least 1 token, found {answer_tokens}")
    gold = list(table["answer"])
    everything = tuple(dict.fromkeys(gold))
    rivals = tuple(example.options or everything for example in examples)
    spelled = token_spellings(loaded, [*everything, *(option for each in examples for option in each.options)])
    needed = tokens_needed(spelled)
    if needed - 2 > answer_tokens:
        log.warning("answers take up to %d tokens, at most %d are decoded; raise answer_tokens", needed, answer_tokens)
    expected = tuple(
        Expected(answer, example.options, rule, example.offered) for answer, example in zip(gold, examples, strict=True)
    )
    merged = sum(each.merged for each in expected)
    if merged:
        log.warning(
            "%d of %d items offer options that are one answer by the rule '%s'; a stricter rule judges these",
            merged,
            len(expected),
            rule,
        )
    return Answering(loaded, expected, spelled, rivals, min(needed, answer_tokens))


def columns_of(expected: Sequence[Expected], answered: Answered) -> dict[str, Sequence[Any]]:
    """Columns of an answers table, one entry a question: what was said, whether it is right, how sure the model was."""
    texts, readout = answered.spoken.texts, answered.readout
    return {
        "spoken": texts,
        "truncated": answered.spoken.truncated,
        "blanks": answered.spoken.blanks,
        "correct": [each.right(text) for each, text in zip(expected, texts, strict=True)],
        "correct_published": [each.right(text, rule=PUBLISHED) for each, text in zip(expected, texts, strict=True)],
        "predicted": readout.predicted,
        "probability": readout.probability.tolist(),
        "answer_probability": readout.answer_probability.tolist(),
        "lens": readout.lens.tolist(),
    }


def log_first(
    loaded: LoadedModel, examples: Sequence[Example], expected: Sequence[Expected], texts: Sequence[str]
) -> None:
    """Show the prompt as the model sees it, and the answers to the first questions beside the right ones."""
    log.info("prompt '%s': %s", loaded.prompting.name, repr(loaded.prompt.replace(QUESTION, examples[0].question)))
    for example, wanted, text in zip(examples, expected, texts[:_SHOWN], strict=False):
        verdict = "right" if wanted.right(text) else "wrong"
        log.info("%s: says %r, expected %r: %s", example.name, text, wanted.answer, verdict)
