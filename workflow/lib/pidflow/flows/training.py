r"""Training of stacked product flows on the profile likelihood of a full-covariance Gaussian.

The loss of one flow is ``1/2 logdet Cov(z) - mean log|det J|`` with the covariance of all blocks together: the latents
are pushed towards one joint Gaussian, which keeps the dependence between blocks, instead of each block on its own
towards ``N(0, I)``, which loses most of it. Flows in a stack do not see each other: each has its own loss and its own
gradient clip.

Rounding errors must not decide what comes out. So all flows make all steps, and what is kept is the mean of the weights
over evaluations, each weighted by its likelihood on the rows kept aside, instead of those of the best evaluation; and
Adam divides no gradient by less than a floor: mixing matrices start where their gradient is rounding alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pidflow.errors import NumericsError
from pidflow.flows._product import Layout, Parameters, ProductFlows, initial_parameters
from pidflow.flows.settings import FlowConfig
from pidflow.flows.stack import train_members

_JITTER = 1e-6  # relative ridge on a covariance: lets an exact copy of a column read as a few nats, not infinity


# Training rows up to which `max_steps` is meant; more of them show more and take up to twice as many steps.
_ROWS_OF_STEPS = 600


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


@dataclass(frozen=True)
class TrainedStack:
    """Outcome of `train_stack`.

    Attributes
    ----------
    parameters
        Parameters of every flow, the mean over evaluations weighted by their held-out losses.
    steps
        Steps at which a loss was recorded, shape ``(E,)``.
    training_loss, held_out_loss
        Nats per sample relative to the untrained flow, shape ``(S, E)``; NaN after a flow has stopped.
    best_step, steps_run
        Step of the lowest held-out loss and steps made, per flow, shape ``(S,)``.
    stopped_early
        Flows that maps with an early stop ended before their last step, shape ``(S,)``.
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
    """Flows fitted to ``x`` and weighed on ``x_held``, all at once.

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
    parameters = initial_parameters(layout, config, seed=seed, dtype=x.dtype)
    rows = x.shape[2]
    batch_rows = min(rows, max(config.batch_size, 4 * x.shape[1]))
    steps = round(config.max_steps * min(max(rows / _ROWS_OF_STEPS, 1), 2))
    batches = _batches(rows, batch_rows, torch.Generator().manual_seed(seed))
    trained = train_members(
        _FlowObjective(ProductFlows(layout, config), (x, weight, x_held, weight_held), parameters, config, batches),
        parameters,
        rates=lambda done: config.learning_rate * 0.5 * (1 + math.cos(math.pi * done / steps)),
        max_steps=steps,
        evaluate_every=config.evaluate_every,
        temperature=config.temperature,
        floor=config.gradient_floor,
        progress=progress,
    )
    if not (finite := trained.start.isfinite().all(dim=0)).all():
        raise NumericsError(
            f"{int((~finite).sum())} of {len(x)} flows cannot start: their columns have no positive "
            "definite covariance; expected finite columns, more rows than columns, and precision float64 where blocks "
            "are copies of each other"
        )
    refuse_untrained(trained.losses)
    return TrainedStack(
        parameters=trained.parameters,
        steps=trained.steps,
        training_loss=trained.losses[0],
        held_out_loss=trained.losses[1],
        best_step=trained.best_step,
        steps_run=trained.steps_run,
        stopped_early=torch.zeros_like(trained.best_step, dtype=torch.bool),
        batch_rows=batch_rows,
    )


def _batches(rows: int, batch_rows: int, generator: torch.Generator) -> Iterator[slice | Tensor]:
    """Rows of each step: all of them, or passes over them in random order."""
    while True:
        order = torch.randperm(rows, generator=generator)
        for first in range(0, rows - batch_rows + 1, batch_rows):
            yield slice(None) if batch_rows == rows else order[first : first + batch_rows]


@dataclass(frozen=True)
class _FlowObjective:
    """Profile loss and penalty of product flows; judged on all training rows and on the held-out ones."""

    flows: ProductFlows
    rows: tuple[Tensor, Tensor, Tensor, Tensor]
    origin: Parameters
    config: FlowConfig
    batches: Iterator[slice | Tensor]

    def loss(self, parameters: Parameters) -> Tensor:
        x, weight, *_ = self.rows
        batch = next(self.batches)
        batch = batch if isinstance(batch, slice) else batch.to(x.device)
        z, log_det = self.flows.forward(parameters, x[:, :, batch])
        loss = profile_loss(z, log_det, weight[:, batch], self.flows.layout.valid)
        return loss + _penalty(parameters, self.origin, self.config)

    def judged(self, parameters: Parameters) -> Tensor:
        x, weight, x_held, weight_held = self.rows
        valid = self.flows.layout.valid
        (z, log_det), (z_held, log_det_held) = (self.flows.forward(parameters, part) for part in (x, x_held))
        held = held_out_loss(z_held, log_det_held, weight_held, z, weight, valid)
        return torch.stack([profile_loss(z, log_det, weight, valid), held])

    def select(self, members: Tensor) -> _FlowObjective:
        flows = ProductFlows(self.flows.layout.select(members.nonzero().squeeze(1)), self.config)
        origin = {name: value[members] for name, value in self.origin.items()}
        return replace(self, flows=flows, rows=tuple(part[members] for part in self.rows), origin=origin)


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
