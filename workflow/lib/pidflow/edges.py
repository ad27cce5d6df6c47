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

    Returns
    -------
    Boolean ``(B, T - first, T)`` over queries and keys. Pairs against causality or with padding are never True.

    Notes
    -----
    ``random`` draws for every target position as many earlier positions outside the source as ``cut`` takes from it.
    Where there are too few of them for some target position (576 image tokens have no match among 65 others), the row's
    pairs are drawn from all causal pairs that ``cut`` leaves, whatever their target. No position loses itself. A draw
    depends on the row's seed and on positions counted from its first real token, so not on padding or on other rows.
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
    real, sources, targets = (mask.cpu().numpy() for mask in (valid, source, target))
    for row, seed in enumerate(seeds):
        columns = np.flatnonzero(real[row])
        queries, keys = _random_pairs(sources[row, columns], targets[row, columns], seed)
        inside = columns[queries] >= first
        found[row, columns[queries][inside] - first, columns[keys][inside]] = True
    return torch.from_numpy(found).to(valid.device)


def _random_pairs(source: np.ndarray, target: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and keys of one row's random pairs; masks ``(n,)`` over its real positions."""
    n = len(source)
    earlier = np.tri(n, k=-1, dtype=bool)
    named = np.tri(n, dtype=bool) & target[:, None] & source[None, :]
    needed = named.sum(1)
    rows = np.flatnonzero(needed)
    pool = earlier[rows] & ~source[None, :]
    if (pool.sum(1) >= needed[rows]).all():
        order = np.where(pool, _hashed(seed, rows, n), np.uint64(2**64 - 1)).argsort(axis=1, kind="stable")
        chosen = np.arange(n)[None, :] < needed[rows, None]
        return np.repeat(rows, needed[rows]), order[chosen]
    queries, keys = np.nonzero(earlier & ~named)
    count = int(needed.sum())  # more than the pool above held, so never 0
    if len(queries) < count:
        raise ConfigError(
            f"cannot draw {count} random edges: only {len(queries)} other pairs of positions attend to each other; "
            "leave the random control out for this edge"
        )
    drawn = np.argpartition(_hashed(seed, np.arange(n), n)[queries, keys], count - 1)[:count]
    return queries[drawn], keys[drawn]


def _hashed(seed: int, queries: np.ndarray, n: int) -> np.ndarray:
    """Uniform 64-bit numbers ``(queries, n)``, a function of seed, query and key alone (the splitmix64 generator)."""
    step = np.uint64(0x9E3779B97F4A7C15)
    state = _mixed(np.array([seed], dtype=np.uint64))
    for index in (queries[:, None], np.arange(n)[None, :]):
        state = _mixed(state + (index.astype(np.uint64) + np.uint64(1)) * step)
    return state


def _mixed(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
