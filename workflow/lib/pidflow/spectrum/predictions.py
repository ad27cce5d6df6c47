"""What a model predicts in each pass of a probe: the record between extraction (or an import) and the spectrum.

A probe runs a model over a question several times, each time with another part of its input replaced (a *pass*). Of
every pass the record keeps raw log-probabilities of the options over the **full vocabulary**, so that thresholds,
scores and accuracies are decided later (:mod:`pidflow.spectrum.scores`) and nothing has to run again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pidflow.errors import DataError
from pidflow.spectrum.words import CLUSTERS, JOINT, PASSES, REPLACEMENTS, TOP

# Log-probabilities of low precision may exceed zero, and options' masses one, by this much.
_ROUNDING = 2e-2


def pass_key(name: str, replacement: str | None = None) -> str:
    """What a pass is called in files: ``joint``, ``vision-only/noise``."""
    return name if replacement is None else f"{name}/{replacement}"


@dataclass(frozen=True, eq=False)
class Pass:
    """Predictions of one pass: D draws of the replacement, n questions, at most K options.

    Beyond a question's own options all arrays hold NaN. All are natural logarithms and none is renormalised.

    Attributes
    ----------
    name, replacement
        One of :data:`pidflow.spectrum.words.PASSES`; one of ``REPLACEMENTS`` there, or None where nothing is replaced.
    begins
        ``(D, n, K)``: log-probability that the answer begins as this option and as no other one of the question, all
        spellings together. These events exclude each other, so their sum is the option mass. NaN also where no token
        tells the option from the others.
    sequence
        ``(D, n, K)``: log-likelihood of the whole option as the model would write it after this prompt.
    bare
        ``(D, n, K)``: log-probability of the option's first token written without a blank, as the published pipeline
        reads its letters.
    greedy
        ``(D, n)``: the most likely first token; -1 where that is not known.
    lens
        By variant (``"norm"``: through the model's own final norm, ``"no-norm"``): ``(D, L + 1, n, K)``, the
        log-probability that the first token is that of this option and of no other, read from each layer's last
        position. Empty where layers were not read.
    """

    name: str
    begins: np.ndarray
    sequence: np.ndarray
    bare: np.ndarray
    greedy: np.ndarray
    replacement: str | None = None
    lens: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What files call it."""
        return pass_key(self.name, self.replacement)

    @property
    def draws(self) -> int:
        """D, the draws of the replacement."""
        return len(self.greedy)

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array with K at its end, by name."""
        scores = {"begins": self.begins, "sequence": self.sequence, "bare": self.bare}
        return scores | {f"lens/{variant}": values for variant, values in self.lens.items()}


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's predictions on the questions of a task, in every pass of a probe.

    Attributes
    ----------
    item_id, image_id
        Text, ``(n,)``.
    fold
        Whole numbers, ``(n,)``.
    training
        Boolean ``(n,)``: the question lies in the training part, from which statistics of replacements, ``p(Y)`` and
        networks come; results are evaluated on the others.
    options
        ``(n,)`` tuples of at least two texts, in the order of the question: K differs between questions.
    answer
        ``(n,)``: place of the right answer among the options; -1 where it is none of them.
    token_ids
        ``(n, K, T)``: tokens of each option as written, -1 beyond its end.
    bare_ids
        ``(n, K)``: the first token without a blank before it; -1 beyond the options.
    vision, language
        ``(n, d)``, ``(n, e)``: mean embedding at layer 0 of the image tokens, and of the user's words (question,
        options, instruction).
    passes
        By key (:func:`pass_key`); ``joint`` is always there.
    vocabulary
        Tokens that share the probability.
    about
        How it was made: model, prompt, prompt digest, seed, how options are written, spellings, …; plain values.
    """

    item_id: np.ndarray
    image_id: np.ndarray
    fold: np.ndarray
    training: np.ndarray
    options: tuple[tuple[str, ...], ...]
    answer: np.ndarray
    token_ids: np.ndarray
    bare_ids: np.ndarray
    vision: np.ndarray
    language: np.ndarray
    passes: Mapping[str, Pass]
    vocabulary: int
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.item_id)

    def __getitem__(self, key: str) -> Pass:
        """A pass by its key, or an error that names those there are."""
        if key not in self.passes:
            raise DataError(f"no pass '{key}' among the predictions, which have: {', '.join(self.passes)}")
        return self.passes[key]

    @property
    def counts(self) -> np.ndarray:
        """``(n,)``: K of each question."""
        return np.array([len(each) for each in self.options])

    @property
    def offered(self) -> np.ndarray:
        """Boolean ``(n, K)``: which places hold an option."""
        return np.arange(self.counts.max(initial=0)) < self.counts[:, None]

    @property
    def lengths(self) -> np.ndarray:
        """``(n, K)``: tokens of each option as written; 0 beyond the options."""
        return (self.token_ids >= 0).sum(2)

    @property
    def open_answers(self) -> bool:
        """Whether the options are the model's own answers, so that it may say something else."""
        return self.about.get("answers") in (CLUSTERS, TOP)

    def take(self, rows: np.ndarray) -> "Predictions":
        """Some questions, by a mask or numbers; K stays the width of all arrays."""
        rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows)
        options = tuple(self.options[row] for row in rows)
        most = max(map(len, options), default=0)
        passes = {
            key: Pass(
                name=each.name,
                replacement=each.replacement,
                begins=each.begins[:, rows, :most],
                sequence=each.sequence[:, rows, :most],
                bare=each.bare[:, rows, :most],
                greedy=each.greedy[:, rows],
                lens={variant: values[:, :, rows, :most] for variant, values in each.lens.items()},
            )
            for key, each in self.passes.items()
        }
        return Predictions(
            **{name: getattr(self, name)[rows] for name in ("item_id", "image_id", "fold", "training", "answer")},
            options=options,
            token_ids=self.token_ids[rows, :most],
            bare_ids=self.bare_ids[rows, :most],
            vision=self.vision[rows],
            language=self.language[rows],
            passes=passes,
            vocabulary=self.vocabulary,
            about=self.about,
        )


def checked(predictions: Predictions, *, where: str) -> Predictions:
    """The predictions themselves, if rows, options and probabilities agree with each other.

    Parameters
    ----------
    where
        What an error begins with.

    Raises
    ------
    DataError
        On no rows, a question with fewer than two options or the same twice, unequal rows, an array that is no
        log-probability or lacks one, options that share more than all of the probability.
    """
    n = len(predictions)
    if not n:
        raise DataError(f"{where}: holds no questions")
    for item, options, answer in zip(predictions.item_id, predictions.options, predictions.answer, strict=True):
        _check_options(f"{where}: item {item}", options, int(answer))
    for name in ("image_id", "fold", "training", "vision", "language"):
        if len(getattr(predictions, name)) != n:
            raise DataError(f"{where}: {name} has {len(getattr(predictions, name))} rows, item_id has {n}")
    for name in ("vision", "language"):
        if getattr(predictions, name).ndim != 2 or not np.isfinite(getattr(predictions, name)).all():
            raise DataError(f"{where}: {name} must be a table of finite numbers, one row a question")
    if JOINT not in predictions.passes:
        raise DataError(f"{where}: has no pass '{JOINT}', which the others are compared with")
    offered = predictions.offered
    for key, each in predictions.passes.items():
        if key != each.key or each.name not in PASSES or each.replacement not in (None, *REPLACEMENTS):
            raise DataError(
                f"{where}: unknown pass '{key}', expected {', '.join(PASSES)} with {'/'.join(REPLACEMENTS)}"
            )
        if each.greedy.shape != (each.draws, n) or not each.draws:
            raise DataError(f"{where}, {key}: greedy has shape {each.greedy.shape}, expected draws x {n}")
        for name, values in each.arrays().items():
            _check_scores(f"{where}, {key}: {name}", values, offered, each.draws)
    return predictions


def _check_options(where: str, options: tuple[str, ...], answer: int) -> None:
    if len(options) < 2:
        raise DataError(f"{where} has {len(options)} option(s), expected at least 2; leave such questions out")
    if len(set(options)) < len(options) or not all(each.strip() for each in options):
        raise DataError(f"{where} offers an option twice or an empty one: {', '.join(map(repr, options))}")
    if not -1 <= answer < len(options):
        raise DataError(f"{where} says that option {answer} is right, of {len(options)}")


def _check_scores(where: str, values: np.ndarray, offered: np.ndarray, draws: int) -> None:
    expected = (draws, *values.shape[1:-2], *offered.shape)
    if values.shape != expected:
        raise DataError(f"{where} has shape {values.shape}, expected {expected}")
    known = ~np.isnan(values)
    if (known & ~offered).any():
        raise DataError(f"{where} has numbers beyond the options of a question")
    if (values[known] > _ROUNDING).any():
        raise DataError(f"{where} holds {values[known].max():.3g}, which is no log-probability")
