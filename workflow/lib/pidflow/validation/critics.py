"""Critics as a stack: Gaussian to begin with, with products and a network to learn, trained side by side.

What a critic is and what it proves stands in :mod:`pidflow.validation.critic`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from pidflow import arguments
from pidflow.errors import ConfigError
from pidflow.flows.stack import Parameters, train_members

_RIDGE = 1e-6
_UNITS = 32
_EMBEDDING = 8
_SHARPNESS = 1.5  # of tanh: between a product (0) and a product of signs (infinity)
_STARTS = 32
_POWER_STEPS = 12
# Step sizes. Directions come from moments and need little; the gains decide, and must outrun the network's overfitting.
_RATES = {"product.gain": 0.1, "product": 0.003, "source": 0.001, "target": 0.001}


@dataclass(frozen=True)
class CriticConfig:
    """How a critic is trained.

    Attributes
    ----------
    products
        Number of product features, even.
    max_steps, batch_size
        Adam steps at most, rows compared in a step.
    evaluate_every, patience
        Steps between evaluations on the rows kept aside; evaluations without improvement that end the training.
    held_out_fraction
        Part of the training rows of a fold kept aside.
    rows_compared
        Rows compared with each other at most (memory, and the ceiling of the bound), held out or kept aside.
    """

    products: int = 8
    max_steps: int = 200
    batch_size: int = 128
    evaluate_every: int = 10
    patience: int = 8
    held_out_fraction: float = 0.15
    rows_compared: int = 1024


def checked_config(config: CriticConfig) -> CriticConfig:
    """The settings as plain numbers.

    Raises
    ------
    ConfigError
        When one is out of range.
    """
    if not isinstance(config, CriticConfig):
        raise ConfigError(f"config must be a CriticConfig, found {arguments.shown(config)}")
    counts = {"products": (2, 1000), "max_steps": (1, 10**6), "batch_size": (2, 10**6), "evaluate_every": (1, 10**6)}
    counts |= {"patience": (1, 10**6), "rows_compared": (2, 10**6)}
    plain = {
        name: arguments.count(getattr(config, name), f"critic {name}", least=least, most=most)
        for name, (least, most) in counts.items()
    }
    if plain["products"] % 2:
        raise ConfigError(f"critic products must be even, found {plain['products']}")
    fraction = arguments.number(config.held_out_fraction, "critic held_out_fraction", above=0.0, below=1.0)
    return CriticConfig(**plain, held_out_fraction=fraction)


def row_bounds(left: Tensor, right: Tensor) -> Tensor:
    """Each row's contribution to the bound, nats, ``(S, N)``; the score of a pair of rows is ``left . right``."""
    return _RowBounds.apply(left @ right.transpose(1, 2))


class _RowBounds(torch.autograd.Function):
    """What `row_bounds` makes of the scores of all pairs ``(S, N, N)``.

    Pairs are nearly all that a training computes with. The derivative is written out because the automatic one takes
    every exponential once more.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, scores: Tensor) -> Tensor:
        largest = scores.amax(dim=2, keepdim=True)
        shares = (scores - largest).exp_()
        total = shares.sum(dim=2, keepdim=True)
        ctx.save_for_backward(shares, total)
        beyond = scores.diagonal(dim1=1, dim2=2) - (largest + total.log()).squeeze(2)
        return beyond + math.log(scores.shape[2])

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        shares, total = ctx.saved_tensors
        out = shares * (-gradient[:, :, None] / total)
        out.diagonal(dim1=1, dim2=2).add_(gradient)
        return out


@dataclass
class Critics:
    """A stack of critics, one for each fold of each member, folds innermost; every tensor has that leading axis."""

    fixed: Parameters
    free: Parameters

    @classmethod
    def start(cls, x: Tensor, y: Tensor, d1: int, *, config: CriticConfig, generator: torch.Generator) -> Critics:
        """Gaussian critics of the training rows ``(S, N, d)``, with everything else in place but switched off."""
        folds, dx, m = len(x), x.shape[2], y.shape[2]
        fixed = gaussian_scores(x, y)
        a, b, c = _product_directions(x, y, d1, count=config.products, generator=generator)

        def layer(units: int, inputs: int) -> Tensor:
            # One draw for all folds: they differ by their rows alone.
            weights = torch.randn(inputs, units, generator=generator) * math.sqrt(2 / inputs)
            return weights.to(x.device).expand(folds, -1, -1).clone()

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(folds, *shape, device=x.device)

        free = {
            "product.a": _SHARPNESS * a,
            "product.b": _SHARPNESS * b,
            "product.c": _SHARPNESS * c,
            "product.gain": zeros(1, config.products),
            "source.in": layer(_UNITS, dx + 1),
            "source.bias": zeros(1, _UNITS),
            "source.out": zeros(_UNITS, _EMBEDDING),
            "source.shift": zeros(1, _EMBEDDING),
            "target.in": layer(_UNITS, m + 1),
            "target.bias": zeros(1, _UNITS),
            "target.out": layer(_EMBEDDING, _UNITS),
        }
        return cls(fixed, free)

    def of_fold(self, fold: int, folds: int) -> Critics:
        """The critics of one fold, one for each member of the stack."""
        return self.select(slice(fold, None, folds))

    def select(self, which: slice | Tensor) -> Critics:
        return Critics(*({name: value[which] for name, value in part.items()} for part in (self.fixed, self.free)))

    def row_bounds(self, x: Tensor, y: Tensor) -> Tensor:
        """Contribution of each row to the bound when it is compared with all others, nats, ``(S, N)``."""
        f = self.free
        products = torch.tanh(x @ f["product.a"]) * torch.tanh(x @ f["product.b"]) * f["product.gain"]
        source = torch.relu(_with_norm(x) @ f["source.in"] + f["source.bias"]) @ f["source.out"] + f["source.shift"]
        target = torch.relu(_with_norm(y) @ f["target.in"] + f["target.bias"]) @ f["target.out"]
        own = ((y @ self.fixed["own"]) * y).sum(dim=2, keepdim=True)
        left = torch.cat([x @ self.fixed["cross"], products, source, torch.ones_like(x[:, :, :1])], dim=2)
        right = torch.cat([y, torch.tanh(y @ f["product.c"]), target, own], dim=2)
        return row_bounds(left, right)

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        x_held: Tensor,
        y_held: Tensor,
        *,
        config: CriticConfig,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Train on the first rows, keep what is best on the others; best steps and bounds in nats, ``(S,)`` each.

        A critic that has stopped leaves the stack.
        """
        rates = {name: _RATES.get(name, _RATES[name.split(".")[0]]) for name in self.free}
        trained = train_members(
            _CriticObjective(self.fixed, (x, y, x_held, y_held), config.batch_size, generator),
            self.free,
            rates=lambda done: rates,
            max_steps=config.max_steps,
            evaluate_every=config.evaluate_every,
            patience=config.patience,
        )
        self.free = trained.parameters
        return trained.best_step, self._bounds(x_held, y_held)

    def _bounds(self, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            return self.row_bounds(x, y).mean(dim=1)


@dataclass(frozen=True)
class _CriticObjective:
    """Bounds with the sign turned: on random rows to train, on rows kept aside to stop."""

    fixed: Parameters
    rows: tuple[Tensor, Tensor, Tensor, Tensor]
    batch_size: int
    generator: torch.Generator

    def loss(self, parameters: Parameters) -> Tensor:
        x, y, *_ = self.rows
        batch = torch.randperm(x.shape[1], generator=self.generator)[: self.batch_size].to(x.device)
        return -Critics(self.fixed, parameters).row_bounds(x[:, batch], y[:, batch]).mean(dim=1)

    def judged(self, parameters: Parameters) -> Tensor:
        return -Critics(self.fixed, parameters).row_bounds(*self.rows[2:]).mean(dim=1)[None]

    def select(self, members: Tensor) -> _CriticObjective:
        fixed = {name: value[members] for name, value in self.fixed.items()}
        return replace(self, fixed=fixed, rows=tuple(part[members] for part in self.rows))


def _with_norm(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows.square().mean(dim=2, keepdim=True) - 1], dim=2)


def gaussian_scores(x: Tensor, y: Tensor) -> Parameters:
    """Log-density ratio of the Gaussian fitted to rows, without what depends on x alone.

    The score of ``(x, y)`` is ``x.cross.y + y.own.y`` with ``(S, dx, m)`` and ``(S, m, m)``.
    """
    d = x.shape[2]
    both = torch.cat([x, y], dim=2).double()
    both = both - both.mean(dim=1, keepdim=True)
    covariance = both.transpose(1, 2) @ both / both.shape[1]
    covariance = covariance + _RIDGE * torch.eye(len(covariance[0]), dtype=torch.float64, device=x.device)
    covariance = _shrunk(covariance, d, both.shape[1])
    coefficients = torch.linalg.solve(covariance[:, :d, :d], covariance[:, :d, d:])
    precision = torch.linalg.inv(covariance[:, d:, d:] - covariance[:, d:, :d] @ coefficients)
    own = (torch.linalg.inv(covariance[:, d:, d:]) - precision) / 2
    return {"cross": (coefficients @ precision).float(), "own": own.float()}


def _shrunk(covariance: Tensor, d: int, n: int) -> Tensor:
    """The covariance with its canonical correlations lowered by what noise alone would show.

    Of independent blocks the largest squared canonical correlation is about ``(sqrt p + sqrt q)^2 / n``; leaving that
    in would cost the bound ``p q / 2n`` nats on new rows.
    """
    factor_x = torch.linalg.cholesky(covariance[:, :d, :d])
    factor_y = torch.linalg.cholesky(covariance[:, d:, d:])
    between = torch.linalg.solve_triangular(factor_x, covariance[:, :d, d:], upper=False)
    between = torch.linalg.solve_triangular(factor_y, between.transpose(1, 2), upper=False)
    left, correlation, right = torch.linalg.svd(between, full_matrices=False)
    m = covariance.shape[1] - d
    noise = min(0.99, (math.sqrt(d) + math.sqrt(m)) ** 2 / n)
    correlation = ((correlation.square() - noise) / (1 - noise)).clamp(min=0).sqrt()
    cross = factor_y @ (left * correlation[:, None, :]) @ right @ factor_x.transpose(1, 2)
    out = covariance.clone()
    out[:, d:, :d] = cross
    out[:, :d, d:] = cross.transpose(1, 2)
    return out


def _product_directions(
    x: Tensor, y: Tensor, d1: int, *, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Unit columns ``a, b, c`` at which the third moment of ``(a.x)(b.x)(c.y)`` is largest, ``(S, d, count)`` each.

    Power iteration from random starts, half of them with a confined to the first source and b to the second (fusion),
    half of them free (curvature, gating within a source). The best of each half are kept.
    """
    n, dx = x.shape[1], x.shape[2]
    first = (torch.arange(dx, device=x.device) < d1).to(x.dtype)[:, None]
    kept: list[tuple[Tensor, ...]] = []
    for inside_a, inside_b in ((first, 1 - first), (torch.ones_like(first),) * 2):
        starts = [torch.randn(d, _STARTS, generator=generator).to(x.device) for d in (dx, dx, y.shape[2])]
        a, b, c = (torch.nn.functional.normalize(s, dim=0).expand(len(x), -1, -1) for s in starts)
        x_b, y_c = x @ b, y @ c
        for _ in range(_POWER_STEPS):
            a = torch.nn.functional.normalize(inside_a * (x.transpose(1, 2) @ (x_b * y_c)), dim=1)
            x_a = x @ a
            b = torch.nn.functional.normalize(inside_b * (x.transpose(1, 2) @ (x_a * y_c)), dim=1)
            x_b = x @ b
            c = torch.nn.functional.normalize(y.transpose(1, 2) @ (x_a * x_b), dim=1)
            y_c = y @ c
        size = (x_a * x_b * y_c).sum(dim=1) / n
        best = size.topk(count // 2, dim=1).indices[:, None, :]
        kept.append(tuple(v.gather(2, best.expand(-1, v.shape[1], -1)) for v in (a, b, c)))
    return tuple(torch.cat(pair, dim=2).contiguous() for pair in zip(*kept, strict=True))
