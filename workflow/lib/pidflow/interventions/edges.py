"""Attention edges by name, and the pairs of positions that cutting, keeping or a random control blocks."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pidflow.errors import ConfigError

CUT, KEEP, RANDOM = KINDS = ("cut", "keep", "random")


@dataclass(frozen=True)
class Edge:
    """From the positions of one span to those of another; ``target`` attends to ``source``.

    A source may be several spans, joined by ``+``: ``image+question``.
    """

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}->{self.target}"


# The two-stage picture of arXiv 2411.18620, and which patches take part in its first stage.
DEFAULT_EDGES = (
    Edge("image", "question"),
    Edge("image", "last"),
    Edge("question", "last"),
    Edge("last", "last"),
    Edge("object", "question"),
    Edge("other", "question"),
)


def edge_of(wanted: Edge | str | Mapping[str, str]) -> Edge:
    """An edge from ``"image->question"`` or ``{"source": "image", "target": "question"}``."""
    if isinstance(wanted, Edge):
        return wanted
    if isinstance(wanted, str):
        source, arrow, target = (part.strip() for part in wanted.partition("->"))
        if arrow and source and target:
            return Edge(source, target)
    elif set(wanted) == {"source", "target"}:
        return Edge(wanted["source"], wanted["target"])
    raise ConfigError(f"an edge is 'source->target' or has a source and a target, found {wanted!r}")


def row_seed(seed: int, name: str) -> int:
    """The seed of one item's random edges: the same in every batch, different between items."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:7], "big")


def blocked_pairs(
    kind: str,
    source: torch.Tensor,
    target: torch.Tensor,
    valid: torch.Tensor,
    *,
    first: int = 0,
    seeds: Sequence[int] | None = None,
    spoken: torch.Tensor | None = None,
) -> torch.Tensor:
    """Which pairs of positions an intervention blocks.

    Parameters
    ----------
    kind
        ``"cut"``: no target position attends to a source position. ``"keep"``: a target position attends to nothing but
        the source and itself. ``"random"``: as many pairs as ``cut`` blocks, drawn at random (see below).
    source, target, valid
        Boolean ``(B, T)``: the two spans, and which positions are no padding.
    first
        Rows of the result start at this query position.
    seeds
        One per row; only for ``"random"``.
    spoken
        Boolean ``(B, T)``: positions of the answer that follows the prompt; only for ``"random"``.

    Returns
    -------
    Boolean ``(B, T - first, T)`` over queries and keys. Pairs against causality or with padding are never True.

    Notes
    -----
    ``random`` draws for every target position as many earlier positions outside the source as ``cut`` takes from it.
    Where there are too few of them (576 image tokens have no match among 65 others), the position's pairs are drawn
    from all earlier pairs that ``cut`` leaves, whatever their target; a spoken position then gets none, since nothing
    before it can change any more. No position loses itself, no pair is drawn twice. A draw depends on the row's seed
    and on positions counted from its first real token up to the target: not on padding, other rows or what follows.
    """
    length = valid.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=valid.device).tril()[first:]
    causal = causal & valid[:, None, :] & valid[:, first:, None]
    there = source.any(1)[:, None, None]  # without a source there is nothing to keep
    if kind == CUT:
        return causal & target[:, first:, None] & source[:, None, :]
    if kind == KEEP:
        itself = torch.eye(length, dtype=torch.bool, device=valid.device)[first:]
        return causal & target[:, first:, None] & ~source[:, None, :] & ~itself & there
    if kind != RANDOM:
        raise ConfigError(f"unknown kind of intervention '{kind}', expected one of: {', '.join(KINDS)}")
    if seeds is None or len(seeds) != len(valid):
        raise ValueError("random edges need one seed per row")
    found = np.zeros((len(valid), length - first, length), dtype=bool)
    spoken = torch.zeros_like(valid) if spoken is None else spoken
    real, sources, targets, answers = (mask.cpu().numpy() for mask in (valid, source, target, spoken))
    for row, seed in enumerate(seeds):
        columns = np.flatnonzero(real[row])
        drawn = _random_pairs(sources[row, columns], targets[row, columns], answers[row, columns], seed)
        queries, keys = np.nonzero(drawn)
        inside = columns[queries] >= first
        found[row, columns[queries][inside] - first, columns[keys][inside]] = True
    return torch.from_numpy(found).to(valid.device)


def _random_pairs(source: np.ndarray, target: np.ndarray, spoken: np.ndarray, seed: int) -> np.ndarray:
    """Boolean ``(n, n)`` over queries and keys: one row's random pairs; masks ``(n,)`` over its real positions."""
    n = len(source)
    earlier = np.tri(n, k=-1, dtype=bool)
    named = np.tri(n, dtype=bool) & target[:, None] & source[None, :]
    needed = named.sum(1)
    hashed = _hashed(seed, n)
    pool = earlier & ~source[None, :] & (needed > 0)[:, None]
    matched = np.where(pool.sum(1) >= needed, needed, 0)
    order = np.where(pool, hashed, np.uint64(2**64 - 1)).argsort(axis=1)
    drawn = np.zeros((n, n), dtype=bool)
    np.put_along_axis(drawn, order, np.arange(n) < matched[:, None], axis=1)
    for position in np.flatnonzero((needed > matched) & ~spoken):
        count = needed[position]
        free = np.flatnonzero((earlier & ~named & ~drawn)[: position + 1])
        if len(free) < count:
            raise ConfigError(
                f"cannot draw {count} random edges for position {position}: only {len(free)} others come before it; "
                "leave the random control out for this edge"
            )
        # Turned by the position's own hash, or every position would go on where the last one stopped.
        turned = hashed.ravel()[free] + hashed[position, position]
        drawn.ravel()[free[np.argpartition(turned, count - 1)[:count]]] = True
    return drawn


def _hashed(seed: int, n: int) -> np.ndarray:
    """Uniform 64-bit numbers ``(n, n)``, a function of seed, query and key alone (the splitmix64 generator)."""
    step = np.uint64(0x9E3779B97F4A7C15)
    state = _mixed(np.array([seed], dtype=np.uint64))
    counted = np.arange(1, n + 1, dtype=np.uint64) * step
    for index in (counted[:, None], counted[None, :]):
        state = _mixed(state + index)
    return state


def _mixed(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
