"""What attention in continuous time is told, and which steps are stable; no torch, the workflow itself reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pidflow.errors import ConfigError
from pidflow.plugins.settings import Blocks, Settings, Whole

DIFFUSION, WAVE, REACTION_DIFFUSION = EQUATIONS = ("diffusion", "wave", "reaction-diffusion")


class AttentionSettings(Settings):
    """Attention weights that evolve in pseudo-time, as a model, a stand-in or an intervention sets them."""

    renamed: ClassVar = {"layers": "blocks"}

    equation: Literal[EQUATIONS] = Field(description="What the weights obey along the keys.")
    steps: Whole = Field(ge=0, le=1000, description="Explicit steps; 0 leaves attention as it is.")
    size: float = Field(gt=0, le=1000, description="Pseudo-time of a step; stability is checked.")
    strength: float = Field(default=1.0, ge=0, le=1000, description="Diffusivity or speed of the wave.")
    rate: float = Field(default=0.0, ge=0, le=1000, description="Rate of the reaction.")
    blocks: Blocks = Field(default="all", description="Blocks that attend so.")

    @model_validator(mode="after")
    def _stable(self) -> Self:
        refused = instability(self.equation, self.size, strength=self.strength, rate=self.rate)
        if refused is not None:
            raise ValueError(refused)
        return self


def instability(equation: str, size: float, *, strength: float, rate: float) -> str | None:
    """Why steps of this size make no sense, in words; None if they are stable.

    With unit spacing diffusion needs ``strength * size <= 1/2``, a wave ``strength * size <= 1``, a reaction
    ``rate * size <= 1``.
    """
    if rate and equation != REACTION_DIFFUSION:
        return f"'{equation}' has no reaction; leave rate out or take '{REACTION_DIFFUSION}'"
    limits = [("strength", strength, 1.0 if equation == WAVE else 0.5)]
    if equation == REACTION_DIFFUSION:
        limits.append(("rate", rate, 1.0))
    for name, value, limit in limits:
        product = value * size
        if product > limit:
            return (
                f"'{equation}' is unstable: {name} * size = {product:g} exceeds {limit:g}; take size "
                f"{limit / value:g} or less and more steps"
            )
    return None


@dataclass(frozen=True)
class Dynamics:
    """How attention weights evolve.

    Attributes
    ----------
    equation
        ``"diffusion"``, ``"wave"`` or ``"reaction-diffusion"``.
    steps
        Number of explicit steps; 0 leaves attention as it is.
    size
        Pseudo-time of one step.
    strength
        Diffusivity, or speed of the wave.
    rate
        Rate of the reaction; only for ``"reaction-diffusion"``.
    blocks
        Blocks 0 … L-1 that attend so; None means all.

    Raises
    ------
    ConfigError
        If the equation is unknown, a number is negative or not finite, or a step is too large to be stable: with unit
        spacing diffusion needs ``strength * size <= 1/2``, a wave ``strength * size <= 1``, a reaction
        ``rate * size <= 1``. Within these limits weights stay between 0 and 1 (a wave's negative parts are cut off).
    """

    equation: str
    steps: int
    size: float
    strength: float = 1.0
    rate: float = 0.0
    blocks: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.equation not in EQUATIONS:
            raise ConfigError(f"unknown equation '{self.equation}', expected one of: {', '.join(EQUATIONS)}")
        if not isinstance(self.steps, int) or self.steps < 0:
            raise ConfigError(f"steps must be a whole number of at least 0, found {self.steps!r}")
        for name in ("size", "strength", "rate"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be a number of at least 0, found {getattr(self, name)!r}")
        refused = instability(self.equation, self.size, strength=self.strength, rate=self.rate)
        if refused is not None:
            raise ConfigError(refused)


def dynamics_of(settings: Mapping[str, Any], *, depth: int) -> Dynamics:
    """The dynamics that a configuration entry describes; its ``blocks`` are ``"all"`` or ``[first, last]``.

    Raises
    ------
    ConfigError
        If a key is unknown or missing, blocks do not exist, or a step is unstable.
    """
    known = {"equation", "steps", "size", "strength", "rate", "blocks"}
    given = dict(settings)
    if set(given) - known or not {"equation", "steps", "size"} <= set(given):
        raise ConfigError(
            f"continuous-time attention has equation, steps and size, optionally strength, rate and blocks; "
            f"found {', '.join(given)}"
        )
    match given.pop("blocks", "all"):
        case "all":
            return Dynamics(**given)
        case [int(first), int(last)] if 0 <= first <= last < depth:
            return Dynamics(**given, blocks=tuple(range(first, last + 1)))
        case other:
            raise ConfigError(f"blocks must be 'all' or [first, last] within 0 and {depth - 1}, found {other!r}")


# Attention as it is.
ORDINARY = Dynamics(DIFFUSION, steps=0, size=0.0)
