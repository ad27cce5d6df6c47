"""Sublayer: what the MLP or the attention of a block adds at a span is left out, or replaced by its mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from pydantic import Field

from pidflow.interventions.intervention import blocks_of
from pidflow.interventions.kinds._states import StateIntervention
from pidflow.plugins import settings
from pidflow.plugins.settings import Blocks, Span


class Settings(settings.Settings):
    """Which sublayer, where, and what stands for its output."""

    part: Literal["mlp", "attention"] = Field(description="The sublayer.")
    span: Span = Field(description="Positions whose output is replaced.")
    value: Literal["zero", "mean"] = Field(
        default="zero",
        description="What replaces it: nothing, or the mean over the span in some questions of the task.",
    )
    blocks: Blocks = Field(description="Blocks that the intervention acts in.")


@dataclass(frozen=True)
class Intervention(StateIntervention):
    """The output of a sublayer is replaced at a span.

    Attributes
    ----------
    part, value
        As in :class:`Settings`.
    means
        By block the mean ``(width,)``, once :meth:`informed`.
    """

    part: str = "mlp"
    value: str = "zero"
    means: Mapping[int, Any] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, settings: Settings, *, depth: int, seed: int = 0) -> Self:
        """The intervention that the settings describe."""
        return cls(settings.span, blocks_of(settings.blocks, depth=depth), settings.part, settings.value)

    @property
    def rewrites(self) -> str:
        """See :class:`pidflow.interventions.intervention.Intervention`."""
        return self.part

    @property
    def needs(self) -> str | None:
        """See :class:`pidflow.interventions.intervention.Intervention`."""
        return "sample" if self.value == "mean" and self.means is None else None

    def informed(self, loaded: Any, others: Sequence[Any]) -> Self:
        """With the means over the span's positions in some batches that the intact model reads."""
        from pidflow.errors import DataError
        from pidflow.interventions.intervention import entered
        from pidflow.interventions.rewriting import read_along

        blocks = [block for block in range(loaded.depth) if self.acts_in(block)]
        total: dict[int, Any] = dict.fromkeys(blocks, 0)
        count = 0
        for batch in others:
            where = self.touched(batch.spans)
            count += int(where.sum())
            with read_along(loaded, self.part, blocks) as found:
                read_through(loaded, batch, entered)
            for block, states in found.items():
                total[block] += states.reshape(*where.shape, -1)[where].double().sum(0)
        if not count:
            raise DataError(f"the span '{self.span}' is empty in all questions that the mean is taken over")
        return replace(self, means={block: sums / count for block, sums in total.items()})

    def rewritten(self, states: Any, spans: Any, names: Sequence[str], *, block: int) -> Any:
        """Outputs with nothing or the mean at the span."""
        import torch

        from pidflow.interventions.rewriting import placed

        other = torch.zeros_like(states[:1, :1]) if self.value == "zero" else self.means[block][None, None]
        return placed(states, self.touched(spans), other.expand_as(states))


def read_through(loaded: Any, batch: Any, entered: Any) -> None:
    """One intact pass over a batch."""
    import torch

    from pidflow.models.forward import run

    with torch.inference_mode(), entered(loaded, (), batch.spans):
        run(loaded, batch.inputs)
