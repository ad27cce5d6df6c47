"""How an answer may begin in a model's tokens, as far as it takes to tell it from the other candidates.

An answer is spelled in several ways (as given, lower case, capitalised; with and without a blank before it), and cut
into pieces by the tokenizer. Its first piece may be a blank, or the first piece of another candidate as well: "traffic"
begins "traffic light" and "traffic sign". What counts is the first token at which a spelling is that of no other one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pidflow.errors import DataError
from pidflow.models.answers import normalised, spellings
from pidflow.models.loading import LoadedModel
from pidflow.models.prompts import IMAGE, QUESTION
from pidflow.models.speech import end_tokens, leading_blanks

_SAMPLE_QUESTION = "what is this ?"


@dataclass(frozen=True)
class Start:
    """Tokens `ids` that tell an answer from the others, after tokens `shared` that it shares with one of them."""

    shared: tuple[int, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True)
class AnswerStarts:
    """All ways in which an answer begins as no other candidate does, blanks at its beginning left out.

    Attributes
    ----------
    starts
        Events that exclude each other; none if no token tells the answer apart (the tokenizer does not know the word,
        or spells two candidates alike).
    """

    starts: tuple[Start, ...]

    @property
    def longest(self) -> int:
        """The most tokens that have to be said before one tells the answer apart."""
        return max((len(start.shared) for start in self.starts), default=0)


@dataclass(frozen=True)
class Candidate:
    """Answers that begin with the same token, and the ids of that token in all spellings."""

    answers: tuple[str, ...]
    ids: tuple[int, ...]


def token_spellings(loaded: LoadedModel, answers: Iterable[str]) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Per distinct answer the token ids of its spellings right after the prompt, blanks at its beginning included.

    They come from tokenising prompt and answer together, where the prompt's own ids stay what they were. A prompt that
    ends in white space is also taken without it: few words can follow a lone blank as tokens cut them.

    Raises
    ------
    DataError
        If an answer is empty.
    """
    tokenizer = loaded.tokenizer
    prompt = loaded.prompt.replace(IMAGE, loaded.processor.image_token).replace(QUESTION, _SAMPLE_QUESTION)
    contexts = dict.fromkeys((before, blank) for before in (prompt, prompt.rstrip()) for blank in (" ", ""))
    prefixes = {before: tokenizer(before)["input_ids"] for before, _ in contexts}
    found = {}
    for answer in dict.fromkeys(answers):
        if not answer.strip():
            raise DataError("an item has an empty answer; give every item the answer its question has")
        spelled: dict[tuple[int, ...], None] = {}
        for before, blank in contexts:
            prefix = prefixes[before]
            for ids in tokenizer([before + blank + spelling for spelling in spellings(answer)])["input_ids"]:
                if ids[: len(prefix)] == prefix and len(ids) > len(prefix):
                    spelled[tuple(ids[len(prefix) :])] = None
        found[answer] = tuple(spelled)
    return found


def tokens_needed(spelled: Mapping[str, Sequence[Sequence[int]]]) -> int:
    """Tokens that the longest of the answers takes, a full stop and the ending token included."""
    return max((len(ids) for each in spelled.values() for ids in each), default=1) + 2


def answer_starts(
    loaded: LoadedModel,
    answer: str,
    others: Iterable[str],
    spelled: Mapping[str, Sequence[Sequence[int]]],
) -> AnswerStarts:
    """How an answer begins as none of the others does.

    Parameters
    ----------
    others
        The other candidates; those that are the same answer spelled otherwise do not count.
    spelled
        From :func:`token_spellings`, of all of them.
    """
    rivals = [
        tuple(each[leading_blanks(loaded.tokenizer, each) :])
        for other in others
        if not normalised(other, answer)
        for each in spelled[other]
    ]
    unknown, ends = loaded.tokenizer.unk_token_id, tuple(sorted(end_tokens(loaded)))
    starts: dict[tuple[int, ...], dict[int, None]] = {}
    for each in spelled[answer]:
        ids = tuple(each[leading_blanks(loaded.tokenizer, each) :])
        for count in range(1, len(ids) + 1):
            if not any(rival[:count] == ids[:count] for rival in rivals):
                told = (ids[count - 1],)
                break
        else:  # the others go on where this one ends
            count, told = len(ids) + 1, () if ids in rivals else ends
        if unknown not in ids[:count] and told:
            starts.setdefault(ids[: count - 1], {}).update(dict.fromkeys(told))
    return AnswerStarts(tuple(Start(shared, tuple(ids)) for shared, ids in starts.items()))


def candidates(
    loaded: LoadedModel, answers: Iterable[str], spelled: Mapping[str, Sequence[Sequence[int]]]
) -> list[Candidate]:
    """The distinct answers by the first token that is not blank, in alphabetical order.

    A token that begins several answers belongs to none of those that have one of their own; answers that have none and
    share all of theirs are one candidate.
    """
    unknown = loaded.tokenizer.unk_token_id
    first: dict[str, tuple[int, ...]] = {}
    for answer in sorted(set(answers)):
        ids = [each[leading_blanks(loaded.tokenizer, each) :][:1] for each in spelled[answer]]
        first[answer] = tuple(dict.fromkeys(index for each in ids for index in each if index != unknown))
    begun = [index for ids in first.values() for index in ids]
    shared = {index for index in begun if begun.count(index) > 1}
    own = {answer: tuple(index for index in ids if index not in shared) or ids for answer, ids in first.items()}
    alike: dict[tuple[int, ...], list[str]] = {}
    for answer, ids in own.items():
        if ids:
            alike.setdefault(tuple(sorted(ids)), []).append(answer)
    return [Candidate(tuple(each), ids) for ids, each in alike.items()]
