"""One forward pass, every layer: pooled states of each block of tokens, read by hooks while the model runs."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from pidflow.models.forward import run
from pidflow.models.inputs import Batch
from pidflow.models.loading import LoadedModel

BLOCKS = {"vision": "image", "question": "question", "text": "text", "last": "last"}


@dataclass(frozen=True)
class Reading:
    """What one position per row holds: the one that chooses the next token.

    Attributes
    ----------
    last
        ``(L + 1, B, width)`` float32: its state at each layer.
    final
        ``(B, width)`` float32: its state after the final norm.
    logits
        ``(B, V)`` float32: the next token's.
    """

    last: torch.Tensor
    final: torch.Tensor
    logits: torch.Tensor

    def replaced(self, rows: torch.Tensor, other: "Reading") -> "Reading":
        """This reading with some rows (boolean ``(B,)``) from another one."""
        chosen = rows[:, None]
        return Reading(
            last=torch.where(chosen[None], other.last, self.last),
            final=torch.where(chosen, other.final, self.final),
            logits=torch.where(chosen, other.logits, self.logits),
        )


@dataclass(frozen=True)
class Captured:
    """What one forward pass left.

    Attributes
    ----------
    states
        ``(L + 1, 4, B, width)`` float32: mean state of each block of tokens (vision, question, text, last: in this
        order) at each layer. Layer 0 is the input of block 0, layer L the residual stream after the last block, before
        the final norm.
    final
        ``(B, width)`` float32: the state of the last position after the final norm.
    logits
        ``(B, V)`` float32: next-token logits at the last position.
    """

    states: torch.Tensor
    final: torch.Tensor
    logits: torch.Tensor

    @property
    def last(self) -> torch.Tensor:
        """``(L + 1, B, width)``: the state of the last position at each layer."""
        return self.states[:, list(BLOCKS).index("last")]

    @property
    def reading(self) -> Reading:
        """What the last position of the prompt holds."""
        return Reading(self.last, self.final, self.logits)


def capture(loaded: LoadedModel, batch: Batch, *, cache: DynamicCache | None = None) -> Captured:
    """Pooled states of all layers from one forward pass of ``batch`` (on the model's device).

    An empty `cache` takes the pass's keys and values, from which the answer can be spoken.
    What intervenes is entered by the caller: ``with intervention.entered(loaded, batch.spans): capture(…)``.
    """
    with torch.inference_mode(), capturing(loaded, batch) as found:
        return found.captured(run(loaded, batch.inputs, cache=cache)[:, -1])


class Capture:
    """Pooled states while a forward over the whole prompt runs."""

    def __init__(self, batch: Batch) -> None:
        self.pools = pools_of(batch)
        self.states: list[torch.Tensor] = []
        self.final: list[torch.Tensor] = []

    def keep(self, hidden: torch.Tensor) -> None:
        pooled = self.pools.to(hidden.device) @ hidden.float()
        self.states.append(pooled.transpose(0, 1).to(self.pools.device))

    def keep_final(self, normed: torch.Tensor) -> None:
        self.final.append(normed[:, -1].float().to(self.pools.device))

    def captured(self, logits: torch.Tensor) -> Captured:
        """What the forward left; `logits` ``(B, V)`` at the last position."""
        return Captured(states=torch.stack(self.states), final=self.final[0], logits=logits.float())


@contextmanager
def capturing(loaded: LoadedModel, batch: Batch) -> Iterator[Capture]:
    """Follow one forward over a batch: ``with capturing(…) as found: …``, then ``found.captured(logits)``."""
    found = Capture(batch)
    with _reading(loaded, found.keep, found.keep_final):
        yield found


def pools_of(batch: Batch) -> torch.Tensor:
    """Weights ``(B, 4, T)`` float32 that take the mean over each block of tokens."""
    masks = torch.stack([batch.spans[name] for name in BLOCKS.values()], 1).float()
    return masks / masks.sum(2, keepdim=True)


@dataclass(frozen=True)
class Steps:
    """What f positions per row hold that are fed after a prompt: as :class:`Reading`, with f after the rows."""

    last: torch.Tensor
    final: torch.Tensor
    logits: torch.Tensor

    def at(self, places: torch.Tensor) -> Reading:
        """One position per row, ``(B,)``."""
        rows = torch.arange(len(places), device=places.device)
        return Reading(self.last[:, rows, places], self.final[rows, places], self.logits[rows, places])


def read_steps(loaded: LoadedModel, fed: Mapping[str, torch.Tensor], cache: DynamicCache) -> Steps:
    """What the positions hold that are fed after the keys and values of `cache`."""
    states: list[torch.Tensor] = []
    final: list[torch.Tensor] = []

    def keeping(found: list[torch.Tensor]) -> Any:
        return lambda each: found.append(each.float().to(loaded.device))

    with torch.inference_mode(), _reading(loaded, keeping(states), keeping(final)):
        logits = run(loaded, fed, cache=cache, keep=0)
    return Steps(last=torch.stack(states), final=final[0], logits=logits.float())


@contextmanager
def _reading(loaded: LoadedModel, keep: Any, keep_final: Any) -> Iterator[None]:
    """Hooks on the input of every block and of the final norm, and on its output; gone when the block ends.

    A state is what a block receives, not what the one before it gives: some families add the picture in between.
    """

    def received(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(args[0] if args else kwargs["hidden_states"])

    def normed(_: nn.Module, __: tuple[Any, ...], result: torch.Tensor) -> None:
        keep_final(result)

    with ExitStack() as hooks:
        for module in (*loaded.layers, loaded.final_norm):
            hooks.callback(module.register_forward_pre_hook(received, with_kwargs=True).remove)
        hooks.callback(loaded.final_norm.register_forward_hook(normed).remove)
        yield
