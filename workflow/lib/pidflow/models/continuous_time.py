"""Continuous-time attention: attention weights that evolve over pseudo-time by a partial differential equation.

After the softmax each query's weights ``u`` over its keys take a few explicit steps of

- diffusion: ``u_t = s u_xx``
- wave: ``u_tt = s^2 u_xx``, starting at rest
- reaction-diffusion: ``u_t = s u_xx + r u (1 - u)``, the two parts in turn

along the key axis ``x`` with unit spacing, and are then used as ever (arXiv 2505.20666). Keys that a query may not
attend to (causality, padding, cut edges) do not exist for it: the axis is that of the open keys in their order, nothing
flows over its ends, closed keys keep weight 0. So a result does not depend on padding, on packing or on what is cached.
Weights stay non-negative and sum to 1. Everything is differentiable, so a model can be trained with it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.functional import dropout as drop

from pidflow.errors import ConfigError
from pidflow.models.attention import attending_with
from pidflow.models.dynamics import WAVE, Dynamics


@contextmanager
def continuous_attention(text_model: nn.Module, dynamics: Dynamics) -> Iterator[None]:
    """Let a language model attend in continuous time: ``with continuous_attention(loaded.text_model, dynamics): …``.

    Knockout, self-check, capture and sweeps inside see the evolved weights; training inside trains through them.

    Parameters
    ----------
    text_model
        The language model (decoder blocks that attend through ``AttentionInterface`` with SDPA).
    dynamics
        Equation, steps and blocks.

    Raises
    ------
    ConfigError
        If a block does not exist.
    """
    depth = text_model.config.num_hidden_layers
    if dynamics.blocks is not None and not all(0 <= layer < depth for layer in dynamics.blocks):
        raise ConfigError(f"{dynamics}: the model has the blocks 0 to {depth - 1}")

    def kernel(
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        *,
        scaling: float,
        dropout: float = 0.0,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        open_keys = _open_keys(query, key, attention_mask)
        weights = attention_weights(query, key, open_keys, scaling=scaling, dynamics=dynamics)
        weights = drop(weights.to(value.dtype), p=dropout, training=module.training)
        return (weights @ value).transpose(1, 2).contiguous(), None

    with attending_with(text_model, kernel, blocks=dynamics.blocks):
        yield


def attention_weights(
    query: torch.Tensor, key: torch.Tensor, open_keys: torch.Tensor, *, scaling: float, dynamics: Dynamics
) -> torch.Tensor:
    """Evolved weights ``(B, heads, Q, K)``, float32 or wider.

    Parameters
    ----------
    query, key
        ``(B, heads, Q, width)`` and ``(B, heads, K, width)``.
    open_keys
        Boolean, broadcastable to the weights; a query without any open key gets weights 0.
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    scores = (query.to(wide) @ key.to(wide).transpose(2, 3) * scaling).to(wide)  # autocast would narrow it
    return _side_by_side(scores, open_keys, lambda scores, open_keys: softmax_evolved(scores, open_keys, dynamics))


def softmax_evolved(scores: torch.Tensor, open_keys: torch.Tensor, dynamics: Dynamics) -> torch.Tensor:
    """Evolved weights of scores ``(…, K)`` where each row's open keys are one run; zeros where a row has none."""
    masked = scores.masked_fill(~open_keys, torch.finfo(scores.dtype).min)
    return _evolved(masked.softmax(-1) * open_keys, open_keys, dynamics)


def evolve(weights: torch.Tensor, open_keys: torch.Tensor, dynamics: Dynamics) -> torch.Tensor:
    """Weights after all steps.

    Parameters
    ----------
    weights
        ``(…, K)``, non-negative, 0 on closed keys, each row's sum 1 (or 0).
    open_keys
        Boolean, broadcastable to ``weights``.
    """
    if dynamics.steps == 0:
        return weights
    return _side_by_side(weights, open_keys, lambda weights, open_keys: _evolved(weights, open_keys, dynamics))


def _side_by_side(
    values: torch.Tensor, open_keys: torch.Tensor, change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """``change(values, open_keys)`` with every row's open keys next to each other; closed keys come back as 0."""
    before = torch.nn.functional.pad(open_keys[..., :-1], (1, 0))
    if ((open_keys & ~before).sum(-1) <= 1).all():  # each row's open keys are one run already
        return change(values, open_keys)
    count = open_keys.sum(-1, keepdim=True)
    filled = torch.arange(int(count.max()), device=open_keys.device) < count
    places = torch.zeros(filled.shape, dtype=torch.long, device=open_keys.device)
    places[filled] = open_keys.nonzero()[:, -1]  # both run through rows, then through a row's open keys in order
    places = places.expand(*values.shape[:-1], -1)
    changed = change(values.gather(-1, places) * filled, filled)
    return torch.zeros_like(values).scatter_add(-1, places, changed)


def _evolved(weights: torch.Tensor, open_keys: torch.Tensor, dynamics: Dynamics) -> torch.Tensor:
    """Weights after all steps, where no closed key lies between open ones."""
    if dynamics.steps == 0:
        return weights
    joined = (open_keys[..., 1:] & open_keys[..., :-1]).to(weights.dtype)
    step = dynamics.strength * dynamics.size
    if dynamics.equation == WAVE:
        now, before = weights + step**2 / 2 * _curvature(weights, joined), weights
        for _ in range(dynamics.steps - 1):
            now, before = 2 * now - before + step**2 * _curvature(now, joined), now
        weights = now.clamp(min=0)
    else:
        for _ in range(dynamics.steps):
            weights = weights + step * _curvature(weights, joined)
            if dynamics.rate:
                weights = weights + dynamics.rate * dynamics.size * weights * (1 - weights)
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total > 0, total, torch.ones_like(total))


def _curvature(weights: torch.Tensor, joined: torch.Tensor) -> torch.Tensor:
    """Second difference along the last axis; ``joined`` (…, K - 1) is 1 between neighbours that exchange weight."""
    flow = weights.diff(dim=-1) * joined
    return torch.nn.functional.pad(flow, (0, 1)) - torch.nn.functional.pad(flow, (1, 0))


def _open_keys(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Boolean mask from what the library hands over: none (plain causality), boolean, or additive."""
    if mask is None:
        queries, keys = query.shape[2], key.shape[2]
        return torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)[None, None]
    if mask.dtype == torch.bool:
        return mask
    return mask > torch.finfo(mask.dtype).min / 2
