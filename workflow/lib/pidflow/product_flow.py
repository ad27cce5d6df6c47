r"""Stacks of product flows ``z1 = f1(x1), z2 = f2(x2), zY = fY(y)``.

One flow acts on the concatenated columns ``(x1, x2, y)`` and never mixes blocks: every linear map and every conditioner
is masked to its own block. A stack carries ``S`` such flows (all layers and folds of one unit) as one leading tensor
axis, so that a step is a handful of batched products however many flows there are. Blocks of different width share a
stack by padding; padding columns carry zeros, are masked out of every map, and add nothing to loss or gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pidflow.splines import Knots, identity_tailed_knots, inverse, transform

Parameters = dict[str, Tensor]

_LOG_SCALE_LIMIT = 2.0


@dataclass(frozen=True)
class FlowConfig:
    """Shape of a product flow and how it is trained.

    Attributes
    ----------
    marginals
        Map of each column, fixed before training and common to all folds: ``quantile`` carries it to normal scores
        through a coarse monotone spline, ``standardise`` only centres and scales it.
    stages
        Number of (linear mixing, splines, conditioner) stages.
    bins
        Bins of each spline.
    hidden
        Hidden units of the conditioner, per block; 0 leaves the conditioner out.
    bound
        Splines bend ``[-bound, bound]`` and are the identity outside.
    held_out_fraction
        Part of the training rows of a fold kept aside to stop on.
    max_steps, batch_size, learning_rate
        Adam steps at most, rows in a step (never fewer than four times the columns), step size at the start.
    evaluate_every, patience
        Steps between two held-out evaluations; evaluations without improvement after which a flow stops.
    precision
        ``float32`` or ``float64`` for training; latents are always computed in float64.
    values_at_once
        Largest number of values (flows x columns x rows) in one stack; bounds memory, does not affect results.
    """

    marginals: str = "quantile"
    stages: int = 2
    bins: int = 8
    hidden: int = 32
    bound: float = 5.0
    held_out_fraction: float = 0.15
    max_steps: int = 200
    batch_size: int = 512
    learning_rate: float = 0.02
    evaluate_every: int = 10
    patience: int = 3
    precision: str = "float32"
    values_at_once: int = 20_000_000


@dataclass(frozen=True)
class Layout:
    """Which columns of a stack belong to which block of which flow.

    Attributes
    ----------
    dims
        Width of the three blocks for each flow, ``S`` triples.
    widest
        Width of the three blocks after padding.
    block
        Block of each padded column, shape ``(D,)``.
    position
        Place of each padded column inside its block, shape ``(D,)``.
    valid
        Columns that are not padding, shape ``(S, D)``.
    """

    dims: tuple[tuple[int, int, int], ...]
    widest: tuple[int, int, int]
    block: Tensor
    position: Tensor
    valid: Tensor

    @classmethod
    def of(cls, dims: Sequence[tuple[int, int, int]], *, device: str | torch.device = "cpu") -> Layout:
        widest = tuple(max(widths) for widths in zip(*dims, strict=True))
        block = torch.cat([torch.full((w,), b) for b, w in enumerate(widest)])
        position = torch.cat([torch.arange(w) for w in widest])
        valid = position < torch.tensor(dims)[:, block]
        return cls(tuple(dims), widest, block.to(device), position.to(device), valid.to(device))

    def select(self, flows: Tensor) -> Layout:
        """The layout of some flows of the stack, with the same padding."""
        dims = tuple(self.dims[i] for i in flows.tolist())
        return Layout(dims, self.widest, self.block, self.position, self.valid[flows])

    @property
    def same_block(self) -> Tensor:
        """Pairs of columns that one linear map may mix, ``(S, D, D)``."""
        return (self.block[:, None] == self.block) & self.valid[:, :, None] & self.valid[:, None, :]


def initial_parameters(layout: Layout, config: FlowConfig, *, seed: int, dtype: torch.dtype) -> Parameters:
    """Parameters of a stack at its start, where every flow is a rotation within each block.

    All flows of equal widths start equal, whatever else is in the stack: folds of one layer must begin at the same map
    for their latents to be pooled.
    """
    single = {dims: _initial_single(dims, layout, config, seed=seed) for dims in sorted(set(layout.dims))}
    names = next(iter(single.values()))
    device = layout.valid.device
    return {name: torch.stack([single[dims][name] for dims in layout.dims]).to(device, dtype) for name in names}


def _initial_single(dims: tuple[int, int, int], layout: Layout, config: FlowConfig, *, seed: int) -> Parameters:
    width, bins, hidden = len(layout.block), config.bins, 3 * config.hidden
    starts = [0, layout.widest[0], layout.widest[0] + layout.widest[1]]
    out: Parameters = {}
    for stage in range(config.stages):
        generator = torch.Generator().manual_seed(seed * 1009 + stage)
        mix = torch.eye(width, dtype=torch.float64)
        into = torch.zeros(hidden, width, dtype=torch.float64)
        for b, (start, d) in enumerate(zip(starts, dims, strict=True)):
            square = torch.randn(d, d, generator=generator, dtype=torch.float64)
            if stage:
                mix[start : start + d, start : start + d] = torch.linalg.qr(square).Q
            rows = slice(b * config.hidden, (b + 1) * config.hidden)
            weights = torch.randn(config.hidden, d, generator=generator, dtype=torch.float64)
            into[rows, start : start + d] = weights / math.sqrt(d)
        out[f"{stage}.mix"] = mix
        out[f"{stage}.widths"] = torch.zeros(width, bins)
        out[f"{stage}.heights"] = torch.zeros(width, bins)
        out[f"{stage}.slopes"] = torch.zeros(width, bins - 1)
        if config.hidden:
            out[f"{stage}.into"] = into
            out[f"{stage}.bias"] = torch.zeros(hidden)
            out[f"{stage}.scale"] = torch.zeros(width, hidden)
            out[f"{stage}.shift"] = torch.zeros(width, hidden)
    return out


class ProductFlows:
    """The maps of a stack: parameters in, latents and log-determinants out.

    Parameters
    ----------
    layout
        Blocks of the stack.
    config
        Stages of each flow.
    """

    def __init__(self, layout: Layout, config: FlowConfig) -> None:
        self.layout = layout
        self.config = config
        self.same_block = layout.same_block
        self.padding = torch.diag_embed(~layout.valid)
        self.masks = [self._conditioner_masks(reverse=bool(s % 2)) for s in range(config.stages)]

    def _conditioner_masks(self, *, reverse: bool) -> tuple[Tensor, Tensor]:
        """Masks of the autoregressive conditioner, ``(S, H, D)`` into and ``(S, D, H)`` out of the hidden units.

        A hidden unit of degree ``k`` sees the first ``k`` columns of its block and speaks to the later ones
        (Germain et al. 2015, MADE). Degrees depend on the width of the flow's own block, not on the padded one.
        """
        layout, per_block = self.layout, self.config.hidden
        device = layout.valid.device
        widths = torch.tensor(layout.dims, device=device)  # (S, 3)
        order = layout.position.expand(len(widths), -1)
        if reverse:
            order = widths[:, layout.block] - 1 - order
        unit_block = torch.arange(3, device=device).repeat_interleave(per_block)
        unit = torch.arange(per_block, device=device).repeat(3)
        degree = 1 + unit % (widths[:, unit_block] - 1).clamp(min=1)
        together = (unit_block[:, None] == layout.block) & layout.valid[:, None, :]
        sees = together & (order[:, None, :] < degree[:, :, None])
        speaks = together & (order[:, None, :] >= degree[:, :, None])
        return sees, speaks.transpose(1, 2)

    def forward(self, parameters: Parameters, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents ``(S, D, n)`` and log-determinants ``(S, n)`` of the columns ``x`` of shape ``(S, D, n)``."""
        valid = self.layout.valid[:, :, None]
        log_det = x.new_zeros(())
        for stage in range(self.config.stages):
            mix = parameters[f"{stage}.mix"] * self.same_block + self.padding
            x = mix @ x
            x, log_slope = transform(x, self._knots(parameters, stage))
            x = torch.where(valid, x, 0)
            log_slope = torch.where(valid, log_slope, 0)
            if self.config.hidden:
                log_scale, shift = self._affine(parameters, stage, x)
                x = x * log_scale.exp() + shift
                log_slope = log_slope + log_scale
            log_det = log_det + log_slope.sum(dim=1) + torch.linalg.slogdet(mix).logabsdet[:, None]
        return x, log_det

    def inverse(self, parameters: Parameters, z: Tensor) -> Tensor:
        """Columns ``(S, D, n)`` whose latents are ``z``."""
        for stage in reversed(range(self.config.stages)):
            if self.config.hidden:
                x = torch.zeros_like(z)
                for _ in range(max(self.layout.widest)):  # each sweep makes one more column of every block right
                    log_scale, shift = self._affine(parameters, stage, x)
                    x = (z - shift) * (-log_scale).exp()
                z = x
            z = inverse(z, self._knots(parameters, stage))
            z = torch.where(self.layout.valid[:, :, None], z, 0)
            z = torch.linalg.solve(parameters[f"{stage}.mix"] * self.same_block + self.padding, z)
        return z

    def _knots(self, parameters: Parameters, stage: int) -> Knots:
        free = (parameters[f"{stage}.{name}"] for name in ("widths", "heights", "slopes"))
        return identity_tailed_knots(*free, bound=self.config.bound)

    def _affine(self, parameters: Parameters, stage: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log-scale and shift that earlier columns of a block ask of the later ones, each ``(S, D, n)``."""
        sees, speaks = self.masks[stage]
        hidden = torch.relu((parameters[f"{stage}.into"] * sees) @ x + parameters[f"{stage}.bias"][:, :, None])
        log_scale = (parameters[f"{stage}.scale"] * speaks) @ hidden
        shift = (parameters[f"{stage}.shift"] * speaks) @ hidden
        return _LOG_SCALE_LIMIT * torch.tanh(log_scale / _LOG_SCALE_LIMIT), shift
