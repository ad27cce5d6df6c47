r"""Stacks of product flows ``z1 = f1(x1), z2 = f2(x2), zY = fY(y)``.

One flow acts on the concatenated columns ``(x1, x2, y)`` and never mixes blocks. It repeats one stage of three maps:

- *mix*: an invertible matrix within each block;
- *bend*: a monotone rational-quadratic spline on each column;
- *twist*: in each block, rotate column pairs by an angle proportional to the squared norm of the block's row,
  ``x -> R(|x|^2 / d - 1) x``. The norm is kept, so the inverse is the opposite rotation and the determinant is 1.

Mixes and bends alone are a Gaussianization flow (Meng, Song, Song, Ermon 2020) and can reach any density, but undo a
spiral only with many stages; twists do it with one parameter for each pair. Every part has few parameters on purpose:
a few hundred rows are all there is, and conditioner networks (coupling, autoregressive) overfit them.

A stack carries ``S`` such flows (all layers and folds of one unit) as one leading tensor axis, so that a step is a
handful of batched products however many flows there are. Blocks of different width share a stack by padding; padding
columns carry zeros, are masked out of every map, and add nothing to loss or gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pidflow.flows.settings import FlowConfig
from pidflow.flows.splines import Knots, identity_tailed_knots, inverse, transform

Parameters = dict[str, Tensor]


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
    width = len(layout.block)
    starts = (0, layout.widest[0], layout.widest[0] + layout.widest[1])
    out: Parameters = {}
    for stage in range(config.stages):
        generator = torch.Generator().manual_seed((seed * 1009 + stage) % 2**63)
        mix = torch.eye(width, dtype=torch.float64)
        for start, d in zip(starts, dims, strict=True):
            square = torch.randn(d, d, generator=generator, dtype=torch.float64)
            if stage:
                mix[start : start + d, start : start + d] = torch.linalg.qr(square).Q
        out[f"{stage}.mix"] = mix
        out[f"{stage}.widths"] = torch.zeros(width, config.bins)
        out[f"{stage}.heights"] = torch.zeros(width, config.bins)
        out[f"{stage}.slopes"] = torch.zeros(width, config.bins - 1)
        out[f"{stage}.twist"] = torch.zeros(width)
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
        # Columns 2j and 2j + 1 of a block are a pair; the parameter of a pair sits at its second column.
        self.second = torch.nonzero(layout.position % 2 == 1).squeeze(1)
        self.first = self.second - 1
        # A block of no columns (a constant source) has no row norm; dividing by zero would spoil every gradient.
        widths = torch.tensor(layout.dims, dtype=torch.float64, device=layout.valid.device).clamp(min=1)
        self.membership = torch.nn.functional.one_hot(layout.block, 3).T / widths[:, :, None]  # (S, 3, D)

    def forward(self, parameters: Parameters, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents ``(S, D, n)`` and log-determinants ``(S, n)`` of the columns ``x`` of shape ``(S, D, n)``."""
        valid = self.layout.valid[:, :, None]
        log_det = x.new_zeros(())
        for stage in range(self.config.stages):
            mix = self._mix(parameters, stage)
            x, log_slope = transform(mix @ x, self._knots(parameters, stage))
            x = self._twisted(parameters, stage, torch.where(valid, x, 0), sign=1)
            log_slope = torch.where(valid, log_slope, 0).sum(dim=1)
            log_det = log_det + log_slope + torch.linalg.slogdet(mix).logabsdet[:, None]
        return x, log_det

    def inverse(self, parameters: Parameters, z: Tensor) -> Tensor:
        """Columns ``(S, D, n)`` whose latents are ``z``."""
        for stage in reversed(range(self.config.stages)):
            z = inverse(self._twisted(parameters, stage, z, sign=-1), self._knots(parameters, stage))
            z = torch.where(self.layout.valid[:, :, None], z, 0)
            z = torch.linalg.solve(self._mix(parameters, stage), z)
        return z

    def _mix(self, parameters: Parameters, stage: int) -> Tensor:
        return parameters[f"{stage}.mix"] * self.same_block + self.padding

    def _knots(self, parameters: Parameters, stage: int) -> Knots:
        free = (parameters[f"{stage}.{name}"] for name in ("widths", "heights", "slopes"))
        return identity_tailed_knots(*free, bound=self.config.bound)

    def _twisted(self, parameters: Parameters, stage: int, x: Tensor, *, sign: int) -> Tensor:
        if not len(self.second):
            return x
        radius = self.membership.to(x.dtype) @ x.square() - 1
        rate = sign * (parameters[f"{stage}.twist"] * self.layout.valid)[:, self.second, None]
        angle = rate * radius[:, self.layout.block[self.second]]
        cosine, sine = angle.cos(), angle.sin()
        a, b = x[:, self.first], x[:, self.second]
        x = x.index_copy(1, self.first, cosine * a - sine * b)
        return x.index_copy(1, self.second, sine * a + cosine * b)
