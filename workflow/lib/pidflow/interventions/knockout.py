"""Attention knockout: cut the edges from one token span to another in chosen blocks, through ``AttentionInterface``.

One attention function and one mask function are registered with transformers, and the language model (not the vision
tower) is told to use them. While a plan is in force, every block attends through the library's SDPA kernel with the cut
edges taken out of an explicit mask, so blocked weights are exactly 0 and the softmax renormalises the rest. Blocks
without a cut get the very mask they always get. Nothing of the model's forward is replaced.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import nn

from pidflow.errors import ConfigError
from pidflow.interventions.edges import CUT, RANDOM, blocked_pairs, row_seed
from pidflow.models.attention import Kernel, edges_in_force
from pidflow.models.loading import LoadedModel
from pidflow.models.spans import Spans

_NOTHING_LEFT = "the plan leaves a position with nothing to attend to, not even itself; cut fewer sources from it"


@dataclass(frozen=True)
class Cut:
    """Positions of ``target`` stop attending to positions of ``source`` in some blocks.

    Attributes
    ----------
    source, target
        Names of spans (see :class:`pidflow.models.spans.Spans`).
    layers
        Blocks 0 … L-1 (block ``i`` maps state ``i`` to state ``i + 1``); None means all.
    kind
        ``"cut"`` as above; ``"keep"``: ``target`` attends to ``source`` and itself alone; ``"random"``: as many other
        pairs of positions are blocked as ``"cut"`` would (see :func:`pidflow.interventions.edges.blocked_pairs`).
    seed, item
        Of random edges: the draw, which differs between items (see :func:`seeded`).
    """

    source: str
    target: str
    layers: tuple[int, ...] | None = None
    kind: str = CUT
    seed: int = 0
    item: str = ""


@dataclass(frozen=True)
class Plan:
    """Cuts made together; none at all leaves the model as it is."""

    cuts: tuple[Cut, ...] = ()


def seeded(plan: Plan, item: str) -> Plan:
    """The plan for one item: random edges are drawn for it and no other."""
    return Plan(tuple(replace(cut, item=item) if cut.kind == RANDOM else cut for cut in plan.cuts))


@dataclass
class _Edge:
    """One source-target pair with the blocks and rows it is cut in: masks ``(B, T)``, ``active`` ``(L, B)``.

    ``pairs`` ``(B, T, T)`` says which queries lose which keys where that is not every source of every target.
    """

    source: torch.Tensor
    target: torch.Tensor
    active: torch.Tensor
    pairs: torch.Tensor | None = None

    def to(self, device: torch.device) -> "_Edge":
        pairs = None if self.pairs is None else self.pairs.to(device)
        return replace(self, source=self.source.to(device), target=self.target.to(device), pairs=pairs)

    def blocked(self, rows: torch.Tensor, queries: int, keys: int) -> torch.Tensor:
        """Boolean ``(B, queries, keys)`` in the given rows; queries are the last of the keys' positions."""
        rows = rows[:, None].to(self.target.device)
        if self.pairs is not None:
            return self.pairs[:, keys - queries : keys, :keys] & rows[:, None]
        return (self.target[:, keys - queries : keys] & rows)[:, :, None] & self.source[:, None, :keys]


class Probe(Protocol):
    """Looks at every block before it attends, while edges are cut."""

    def observe(
        self,
        kernel: Kernel,
        state: "State",
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        mask: Any,
        **kwargs: Any,
    ) -> None:
        """See :meth:`pidflow.models.attention.Edges.observe`."""


@dataclass
class State:
    """What the attention function needs to know while a plan is in force."""

    config: Any
    edges: list[_Edge]
    valid: torch.Tensor
    probe: "Probe | None" = None
    cached: tuple[Any, ...] | None = None
    mask: torch.Tensor | None = None

    def blocked(self, layer: int, queries: int, keys: int) -> torch.Tensor | None:
        """Boolean ``(B, 1, queries, keys)`` of the cut edges, or None; queries are the last of the keys' positions."""
        total = None
        for edge in self.edges:
            rows = edge.active[layer]
            if rows.any():
                cut = edge.blocked(rows, queries, keys)
                total = cut if total is None else total | cut
        return None if total is None else total[:, None]

    def allowed(self, layer: int, queries: int, keys: int, base: torch.Tensor | None) -> torch.Tensor | None:
        """The mask of one block: ``base`` itself where nothing is cut."""
        active = tuple(tuple(edge.active[layer].tolist()) for edge in self.edges)
        if not any(map(any, active)):
            return base
        if self.cached is None or self.cached[:3] != (active, queries, keys) or self.cached[3] is not base:
            open_edges = base
            if open_edges is None:  # the library leaves plain causality to the kernel
                open_edges = torch.ones(queries, keys, dtype=torch.bool, device=self.valid.device).tril(keys - queries)
            self.mask = open_edges & ~self.blocked(layer, queries, keys)
            self.cached = (active, queries, keys, base)
        return self.mask

    def observe(
        self, kernel: Kernel, module: nn.Module, query: torch.Tensor, key: torch.Tensor, mask: Any, **kwargs: Any
    ) -> None:
        if self.probe is not None:
            self.probe.observe(kernel, self, module, query, key, mask, **kwargs)


@contextmanager
def knockout(loaded: LoadedModel, plan: Plan | Sequence[Plan], spans: Spans) -> Iterator[None]:
    """Run the model with edges cut: ``with knockout(loaded, plan, batch.spans): loaded.model(**batch.inputs)``.

    Parameters
    ----------
    loaded
        The model, which must use SDPA attention. It keeps the registered function afterwards, which without a plan in
        force is SDPA itself, so threads that share a model cannot switch each other's cuts off.
    plan
        One plan for all rows, or one per row (a batch may hold different windows of the same question).
    spans
        Spans of the batch, in padded coordinates. The forward inside may feed all positions, or only the last ones
        against cached keys and values of the others.

    Raises
    ------
    ConfigError
        If a span or block does not exist, an edge runs against causality, or a position would be left with nothing to
        attend to.
    """
    with in_force(loaded, plan, spans, probe=None):
        yield


@contextmanager
def in_force(
    loaded: LoadedModel, plan: Plan | Sequence[Plan], spans: Spans, *, probe: "Probe | None"
) -> Iterator[None]:
    """As :func:`knockout`, watched by `probe`."""
    text = loaded.text_model
    edges = [edge.to(loaded.device) for edge in _compile(plan, spans, loaded.depth)]
    with edges_in_force(text, State(text.config, edges, spans.valid.to(loaded.device), probe=probe)):
        yield


def cut_rows(plan: Plan, spans: Spans) -> torch.Tensor:
    """Boolean ``(B,)``: rows in which the plan cuts anything at all (a row without options has no option edges)."""
    return torch.stack(
        [spans[cut.source].any(1) & spans[cut.target].any(1) for cut in plan.cuts]
        or [torch.zeros(len(spans.valid), dtype=torch.bool)]
    ).any(0)


def _compile(plan: Plan | Sequence[Plan], spans: Spans, depth: int) -> list[_Edge]:
    """The plan as one edge per source-target pair, checked."""
    rows = spans.valid.shape[0]
    plans = [plan] * rows if isinstance(plan, Plan) else list(plan)
    if len(plans) != rows:
        raise ConfigError(f"expected one plan, or one for each of the {rows} rows, found {len(plans)}")
    edges: dict[tuple[str, str, str, int], _Edge] = {}
    items: dict[tuple[str, str, str, int], list[str]] = {}
    for row, each in enumerate(plans):
        for cut in each.cuts:
            pair = (cut.kind, cut.source, cut.target, cut.seed)
            if pair not in edges:
                source, target = spans[cut.source].cpu(), spans[cut.target].cpu()
                check_causality(cut, source, target)
                edges[pair] = _Edge(source, target, torch.zeros(depth, rows, dtype=torch.bool))
                items[pair] = [""] * rows
            items[pair][row] = cut.item
            layers = range(depth) if cut.layers is None else cut.layers
            if not all(0 <= layer < depth for layer in layers):
                raise ConfigError(f"{cut}: the model has the blocks 0 to {depth - 1}")
            edges[pair].active[list(layers), row] = True
    valid = spans.valid.cpu()
    for pair, edge in edges.items():
        kind, *_, seed = pair
        if kind != CUT:
            seeds = [row_seed(seed, item) for item in items[pair]] if kind == RANDOM else None
            edge.pairs = blocked_pairs(kind, edge.source, edge.target, valid, seeds=seeds, spoken=spans.spoken.cpu())
    found = list(edges.values())
    _check_rows_keep_a_source(found, valid)
    return found


def check_causality(cut: Cut, source: torch.Tensor, target: torch.Tensor) -> None:
    """The target must not end before the source begins: masks ``(B, T)``, rows without either are passed over."""
    first = source.int().argmax(1)
    last = target.shape[1] - 1 - target.flip(1).int().argmax(1)
    if (source.any(1) & target.any(1) & (last < first)).any():
        raise ConfigError(
            f"cannot cut {cut.source} -> {cut.target}: '{cut.target}' ends before '{cut.source}' begins, and tokens "
            "attend only to earlier ones; swap source and target"
        )


def _check_rows_keep_a_source(edges: Sequence[_Edge], valid: torch.Tensor) -> None:
    """No real position may lose everything it attends to, in any block."""
    dense = any(edge.pairs is not None for edge in edges)
    seen = valid.cumsum(1)
    blocks = {tuple(map(tuple, layer.tolist())) for layer in torch.stack([e.active for e in edges], 1)} if edges else ()
    for block in blocks:
        rows = torch.tensor(block)
        if dense:
            length = valid.shape[1]
            lost = torch.stack([edge.blocked(each, length, length) for edge, each in zip(edges, rows, strict=True)])
            check_keeps_a_source(lost.any(0), valid)
            continue
        # Positions by the set of edges that end in them: bit e of the code stands for edge e.
        codes = sum((edge.target & rows[e, :, None]).long() << e for e, edge in enumerate(edges))
        for code in codes.unique().tolist():
            if code == 0:
                continue
            cut = [edge for e, edge in enumerate(edges) if code >> e & 1]
            lost = torch.stack([edge.source for edge in cut]).any(0) & valid
            if ((codes == code) & (seen - lost.cumsum(1) <= 0)).any():
                raise ConfigError(_NOTHING_LEFT)


def check_keeps_a_source(blocked: torch.Tensor, valid: torch.Tensor) -> None:
    """No real position may lose everything it attends to: blocked ``(B, Q, T)`` of the last Q positions."""
    queries, length = blocked.shape[1:]
    seen = torch.ones(length, length, dtype=torch.bool, device=valid.device).tril()[length - queries :]
    if ((seen & valid[:, None, :] & ~blocked).any(2) < valid[:, length - queries :]).any():
        raise ConfigError(_NOTHING_LEFT)
