"""Which answers a prediction is taken over: a question's options, their letters, a task's answers, the model's own."""

from collections import Counter
from collections.abc import Iterable, Sequence
from string import ascii_uppercase

from pidflow.errors import ConfigError, DataError
from pidflow.models.answers import CASELESS, NORMALISED, RULES, VERBATIM, words


def offered_options(options: Sequence[str], *, where: str) -> tuple[str, ...]:
    """The options of a question, refused if they are no choice.

    Raises
    ------
    DataError
        If there is only one, one is empty, or two are the same.
    """
    found = tuple(options)
    if len(found) < 2:
        raise DataError(
            f"{where} offers {len(found)} option ({', '.join(found)}); a prediction needs at least 2 to choose"
        )
    if len(set(found)) < len(found) or not all(each.strip() for each in found):
        raise DataError(f"{where} offers an option twice or an empty one: {', '.join(map(repr, found))}")
    return found


def task_options(answers: Iterable[str], *, most: int) -> tuple[str, ...]:
    """All answers of a task, the most frequent first: what a question without options may be answered with.

    Raises
    ------
    ConfigError
        If there are more than `most`.
    DataError
        If all questions have the same answer.
    """
    counts = Counter(answers)
    if len(counts) > most:
        raise ConfigError(
            f"questions offer no options and the task has {len(counts)} different answers, more than spectrum.most "
            f"({most}); set spectrum.answers to 'clusters' or 'top' for open answers, or raise spectrum.most"
        )
    if len(counts) < 2:
        raise DataError(f"questions offer no options and all have the answer {next(iter(counts), '')!r}")
    return tuple(sorted(counts, key=lambda each: (-counts[each], each)))


def letters_of(options: Sequence[str], *, where: str) -> tuple[str, ...]:
    """A letter for each option.

    Raises
    ------
    DataError
        If there are more options than letters.
    """
    if len(options) > len(ascii_uppercase):
        raise DataError(
            f"{where} offers {len(options)} options, more than there are letters; score options by their words"
        )
    return tuple(ascii_uppercase[: len(options)])


def lettered(question: str, options: Sequence[str], letters: Sequence[str]) -> str:
    """A question with its options under it, a line each."""
    return "\n".join((question, *(f"{letter}. {option}" for letter, option in zip(letters, options, strict=True))))


def right_place(options: Sequence[str], answer: str) -> int:
    """Place of the right answer among the options, by the strictest rule that finds one; -1 where it is not there."""
    for rule in (VERBATIM, CASELESS, NORMALISED):
        found = [place for place, option in enumerate(options) if RULES[rule](option, answer)]
        if len(found) == 1:
            return found[0]
    return -1


def clusters(said: Iterable[str], *, most: int) -> tuple[str, ...]:
    """The most frequent answers, those of the same words being one; each as it is most often written.

    Raises
    ------
    DataError
        If fewer than two different answers were given.
    """
    written: dict[tuple[str, ...], Counter[str]] = {}
    for text in said:
        if words(text):
            written.setdefault(words(text), Counter())[text.strip()] += 1
    sizes = {key: counts.total() for key, counts in written.items()}
    found = sorted(written, key=lambda key: (-sizes[key], key))[:most]
    if len(found) < 2:
        raise DataError(
            f"the model gives {len(found)} different answers on the training fold, so there is nothing to predict; "
            "take more questions, or options"
        )
    return tuple(min(written[key], key=lambda text: (-written[key][text], text)) for key in found)


def distinct(said: Iterable[str], *, most: int) -> tuple[str, ...]:
    """The first answers of a question that differ in their words."""
    found: dict[tuple[str, ...], str] = {}
    for text in said:
        if words(text):
            found.setdefault(words(text), text.strip())
    return tuple(found.values())[:most]
