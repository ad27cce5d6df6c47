r"""Stacks of product flows ``z1 = f1(x1), z2 = f2(x2), zY = fY(y)``, trained together on the profile likelihood.

One flow acts on the concatenated columns ``(x1, x2, y)`` and never mixes blocks: every linear map and every conditioner
is masked to its own block. A stack carries ``S`` such flows (all layers and folds of one unit) as one leading tensor
axis, so that a training step is a handful of batched products however many flows there are. Flows in a stack do not see
each other: each has its own loss, its own gradient clip, its own early stop. Blocks of different width share a stack by
padding; padding columns carry zeros, are masked out of every map, and add nothing to loss or gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pidflow.errors import NumericsError
from pidflow.splines import Knots, identity_tailed_knots, inverse, transform

Parameters = dict[str, Tensor]

_JITTER = 1e-6  # relative ridge on a covariance: lets an exact copy of a column read as about ten nats, not infinity
_LOG_SCALE_LIMIT = 2.0


@dataclass(frozen=True)
class Architecture:
    """What one stage of a product flow is made of; a flow repeats it ``stages`` times.

    Attributes
    ----------
    stages
        Number of (linear mixing, splines, conditioner) stages.
    bins
        Bins of each spline.
    hidden
        Hidden units of the conditioner, per block; 0 leaves the conditioner out.
    bound
        Splines bend ``[-bound, bound]`` and are the identity outside.
    """

    stages: int = 2
    bins: int = 8
    hidden: int = 32
    bound: float = 5.0


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


def initial_parameters(layout: Layout, architecture: Architecture, *, seed: int, dtype: torch.dtype) -> Parameters:
    """Parameters of a stack at its start, where every flow is a rotation within each block.

    All flows of equal widths start equal, whatever else is in the stack: folds of one layer must begin at the same map
    for their latents to be pooled.
    """
    single = {dims: _initial_single(dims, layout, architecture, seed=seed) for dims in sorted(set(layout.dims))}
    names = next(iter(single.values()))
    device = layout.valid.device
    return {name: torch.stack([single[dims][name] for dims in layout.dims]).to(device, dtype) for name in names}


def _initial_single(dims: tuple[int, int, int], layout: Layout, architecture: Architecture, *, seed: int) -> Parameters:
    width, bins, hidden = len(layout.block), architecture.bins, 3 * architecture.hidden
    starts = [0, layout.widest[0], layout.widest[0] + layout.widest[1]]
    out: Parameters = {}
    for stage in range(architecture.stages):
        generator = torch.Generator().manual_seed(seed * 1009 + stage)
        mix = torch.eye(width, dtype=torch.float64)
        into = torch.zeros(hidden, width, dtype=torch.float64)
        for b, (start, d) in enumerate(zip(starts, dims, strict=True)):
            square = torch.randn(d, d, generator=generator, dtype=torch.float64)
            if stage:
                mix[start : start + d, start : start + d] = torch.linalg.qr(square).Q
            rows = slice(b * architecture.hidden, (b + 1) * architecture.hidden)
            weights = torch.randn(architecture.hidden, d, generator=generator, dtype=torch.float64)
            into[rows, start : start + d] = weights / math.sqrt(d)
        out[f"{stage}.mix"] = mix
        out[f"{stage}.widths"] = torch.zeros(width, bins)
        out[f"{stage}.heights"] = torch.zeros(width, bins)
        out[f"{stage}.slopes"] = torch.zeros(width, bins - 1)
        if architecture.hidden:
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
    architecture
        Stages of each flow.
    """

    def __init__(self, layout: Layout, architecture: Architecture) -> None:
        self.layout = layout
        self.architecture = architecture
        self.same_block = layout.same_block
        self.padding = torch.diag_embed(~layout.valid)
        self.masks = [self._conditioner_masks(reverse=bool(s % 2)) for s in range(architecture.stages)]

    def _conditioner_masks(self, *, reverse: bool) -> tuple[Tensor, Tensor]:
        """Masks of the autoregressive conditioner, ``(S, H, D)`` into and ``(S, D, H)`` out of the hidden units.

        A hidden unit of degree ``k`` sees the first ``k`` columns of its block and speaks to the later ones
        (Germain et al. 2015, MADE). Degrees depend on the width of the flow's own block, not on the padded one.
        """
        layout, per_block = self.layout, self.architecture.hidden
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
        for stage in range(self.architecture.stages):
            mix = parameters[f"{stage}.mix"] * self.same_block + self.padding
            x = mix @ x
            x, log_slope = transform(x, self._knots(parameters, stage))
            x = torch.where(valid, x, 0)
            log_slope = torch.where(valid, log_slope, 0)
            if self.architecture.hidden:
                log_scale, shift = self._affine(parameters, stage, x)
                x = x * log_scale.exp() + shift
                log_slope = log_slope + log_scale
            log_det = log_det + log_slope.sum(dim=1) + torch.linalg.slogdet(mix).logabsdet[:, None]
        return x, log_det

    def inverse(self, parameters: Parameters, z: Tensor) -> Tensor:
        """Columns ``(S, D, n)`` whose latents are ``z``."""
        for stage in reversed(range(self.architecture.stages)):
            if self.architecture.hidden:
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
        return identity_tailed_knots(*free, bound=self.architecture.bound)

    def _affine(self, parameters: Parameters, stage: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log-scale and shift that earlier columns of a block ask of the later ones, each ``(S, D, n)``."""
        sees, speaks = self.masks[stage]
        hidden = torch.relu((parameters[f"{stage}.into"] * sees) @ x + parameters[f"{stage}.bias"][:, :, None])
        log_scale = (parameters[f"{stage}.scale"] * speaks) @ hidden
        shift = (parameters[f"{stage}.shift"] * speaks) @ hidden
        return _LOG_SCALE_LIMIT * torch.tanh(log_scale / _LOG_SCALE_LIMIT), shift


def profile_loss(z: Tensor, log_det: Tensor, weight: Tensor, valid: Tensor) -> Tensor:
    """Negative profile log-likelihood per sample of each flow, nats up to a constant, ``(S,)``."""
    _, log_volume = _moments(z, weight, valid)[1:]
    return log_volume - (log_det * weight).sum(dim=1) / weight.sum(dim=1)


def _moments(z: Tensor, weight: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean ``(S, D, 1)``, Cholesky factor of the covariance ``(S, D, D)`` and half its log-determinant ``(S,)``."""
    count = weight.sum(dim=1)[:, None, None]
    mean = (z * weight[:, None, :]).sum(dim=2, keepdim=True) / count
    centred = (z - mean) * weight[:, None, :]
    covariance = centred @ centred.transpose(1, 2) / count
    scale = covariance.diagonal(dim1=1, dim2=2).detach()
    ridge = torch.where(valid, _JITTER * scale, 1.0)
    factor, info = torch.linalg.cholesky_ex(covariance + torch.diag_embed(ridge))
    if info.any():
        raise NumericsError(
            f"the latents of {int((info != 0).sum())} of {len(info)} flows have no positive definite covariance; "
            "expected finite columns and more training rows than columns: keep fewer components or add rows"
        )
    return mean, factor, factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)


def held_out_loss(
    z: Tensor, log_det: Tensor, weight: Tensor, z_train: Tensor, weight_train: Tensor, valid: Tensor
) -> Tensor:
    """Loss of other rows under the Gaussian fitted to the training latents, on the scale of `profile_loss`, ``(S,)``."""
    mean, factor, log_volume = _moments(z_train, weight_train, valid)
    white = torch.linalg.solve_triangular(factor, z - mean, upper=False)
    excess = (white.square().sum(dim=1) - valid.sum(dim=1)[:, None]) / 2
    return log_volume + ((excess - log_det) * weight).sum(dim=1) / weight.sum(dim=1)


@dataclass(frozen=True)
class Schedule:
    """How a stack is trained.

    Attributes
    ----------
    max_steps, batch_size, learning_rate
        Adam steps at most, rows in a step (never fewer than four times the columns), step size at the start.
    evaluate_every, patience
        Steps between two held-out evaluations; evaluations without improvement after which a flow stops.
    """

    max_steps: int = 200
    batch_size: int = 512
    learning_rate: float = 0.02
    evaluate_every: int = 10
    patience: int = 3


@dataclass(frozen=True)
class TrainedStack:
    """Outcome of `train_stack`.

    Attributes
    ----------
    parameters
        Parameters of every flow at its best held-out loss.
    steps
        Steps at which a loss was recorded, shape ``(E,)``.
    training_loss, held_out_loss
        Nats per sample relative to the untrained flow, shape ``(S, E)``; NaN after a flow has stopped.
    best_step, steps_run
        Per flow, shape ``(S,)``.
    stopped_early
        Flows whose held-out loss stopped falling before ``max_steps``, shape ``(S,)``.
    batch_rows
        Rows used in one step.
    """

    parameters: Parameters
    steps: Tensor
    training_loss: Tensor
    held_out_loss: Tensor
    best_step: Tensor
    steps_run: Tensor
    stopped_early: Tensor
    batch_rows: int


def train_stack(
    x: Tensor,
    weight: Tensor,
    x_held: Tensor,
    weight_held: Tensor,
    *,
    layout: Layout,
    architecture: Architecture,
    schedule: Schedule,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> TrainedStack:
    """Flows fitted to ``x`` and stopped on ``x_held``, all at once.

    Parameters
    ----------
    x, x_held
        Standardised training and held-out columns, ``(S, D, n)`` and ``(S, D, n_held)``; padding is zero.
    weight, weight_held
        1 for a row that counts, 0 for padding, ``(S, n)`` and ``(S, n_held)``.
    progress
        Called as ``progress(step, flows_still_training)`` after each evaluation.
    """
    best = initial_parameters(layout, architecture, seed=seed, dtype=x.dtype)
    live = torch.arange(len(x), device=x.device)
    flows = ProductFlows(layout, architecture)
    current = {name: value.clone().requires_grad_() for name, value in best.items()}
    moments = {name: (torch.zeros_like(v), torch.zeros_like(v)) for name, v in best.items()}
    generator = torch.Generator().manual_seed(seed)
    rows = x.shape[2]
    batch_rows = min(rows, max(schedule.batch_size, 4 * x.shape[1]))

    def losses() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            z, log_det = flows.forward(current, x)
            z_held, log_det_held = flows.forward(current, x_held)
            valid = flows.layout.valid
            held = held_out_loss(z_held, log_det_held, weight_held, z, weight, valid)
            return profile_loss(z, log_det, weight, valid), held

    S = len(x)
    evaluations = 1 + math.ceil(schedule.max_steps / schedule.evaluate_every)
    curves = torch.full((2, S, evaluations), float("nan"), device=x.device, dtype=torch.float64)
    steps = torch.zeros(evaluations, dtype=torch.long)
    start = torch.stack(losses())
    curves[:, :, 0] = 0
    best_loss = torch.zeros(S, device=x.device, dtype=x.dtype)
    best_step = torch.zeros(S, device=x.device, dtype=torch.long)
    steps_run = torch.full((S,), schedule.max_steps, device=x.device)
    stale = torch.zeros(S, device=x.device, dtype=torch.long)
    order, cursor, done = torch.randperm(rows, generator=generator), 0, 0
    for evaluation in range(1, evaluations):
        while done < min(schedule.max_steps, evaluation * schedule.evaluate_every):
            if cursor + batch_rows > rows:
                order, cursor = torch.randperm(rows, generator=generator), 0
            batch = slice(None) if batch_rows == rows else order[cursor : cursor + batch_rows].to(x.device)
            cursor += batch_rows
            z, log_det = flows.forward(current, x[:, :, batch])
            loss = profile_loss(z, log_det, weight[:, batch], flows.layout.valid)
            gradients = torch.autograd.grad(loss.sum(), list(current.values()))
            rate = schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * done / schedule.max_steps))
            done += 1
            _adam(current, moments, gradients, rate=rate, step=done)
        train, held = losses()
        steps[evaluation] = done
        curves[0, live, evaluation] = (train - start[0]).double()
        curves[1, live, evaluation] = (held - start[1]).double()
        better = held - start[1] < best_loss[live]
        winners = live[better]
        best_loss[winners] = (held - start[1])[better]
        best_step[winners] = done
        for name, value in current.items():
            best[name][winners] = value.detach()[better]
        stale[live] = torch.where(better, 0, stale[live] + 1)
        keep = stale[live] < schedule.patience
        if progress is not None:
            progress(done, int(keep.sum()))
        if keep.all():
            continue
        steps_run[live[~keep]] = done
        if not keep.any():
            break
        live, start = live[keep], start[:, keep]
        x, weight, x_held, weight_held = x[keep], weight[keep], x_held[keep], weight_held[keep]
        current = {name: value.detach()[keep].requires_grad_() for name, value in current.items()}
        moments = {name: (m[keep], v[keep]) for name, (m, v) in moments.items()}
        flows = ProductFlows(flows.layout.select(keep.nonzero().squeeze(1)), architecture)
    used = slice(0, evaluation + 1)
    return TrainedStack(
        best, steps[used], curves[0, :, used], curves[1, :, used], best_step, steps_run, steps_run < schedule.max_steps, batch_rows
    )


def _adam(
    parameters: Parameters, moments: dict[str, tuple[Tensor, Tensor]], gradients: Sequence[Tensor], *, rate: float, step: int
) -> None:
    """One Adam step (Kingma, Ba 2015) in place, with the gradient of each flow clipped to norm 1 on its own."""
    norm = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
    clip = 1 / norm.clamp(min=1)
    with torch.no_grad():
        for (name, value), gradient in zip(parameters.items(), gradients, strict=True):
            gradient = gradient * clip.view(-1, *[1] * (gradient.dim() - 1))
            mean, square = moments[name]
            mean.lerp_(gradient, 0.1)
            square.lerp_(gradient.square(), 0.001)
            scale = (square / (1 - 0.999**step)).sqrt() + 1e-8
            value -= rate / (1 - 0.9**step) * mean / scale
