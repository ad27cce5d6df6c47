"""Maps ``product``: stages of mix, bend and twist without conditioner networks (:mod:`pidflow.flows._product`)."""

from collections.abc import Mapping
from typing import Any

from pidflow.flows.maps._maps import Maps


def train(*parts: Any, **how: Any) -> Any:
    """All flows at once; see :func:`pidflow.flows.training.train_stack`."""
    from pidflow.flows.training import train_stack

    return train_stack(*parts, **how)


def stored(parameters: Mapping[str, Any], columns: Any, config: Any) -> dict[str, Any]:
    """The parameters of one layer's flows without padding, `columns` being those of the stack that are its own."""
    import torch

    weights = {"bound": torch.tensor(config.bound, dtype=torch.float64)}
    for name, value in parameters.items():
        value = value.cpu()
        for axis in (1, 2) if name.endswith("mix") else (1,):
            value = value.index_select(axis, columns)
        weights[f"flow.{name}"] = value.contiguous()
    return weights


def strengthened(weights: Mapping[str, Any], by: float) -> dict[str, Any]:
    """Stored flows with bends and twists `by` times as strong; their parameters are zero at the identity."""
    bent = ("widths", "heights", "slopes", "twist")
    return {
        name: value * by if name.startswith("flow.") and name.endswith(bent) else value
        for name, value in weights.items()
    }


def opened(weights: Mapping[str, Any], fold: int, settings: Mapping[str, Any]) -> Maps:
    """The stored flow of one fold, as a stack of one."""
    from pidflow.flows._product import Layout, ProductFlows
    from pidflow.flows.settings import FlowConfig

    own = {k.removeprefix("flow."): v[fold : fold + 1].double() for k, v in weights.items() if k.startswith("flow.")}
    config = FlowConfig(
        stages=sum(name.endswith(".mix") for name in own),
        bins=own["0.widths"].shape[-1],
        bound=weights["bound"].item(),
    )
    flows = ProductFlows(Layout.of([tuple(weights["dims"].tolist())]), config)
    return Maps(lambda x: flows.forward(own, x[None])[0][0], lambda z: flows.inverse(own, z[None])[0])
