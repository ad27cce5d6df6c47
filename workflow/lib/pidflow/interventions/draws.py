"""Random controls of an edge: other pairs of positions, matched to those that a cut of the edge blocks.

A draw depends on the item's seed and on positions counted from its first real token that the query sees: all up to it,
and those that it sees both ways. It does not depend on padding, other rows or what follows.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from pidflow.names import MATCHES, UNMATCHED

OTHER_SOURCES, OTHER_TARGETS, HALF = MATCHES
AUTO = "auto"


@dataclass(frozen=True)
class Drawn:
    """One item's control.

    Attributes
    ----------
    queries, keys
        ``(m,)`` positions of the pairs that lose each other; none where no control is possible.
    control
        How they match the edge, one of :data:`CONTROLS`.
    """

    queries: np.ndarray
    keys: np.ndarray
    control: str


def row_seed(seed: int, name: str) -> int:
    """The seed of one item's random edges: the same in every batch, different between items."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:7], "big")


def draw(
    source: np.ndarray,
    target: np.ndarray,
    spoken: np.ndarray,
    *,
    seed: int,
    match: str = AUTO,
    spared: np.ndarray | None = None,
    mutual: np.ndarray | None = None,
) -> Drawn:
    """One item's control of the edge from ``source`` to ``target``.

    Parameters
    ----------
    source, target, spoken
        Boolean ``(n,)`` over the item's real positions: the two spans, and the answer spoken after the prompt. Which
        match is possible is decided by the prompt alone, so that what is spoken does not change the draw.
    seed
        From :func:`row_seed`.
    match
        ``"other-sources"``: each target position loses as many positions that it sees outside the source as the edge
        has sources for it. ``"other-targets"``: as many other positions that see these sources lose all of them.
        ``"half"``: each target position loses a random half of its sources. ``"auto"``: the first of these that is
        possible. No position loses itself, no pair is drawn twice.
    spared
        Boolean ``(n,)``: positions of which no pair is drawn, such as the one that begins the sequence, to which much
        attention goes that means nothing.
    mutual
        Whole numbers ``(n,)``: positions of the same number other than 0 see each other both ways (see
        :class:`pidflow.models.spans.Spans`); None: nobody sees what comes later.
    """
    nobody, nowhere = np.zeros_like(source), np.zeros(len(source), dtype=int)
    edge = _Edge(
        source, target, spoken, seed, nobody if spared is None else spared, nowhere if mutual is None else mutual
    )
    if not edge.needed[edge.asked].any():
        return Drawn(*edge.none, UNMATCHED)
    for wanted in MATCHES if match == AUTO else (match,):
        found = _DRAWS[wanted](edge)
        if found is not None:
            return Drawn(*found, wanted)
    return Drawn(*edge.none, UNMATCHED)


def draw_patches(source: np.ndarray, shown: np.ndarray, *, seed: int, match: str) -> tuple[np.ndarray, str]:
    """Patches ``(K,)`` that stand for those of a source in cross-attention, and how they match.

    Parameters
    ----------
    source, shown
        Boolean ``(K,)``: the patches of the edge, and all that show something of the picture.
    seed, match
        As of :func:`draw`; other targets are not drawn for patches.
    """
    order = pair_hashes(seed, np.zeros(1, dtype=int), np.arange(len(source)))[0]
    others = shown & ~source
    enough = others.sum() >= source.sum()
    pool, count, control = others, int(source.sum()), OTHER_SOURCES
    if match == HALF or (match == AUTO and not enough):
        pool, count, control = source, int(source.sum()) // 2, HALF
    elif match == OTHER_TARGETS or not enough:
        return np.zeros_like(source), UNMATCHED
    found = np.zeros_like(source)
    found[np.where(pool, order, np.uint64(2**64 - 1)).argsort(kind="stable")[:count]] = True
    return found, control


class _Edge:
    """The pairs that a cut blocks: ``named`` ``(q, n)`` for each target position in ``queries``."""

    def __init__(
        self,
        source: np.ndarray,
        target: np.ndarray,
        spoken: np.ndarray,
        seed: int,
        spared: np.ndarray,
        mutual: np.ndarray,
    ) -> None:
        self.source, self.target, self.spoken, self.seed, self.spared = source, target, spoken, seed, spared
        self.mutual = mutual
        self.places = np.arange(len(source))
        self.queries = np.flatnonzero(target)
        self.others = self.seen_by(self.queries)
        itself = self.places[None, :] == self.queries[:, None]
        self.named = (self.others | itself) & source[None, :]
        self.needed = self.named.sum(1)
        self.asked = ~spoken[self.queries]

    def seen_by(self, queries: np.ndarray) -> np.ndarray:
        """Boolean ``(q, n)``: the positions that others see, themselves not."""
        earlier = self.places[None, :] < queries[:, None]
        groups = self.mutual[queries, None]
        return earlier | ((groups == self.mutual[None, :]) & (groups != 0) & (self.places[None, :] != queries[:, None]))

    @property
    def none(self) -> tuple[np.ndarray, np.ndarray]:
        return np.empty(0, dtype=int), np.empty(0, dtype=int)

    def chosen(self, pool: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each query's pool ``(q, n)`` so many keys at random."""
        hashed = np.where(pool, pair_hashes(self.seed, self.queries, self.places), np.uint64(2**64 - 1))
        rows, order = np.nonzero(np.arange(pool.shape[1]) < counts[:, None])
        return self.queries[rows], hashed.argsort(axis=1, kind="stable")[rows, order]


def _other_sources(edge: _Edge) -> tuple[np.ndarray, np.ndarray] | None:
    pool = edge.others & ~edge.source[None, :] & ~edge.spared[None, :]
    enough = pool.sum(1) >= edge.needed
    if not enough[edge.asked].all():
        return None
    return edge.chosen(pool, np.where(enough, edge.needed, 0))


def _other_targets(edge: _Edge) -> tuple[np.ndarray, np.ndarray] | None:
    """Nothing in the prompt can change any more while the answer is spoken, so spoken positions get no pairs."""
    asked = np.flatnonzero(edge.asked & (edge.needed > 0))
    latest = edge.named.shape[1] - 1 - edge.named[asked, ::-1].argmax(1)
    hashed = pair_hashes(edge.seed, edge.queries, edge.places)
    free = ~edge.target & ~edge.spoken & ~edge.spared
    kept = edge.named & ~edge.spared[None, :]
    places = np.flatnonzero(free)
    sees_all = ~(edge.named[asked].astype(np.float32) @ (~edge.seen_by(places)).T.astype(np.float32)).astype(bool)
    queries, keys = [], []
    # Those whose sources the fewest see choose first; among candidates that hold each other, no other choice would do.
    for index in sorted(range(len(asked)), key=lambda each: (sees_all[each].sum(), -latest[each], asked[each])):
        row = asked[index]
        candidates = places[sees_all[index] & free[places]]
        if not len(candidates):
            return None
        place = candidates[hashed[row, candidates].argmin()]
        free[place] = False
        keys.append(np.flatnonzero(kept[row]))
        queries.append(np.full(len(keys[-1]), place))
    return np.concatenate(queries), np.concatenate(keys)


def _half(edge: _Edge) -> tuple[np.ndarray, np.ndarray] | None:
    counts = edge.needed // 2
    return edge.chosen(edge.named & edge.others & ~edge.spared[None, :], counts) if counts[edge.asked].any() else None


_DRAWS = {OTHER_SOURCES: _other_sources, OTHER_TARGETS: _other_targets, HALF: _half}


def pair_hashes(seed: int, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Uniform 64-bit numbers ``(q, k)``, a function of seed, query and key alone (the splitmix64 generator)."""
    step = np.uint64(0x9E3779B97F4A7C15)
    state = _mixed(np.array([seed], dtype=np.uint64))
    for index in (queries[:, None], keys[None, :]):
        state = _mixed(state + (index.astype(np.uint64) + np.uint64(1)) * step)
    return state


def _mixed(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
