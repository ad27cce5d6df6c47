"""Other states in place of a model's own while it runs: at the input of a block, or in what a sublayer adds to it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from pidflow.errors import ConfigError
from pidflow.interventions.intervention import Intervention
from pidflow.models.loading import LoadedModel
from pidflow.models.spans import Spans

INPUT, ATTENTION, MLP = "input", "attention", "mlp"
SUBLAYERS = (MLP, ATTENTION)

# What families call them. Where the output is normed before it is added (Gemma 2 and later), the norm's output counts.
_CALLED = {
    ATTENTION: ("self_attn", "cross_attn", "self_attention", "attention", "attn"),
    MLP: ("mlp", "feed_forward", "block_sparse_moe", "moe", "ffn", "fc2"),
}
_NORMED = {ATTENTION: "post_attention_layernorm", MLP: "post_feedforward_layernorm"}
_NORMED_BOTH = ("pre_feedforward_layernorm", "post_feedforward_layernorm")

Rewrite = Callable[[torch.Tensor], torch.Tensor]


def sublayer(block: nn.Module, part: str) -> nn.Module:
    """The module of a decoder block whose output is what its attention or MLP adds to the residual stream.

    Raises
    ------
    ConfigError
        If the block has no such module.
    """
    called = (_NORMED[part],) if all(hasattr(block, name) for name in _NORMED_BOTH) else _CALLED[part]
    for name in called:
        found = getattr(block, name, None)
        if isinstance(found, nn.Module):
            return found
    raise ConfigError(
        f"a block of class {type(block).__name__} has no {part} sublayer that can be rewritten, expected a module "
        f"called {', '.join(_CALLED[part])}"
    )


@contextmanager
def rewriting(loaded: LoadedModel, intervention: Intervention, spans: Spans, names: Sequence[str]) -> Iterator[None]:
    """Rewrite states in every forward inside, of all T positions of the spans or of the last of them."""

    def rewrite(block: int) -> Rewrite:
        def change(states: torch.Tensor) -> torch.Tensor:
            if states.shape[0] != len(spans.valid) or states.shape[1] > spans.valid.shape[1]:
                raise ConfigError(
                    f"the intervention was made for spans of shape {tuple(spans.valid.shape)}, but the model was fed "
                    f"{states.shape[0]} rows and {states.shape[1]} positions"
                )
            there = states.to(loaded.device)  # a block may lie elsewhere
            return intervention.rewritten(there, spans, names, block=block).to(states.device)

        return change

    with ExitStack() as stack:
        for block, layer in enumerate(loaded.layers):
            if intervention.acts_in(block):
                at = layer if intervention.rewrites == INPUT else sublayer(layer, intervention.rewrites)
                stack.enter_context(hooked(at, rewrite(block), rows=len(spans.valid), of=intervention.rewrites))
        yield


@contextmanager
def hooked(module: nn.Module, change: Rewrite, *, rows: int | None, of: str) -> Iterator[None]:
    """Change what a module receives (of "input") or gives, states ``(rows, Q, width)``; `rows` None: as they come."""

    def shaped(states: torch.Tensor) -> torch.Tensor:
        if states.ndim == 3 or rows is None:
            return change(states)
        return change(states.unflatten(0, (rows, -1))).flatten(0, 1)  # some families run positions of all rows in one

    def received(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if args:
            return (shaped(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": shaped(kwargs["hidden_states"])}

    def gave(_: nn.Module, __: tuple[Any, ...], result: Any) -> Any:
        return (shaped(result[0]), *result[1:]) if isinstance(result, tuple) else shaped(result)

    if of == INPUT:
        hook = module.register_forward_pre_hook(received, with_kwargs=True)
    else:
        hook = module.register_forward_hook(gave)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def read_along(loaded: LoadedModel, of: str, blocks: Sequence[int]) -> Iterator[dict[int, torch.Tensor]]:
    """By block the states ``(rows, Q, width)`` at a place of it, from the forward inside."""
    found: dict[int, torch.Tensor] = {}

    def keep(block: int) -> Rewrite:
        def note(states: torch.Tensor) -> torch.Tensor:
            found[block] = states.to(loaded.device)
            return states

        return note

    with ExitStack() as stack:
        for block in blocks:
            layer = loaded.layers[block]
            at = layer if of == INPUT else sublayer(layer, of)
            stack.enter_context(hooked(at, keep(block), rows=None, of=of))
        yield found


def placed(states: torch.Tensor, where: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """States ``(B, Q, width)`` with others at the last Q of the positions ``where`` ``(B, T)``."""
    return torch.where(where[:, -states.shape[1] :, None], others.to(states.dtype), states)
