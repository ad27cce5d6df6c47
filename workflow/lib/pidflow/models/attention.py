"""The attention function that pidflow registers with transformers: SDPA, with the edges in force taken out.

One attention function and one mask function are registered, and the language model (not the vision tower) is told to
use them. Without anything in force the function is SDPA itself, so a model keeps it for good. What is in force is held
in context variables: another thread, or another model in this one, never sees it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from pidflow.errors import ConfigError

ATTENTION = "pidflow_knockout"
_SDPA, _WRITTEN_OUT = "sdpa", "eager"  # Gemma 2 has the second alone, for its bounded scores
Kernel = Callable[..., tuple[torch.Tensor, None]]


class Edges(Protocol):
    """What the attention function asks of the edges that are cut while a forward runs."""

    config: Any
    """The configuration object of the language model that they are about."""

    valid: torch.Tensor
    """Boolean ``(B, T)``: positions that are no padding."""

    def allowed(
        self, layer: int, queries: int, keys: int, base: torch.Tensor | None, *, causal: bool = True
    ) -> torch.Tensor | None:
        """The mask of one block: ``base`` itself where nothing is cut; without one, `causal` states what is open."""

    def unseen(self, layer: int, queries: int) -> torch.Tensor | None:
        """Boolean ``(B, 1 or heads, queries, 1 or keys)``: keys of the picture that are lost; None: none."""

    def observe(
        self, kernel: Kernel, module: nn.Module, query: torch.Tensor, key: torch.Tensor, mask: Any, **kwargs: Any
    ) -> None:
        """Look at a block before it attends."""


class Front(Protocol):
    """What attends in place of a language model's attention: a recomputation from cached keys and values."""

    config: Any
    """The configuration object of the language model."""

    def attend(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        kernel: Kernel | None,
        scaling: float | None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Attention of a block ``(rows, queries, heads, head width)``."""


Watcher = Callable[[nn.Module, torch.Tensor, torch.Tensor, Any], None]
"""Sees attention module, query, key and the library's mask of each call."""

_ACTIVE: ContextVar[Edges | None] = ContextVar(ATTENTION, default=None)
_FRONT: ContextVar[Front | None] = ContextVar("front", default=None)
_WATCHED: ContextVar[tuple[Any, Watcher] | None] = ContextVar("watched", default=None)
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


@contextmanager
def front_in_force(text_model: nn.Module, front: Front) -> Iterator[None]:
    """Let a front attend for the blocks of a language model."""
    use_registered(text_model)
    token = _FRONT.set(front)
    try:
        yield
    finally:
        _FRONT.reset(token)


@contextmanager
def watched(text_model: nn.Module, watcher: Watcher) -> Iterator[None]:
    """Show every call of a language model's attention to a watcher, before it attends."""
    use_registered(text_model)
    token = _WATCHED.set((text_model.config, watcher))
    try:
        yield
    finally:
        _WATCHED.reset(token)


def edges_now(text_model: nn.Module) -> Edges | None:
    """The edges that are cut in a language model at the moment, in this thread."""
    edges = _ACTIVE.get()
    return edges if edges is not None and edges.config is text_model.config else None


def use_registered(text_model: nn.Module) -> None:
    """Tell a language model to attend through the registered function."""
    used = text_model.config._attn_implementation
    if used not in (_SDPA, _WRITTEN_OUT, ATTENTION):
        raise ConfigError(f"knockout needs a model with attn_implementation 'sdpa' or 'eager', found '{used}'")
    if used != ATTENTION:
        text_model.set_attn_implementation(ATTENTION)


def is_across(module: nn.Module) -> bool:
    """Whether an attention module reads the picture itself, not the text."""
    return "CrossAttention" in type(module).__name__


def _attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA with the cuts in force; without any, SDPA as it is. A front attends by itself."""
    watching, front, state = _WATCHED.get(), _FRONT.get(), _ACTIVE.get()
    if watching is not None and watching[0] is module.config:
        watching[1](module, query, key, attention_mask)
    kernel = kernel_of(module)
    if front is not None and front.config is module.config:
        return front.attend(module, query, key, value, kernel=kernel, **kwargs), None
    kernel = kernel or plain_kernel(kwargs)
    if state is None or module.config is not state.config:
        return kernel(module, query, key, value, attention_mask, **kwargs)
    if is_across(module):
        unseen = state.unseen(module.layer_idx, query.shape[2])
        return attend_across(kernel, module, query, key, value, attention_mask, unseen, **kwargs), None
    if query.shape[0] != state.valid.shape[0] or key.shape[2] > state.valid.shape[1]:
        raise ConfigError(
            f"the cut was made for spans of shape {tuple(state.valid.shape)}, but the model was fed a batch of "
            f"{query.shape[0]} rows and {key.shape[2]} positions"
        )
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    mask = state.allowed(module.layer_idx, query.shape[2], key.shape[2], attention_mask, causal=causal)
    mask = None if mask is None else mask.to(query.device)  # blocks may lie on several devices
    state.observe(kernel, module, query, key, mask, **kwargs)
    return kernel(module, query, key, value, mask, **kwargs)


def attend_across(
    kernel: Kernel,
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    unseen: torch.Tensor | None,
    **kwargs: Any,
) -> torch.Tensor:
    """Attention to the picture itself without the keys in ``unseen``; who has none left gets nothing."""
    if unseen is None:
        return kernel(module, query, key, value, mask, **kwargs)[0]
    unseen = unseen.to(query.device)
    seen = torch.ones(1, 1, 1, key.shape[2], dtype=torch.bool, device=query.device)
    if mask is not None:
        seen = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    left = seen & ~unseen
    gone = ~left.any(-1, keepdim=True)
    output = kernel(module, query, key, value, left | gone, **kwargs)[0]
    return output.masked_fill(gone.transpose(1, 2), 0)


def plain_kernel(kwargs: Mapping[str, Any]) -> Kernel:
    """The library's SDPA, or attention written out where scores are bounded, which SDPA cannot do."""
    return _softcapped if kwargs.get("softcap") is not None else AttentionInterface()[_SDPA]


def _softcapped(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    softcap: float = 50.0,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention with scores ``softcap * tanh(score / softcap)`` (Gemma 2)."""
    groups = query.shape[1] // key.shape[1]
    key, value = (each.repeat_interleave(groups, 1) for each in (key, value))
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = softcap * torch.tanh(query @ key.transpose(2, 3) * scaling / softcap)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if attention_mask is None and causal and query.shape[2] > 1:
        shape = scores.shape[-2:]
        attention_mask = torch.ones(shape, dtype=torch.bool, device=query.device).tril(shape[1] - shape[0])
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask, -torch.inf)
    elif attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype).nan_to_num(0.0)
    return (weights @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
