r"""Training of stacked product flows on the profile likelihood of a full-covariance Gaussian.

The loss of one flow is ``1/2 logdet Cov(z) - mean log|det J|`` with the covariance of all blocks together: the latents
are pushed towards one joint Gaussian, which keeps the dependence between blocks, instead of each block on its own
towards ``N(0, I)``, which loses most of it. Flows in a stack do not see each other: each has its own loss, its own
gradient clip and its own early stop, and leaves the stack when it has stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pidflow.errors import ConfigError, NumericsError
from pidflow.flows._product import Layout, Parameters, ProductFlows, initial_parameters
from pidflow.flows.settings import FlowConfig

_JITTER = 1e-6  # relative ridge on a covariance: lets an exact copy of a column read as a few nats, not infinity


def profile_loss(z: Tensor, log_det: Tensor, weight: Tensor, valid: Tensor) -> Tensor:
    """Negative profile log-likelihood per sample of each flow, nats up to a constant, ``(S,)``."""
    _, _, log_volume = _moments(z, weight, valid)
    return log_volume - (log_det * weight).sum(dim=1) / weight.sum(dim=1)


def _moments(z: Tensor, weight: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean ``(S, D, 1)``, Cholesky factor of the covariance ``(S, D, D)`` and half its log-determinant ``(S,)``.

    The last is NaN for a flow whose covariance is not positive definite.
    """
    count = weight.sum(dim=1)[:, None, None]
    mean = (z * weight[:, None, :]).sum(dim=2, keepdim=True) / count
    centred = (z - mean) * weight[:, None, :]
    covariance = centred @ centred.transpose(1, 2) / count
    scale = covariance.diagonal(dim1=1, dim2=2).detach()
    ridge = torch.where(valid, _JITTER * scale, 1.0)
    factor, info = torch.linalg.cholesky_ex(covariance + torch.diag_embed(ridge))
    log_volume = factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    return mean, factor, torch.where(info == 0, log_volume, torch.nan)


def held_out_loss(
    z: Tensor, log_det: Tensor, weight: Tensor, z_train: Tensor, weight_train: Tensor, valid: Tensor
) -> Tensor:
    """Loss of other rows under the Gaussian fitted to training latents, on the scale of `profile_loss`, ``(S,)``."""
    mean, factor, log_volume = _moments(z_train, weight_train, valid)
    white = torch.linalg.solve_triangular(factor, z - mean, upper=False)
    excess = (white.square().sum(dim=1) - valid.sum(dim=1)[:, None]) / 2
    return log_volume + ((excess - log_det) * weight).sum(dim=1) / weight.sum(dim=1)


def usable_device(device: str) -> str:
    """The device, if tensors can be made on it.

    Raises
    ------
    ConfigError
        If not.
    """
    try:
        torch.zeros(1, device=device)
    except Exception as err:
        reason = (str(err).splitlines() or [""])[0]
        raise ConfigError(f"device {device!r} cannot be used ({reason}); take 'cpu'") from err
    return device


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
    config: FlowConfig,
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

    Raises
    ------
    NumericsError
        When the loss of a flow is not finite at its start, or at every evaluation after it. A loss that is lost on the
        way brings back the best parameters before.
    """
    best = initial_parameters(layout, config, seed=seed, dtype=x.dtype)
    origin = {name: value.clone() for name, value in best.items()}
    live = torch.arange(len(x), device=x.device)
    flows = ProductFlows(layout, config)
    current = {name: value.clone().requires_grad_() for name, value in best.items()}
    moments = {name: (torch.zeros_like(v), torch.zeros_like(v)) for name, v in best.items()}
    generator = torch.Generator().manual_seed(seed)
    rows = x.shape[2]
    batch_rows = min(rows, max(config.batch_size, 4 * x.shape[1]))

    def losses() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            z, log_det = flows.forward(current, x)
            z_held, log_det_held = flows.forward(current, x_held)
            valid = flows.layout.valid
            held = held_out_loss(z_held, log_det_held, weight_held, z, weight, valid)
            return profile_loss(z, log_det, weight, valid), held

    S = len(x)
    evaluations = 1 + math.ceil(config.max_steps / config.evaluate_every)
    curves = torch.full((2, S, evaluations), float("nan"), device=x.device, dtype=torch.float64)
    steps = torch.zeros(evaluations, dtype=torch.long)
    start = torch.stack(losses())
    if not start.isfinite().all():
        raise NumericsError(
            f"{int((~start.isfinite().all(dim=0)).sum())} of {S} flows cannot start: their columns have no positive "
            "definite covariance; expected finite columns, more rows than columns, and precision float64 where blocks "
            "are copies of each other"
        )
    curves[:, :, 0] = 0
    best_loss = torch.zeros(S, device=x.device, dtype=x.dtype)
    best_step = torch.zeros(S, device=x.device, dtype=torch.long)
    steps_run = torch.full((S,), config.max_steps, device=x.device)
    stale = torch.zeros(S, device=x.device, dtype=torch.long)
    order, cursor, done = torch.randperm(rows, generator=generator), 0, 0
    for evaluation in range(1, evaluations):
        while done < min(config.max_steps, evaluation * config.evaluate_every):
            if cursor + batch_rows > rows:
                order, cursor = torch.randperm(rows, generator=generator), 0
            batch = slice(None) if batch_rows == rows else order[cursor : cursor + batch_rows].to(x.device)
            cursor += batch_rows
            z, log_det = flows.forward(current, x[:, :, batch])
            loss = profile_loss(z, log_det, weight[:, batch], flows.layout.valid)
            loss = loss + _penalty(current, {name: value[live] for name, value in origin.items()}, config)
            gradients = torch.autograd.grad(loss.sum(), list(current.values()))
            rate = config.learning_rate * 0.5 * (1 + math.cos(math.pi * done / config.max_steps))
            done += 1
            adam_step(current, moments, gradients, rates=rate, step=done)
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
        keep = stale[live] < config.patience
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
        flows = ProductFlows(flows.layout.select(keep.nonzero().squeeze(1)), config)
    refuse_untrained(curves)
    used = slice(0, evaluation + 1)
    return TrainedStack(
        best,
        steps[used],
        curves[0, :, used],
        curves[1, :, used],
        best_step,
        steps_run,
        steps_run < config.max_steps,
        batch_rows,
    )


def refuse_untrained(curves: Tensor) -> None:
    """A flow that never had a finite loss after its start is a failure; one that only did not improve is not."""
    lost = ~curves[:, :, 1:].isfinite().all(dim=0).any(dim=1)
    if lost.any():
        raise NumericsError(
            f"{int(lost.sum())} of {len(lost)} flows did not train: their loss was not finite at any evaluation after "
            "the start; lower the learning rate or train in float64"
        )


def _penalty(parameters: Parameters, origin: Parameters, config: FlowConfig) -> Tensor:
    """Cost of leaving the start, nats, ``(S,)``; twists are too few to need one."""
    weight = {"mix": config.mix_penalty, "twist": 0.0}
    costs = [
        weight.get(name.split(".")[1], config.bend_penalty) * (value - origin[name]).square().flatten(1).sum(dim=1)
        for name, value in parameters.items()
    ]
    return torch.stack(costs).sum(dim=0)


def adam_step(
    parameters: Parameters,
    moments: dict[str, tuple[Tensor, Tensor]],
    gradients: Sequence[Tensor],
    *,
    rates: float | Mapping[str, float],
    step: int,
) -> None:
    """One Adam step (Kingma, Ba 2015) in place, with the gradient of each member of the stack clipped to norm 1 alone.

    A member that has diverged gets no gradient: it drifts until its early stop and falls back to its best parameters,
    and the others never notice.
    """
    norm = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
    clip = torch.where(norm.isfinite(), 1 / norm.clamp(min=1), 0)
    with torch.no_grad():
        for (name, value), gradient in zip(parameters.items(), gradients, strict=True):
            gradient = gradient.nan_to_num(0, 0, 0) * clip.view(-1, *[1] * (gradient.dim() - 1))
            mean, square = moments[name]
            mean.lerp_(gradient, 0.1)
            square.lerp_(gradient.square(), 0.001)
            scale = (square / (1 - 0.999**step)).sqrt() + 1e-8
            rate = rates[name] if isinstance(rates, Mapping) else rates
            value -= rate / (1 - 0.9**step) * mean / scale
