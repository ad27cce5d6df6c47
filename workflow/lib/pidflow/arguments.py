"""The gate for settings: what public functions take as a count, a seed, a number, a word, sizes of blocks.

Counts may be written as integral floats (``150.0``); booleans are no numbers. What is refused is answered with one
sentence that names the argument, what was expected and what was found. Arrays go through :mod:`pidflow.arrays`.
"""

from collections.abc import Sequence
from itertools import islice
from numbers import Real
from typing import Any

import numpy as np

from pidflow.errors import ConfigError, DataError, PidflowError

LARGEST_SEED = 2**63 - 1


def count(value: Any, name: str, *, least: int, most: int, error: type[PidflowError] = ConfigError) -> int:
    """A whole number between two bounds; ``150.0`` is one, ``True`` is none.

    Raises
    ------
    ConfigError
        Or `error`, when it is none.
    """
    plain = _scalar(value)
    if (
        not isinstance(plain, Real)
        or isinstance(plain, bool)
        or plain != plain
        or plain % 1
        or not least <= plain <= most
    ):
        bounds = f"of at least {least}" if most >= LARGEST_SEED else f"from {least} to {most}"
        raise error(f"{name} must be a whole number {bounds}, found {shown(value)}")
    return int(plain)


def seed_of(value: Any, name: str = "seed") -> int:
    """A seed: a whole number from 0 to ``2^63 - 1``.

    Raises
    ------
    ConfigError
        When it is none.
    """
    return count(value, name, least=0, most=LARGEST_SEED)


def number(
    value: Any,
    name: str,
    *,
    above: float = -np.inf,
    least: float = -np.inf,
    at_most: float = np.inf,
    below: float = np.inf,
) -> float:
    """A finite number within the bounds given.

    Raises
    ------
    ConfigError
        When it is none.
    """
    plain = _scalar(value)
    largest = float(np.finfo(np.float64).max)
    if not isinstance(plain, Real) or isinstance(plain, bool) or not -largest <= plain <= largest:
        raise ConfigError(f"{name} must be a finite number, found {shown(value)}")
    if not (above < plain < below and least <= plain <= at_most):
        bounds = {"above": above, "at least": least, "at most": at_most, "below": below}
        sentence = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if np.isfinite(bound))
        raise ConfigError(f"{name} must be {sentence}, found {shown(value)}")
    return float(plain)


def choice(value: Any, name: str, allowed: Sequence[str]) -> str:
    """One of the words allowed.

    Raises
    ------
    ConfigError
        When it is none of them.
    """
    if not isinstance(value, str) or value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, found {shown(value)}")
    return value


def choices(values: Any, name: str, allowed: Sequence[str]) -> tuple[str, ...]:
    """Some of the words allowed, each once, in the order given; one word alone counts as a list of one.

    Raises
    ------
    ConfigError
        When there are none, or one of them is not allowed.
    """
    if isinstance(values, str):
        values = (values,)
    try:
        taken = tuple(islice(values, 1000))
    except TypeError:
        raise ConfigError(f"{name} must be taken from {', '.join(allowed)}, found {shown(values)}") from None
    unknown = [value for value in taken if not isinstance(value, str) or value not in allowed]
    if unknown or not taken:
        found = shown(unknown[0]) if unknown else "none"
        raise ConfigError(f"{name} must be taken from {', '.join(allowed)}, found {found}")
    return tuple(dict.fromkeys(taken))


def sizes(values: Any, names: Sequence[str], *, name: str = "dims", least: int = 0) -> tuple[int, ...]:
    """Numbers of columns, one for each of `names`.

    Raises
    ------
    DataError
        When there are more or fewer, or one is no whole number of at least `least`.
    """
    what = f"{name}=({', '.join(names)})"
    kind = f"whole numbers of at least {least}"
    try:
        taken = tuple(islice(values, len(names) + 1))
    except TypeError:
        taken = ()
    if isinstance(values, str | dict) or len(taken) != len(names):
        raise DataError(f"{what} must be {len(names)} {kind}, found {shown(values)}")
    try:
        return tuple(count(size, what, least=least, most=10**6, error=DataError) for size in taken)
    except DataError:
        raise DataError(f"{what} must be {len(names)} {kind}, found {shown(taken)}") from None


def shown(value: Any) -> str:
    """A value in a sentence: short, with its type where that is not plain from it."""
    try:
        text = repr(value)
    except Exception:
        text = "something that cannot be shown"
    text = " ".join(text.split()).split(" at 0x")[0]
    text = text if len(text) <= 60 else f"{text[:57]}..."
    plain = isinstance(value, int | float | str | tuple | list | dict | None) and not isinstance(
        value, bool | np.generic
    )
    return text if plain else f"{text} ({type(value).__name__})"


def _scalar(value: Any) -> Any:
    """The plain value of a numpy or tensor scalar; others as they are."""
    if isinstance(value, np.generic | np.ndarray) or hasattr(value, "detach"):
        try:
            return value.item()
        except Exception:
            return None
    return value
