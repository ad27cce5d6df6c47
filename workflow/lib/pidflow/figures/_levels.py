"""Two levels of warning, read off column ``warning`` of the tables: caution, and do not use."""

from __future__ import annotations

from collections.abc import Iterable

NONE, CAUTION, DO_NOT_USE = LEVELS = (0, 1, 2)
WORDS = {CAUTION: "caution", DO_NOT_USE: "do not use"}
# What makes a number useless rather than doubtful: information that the estimate does not see, a solver that did not
# arrive. Everything else that is said (a failed twin, a large correction or bias) asks for caution.
_USELESS = ("missed information", "not converge")


def level_of(warning: str) -> int:
    """The level of one text of column ``warning``, which is empty where nothing is to be said."""
    if not warning:
        return NONE
    return DO_NOT_USE if any(words in warning for words in _USELESS) else CAUTION


def levels_of(warnings: Iterable[str]) -> list[int]:
    """The level of each text."""
    return [level_of(warning) for warning in warnings]


def shared(found: Iterable[int]) -> int:
    """The level of a mean: the highest that half of its parts have or pass."""
    found = list(found)
    return max(level for level in LEVELS if 2 * sum(each >= level for each in found) >= len(found))
