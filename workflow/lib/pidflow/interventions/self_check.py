"""Proof, on a small batch, that knockout does to a model what it is meant to do."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from pidflow.errors import NumericsError
from pidflow.interventions.intervention import entered
from pidflow.interventions.knockout import CutPairs, State, pairs_cut
from pidflow.interventions.pairs import causal_pairs
from pidflow.models.attention import Kernel
from pidflow.models.forward import run
from pidflow.models.inputs import Batch
from pidflow.models.loading import LoadedModel
from pidflow.models.parts import attends_to_picture


@dataclass
class _Probe:
    """Attention weights read off the kernel itself, by giving it one-hot value vectors."""

    blocked: float = 0.0
    row_error: float = 0.0
    layers: set[int] = field(default_factory=set)

    def observe(
        self,
        kernel: Kernel,
        state: State,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        mask: Any,
        **kwargs: Any,
    ) -> None:
        """Update the largest weight on a cut edge and the largest deviation of a row's sum from 1."""
        batch, heads, keys, width = key.shape
        queries = query.shape[2]
        blocked = state.blocked(module.layer_idx, queries, keys)
        total = torch.zeros((), device=query.device)
        for start in range(0, keys, width):  # as wide as real value vectors, so that the kernel is the real one too
            value = torch.zeros(keys, width, dtype=query.dtype, device=query.device)
            stop = min(start + width, keys)
            value[torch.arange(start, stop), torch.arange(stop - start)] = 1
            output, _ = kernel(module, query, key, value.expand(batch, heads, keys, width).contiguous(), mask, **kwargs)
            weights = output.transpose(1, 2)[..., : stop - start].float()
            total = total + weights.sum(-1)
            if blocked is not None:
                lost = blocked[..., start:stop].to(weights.device)
                self.blocked = max(self.blocked, float((weights * lost).abs().max()))
        real = state.valid[:, None, keys - queries : keys].to(total.device).expand_as(total)
        self.row_error = max(self.row_error, float((total - 1)[real].abs().max()))
        self.layers.add(module.layer_idx)


@dataclass(frozen=True)
class SelfCheck:
    """What :func:`self_check` measured: largest deviation of an attention row's sum from 1, smallest logit move."""

    row_error: float
    moved: float


def self_check(loaded: LoadedModel, batch: Batch) -> SelfCheck:
    """Prove on a small batch that knockout does to this model what it is meant to do.

    A cut of nothing leaves the logits bit-equal; with image -> question cut in all blocks every cut edge has weight
    exactly 0 in every block and head, rows sum to 1, and the logits of every row move (so the spans hold what the model
    uses). In a model of a single block nothing that the question reads gets any further: image -> last is cut there.

    Raises
    ------
    NumericsError
        Naming what failed.
    """

    def logits() -> torch.Tensor:
        return run(loaded, batch.inputs)[:, -1]

    probe, spans = _Probe(), batch.spans
    reader = "last" if len(loaded.layers) == 1 else "question"
    edge = causal_pairs(spans) & spans[reader][:, :, None] & spans["image"][:, None, :]
    with torch.inference_mode(), entered(loaded, (), spans):
        intact = logits()
        with pairs_cut(loaded, [], spans.valid):
            empty = logits()
        with pairs_cut(loaded, [CutPairs(edge)], spans.valid, image=spans["image"], probe=probe):
            cut = logits()
    if not torch.equal(intact, empty):
        worst = float((intact - empty).abs().max())
        raise NumericsError(
            f"knockout self-check: a cut of nothing moved the logits by {worst:.3g}, expected bit equality"
        )
    reading = [place for place, block in enumerate(loaded.layers) if not attends_to_picture(block)]
    if len(probe.layers) != len(reading):
        raise NumericsError(
            f"knockout self-check: the attention function ran in {len(probe.layers)} of {len(reading)} blocks; the "
            "others do not attend, or not through the library's AttentionInterface, so no edge can be cut there"
        )
    if probe.blocked != 0.0:
        raise NumericsError(f"knockout self-check: a cut edge kept weight {probe.blocked:.3g}, expected exactly 0")
    if not probe.row_error <= max(1e-5, 4 * loaded.eps):
        raise NumericsError(f"knockout self-check: attention rows sum to 1 only within {probe.row_error:.3g}")
    moved = float((cut - intact).abs().amax(1).min())
    if not moved > 0:
        raise NumericsError(
            f"knockout self-check: cutting image -> {reader} moved the logits by {moved:.3g}; the spans do not hold "
            "what the model reads, or its states are not finite"
        )
    return SelfCheck(row_error=probe.row_error, moved=moved)
