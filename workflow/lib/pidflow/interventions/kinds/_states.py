"""What kinds of intervention that put other states in place of a span's have in common."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pidflow.errors import ConfigError
from pidflow.interventions.intervention import Intervention, Reach

if TYPE_CHECKING:
    import torch

    from pidflow.models.loading import LoadedModel
    from pidflow.models.spans import Spans


@dataclass(frozen=True)
class StateIntervention(Intervention):
    """Rewrites the states of a span in some blocks; a kind states where in the block and how, in :meth:`rewritten`.

    Attributes
    ----------
    span
        Name of a span (see :class:`pidflow.models.spans.Spans`), or several joined by ``+``.
    blocks
        Blocks 0 … L-1; None means all.
    """

    span: str
    blocks: tuple[int, ...] | None = None

    def spans_used(self) -> tuple[str, ...]:
        """See :meth:`Intervention.spans_used`."""
        return (self.span,)

    def touched(self, spans: "Spans") -> "torch.Tensor":
        """See :meth:`Intervention.touched`; refuses a picture that no position's states hold."""
        if spans.patches_of(self.span) is not None:
            raise ConfigError(
                f"kind '{type(self).__module__.rpartition('.')[2]}' on span '{self.span}': expected positions whose "
                "states are what the model knows of them, found the picture of a model that reads it through "
                "cross-attention, of which one token stands in the text; name a span of the text, take the picture's "
                "edges away with cut, keep or random, or leave the condition out for this model"
            )
        return spans[self.span] & spans.valid

    def entered(
        self, loaded: "LoadedModel", spans: "Spans", names: Sequence[str] = (), *, first: int = 0
    ) -> AbstractContextManager[None]:
        """See :meth:`Intervention.entered`."""
        from pidflow.interventions.rewriting import rewriting

        self.check_blocks(loaded.depth)
        return rewriting(loaded, self, spans, names)

    def reach(self, spans: "Spans", names: Sequence[str] = ()) -> list[Reach]:
        """See :meth:`Intervention.reach`."""
        return [Reach(changed) for changed in self.touched(spans).any(1).tolist()]
