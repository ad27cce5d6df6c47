"""What every kind of intervention is: something entered around a forward, and what sweeps and caches may ask of it.

A kind is a file in ``interventions/kinds``: it holds ``Settings``, what the configuration may say, and a class
``Intervention`` with the method ``of(settings, depth=, seed=)`` and those below; if it acts on an edge of attention,
also ``on(source, target, blocks, seed=)``, and sweeps can run it beside their cuts. Nothing else knows it by name.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pidflow.errors import ConfigError
from pidflow.names import weakest
from pidflow.plugins import registry

if TYPE_CHECKING:
    import torch

    from pidflow.models.loading import LoadedModel
    from pidflow.models.spans import Spans

FOLDER = "interventions.kinds"


@dataclass(frozen=True)
class Reach:
    """What an intervention reaches in one question.

    Attributes
    ----------
    changed
        It takes or changes anything at all; a question without options has no edges into them.
    pairs
        Pairs of positions that lose each other in one block, by ``source->target`` among the regions of
        :func:`pidflow.interventions.pairs.regions`.
    control
        Of a random control: how its pairs match those of the edge, one of
        :data:`pidflow.interventions.draws.CONTROLS`; None of anything else.
    """

    changed: bool = True
    pairs: Mapping[str, int] = field(default_factory=dict)
    control: str | None = None


class Intervention(ABC):
    """Changes something inside a model while it runs.

    Attributes
    ----------
    blocks
        Blocks 0 … L-1 that it acts in (block ``i`` maps state ``i`` to state ``i + 1``); None means all.
    takes_edges
        All it does is to take the edges in :meth:`blocked` away in each of its blocks.
    rewrites
        All it does is to put other states in place of those of some positions, in each of its blocks: at the block's
        ``"input"``, or what its ``"attention"`` or ``"mlp"`` adds. See :meth:`touched` and :meth:`rewritten`.
    needs
        What it must be told before it can be entered, by :meth:`informed`: ``"donors"``, another question of each
        question; ``"sample"``, some questions of the task; None: nothing.

    Of an intervention that takes edges or rewrites states, all states before the first position that it changes are the
    intact ones and can be taken from a cache. Such a class is a frozen dataclass with the field ``blocks``.
    """

    blocks: tuple[int, ...] | None
    takes_edges: ClassVar[bool] = False
    rewrites: str | None = None
    needs: str | None = None

    @abstractmethod
    def entered(
        self, loaded: LoadedModel, spans: Spans, names: Sequence[str] = (), *, first: int = 0
    ) -> AbstractContextManager[None]:
        """In force while the block lasts: ``with intervention.entered(loaded, batch.spans): loaded.model(…)``.

        Parameters
        ----------
        loaded
            The model.
        spans
            Of the batch that is fed, in padded coordinates.
        names
            Ids of the batch's items, which random parts depend on.
        first
            The first position that will be fed; those before it are cached.
        """

    def blocked(self, spans: Spans, names: Sequence[str] = (), *, first: int = 0) -> torch.Tensor:
        """Boolean ``(B, T - first, T)``: queries, from position `first` on, and keys that lose each other.

        Only where ``takes_edges`` is true.
        """
        raise NotImplementedError

    def lost(self, spans: Spans, names: Sequence[str] = (), *, first: int = 0) -> torch.Tensor | None:
        """Boolean ``(B, T - first, K)``: keys of the picture in cross-attention that queries lose; None: none.

        Only where ``takes_edges`` is true, of families whose pictures enter so.
        """
        return None

    def heads_in(self, block: int) -> tuple[int, ...] | None:
        """The attention heads of a block that lose the edges; None: all."""
        return None

    def touched(self, spans: Spans) -> torch.Tensor:
        """Boolean ``(B, T)``: positions whose states are rewritten. Only where ``rewrites`` states at which place."""
        raise NotImplementedError

    def rewritten(self, states: torch.Tensor, spans: Spans, names: Sequence[str], *, block: int) -> torch.Tensor:
        """States ``(B, Q, width)`` of the last Q of T positions, those touched rewritten."""
        raise NotImplementedError

    def changed(self, spans: Spans, names: Sequence[str] = (), *, first: int = 0) -> torch.Tensor:
        """Boolean ``(B, T - first)``: positions from `first` on that lose an edge or are rewritten."""
        if self.takes_edges:
            found, lost = self.blocked(spans, names, first=first).any(2), self.lost(spans, names, first=first)
            return found if lost is None else found | lost.any(2)
        return self.touched(spans)[:, first:]

    def informed(self, loaded: LoadedModel, others: Any) -> Self:
        """The same, told what it ``needs``: a batch of donors, row by row, or a list of batches."""
        return self

    def take(self, rows: Any) -> Self:
        """The same for some rows of a batch that it was informed for."""
        return self

    def everywhere(self) -> Self:
        """The same in all blocks: what it takes or touches does not depend on where in depth it acts."""
        return replace(self, blocks=None)

    def in_blocks(self, blocks: tuple[int, ...] | None) -> Self:
        """The same in other blocks, as a sweep moves it through the model."""
        return replace(self, blocks=blocks)

    def parts(self) -> tuple[Intervention, ...]:
        """Interventions that do the same together, each of which takes the same edges in all of its blocks."""
        return (self,)

    def reach(self, spans: Spans, names: Sequence[str] = ()) -> list[Reach]:
        """What it reaches in each row."""
        return [Reach()] * len(spans.valid)

    def spans_used(self) -> tuple[str, ...]:
        """Names of the spans that it needs; a question that lacks one of them stays as it is."""
        return ()

    def first_block(self) -> int:
        """The first block that it acts in."""
        return 0 if self.blocks is None else min(self.blocks)

    def acts_in(self, block: int) -> bool:
        """Whether it acts in this block."""
        return self.blocks is None or block in self.blocks

    def check_blocks(self, depth: int) -> None:
        """Refuse blocks that a model of this depth does not have."""
        if self.blocks is not None and not (self.blocks and all(0 <= layer < depth for layer in self.blocks)):
            raise ConfigError(f"{self}: the model has the blocks 0 to {depth - 1}")


def recomputable(interventions: Sequence[Intervention]) -> bool:
    """Whether what these change can be computed from an intact prefix."""
    return bool(interventions) and all(each.takes_edges or each.rewrites is not None for each in interventions)


def intervention_of(entry: Mapping[str, Any], *, depth: int, seed: int = 0) -> Intervention:
    """The intervention that a configuration entry describes.

    Parameters
    ----------
    entry
        ``kind`` and that kind's settings.
    depth
        Blocks of the model.
    seed
        Of random parts.

    Raises
    ------
    ConfigError
        On an unknown kind or key, or blocks that the model does not have.
    """
    settings = dict(entry)
    kind = registry.load(FOLDER, str(settings.pop("kind", None)))
    checked = kind.Settings.checked(settings, where=f"intervention of kind '{entry['kind']}'")
    return kind.Intervention.of(checked, depth=depth, seed=seed)


def blocks_of(blocks: str | Sequence[int], *, depth: int) -> tuple[int, ...] | None:
    """The blocks that a setting names, ``"all"`` or ``[first, last]``; None means all."""
    if isinstance(blocks, str) and blocks == "all":
        return None
    if not isinstance(blocks, str) and len(blocks) == 2 and 0 <= blocks[0] <= blocks[1] < depth:
        return tuple(range(blocks[0], blocks[1] + 1))
    raise ConfigError(f"blocks must be 'all' or [first, last] within 0 and {depth - 1}, found {blocks!r}")


@contextmanager
def entered(
    loaded: LoadedModel,
    interventions: Sequence[Intervention],
    spans: Spans,
    names: Sequence[str] = (),
    *,
    first: int = 0,
) -> Iterator[None]:
    """Several interventions at once, after those that always belong to the model; none leaves it as it is.

    Parameters as of :meth:`Intervention.entered`.
    """
    with ExitStack() as stack:
        for intervention in (*loaded.always, *interventions):
            stack.enter_context(intervention.entered(loaded, spans, names, first=first))
        yield


def reach_of(interventions: Sequence[Intervention], spans: Spans, names: Sequence[str] = ()) -> list[Reach]:
    """What several interventions reach together in each row; nothing where there are none."""
    found = [intervention.reach(spans, names) for intervention in interventions]
    return [_together(list(row)) for row in zip(*found, strict=True)] or [Reach(changed=False)] * len(spans.valid)


def summed_pairs(texts: Iterable[str]) -> str:
    """Pairs of positions over many questions, from one JSON text each; as JSON."""
    total: Counter[str] = Counter()
    for text, times in Counter(texts).items():
        total.update({way: times * count for way, count in json.loads(text).items()})
    return json.dumps(dict(sorted(total.items())))


def _together(parts: list[Reach]) -> Reach:
    pairs: Counter[str] = Counter()
    for part in parts:
        pairs.update(part.pairs)
    return Reach(
        changed=any(part.changed for part in parts),
        pairs=dict(pairs),
        control=weakest([part.control for part in parts if part.control is not None]),
    )
