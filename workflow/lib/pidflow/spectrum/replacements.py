"""What stands in for a part of the input: draws around the training fold's mean, the mean, another question's tokens.

Every draw depends on the seed, the question and the part alone: not on batches, nor on which other passes are run.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pidflow.errors import DataError
from pidflow.spectrum.words import MEAN, NOISE


class Moments:
    """Mean and population standard deviation of tokens, dimension by dimension, batch by batch in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: np.ndarray | float = 0.0
        self.square: np.ndarray | float = 0.0  # sum of squared distances from the mean

    def add(self, tokens: np.ndarray) -> None:
        """Take note of tokens ``(N, d)``."""
        if not len(tokens):
            return
        tokens = tokens.astype(np.float64)
        own, total = tokens.mean(0), self.count + len(tokens)
        shift = own - self.mean
        self.square = self.square + ((tokens - own) ** 2).sum(0) + shift**2 * (self.count * len(tokens) / total)
        self.mean = self.mean + shift * (len(tokens) / total)
        self.count = total

    @property
    def deviation(self) -> np.ndarray:
        """Population standard deviation ``(d,)``."""
        return np.sqrt(self.square / self.count)


@dataclass(frozen=True, eq=False)
class PartStatistics:
    """Mean and standard deviation ``(d,)`` over `tokens` tokens of a part of the input, on the training fold."""

    mean: np.ndarray
    deviation: np.ndarray
    tokens: int


@dataclass(frozen=True, eq=False)
class Donor:
    """A question of the training fold whose tokens may stand in for those of another one.

    Attributes
    ----------
    item_id, image_id, question
        Whose it is.
    parts
        By part its tokens ``(N, d)``.
    """

    item_id: str
    image_id: str
    question: str
    parts: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Statistics:
    """All that replacements are made of, from the training fold.

    Attributes
    ----------
    parts
        By part of the input (``image``, ``language``, …).
    donors
        Questions whose tokens may stand in for others'.
    """

    parts: Mapping[str, PartStatistics]
    donors: tuple[Donor, ...] = ()

    def replacement(
        self, kind: str, part: str, count: int, *, item: str, image: str, question: str, draw: int, seed: int
    ) -> np.ndarray:
        """Tokens ``(count, d)`` float32 to put in place of a part of a question.

        Parameters
        ----------
        kind
            One of :data:`pidflow.spectrum.words.REPLACEMENTS`.
        part
            Of the input; words of the question are drawn as language is.
        item, image, question
            Whose part it is: pictures are taken from other pictures, words from other questions.
        draw
            Number of the draw.

        Raises
        ------
        DataError
            If there are no statistics of such a part, or no donor.
        """
        source = "language" if part == "question" else part
        if source not in self.parts:
            raise DataError(f"no statistics of part '{source}', they have: {', '.join(self.parts)}; make them again")
        of_part, rng = self.parts[source], generator(seed, item, kind, source, draw)
        if kind == NOISE:
            noise = rng.standard_normal((count, len(of_part.mean)), dtype=np.float32)
            return (of_part.mean + of_part.deviation * noise).astype(np.float32)
        if kind == MEAN:
            return np.tile(of_part.mean.astype(np.float32), (count, 1))
        other = {"question": question} if source == "language" else {"image_id": image}
        tokens = self._donor(other, item=item, draw=draw, seed=seed).parts[source]
        return np.resize(tokens, (count, tokens.shape[1])).astype(np.float32)  # cut, or begun again

    def _donor(self, other: Mapping[str, str], *, item: str, draw: int, seed: int) -> Donor:
        """One donor a draw that is another picture or question; another one each time while there are enough."""
        able = [each for each in self.donors if all(getattr(each, name) != value for name, value in other.items())]
        if not able:
            what = "picture" if "image_id" in other else "question"
            raise DataError(f"item {item}: none of {len(self.donors)} donors has another {what}; raise spectrum.donors")
        order = generator(seed, item, "donors").permutation(len(able))
        return able[order[draw % len(able)]]


def generator(seed: int, *about: object) -> np.random.Generator:
    """A random state that depends on the seed and on what it is for."""
    digest = hashlib.sha256(repr((seed, *about)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
