"""The trainer of stacks: members that do not see each other, side by side along a leading tensor axis.

A step is a handful of batched operations however many members there are. Each has its own loss, its own gradient clip
and its own early stop, and leaves the stack when it has stopped. Flows and critics are trained so.

What is kept of a member is its best parameters, or (flows) the mean over its evaluations, each weighted by how good it
was. The best of nearly equal evaluations is decided by rounding errors, the mean is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pidflow.errors import ConfigError

Parameters = dict[str, Tensor]


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


class Objective(Protocol):
    """What the members of a stack are trained on; the leading axis of everything is that of the members."""

    def loss(self, parameters: Parameters) -> Tensor:
        """Loss of each member on the next batch, ``(S,)``."""

    def judged(self, parameters: Parameters) -> Tensor:
        """Losses that are recorded, ``(C, S)``; the last of them states when to stop."""

    def select(self, members: Tensor) -> Objective:
        """The objective of some members, going on with the same batches."""


@dataclass(frozen=True)
class TrainedMembers:
    """Outcome of `train_members`: parameters at the best last loss or their weighted mean, and the record.

    Attributes
    ----------
    parameters
        By name, with the axis of members in front.
    start
        Losses before training, shape ``(C, S)``.
    steps
        Steps at which losses were recorded, shape ``(E,)``.
    losses
        Relative to the start, float64, shape ``(C, S, E)``; NaN after a member has stopped.
    best_step, steps_run
        Shape ``(S,)``; a best step of 0 means that nothing was better than the start.
    """

    parameters: Parameters
    start: Tensor
    steps: Tensor
    losses: Tensor
    best_step: Tensor
    steps_run: Tensor


def train_members(
    objective: Objective,
    parameters: Parameters,
    *,
    rates: Callable[[int], float | Mapping[str, float]],
    max_steps: int,
    evaluate_every: int,
    patience: int | None = None,
    temperature: float = 0.0,
    floor: float = 1e-8,
    progress: Callable[[int, int], None] | None = None,
) -> TrainedMembers:
    """Train all members of a stack side by side by Adam; one that has stopped improving leaves the stack.

    Parameters
    ----------
    objective
        What they are trained on.
    parameters
        Where they start.
    rates
        Step size, or one for each parameter, after so many steps.
    max_steps, evaluate_every, patience
        Steps at most, steps between evaluations, and evaluations without improvement that end a member's training
        (None: it is not ended).
    temperature
        The start and every evaluation count ``exp(-loss / temperature)`` in the mean of parameters that is kept; 0
        keeps the best alone.
    floor
        Of the root mean square that a gradient is divided by: directions whose gradient is far below it stay put.
    progress
        Called as ``progress(step, members_still_training)`` after each evaluation.
    """
    best = {name: value.clone() for name, value in parameters.items()}
    current = {name: value.clone().requires_grad_() for name, value in best.items()}
    moments = {name: (torch.zeros_like(v), torch.zeros_like(v)) for name, v in best.items()}
    first = start = _judged(objective, current)
    evaluations, (count, S), device = 1 + math.ceil(max_steps / evaluate_every), start.shape, start.device
    losses = torch.full((count, S, evaluations), float("nan"), device=device, dtype=torch.float64)
    losses[:, :, 0] = 0
    steps = torch.zeros(evaluations, dtype=torch.long)
    best_loss = torch.zeros(S, device=device, dtype=start.dtype)
    total = torch.ones_like(best_loss)
    best_step, stale = (torch.zeros(S, device=device, dtype=torch.long) for _ in range(2))
    steps_run = torch.full((S,), max_steps, device=device)
    live, done = torch.arange(S, device=device), 0
    for evaluation in range(1, evaluations):
        while done < min(max_steps, evaluation * evaluate_every):
            gradients = torch.autograd.grad(objective.loss(current).sum(), list(current.values()))
            done += 1
            adam_step(current, moments, gradients, rates=rates(done - 1), step=done, floor=floor)
        gained = _judged(objective, current) - start
        steps[evaluation] = done
        losses[:, live, evaluation] = gained.double()
        better = gained[-1] < best_loss[live]
        share, total[live] = _share(gained[-1], best_loss[live], total[live], temperature)
        winners = live[better]
        best_loss[winners], best_step[winners] = gained[-1, better], done
        for name, value in current.items():
            best[name][live] = _moved(best[name][live], value.detach(), share)
        stale[live] = torch.where(better, 0, stale[live] + 1)
        keep = stale[live] < (math.inf if patience is None else patience)
        if progress is not None:
            progress(done, int(keep.sum()))
        if keep.all():
            continue
        steps_run[live[~keep]] = done
        if not keep.any():
            break
        live, start, objective = live[keep], start[:, keep], objective.select(keep)
        current = {name: value.detach()[keep].requires_grad_() for name, value in current.items()}
        moments = {name: (m[keep], v[keep]) for name, (m, v) in moments.items()}
    used = slice(0, evaluation + 1)
    return TrainedMembers(best, first, steps[used], losses[:, :, used], best_step, steps_run)


def _share(loss: Tensor, best: Tensor, total: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Share of an evaluation in the mean so far, and the sum of weights relative to that of the best, ``(S,)`` each."""
    if not temperature:
        return (loss < best).to(total), total
    loss = torch.where(loss.isfinite(), loss, math.inf)
    lowest = torch.minimum(loss, best)
    weight, before = ((lowest - loss) / temperature).exp(), total * ((lowest - best) / temperature).exp()
    return weight / (weight + before), weight + before


def _moved(kept: Tensor, value: Tensor, share: Tensor) -> Tensor:
    """The mean of parameters with one evaluation more; one without a share may hold anything."""
    share = share.view(-1, *[1] * (value.dim() - 1))
    return torch.where(share > 0, torch.lerp(kept, value, share), kept)


def _judged(objective: Objective, parameters: Parameters) -> Tensor:
    with torch.no_grad():
        return objective.judged(parameters)


def adam_step(
    parameters: Parameters,
    moments: dict[str, tuple[Tensor, Tensor]],
    gradients: Sequence[Tensor],
    *,
    rates: float | Mapping[str, float],
    step: int,
    floor: float = 1e-8,
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
            scale = (square / (1 - 0.999**step)).sqrt() + floor
            rate = rates[name] if isinstance(rates, Mapping) else rates
            value -= rate / (1 - 0.9**step) * mean / scale
