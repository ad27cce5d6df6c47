"""From raw log-probabilities of options to predictions: scores, option mass, the threshold, accuracies.

All passes are scored by the same rule. Probabilities over the options are renormalised last: the **option mass**, what
the options have together of the full vocabulary's probability, is taken before, and the threshold acts on it.
"""

from dataclasses import dataclass

import numpy as np

from pidflow import arguments, arrays
from pidflow.errors import DataError
from pidflow.spectrum.predictions import Pass, Predictions
from pidflow.spectrum.words import BARE, BEGINS, NORMALISED, SCORES, SEQUENCE

# Below this option mass a prediction counts as none, as in OpenReview 6WsBGk4Iag.
TAU = 0.3
_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Scored:
    """Predictions of one pass over the options of n questions.

    Attributes
    ----------
    probabilities
        ``(n, K)``: mean over draws; rows sum to one (with open answers, to the option mass), zero beyond the options
        of a question.
    spread
        ``(n, K)``: standard deviation over draws; zero of a single draw.
    mass
        ``(n,)``: option mass before renormalisation, mean over draws.
    fired
        ``(n,)``: share of draws in which the mass was below the threshold and the prediction became uniform.
    """

    probabilities: np.ndarray
    spread: np.ndarray
    mass: np.ndarray
    fired: np.ndarray


def scored(
    predictions: Predictions, key: str, *, score: str = BEGINS, threshold: float = TAU, closed: bool = True
) -> Scored:
    """Predictions of a pass, uniform where the option mass is below `threshold` (0: never), averaged over draws.

    Parameters
    ----------
    key
        Of the pass, as ``vision-only/noise``.
    score
        One of :data:`pidflow.spectrum.words.SCORES`.
    closed
        Whether the answer is one of the options. If not, probabilities add up to the option mass; no threshold acts.

    Raises
    ------
    ConfigError
        If there is no such score.
    DataError
        If there is no such pass, or the score of an option is not known.
    """
    each = predictions[key]
    scores = raw_scores(predictions, each, score)
    mass = option_mass(predictions, each, score)
    offered = predictions.offered
    every, fired = [], []
    threshold = threshold if closed else 0.0
    for of_draw, of_mass in zip(scores, mass, strict=True):
        among = confident_or_uniform(restricted(of_draw), of_mass, offered=offered, threshold=threshold)
        every.append(among if closed else among * of_mass[:, None])
        fired.append(of_mass < threshold)
    return Scored(
        probabilities=np.mean(every, axis=0),
        spread=np.std(every, axis=0, ddof=1) if len(every) > 1 else np.zeros(offered.shape),
        mass=mass.mean(0),
        fired=np.mean(fired, axis=0),
    )


def raw_scores(predictions: Predictions, each: Pass, score: str) -> np.ndarray:
    """``(D, n, K)``: the score of every option, as a logarithm; minus infinity beyond a question's options."""
    arguments.choice(score, "score", SCORES)
    if score == NORMALISED:
        values = each.sequence / np.maximum(predictions.lengths, 1)
    else:
        values = {BEGINS: each.begins, SEQUENCE: each.sequence, BARE: each.bare}[score]
    offered = np.broadcast_to(predictions.offered, values.shape)
    unknown = np.isnan(values) & offered
    if unknown.any():
        _, row, place = np.argwhere(unknown)[0]
        raise DataError(
            f"{each.key}: score '{score}' of option {predictions.options[row][place]!r} of item "
            f"{predictions.item_id[row]} is not known (of {unknown[0].any(1).sum()} questions in all): no token tells "
            f"it from the others, or the source of these predictions lacks it; use another of {', '.join(SCORES)}"
        )
    return np.where(offered, values, -np.inf)


def option_mass(predictions: Predictions, each: Pass, score: str = BEGINS) -> np.ndarray:
    """``(D, n)``: probability of the full vocabulary that the options have together.

    Letters read without a blank have the mass of these tokens; every other score has that of the events ``begins``,
    which exclude each other.
    """
    values = raw_scores(predictions, each, BARE if score == BARE else BEGINS)
    if score == BARE:  # options that share their first token share its probability
        values = np.where(_first_of_its_kind(predictions.bare_ids), values, -np.inf)
    return np.exp(values).sum(2)


def _first_of_its_kind(ids: np.ndarray) -> np.ndarray:
    """``(n, K)``: whether no earlier option of the row has the same token."""
    return ~np.tril(ids[:, :, None] == ids[:, None, :], k=-1).any(2)


def restricted(scores: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis from logarithms of any scale; minus infinity is no option."""
    with np.errstate(invalid="ignore"):
        shifted = np.exp(scores - scores.max(-1, keepdims=True))
    if not np.isfinite(shifted).all():
        raise DataError("a question has no option of any probability; use another score")
    return shifted / shifted.sum(-1, keepdims=True)


def confident_or_uniform(
    probabilities: np.ndarray, mass: np.ndarray, *, offered: np.ndarray | None = None, threshold: float = TAU
) -> np.ndarray:
    """Probabilities over options, made uniform in rows whose option mass is below `threshold`.

    Parameters
    ----------
    probabilities : array_like, shape (n, K)
        Over the options, renormalised: rows sum to one.
    mass : array_like, shape (n,)
        What the options had together before that, of the full vocabulary's probability.
    offered : array_like of bool, shape (n, K), optional
        Which options a row has; all when left out. A row becomes uniform over its own.
    threshold : float
        From 0, which changes nothing, to 1.

    Notes
    -----
    The largest renormalised probability tells nothing here: of two options it is never below 0.5, of three never below
    a third.

    Raises
    ------
    ConfigError
        If `threshold` is no share.
    DataError
        If rows do not sum to one, or a mass is no probability.

    Examples
    --------
    >>> import numpy as np
    >>> confident_or_uniform(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0.8, 0.02])).tolist()
    [[0.9, 0.1], [0.5, 0.5]]
    """
    threshold = arguments.number(threshold, "threshold", least=0.0, at_most=1.0)
    probabilities, mass = arrays.rows(probabilities, "probabilities"), arrays.numbers(mass, "mass")
    offered = np.ones(probabilities.shape, dtype=bool) if offered is None else np.asarray(offered, dtype=bool)
    if mass.shape != probabilities.shape[:1] or offered.shape != probabilities.shape:
        raise DataError(
            f"probabilities {probabilities.shape} need one mass a row and one mark an option, found mass {mass.shape} "
            f"and offered {offered.shape}"
        )
    if (probabilities < 0).any() or np.abs(probabilities.sum(1) - 1).max(initial=0.0) > _SUM_TOLERANCE:
        raise DataError("rows of probabilities must sum to 1 over the options; renormalise them first")
    if (probabilities[~offered] > 0).any() or not offered.any(1).all():
        raise DataError("a row has probability outside its options, or no options; check which options are offered")
    if (mass < 0).any() or (mass > 1 + 2e-2).any():
        raise DataError(f"mass must be probabilities, found {mass.min():.3g} to {mass.max():.3g}")
    uniform = offered / offered.sum(1, keepdims=True)
    return np.where((mass < threshold)[:, None], uniform, probabilities)


def right(predictions: Predictions, key: str, *, score: str = BEGINS) -> np.ndarray:
    """Boolean ``(D, n)``: the right answer has the highest score of all options, by the one rule of all passes.

    No threshold acts here, and a tie for the highest is not right.
    """
    scores = raw_scores(predictions, predictions[key], score)
    rows = np.arange(len(predictions))
    own = np.where(predictions.answer >= 0, scores[:, rows, predictions.answer], np.nan)
    others = scores.copy()
    others[:, rows, predictions.answer] = -np.inf
    return own > others.max(2)


def right_published(predictions: Predictions, key: str, *, threshold: float = TAU) -> np.ndarray:
    """Boolean ``(D, n)``, as OpenReview 6WsBGk4Iag counts: two measures under one name.

    In the joint pass the first greedy token has to be the letter; in all others the letter has to be the likeliest of
    the letters, and rows below the threshold count as wrong.
    """
    each = predictions[key]
    rows = np.arange(len(predictions))
    if each.replacement is None and each.name == "joint" and (each.greedy >= 0).all():
        letters = np.where(predictions.answer >= 0, predictions.bare_ids[rows, predictions.answer], -2)
        return each.greedy == letters
    return right(predictions, key, score=BARE) & (option_mass(predictions, each, BARE) >= threshold)


def entropy_bits(mass: np.ndarray) -> float:
    """``P(rest) H(rest)`` in bits of probabilities that do not sum to one: what merging them into one answer can hide.

    With Y' the answer in which all of these are one, ``I(X; Y) - I(X; Y') = I(X; Y | Y') <= P(rest) H(Y | rest)``, for
    any sources X, where `mass` is the mean over questions of the probability of each answer that was merged.
    """
    mass = arrays.numbers(mass, "mass")
    total = float(mass.sum())
    held = mass[mass > 0]
    return float(-(held * np.log2(held / total)).sum()) if total > 0 else 0.0
