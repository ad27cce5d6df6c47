"""One set of labels for questions that offer different options: words, or places among the options."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pidflow import arguments
from pidflow.errors import DataError
from pidflow.spectrum.modes import AUTO, LABELS, PLACE, WORD

# The label of all that an open answer may be beside the answers that predictions are over.
SOMETHING_ELSE = "something else"
# More different words than this are no labels of one task: each question has words of its own.
MOST_WORDS = 64


@dataclass(frozen=True, eq=False)
class Labels:
    """What the answer to any question of a task is told as.

    Attributes
    ----------
    kind
        ``word``: the option's text, the same in all questions that offer it; ``place``: first, second, … option.
    names
        ``ky`` labels.
    of_option
        ``(n, K)``: label of each option; -1 beyond a question's options.
    open
        Whether the last label, of no option, is :data:`SOMETHING_ELSE`: it takes the probability that options leave.
    """

    kind: str
    names: tuple[str, ...]
    of_option: np.ndarray
    open: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def spread(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities over options ``(..., n, K)`` as probabilities over labels ``(..., n, ky)``."""
        out = np.zeros((*probabilities.shape[:-1], len(self)))
        rows = np.arange(len(self.of_option))
        for place in range(self.of_option.shape[1]):
            has = self.of_option[:, place] >= 0
            out[..., rows[has], self.of_option[has, place]] += probabilities[..., has, place]
        if self.open:
            out[..., -1] = np.maximum(1.0 - out.sum(-1), 0.0)
            out /= out.sum(-1, keepdims=True)  # log-probabilities of low precision may add up to a little more than one
        return out


def labels_of(options: Sequence[Sequence[str]], kind: str = AUTO, *, open_answers: bool = False) -> Labels:
    """The labels of questions with these options.

    Parameters
    ----------
    options
        Of each question, in its order.
    kind
        One of :data:`pidflow.spectrum.modes.LABELS`. ``auto`` takes words where a task has at most 64 different ones,
        else places.
    open_answers
        Whether an answer may be none of the options.

    Raises
    ------
    ConfigError
        When there is no such kind.
    DataError
        When words are asked for and there are too many.
    """
    arguments.choice(kind, "labels", LABELS)
    words = sorted({word for each in options for word in each})
    if kind == AUTO:
        kind = WORD if len(words) <= MOST_WORDS else PLACE
    if kind == WORD and len(words) > MOST_WORDS:
        raise DataError(
            f"the questions offer {len(words)} different options, expected at most {MOST_WORDS} to be told as words; "
            "set spectrum.labels to place"
        )
    most = max(map(len, options), default=0)
    names = tuple(words) if kind == WORD else tuple(str(place + 1) for place in range(most))
    index = {name: label for label, name in enumerate(names)}
    of_option = np.full((len(options), most), -1)
    for row, each in enumerate(options):
        of_option[row, : len(each)] = [index[word] for word in each] if kind == WORD else np.arange(len(each))
    return Labels(kind, (*names, SOMETHING_ELSE) if open_answers else names, of_option, open_answers)
