"""What plug-ins of maps hand back."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Maps:
    """One trained flow over the concatenated columns of the three blocks, float64.

    Attributes
    ----------
    forward, inverse
        Columns ``(d1 + d2 + m, n)`` to latents of the same shape, and back.
    """

    forward: Callable
    inverse: Callable
