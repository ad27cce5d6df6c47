"""What every decoder block is called with in one pass, so that it can be called again for some positions alone.

Families hand their blocks different things: rotations by layer type, per-layer inputs, the picture's own states. None
of it is made a second time: what a block received is cut to the positions that are computed again.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from pidflow.models.attention import is_across, watched
from pidflow.models.loading import LoadedModel

# Handed to a block by the pass around it: they hold what a recomputation has in its own way.
_OF_THE_PASS = {"attention_mask": None, "past_key_values": None, "past_key_value": None, "use_cache": False}
_OF_THE_PICTURE = ("cross_attention_states",)  # may happen to be as long as the text
_DROPPED = ("cache_position", "output_attentions")


@dataclass(eq=False)
class BlockCalls:
    """One pass over a prompt of `length` positions and what was fed after it, block by block.

    Attributes
    ----------
    states
        Per layer 0 … L its states from position ``start`` on, one piece a call.
    added
        Per layer what stands in its state beside the block before it, from position ``start`` on; None: nothing.
    """

    length: int
    start: int
    states: list[list[torch.Tensor]]
    added: list[torch.Tensor | None]
    given: list[list[tuple[tuple[Any, ...], dict[str, Any]]]]
    masks: list[list[torch.Tensor | None]]
    causal: list[bool]
    across: list[bool]
    left: dict[int, torch.Tensor] = field(default_factory=dict)

    def arguments(self, block: int, start: int, variants: int, rows: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What a block is called with for the positions from `start` on of some variants of all rows."""
        calls = self.given[block]

        def chosen(name: str, values: list[Any]) -> Any:
            return _cut(name, values, length=self.length, start=start, variants=variants, rows=rows)

        more = tuple(chosen("", [args[place] for args, _ in calls]) for place in range(len(calls[0][0])))
        named = {
            name: _OF_THE_PASS[name]
            if name in _OF_THE_PASS
            else chosen(name, [kwargs.get(name) for _, kwargs in calls])
            for name in calls[0][1]
            if name not in _DROPPED
        }
        return more, named

    def open_pairs(self, block: int, start: int, total: int, rows: int, device: torch.device) -> torch.Tensor:
        """Boolean ``(rows, total - start, total)``: which keys the positions from `start` on see in a block."""
        found = torch.zeros(rows, total - start, total, dtype=torch.bool, device=device)
        first = 0
        for mask in self.masks[block]:
            count = self.length if not first else 1
            keys = first + count
            piece = _seen(mask, count, keys, causal=self.causal[block], device=device)
            begin = max(first, start)
            found[:, begin - start : keys - start, :keys] = piece[..., begin - first :, :keys]
            first = keys
        return found

    def seen_of_picture(self, block: int, start: int) -> torch.Tensor | None:
        """The library's mask of a block that attends to the picture, for the positions from `start` on."""
        first, *steps = self.masks[block]
        return None if first is None else torch.cat([first[:, :, start:], *steps], 2)


@contextmanager
def states_kept(loaded: LoadedModel, length: int, start: int) -> Iterator[BlockCalls]:
    """Follow a pass over a prompt of this length, and of what is fed after it; states from position ``start`` on."""
    depth = loaded.depth
    found = BlockCalls(
        length,
        start,
        states=[[] for _ in range(depth + 1)],
        added=[None] * (depth + 1),
        given=[[] for _ in range(depth)],
        masks=[[] for _ in range(depth)],
        causal=[True] * depth,
        across=[False] * depth,
    )

    def enters(layer: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        states = args[0] if args else kwargs["hidden_states"]
        kept = states[:, start:].clone() if states.shape[1] == length else states
        kept = kept.to(loaded.device)
        found.states[layer].append(kept)
        if states.shape[1] == length and layer in found.left:
            added = kept - found.left.pop(layer)
            found.added[layer] = added if added.any() else None
        if layer < depth:
            named = {name: value for name, value in kwargs.items() if name != "hidden_states"}
            found.given[layer].append((args[1:], named))

    def leaves(layer: int, result: Any) -> None:
        result = result[0] if isinstance(result, tuple) else result
        if result.shape[1] == length:
            found.left[layer + 1] = result[:, start:].to(loaded.device)

    moved: list[torch.Tensor] = []

    def at_home(mask: torch.Tensor | None) -> torch.Tensor | None:
        """The mask on the model's device: blocks elsewhere get copies of one, of which one is kept."""
        if mask is None or mask.device == loaded.device:
            return mask
        mask = mask.to(loaded.device)
        known = next((each for each in moved if each.shape == mask.shape and torch.equal(each, mask)), None)
        if known is None:
            moved.append(mask)
        return mask if known is None else known

    def attends(module: nn.Module, _: torch.Tensor, __: torch.Tensor, mask: torch.Tensor | None) -> None:
        found.masks[module.layer_idx].append(at_home(mask))
        found.causal[module.layer_idx] = getattr(module, "is_causal", True)
        found.across[module.layer_idx] = is_across(module)

    with ExitStack() as stack:
        stack.enter_context(watched(loaded.text_model, attends))
        for layer, module in enumerate((*loaded.layers, loaded.final_norm)):

            def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], layer: int = layer) -> None:
                enters(layer, args, kwargs)

            stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        for layer, module in enumerate(loaded.layers):

            def after(_: nn.Module, __: tuple[Any, ...], result: Any, layer: int = layer) -> None:
                leaves(layer, result)

            stack.callback(module.register_forward_hook(after).remove)
        yield found


def _seen(mask: torch.Tensor | None, queries: int, keys: int, *, causal: bool, device: torch.device) -> torch.Tensor:
    """Boolean ``(…, queries, keys)`` of a library's mask; without one, `causal` states what is open."""
    if mask is None:
        open_pairs = torch.ones(queries, keys, dtype=torch.bool, device=device)
        return open_pairs.tril(keys - queries) if causal else open_pairs
    mask = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    return mask[:, 0]


def _cut(name: str, values: list[Any], *, length: int, start: int, variants: int, rows: int) -> Any:
    """A value that blocks were called with, one piece a call, for some positions of some variants of all rows."""
    first = values[0]
    if isinstance(first, tuple | list):
        pieces = zip(*values, strict=True)
        made = [_cut(name, list(piece), length=length, start=start, variants=variants, rows=rows) for piece in pieces]
        return type(first)(made)
    if not isinstance(first, torch.Tensor):
        return first
    axes = () if name in _OF_THE_PICTURE else (1, 2, 0)
    axis = next((each for each in axes if each < first.dim() and first.shape[each] == length), None)
    row_axis = 0
    if axis is not None:
        # What is told of the tokens of a prompt alone is 0 of those that follow, one a call.
        pieces = [torch.zeros_like(first.narrow(axis, 0, 1)) if piece is None else piece for piece in values[1:]]
        others = [piece for piece in pieces if _fits(piece, first, axis)]
        if len(others) < len(values) - 1:
            return None  # a mask of all keys so far, which nobody asks for
        first = torch.cat([first.narrow(axis, start, length - start), *others], axis)
        if axis == 2 and name in ("position_embeddings", "position_ids"):
            row_axis = 1
    if axis == 0 or first.dim() == 0 or (first.shape[row_axis] != rows and name not in _OF_THE_PICTURE):
        return first  # the same for all rows
    repeats = [1] * first.dim()
    repeats[row_axis] = variants
    return first.repeat(repeats)


def _fits(piece: torch.Tensor, first: torch.Tensor, axis: int) -> bool:
    return all(a == b for each, (a, b) in enumerate(zip(piece.shape, first.shape, strict=True)) if each != axis)
