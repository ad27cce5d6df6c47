"""The exceptions pidflow raises, one per kind of fault.

Every message says what was expected, what was found, where, and what to do about it.
"""


class PidflowError(Exception):
    """Base of every error pidflow raises on purpose."""


class ConfigError(PidflowError):
    """What was asked for makes no sense: an unknown id, an impossible setting."""


class DataError(PidflowError):
    """A file or an array does not hold what it must."""


class NumericsError(PidflowError):
    """The mathematics refuses: too few samples, a singular block, no convergence."""


class UnboundedError(NumericsError):
    """An information without bound: the target is an exact function of a source."""


def shown(value: object, *, length: int = 80) -> str:
    """A value as a message quotes it: its ``repr``, cut in the middle with the number of characters left out."""
    text = repr(value)
    if len(text) <= length:
        return text
    head, tail = length * 2 // 3, length // 4
    return f"{text[:head]} … {len(text) - head - tail:,} characters … {text[-tail:]}"


def shown_path(path: object) -> str:
    """A path as a message spells it, cut in the middle only where it would fill the screen."""
    return shown(str(path), length=300)[1:-1]


def first_line(error: BaseException, *, length: int = 200) -> str:
    """The first line of an exception of a library, cut; its type where it has no words."""
    return (str(error).splitlines() or [type(error).__name__])[0][:length]
