"""The attention function that pidflow registers with transformers: SDPA, with the edges in force taken out.

One attention function and one mask function are registered, and the language model (not the vision tower) is told to
use them. Without anything in force the function is SDPA itself, so a model keeps it for good. What is in force is held
in context variables: another thread, or another model in this one, never sees it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from pidflow.errors import ConfigError

ATTENTION = "pidflow_knockout"
_SDPA = "sdpa"
Kernel = Callable[..., tuple[torch.Tensor, None]]


class Edges(Protocol):
    """What the attention function asks of the edges that are cut while a forward runs."""

    config: Any
    """The configuration object of the language model that they are about."""

    valid: torch.Tensor
    """Boolean ``(B, T)``: positions that are no padding."""

    def allowed(self, layer: int, queries: int, keys: int, base: torch.Tensor | None) -> torch.Tensor | None:
        """The mask of one block: ``base`` itself where nothing is cut."""

    def observe(
        self, kernel: Kernel, module: nn.Module, query: torch.Tensor, key: torch.Tensor, mask: Any, **kwargs: Any
    ) -> None:
        """Look at a block before it attends."""


_ACTIVE: ContextVar[Edges | None] = ContextVar(ATTENTION, default=None)
_KERNELS: ContextVar[tuple[tuple[Any, Kernel, tuple[int, ...] | None], ...]] = ContextVar("kernels", default=())


def kernel_of(module: nn.Module) -> Kernel | None:
    """What the block of this attention module attends with instead of SDPA, if anything."""
    for config, kernel, layers in reversed(_KERNELS.get()):
        if config is module.config and (layers is None or module.layer_idx in layers):
            return kernel
    return None


@contextmanager
def attending_with(text_model: nn.Module, kernel: Kernel, *, blocks: tuple[int, ...] | None) -> Iterator[None]:
    """Run some blocks of a language model (None: all) with another kernel than SDPA, of the same signature.

    One entered inside another goes before it in its own blocks.
    """
    use_registered(text_model)
    token = _KERNELS.set((*_KERNELS.get(), (text_model.config, kernel, blocks)))
    try:
        yield
    finally:
        _KERNELS.reset(token)


@contextmanager
def edges_in_force(text_model: nn.Module, edges: Edges) -> Iterator[None]:
    """Run a language model with edges cut."""
    use_registered(text_model)
    token = _ACTIVE.set(edges)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def edges_now(text_model: nn.Module) -> Edges | None:
    """The edges that are cut in a language model at the moment, in this thread."""
    edges = _ACTIVE.get()
    return edges if edges is not None and edges.config is text_model.config else None


def use_registered(text_model: nn.Module) -> None:
    """Tell a language model to attend through the registered function."""
    used = text_model.config._attn_implementation
    if used not in (_SDPA, ATTENTION):
        raise ConfigError(f"knockout needs a model with attn_implementation 'sdpa', found '{used}'")
    if used != ATTENTION:
        text_model.set_attn_implementation(ATTENTION)


def _attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    front: Any = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA with the cuts in force; without any, SDPA as it is. A ``front`` attends by itself.

    A front is what a recomputation from cached keys and values puts in place of attention.
    """
    kernel = kernel_of(module)
    if front is not None:
        return front.attend(module, query, key, value, kernel=kernel, **kwargs), None
    kernel = kernel or AttentionInterface()[_SDPA]
    state = _ACTIVE.get()
    if state is None or module.config is not state.config:
        return kernel(module, query, key, value, attention_mask, **kwargs)
    if query.shape[0] != state.valid.shape[0] or key.shape[2] > state.valid.shape[1]:
        raise ConfigError(
            f"the cut was made for spans of shape {tuple(state.valid.shape)}, but the model was fed a batch of "
            f"{query.shape[0]} rows and {key.shape[2]} positions"
        )
    mask = state.allowed(module.layer_idx, query.shape[2], key.shape[2], attention_mask)
    state.observe(kernel, module, query, key, mask, **kwargs)
    return kernel(module, query, key, value, mask, **kwargs)


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
