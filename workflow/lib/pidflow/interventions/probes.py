"""What one sweep measures: an edge or an intervention of the configuration, in one window of blocks after another."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pidflow.errors import ConfigError
from pidflow.interventions.edges import Edge, Moved
from pidflow.interventions.intervention import FOLDER, Intervention, intervention_of
from pidflow.interventions.windows import Window, windows
from pidflow.plugins import registry

EFFECT = "cut"  # the kind of intervention that a sweep is about; any other kind on an edge can be a control beside it


@dataclass(frozen=True)
class Probe:
    """One intervention in one window of blocks.

    Attributes
    ----------
    edge
        The edge that it acts on, or the id of an intervention of the configuration.
    kind
        Names a file of ``interventions/kinds``.
    window
        Where in depth.
    head
        The one attention head that loses the edge; None: all.
    spared
        A span that random controls draw nothing from; None: they may draw from all positions.
    base
        Of an intervention of the configuration: itself, in all blocks.
    """

    edge: Edge | Moved
    kind: str
    window: Window
    head: int | None = None
    spared: str | None = None
    base: Intervention | None = None

    def intervention(self, *, seed: int, informed: Mapping[Intervention, Intervention] | None = None) -> Intervention:
        """The intervention itself; ``seed`` is that of its random parts, ``informed`` has those that had to be told."""
        if self.base is not None:
            return (informed or {}).get(self.base, self.base).in_blocks(self.window.blocks)
        kind, edge = registry.load(FOLDER, self.kind), self.edge
        found = kind.Intervention.on(edge.source, edge.target, self.window.blocks, seed=seed, spared=self.spared)
        return found if self.head is None else replace(found, heads=(self.head,))


def kinds_on_edges() -> tuple[str, ...]:
    """The kinds of intervention that act on an edge."""
    return tuple(name for name in registry.available(FOLDER) if hasattr(registry.load(FOLDER, name).Intervention, "on"))


def probes(
    edges: Iterable[Edge],
    *,
    depth: int,
    window: int | str | Sequence[int] = 9,
    controls: Iterable[str] = (),
    other_windows: Iterable[int | str | Sequence[int]] = (),
    spared: str | None = None,
    moved: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
) -> list[Probe]:
    """Everything that one sweep measures.

    Parameters
    ----------
    edges
        Each is cut in every window.
    depth
        Blocks of the model.
    window
        The windows the sweep is about (see :func:`pidflow.interventions.windows.windows`).
    controls
        Kinds of intervention on edges, such as ``"random"`` and ``"keep"``: run beside every cut of ``window``.
    other_windows
        Further windows in which edges are cut, without controls, to see how much the window's size matters.
    spared
        A span, such as ``"bos"``, that random controls draw nothing from.
    moved
        Entries of interventions by id, as the configuration has them: each acts in every window in turn, wherever its
        own ``blocks`` are.
    seed
        Of their random parts.
    """
    edges, controls = list(dict.fromkeys(edges)), list(dict.fromkeys(controls))
    if not edges:
        raise ConfigError("a sweep needs at least one edge")
    known = [kind for kind in kinds_on_edges() if kind != EFFECT]
    if unknown := set(controls) - set(known):
        raise ConfigError(f"unknown control '{min(unknown)}', expected {', '.join(known)}")
    found = [
        Probe(edge, kind, each, spared=None if kind == EFFECT else spared)
        for edge in edges
        for kind in (EFFECT, *controls)
        for each in windows(window, depth=depth)
    ]
    bases = {name: _base(entry, depth=depth, seed=seed) for name, entry in (moved or {}).items()}
    for wanted in (window, *other_windows):
        every = windows(wanted, depth=depth)
        found += [Probe(edge, EFFECT, each) for edge in edges for each in every]
        for name, base in bases.items():
            spans = base.spans_used()
            place = Moved(name, target=spans[-1] if spans else "", source=spans[0] if len(spans) > 1 else "")
            found += [Probe(place, moved[name]["kind"], each, base=base) for each in every]
    return list(dict.fromkeys(found))


def head_probes(edges: Iterable[Edge], *, depth: int, heads: int) -> list[Probe]:
    """Every edge cut in one attention head of one block, and in no other."""
    places = [(block, head) for block in windows(1, depth=depth) for head in range(heads)]
    return [Probe(edge, EFFECT, block, head=head) for edge in dict.fromkeys(edges) for block, head in places]


def _base(entry: Mapping[str, Any], *, depth: int, seed: int) -> Intervention:
    """An intervention of the configuration in all blocks."""
    return intervention_of({**entry, "blocks": "all"}, depth=depth, seed=seed)
