"""From an intervention in the configuration to what is entered around a forward."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from pidflow.errors import ConfigError
from pidflow.interventions.edges import KINDS
from pidflow.interventions.knockout import Cut, Plan
from pidflow.models.continuous_time import continuous_attention
from pidflow.models.dynamics import dynamics_of
from pidflow.models.loading import LoadedModel

PDE = "pde"


def plan_of(intervention: Mapping[str, Any] | None, *, depth: int, seed: int = 0) -> Plan | None:
    """The plan that a configuration entry describes; None for the intact model and for continuous-time attention.

    ``seed`` is that of random edges.
    """
    if intervention is None or intervention.get("kind") == PDE:
        return None
    kind = intervention.get("kind")
    if kind not in KINDS:
        raise ConfigError(f"unknown intervention kind {kind!r}, expected {', '.join(map(repr, KINDS))} or '{PDE}'")
    expected = {"kind", "source", "target", "layers"}
    if set(intervention) - expected or not {"source", "target"} <= set(intervention):
        raise ConfigError(
            f"an intervention of kind '{kind}' has source, target and layers, found {', '.join(intervention)}"
        )
    match intervention.get("layers", "all"):
        case "all":
            layers = None
        case [int(first), int(last)] if 0 <= first <= last < depth:
            layers = tuple(range(first, last + 1))
        case other:
            raise ConfigError(f"layers must be 'all' or [first, last] within 0 and {depth - 1}, found {other!r}")
    return Plan((Cut(intervention["source"], intervention["target"], layers, kind=kind, seed=seed),))


def attending(
    loaded: LoadedModel, model: Mapping[str, Any], intervention: Mapping[str, Any] | None = None
) -> AbstractContextManager[None]:
    """How the model attends: as an intervention of kind ``pde`` says, else as its entry does, else as ever."""
    settings = model.get("attention")
    if intervention is not None and intervention.get("kind") == PDE:
        settings = {key: value for key, value in intervention.items() if key != "kind"}
    if settings is None:
        return nullcontext()
    return continuous_attention(loaded.text_model, dynamics_of(settings, depth=loaded.depth))
