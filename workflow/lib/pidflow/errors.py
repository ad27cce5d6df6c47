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
