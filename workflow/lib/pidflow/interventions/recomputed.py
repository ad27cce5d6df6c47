"""What plans of interventions make of a prefix, collected while they are carried through the blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from pidflow.interventions.intervention import Intervention
from pidflow.interventions.prefix import Prefix
from pidflow.interventions.reached import Reached
from pidflow.models.loading import LoadedModel


@dataclass(frozen=True, eq=False)
class Recomputed:
    """What k plans make of the B questions of a prefix.

    Attributes
    ----------
    which
        Indices of the plans.
    changed
        Boolean ``(k, B)``: the question's last position is changed; others are the intact ones up to rounding.
    logits
        ``(k, B, m, V)`` float32: what the answer's tokens are chosen from.
    normed
        ``(k, B, m, width)``: the states behind them, after the final norm.
    moved
        ``(k, L + 1, P, B, width)`` float32: by how much each pooled state of each layer moves; None without pools.
    keys, values
        Per block ``(k, B, key heads, S, head width)`` of the last S positions, where they are kept.
    """

    which: list[int]
    changed: torch.Tensor
    logits: torch.Tensor
    normed: torch.Tensor
    moved: torch.Tensor | None = None
    keys: tuple[torch.Tensor, ...] = ()
    values: tuple[torch.Tensor, ...] = ()


class Front(Protocol):
    """What is asked of the plans that are carried through the blocks."""

    loaded: LoadedModel
    prefix: Prefix
    plans: Sequence[Sequence[Intervention]]
    reached: Reached
    start: int
    rows: int

    def intact(self, layer: int) -> torch.Tensor:
        """The intact states ``(B, S, width)`` of a layer at the front's positions."""


class Moved:
    """By how much pooled states move at each layer, while plans are carried through the blocks.

    A row that begins later in the batch than another is computed again from before its own first change on: there its
    states are the intact ones up to rounding, and are left out.
    """

    def __init__(self, front: Front, pools: torch.Tensor | None) -> None:
        self.front = front
        reached, skipped = front.reached, front.start - front.prefix.start
        taken = [torch.stack([reached.changed(each) for each in plan]).any(0) for plan in front.plans]
        self.changed = torch.stack(taken)[:, :, skipped:].cumsum(2) > 0  # (plans, B, S)
        self.pools = None if pools is None else pools[:, :, front.start :] * self.changed[:, :, None]
        self.moved: torch.Tensor | None = None
        if pools is not None:
            shape = (len(front.plans), front.loaded.depth + 1, pools.shape[1], front.rows, front.loaded.width)
            self.moved = torch.zeros(shape, device=pools.device)

    def add(self, layer: int, states: torch.Tensor) -> None:
        """States ``(k, B, S, width)`` of the first k plans."""
        if self.pools is None or self.moved is None:
            return
        intact = self.front.intact(layer).float()
        for place, each in enumerate(states):
            self.moved[place, layer] = (self.pools[place] @ (each.float() - intact)).transpose(0, 1)

    def of(self, places: slice) -> dict[str, Any]:
        """Those of some plans."""
        moved = None if self.moved is None else self.moved[places]
        return {"changed": self.changed[places, :, -1], "moved": moved}


class KeptCache:
    """Keys and values of the positions that are computed again; blocks below a plan's first keep the intact ones."""

    def __init__(self, plans: int, prefix: Prefix, size: int) -> None:
        self.keys, self.values = (
            [each[:, :, -size:].expand(plans, *each[:, :, -size:].shape).clone() for each in blocks]
            for blocks in (prefix.keys, prefix.values)
        )

    def add(self, block: int, chunk: range, key: torch.Tensor, value: torch.Tensor) -> None:
        """Keys and values ``(k * B, heads, S, head width)`` of a chunk of plans."""
        for kept, own in ((self.keys, key), (self.values, value)):
            kept[block][chunk.start : chunk.stop] = own.unflatten(0, (len(chunk), -1))

    def of(self, places: slice) -> dict[str, tuple[torch.Tensor, ...]]:
        """Those of some plans."""
        return {
            "keys": tuple(block[places] for block in self.keys),
            "values": tuple(block[places] for block in self.values),
        }


def as_intact(
    loaded: LoadedModel, prefix: Prefix, which: list[int], pools: torch.Tensor | None, *, keep_cache: bool
) -> Recomputed:
    """What plans make that take nothing away: the intact pass itself, to the bit."""
    rows, speaking = prefix.answer_ids.shape
    logits = prefix.logits.expand(len(which), *prefix.logits.shape)
    normed = loaded.normed(prefix.states[-1][:, -speaking:])
    moved = None
    if pools is not None:
        shape = (len(which), loaded.depth + 1, pools.shape[1], rows, loaded.width)
        moved = torch.zeros(shape, device=pools.device)
    cache = KeptCache(len(which), prefix, speaking).of(slice(None)) if keep_cache else {}
    changed = torch.zeros(len(which), rows, dtype=torch.bool, device=logits.device)
    return Recomputed(which, changed, logits, normed.expand(len(which), *normed.shape), moved, **cache)
