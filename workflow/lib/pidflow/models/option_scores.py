"""How probable a model finds each option of a question, over its full vocabulary: raw, nothing renormalised.

An option is an event: the answer begins as this option and as no other one. Its probability is summed over spellings,
and over as many tokens as it takes to tell it from the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from pidflow.errors import DataError
from pidflow.models.answers import spellings
from pidflow.models.inputs import Batch
from pidflow.models.loading import LoadedModel
from pidflow.models.prompts import IMAGE, QUESTION
from pidflow.models.speech import end_tokens, logits_after

_SAMPLE_QUESTION = "what is this ?"
Tokens = tuple[int, ...]


@dataclass(frozen=True)
class OptionTokens:
    """The options of one question as tokens.

    Attributes
    ----------
    written
        Per option the tokens with which the model would write it after this prompt.
    bare
        Per option the first of its tokens without a blank before it.
    events
        Per option the beginnings that tell it from the others, no one of which begins another; empty where no token
        does.
    """

    written: tuple[Tokens, ...]
    bare: Tokens
    events: tuple[tuple[Tokens, ...], ...]

    def asked(self) -> dict[Tokens, None]:
        """Every sequence of tokens whose probability is needed."""
        events = (event for each in self.events for event in each)
        return dict.fromkeys((*self.written, *events))


class OptionReader:
    """Options as tokens, in the context of a model's prompt."""

    def __init__(self, loaded: LoadedModel, prompt: str | None = None) -> None:
        self.tokenizer = loaded.tokenizer
        self.ends = tuple(sorted(end_tokens(loaded)))
        self.special = set(self.tokenizer.all_special_ids)
        self.prompt = (loaded.prompt if prompt is None else prompt).replace(IMAGE, loaded.placeholder)
        self.prompt = self.prompt.replace(QUESTION, _SAMPLE_QUESTION)
        self.known: dict[str, tuple[Tokens, ...]] = {}
        self.made: dict[tuple[str, ...], OptionTokens] = {}

    def spelled(self, text: str) -> tuple[Tokens, ...]:
        """Tokens of every spelling right after the prompt, the one that the model would write first."""
        if text not in self.known:
            found: dict[Tokens, None] = {}
            blanks = ("", " ") if self.prompt[-1:].isspace() else (" ", "")
            for before in dict.fromkeys((self.prompt, self.prompt.rstrip())):
                prefix = self.tokenizer(before)["input_ids"]
                for spelling in spellings(text):
                    for blank in blanks if before == self.prompt else (" ", ""):
                        ids = self.tokenizer(before + blank + spelling)["input_ids"]
                        if ids[: len(prefix)] == prefix and len(ids) > len(prefix):
                            found[tuple(ids[len(prefix) :])] = None
            self.known[text] = tuple(found)
        return self.known[text]

    def __call__(self, options: Sequence[str], *, where: str) -> OptionTokens:
        """The options of one question.

        Raises
        ------
        DataError
            If there are fewer than two, one is empty or offered twice, or one cannot be written after the prompt.
        """
        options = tuple(options)
        if len(options) < 2 or len(set(options)) < len(options) or not all(each.strip() for each in options):
            raise DataError(f"{where}: expected at least two different options with text, found {list(options)}")
        if options not in self.made:
            self.made[options] = self._tokens(options, where)
        return self.made[options]

    def _tokens(self, options: tuple[str, ...], where: str) -> OptionTokens:
        written, bare = [], []
        for option in options:
            if not self.spelled(option):
                raise DataError(f"{where}: option {option!r} cannot follow the prompt as tokens of its own")
            written.append(self.spelled(option)[0])
            alone = self.tokenizer(option, add_special_tokens=False)["input_ids"]
            bare.append(next((each for each in alone if self.tokenizer.decode([each]).strip()), alone[0]))
        return OptionTokens(
            tuple(written), tuple(bare), tuple(self._events(options, place) for place in range(len(options)))
        )

    def _events(self, options: tuple[str, ...], place: int) -> tuple[Tokens, ...]:
        """The shortest beginnings of an option that begin no other one."""
        rivals = [ids for other, option in enumerate(options) if other != place for ids in self.spelled(option)]
        found: dict[Tokens, None] = {}
        for ids in self.spelled(options[place]):
            told = next((ids[:n] for n in range(1, len(ids) + 1) if not any(r[:n] == ids[:n] for r in rivals)), None)
            if told is not None:
                found[told] = None
            elif ids not in rivals:  # others go on where this one ends
                found.update(dict.fromkeys((*ids, end) for end in self.ends))
        known = [ids for ids in found if self.tokenizer.unk_token_id not in ids]
        return tuple(ids for ids in known if not any(ids[:n] in found for n in range(1, len(ids))))


def check_letters(reader: OptionReader, letters: Sequence[str]) -> None:
    """Refuse option letters that the tokenizer does not write with one token each, all different.

    Raises
    ------
    DataError
        Naming the letters and their tokens.
    """
    tokens = {letter: reader.spelled(letter)[:1] for letter in letters}
    firsts = [ids[0][0] if ids else None for ids in tokens.values()]
    if (
        {None, reader.tokenizer.unk_token_id}.intersection(firsts)
        or len(set(firsts)) < len(firsts)
        or any(len(ids[0]) > 1 for ids in tokens.values())
    ):
        shown = ", ".join(f"{letter}: {list(ids[0]) if ids else 'none'}" for letter, ids in tokens.items())
        raise DataError(
            f"the letters {', '.join(letters)} are not one known token each, all different, after this prompt "
            f"({shown}), so a first token does not tell the option; score options by their words"
        )


@dataclass(frozen=True, eq=False)
class OptionScores:
    """Log-probabilities of a batch: ``begins``, ``sequence``, ``bare`` ``(B, K)``, NaN beyond a row's options."""

    begins: torch.Tensor
    sequence: torch.Tensor
    bare: torch.Tensor


def score_options(
    loaded: LoadedModel,
    batch: Batch,
    logits: torch.Tensor,
    cache: DynamicCache,
    options: Sequence[OptionTokens],
    *,
    width: int,
) -> OptionScores:
    """How probable each row's options are after its prompt.

    Parameters
    ----------
    batch, logits, cache
        The prompts, the logits ``(B, V)`` after them, and the pass's keys and values, which grow and shrink.
    width
        K, columns of the result.
    """
    first = logits.float().log_softmax(-1)
    likelihoods = _likelihoods(loaded, batch, first, cache, [each.asked() for each in options])
    found = {name: torch.full((len(options), width), torch.nan) for name in ("begins", "sequence", "bare")}
    first = first.cpu()
    for row, (each, known) in enumerate(zip(options, likelihoods, strict=True)):
        count = len(each.written)
        found["sequence"][row, :count] = torch.stack([known[ids] for ids in each.written])
        found["bare"][row, :count] = first[row, list(each.bare)]
        for place, events in enumerate(each.events):
            if events:
                found["begins"][row, place] = torch.stack([known[ids] for ids in events]).logsumexp(0)
    return OptionScores(**found)


def first_token_scores(log_probabilities: torch.Tensor, options: Sequence[OptionTokens], *, width: int) -> torch.Tensor:
    """``(B, K)``: log-probability ``(B, V)`` that the first token is that of an option and of no other; else NaN."""
    found = torch.full((len(options), width), torch.nan)
    values = log_probabilities.cpu()
    for row, each in enumerate(options):
        for place, events in enumerate(each.events):
            ids = [ids[0] for ids in events if len(ids) == 1]
            if ids:
                found[row, place] = values[row, ids].logsumexp(0)
    return found


def _likelihoods(
    loaded: LoadedModel,
    batch: Batch,
    first: torch.Tensor,
    cache: DynamicCache,
    asked: Sequence[Mapping[Tokens, None]],
) -> list[dict[Tokens, torch.Tensor]]:
    """Per row the log-likelihood of each token sequence asked for, as few forwards as the longest row needs."""
    after = [{(): first[row].cpu()} for row in range(len(asked))]
    waiting = [_leaves({ids[:-1] for ids in each if len(ids) > 1}) for each in asked]
    while any(waiting):
        said = [of_row.pop() if of_row else () for of_row in waiting]
        fed = [ids or (loaded.tokenizer.pad_token_id,) for ids in said]  # a row that needs nothing says anything
        scores = logits_after(loaded, batch, cache, fed).log_softmax(-1).cpu()
        for row, ids in enumerate(said):
            for count in range(1, len(ids) + 1):
                after[row][ids[:count]] = scores[row, count - 1]
    return [
        {ids: sum(after[row][ids[:place]][index] for place, index in enumerate(ids)) for ids in each}
        for row, each in enumerate(asked)
    ]


def _leaves(prefixes: set[Tokens]) -> list[Tokens]:
    """The prefixes that no other one goes on from, the longest last."""
    begun = {ids[:count] for ids in prefixes for count in range(1, len(ids))}
    return sorted(prefixes - begun, key=len)


def lens_scores(
    loaded: LoadedModel, states: torch.Tensor, options: Sequence[OptionTokens], *, width: int, variant: str
) -> torch.Tensor:
    """``(L + 1, B, K)``: as :func:`first_token_scores`, from the last position's states ``(L + 1, B, d)``.

    Parameters
    ----------
    variant
        ``"norm"``: through the model's own final norm and head; ``"no-norm"``: through its head alone.
    """
    found = []
    with torch.inference_mode():
        for state in states:  # layer by layer: all at once would hold L + 1 times the vocabulary
            state = state.to(loaded.dtype)
            normed = loaded.normed(state) if variant == "norm" else state
            scores = loaded.logits_of(normed).float().log_softmax(-1)
            found.append(first_token_scores(scores, options, width=width))
    return torch.stack(found)


def left_over(logits: torch.Tensor, options: Sequence[OptionTokens]) -> torch.Tensor:
    """``(B, V)``: what of each first token's probability belongs to no option; float32, on the CPU.

    An option that is told by a later token is left in: its share there is not known from the first.
    """
    rest = logits.float().softmax(-1).cpu()
    for row, each in enumerate(options):
        rest[row, [ids[0] for events in each.events for ids in events if len(ids) == 1]] = 0.0
    return rest
