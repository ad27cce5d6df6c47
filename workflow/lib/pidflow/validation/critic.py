r"""Information that a Gaussian, and hence a flow, cannot see: a held-out lower bound on ``I(X1,X2;Y)``.

Three pairwise independent signs whose product is fixed look Gaussian to every product of diffeomorphisms. A critic has
no such blind spot: a function ``T(x, y)`` that scores how well a target fits its sources gives, on rows it was not
trained on, the lower bound (van den Oord et al. 2018, Poole et al. 2019)

    I(X;Y)  >=  mean_i [ T(x_i, y_i) - log mean_j exp T(x_i, y_j) ]

which holds for any ``T``, cannot exceed the logarithm of the number of rows compared, and so errs on the safe side.
The critic starts as the log-density ratio of the Gaussian fitted to its training rows and may add

- *products* ``tanh(a.x) tanh(b.x) tanh(c.y)``, begun at the directions that third moments single out: an XOR among
  twenty dimensions is found from a few hundred rows this way, where a network finds nothing;
- a small network on the rows and their norms, for everything else.

Training stops on rows of its own; in Gaussian data it stops at once and the Gaussian critic is what is evaluated.

Information does not change when each block is mapped invertibly, so a bound found in one representation of the rows
holds for all of them: latents of a flow, in which bent dependence is straight, and the scores it started from, in which
clusters are still clusters. A critic is trained in each, and the rows kept aside decide which of them is judged on a
fold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pidflow import arguments, arrays
from pidflow.errors import ConfigError, DataError
from pidflow.flows.checked import fold_labels
from pidflow.flows.training import adam_step, usable_device
from pidflow.groups import held_out_split
from pidflow.pid.gaussian_system import LN2

Parameters = dict[str, Tensor]
Representation = Sequence[np.ndarray]

_RIDGE = 1e-6
_UNITS = 32
_EMBEDDING = 8
_SHARPNESS = 1.5  # of tanh: between a product (0) and a product of signs (infinity)
_QUARTILE_RANGE = 1.349  # of a standard normal
_TAIL_START = 3.0
_STARTS = 32
_POWER_STEPS = 12
_PAIRS_AT_ONCE = 2_000_000  # pairs of rows scored in one operation: 8 MB
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


@dataclass(frozen=True)
class CriticBound:
    """Held-out lower bound on ``I(X1,X2;Y)``.

    Attributes
    ----------
    bits, se
        The bound (it may be negative) and its standard error, in bits.
    ceiling
        Logarithm of the number of rows compared, bits; no bound of this kind can be larger.
    rows
        Contribution of each row, bits, shape ``(n,)``; `bits` is their mean.
    chosen
        Number of the representation whose critic was judged on each fold, shape ``(K,)``.
    best_step
        Step whose critic was kept, for each fold, shape ``(K,)``; 0 is the Gaussian critic.
    """

    bits: float
    se: float
    ceiling: float
    rows: np.ndarray
    chosen: np.ndarray
    best_step: np.ndarray


def critic_information(
    *representations: Representation,
    folds: np.ndarray,
    groups: np.ndarray | None = None,
    seed: int = 0,
    device: str = "cpu",
    config: CriticConfig | None = None,
) -> CriticBound:
    """Held-out lower bound on ``I(X1,X2;Y)`` in bits.

    Parameters
    ----------
    *representations
        ``(x1, x2, y)`` of shapes ``(n, d1)``, ``(n, d2)``, ``(n, m)``: the same rows, once or several times, each time
        under other invertible maps of the blocks (scores, latents of a flow). A discrete target may go in as columns
        of its class indicators; the bound is then that of the classifier whose logits the critic's scores are.
    folds
        Fold label of each row, ``(n,)``; a critic is judged on the fold it was not trained on.
    groups
        Rows of a group stay on one side of the split for early stopping, ``(n,)``.
    seed
        Determines the critic's starting point, the split for early stopping and the order of rows.
    device
        Where to train.
    config
        The defaults of `CriticConfig` when omitted.

    Returns
    -------
    CriticBound

    Raises
    ------
    ConfigError
        When a setting is out of range, or the device cannot be used.
    DataError
        When shapes disagree, values are no finite numbers, a label is missing or there are fewer than two folds.
    """
    same = {"folds": folds, "groups": groups, "seed": seed, "device": device, "config": config}
    return critic_information_of_layers([representations], **same)[0]


def critic_information_of_layers(
    layers: Sequence[Sequence[Representation]],
    *,
    folds: np.ndarray,
    groups: np.ndarray | None = None,
    seed: int = 0,
    device: str = "cpu",
    config: CriticConfig | None = None,
) -> list[CriticBound]:
    """`critic_information` of many layers of the same rows, trained as one stack.

    Up to rounding each layer has the bound it has alone.

    Parameters
    ----------
    layers
        The representations of each layer.

    The other parameters and errors are those of `critic_information`.
    """
    config = checked_config(CriticConfig() if config is None else config)
    seed, device = arguments.seed_of(seed), usable_device(device)
    layers = [_checked(representations) for representations in layers]
    lengths = {len(x1) for representations in layers for x1, _, _ in representations}
    if len(lengths) != 1:
        raise DataError(f"every representation must have the same rows, found {sorted(lengths) or 'no layer'}")
    labels, fold_of_row = fold_labels(folds, lengths.pop())
    if groups is not None:
        groups = arrays.group_index(groups, len(fold_of_row))
    splits = [
        held_out_split(fold_of_row != k, groups, fraction=config.held_out_fraction, seed=seed)
        for k in range(len(labels))
    ]
    generator = torch.Generator().manual_seed(seed)
    train, aside = (_stacked([split[side] for split in splits], generator).to(device) for side in (0, 1))
    aside = aside[:, : config.rows_compared]
    compared = [
        part
        for k in range(len(labels))
        for part in _parts(np.flatnonzero(fold_of_row == k), config.rows_compared, generator)
    ]
    parts: dict[tuple[int, int], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for dims, members in _of_equal_dims(layers, at_once=_at_once(train.shape[1], aside.shape[1], len(labels), config)):
        blocks = [layers[layer][number] for layer, number in members]
        x = torch.stack([_tamed(np.concatenate(rows[:2], axis=1, dtype=float)) for rows in blocks]).to(device)
        y = torch.stack([_tamed(np.asarray(rows[2], dtype=float)) for rows in blocks]).to(device)
        shared = torch.Generator().manual_seed(seed)
        critics = _Critics.start(_taken(x, train), _taken(y, train), dims[0], config=config, generator=shared)
        best_step, aside_bound = critics.fit(
            *(_taken(rows, where) for where in (train, aside) for rows in (x, y)), config=config, generator=shared
        )
        rows = np.empty((len(members), len(fold_of_row)))
        for part in compared:
            with torch.no_grad():
                scored = critics.of_fold(int(fold_of_row[part[0]]), len(labels)).row_bounds(x[:, part], y[:, part])
            rows[:, part] = scored.double().cpu().numpy() / LN2
        per_member = (values.reshape(len(members), -1).cpu().numpy() for values in (best_step, aside_bound))
        parts |= dict(zip(members, zip(rows, *per_member, strict=True), strict=True))
    return [
        _chosen([parts[layer, number] for number in range(len(layers[layer]))], fold_of_row, compared)
        for layer in range(len(layers))
    ]


def _chosen(
    candidates: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    fold_of_row: np.ndarray,
    compared: Sequence[np.ndarray],
) -> CriticBound:
    """The bound of one layer: on each fold, by the critic that did best on the rows kept aside."""
    every_row, every_step, every_aside = (np.stack(each) for each in zip(*candidates, strict=True))
    chosen = every_aside.argmax(axis=0)
    rows = every_row[chosen[fold_of_row], np.arange(len(fold_of_row))]
    return CriticBound(
        bits=float(rows.mean()),
        se=float(rows.std(ddof=1) / np.sqrt(len(rows))),
        ceiling=float(np.log2(min(map(len, compared)))),
        rows=rows,
        chosen=chosen,
        best_step=every_step[chosen, np.arange(len(chosen))],
    )


def _of_equal_dims(
    layers: Sequence[Sequence[Representation]], *, at_once: int
) -> Iterator[tuple[tuple[int, ...], list[tuple[int, int]]]]:
    """``(layer, number of representation)`` in groups of equal block widths, at most so many in a group."""
    groups: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for layer, representations in enumerate(layers):
        for number, blocks in enumerate(representations):
            groups.setdefault(tuple(np.shape(block)[1] for block in blocks), []).append((layer, number))
    for dims, members in groups.items():
        for first in range(0, len(members), at_once):
            yield dims, members[first : first + at_once]


def _at_once(training: int, aside: int, folds: int, config: CriticConfig) -> int:
    return max(1, _PAIRS_AT_ONCE // (folds * max(min(training, config.batch_size), aside) ** 2))


def _taken(rows: Tensor, where: Tensor) -> Tensor:
    """Rows of each member at the places of each fold: ``(G, n, d)`` and ``(K, N)`` to ``(G K, N, d)``."""
    return rows[:, where].flatten(0, 1)


def _checked(representations: Sequence[Representation]) -> list[list[np.ndarray]]:
    """The blocks of each representation, ``(n, d)`` float64; one without columns becomes one of zeros."""
    out = []
    for representation in representations:
        blocks = tuple(representation)
        if len(blocks) != 3:
            raise DataError(f"a representation is three blocks (x1, x2, y), found {len(blocks)}")
        blocks = arrays.same_rows(**dict(zip(("x1", "x2", "y"), blocks, strict=True)))
        out.append([block if block.shape[1] else np.zeros((len(block), 1)) for block in blocks])
    if not out:
        raise DataError("expected at least one representation (x1, x2, y), found none")
    return out


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


def _parts(rows: np.ndarray, most: int, generator: torch.Generator) -> list[np.ndarray]:
    """The rows of one fold in random order, in equal parts of at most so many."""
    shuffled = rows[torch.randperm(len(rows), generator=generator).numpy()]
    return np.array_split(shuffled, -(-len(rows) // most))


def _tamed(block: np.ndarray) -> Tensor:
    """Columns in units of their quartile range, drawn in logarithmically beyond three of them: tails teach nothing."""
    low, middle, high = np.quantile(block, [0.25, 0.5, 0.75], axis=0)
    spread = (high - low) / _QUARTILE_RANGE
    scale = np.where(spread > 1e-6 * np.ptp(block, axis=0), spread, np.maximum(block.std(axis=0), np.finfo(float).tiny))
    scaled = (block - middle) / scale
    excess = np.maximum(np.abs(scaled) - _TAIL_START, 0)
    tamed = scaled - np.sign(scaled) * (excess - np.log1p(excess))
    centred = tamed - tamed.mean(axis=0)
    return torch.from_numpy(centred / np.maximum(centred.std(axis=0), np.finfo(float).tiny)).float()


def _stacked(masks: Sequence[np.ndarray], generator: torch.Generator) -> Tensor:
    """Row indices of each fold in random order, cut to the shortest, ``(K, N)``."""
    rows = [torch.from_numpy(np.flatnonzero(mask)) for mask in masks]
    shortest = min(map(len, rows))
    return torch.stack([own[torch.randperm(len(own), generator=generator)[:shortest]] for own in rows])


def _row_bounds(left: Tensor, right: Tensor) -> Tensor:
    """Each row's contribution to the bound, nats, ``(S, N)``; the score of a pair of rows is ``left . right``."""
    every = left @ right.transpose(1, 2)
    return every.diagonal(dim1=1, dim2=2) - every.logsumexp(dim=2) + math.log(every.shape[2])


@dataclass
class _Critics:
    """A stack of critics, one for each fold of each member, folds innermost; every tensor has that leading axis."""

    fixed: Parameters
    free: Parameters

    @classmethod
    def start(cls, x: Tensor, y: Tensor, d1: int, *, config: CriticConfig, generator: torch.Generator) -> _Critics:
        """Gaussian critics of the training rows ``(S, N, d)``, with everything else in place but switched off."""
        folds, dx, m = len(x), x.shape[2], y.shape[2]
        fixed = _gaussian_scores(x, y)
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

    def of_fold(self, fold: int, folds: int) -> _Critics:
        """The critics of one fold, one for each member of the stack."""
        return self.select(slice(fold, None, folds))

    def select(self, which: slice | Tensor) -> _Critics:
        return _Critics(*({name: value[which] for name, value in part.items()} for part in (self.fixed, self.free)))

    def row_bounds(self, x: Tensor, y: Tensor) -> Tensor:
        """Contribution of each row to the bound when it is compared with all others, nats, ``(S, N)``."""
        f = self.free
        products = torch.tanh(x @ f["product.a"]) * torch.tanh(x @ f["product.b"]) * f["product.gain"]
        source = torch.relu(_with_norm(x) @ f["source.in"] + f["source.bias"]) @ f["source.out"] + f["source.shift"]
        target = torch.relu(_with_norm(y) @ f["target.in"] + f["target.bias"]) @ f["target.out"]
        own = ((y @ self.fixed["own"]) * y).sum(dim=2, keepdim=True)
        left = torch.cat([x @ self.fixed["cross"], products, source, torch.ones_like(x[:, :, :1])], dim=2)
        right = torch.cat([y, torch.tanh(y @ f["product.c"]), target, own], dim=2)
        return _row_bounds(left, right)

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
        best = {name: value.clone() for name, value in self.free.items()}
        best_bound = self._bounds(x_held, y_held)
        best_step = torch.zeros(len(x), dtype=torch.long, device=x.device)
        live, current = torch.arange(len(x), device=x.device), self
        moments = {name: (torch.zeros_like(v), torch.zeros_like(v)) for name, v in best.items()}
        rates = {name: _RATES.get(name, _RATES[name.split(".")[0]]) for name in best}
        for step in range(1, config.max_steps + 1):
            batch = torch.randperm(x.shape[1], generator=generator)[: config.batch_size].to(x.device)
            free = list(current.free.values())
            for value in free:
                value.requires_grad_()
            bound = current.row_bounds(x[:, batch], y[:, batch]).mean(dim=1)
            gradients = torch.autograd.grad(-bound.sum(), free)
            adam_step(current.free, moments, gradients, rates=rates, step=step)
            if step % config.evaluate_every:
                continue
            bound = current._bounds(x_held, y_held)
            better = bound > best_bound[live]
            winners = live[better]
            best_bound[winners], best_step[winners] = bound[better], step
            for name, value in current.free.items():
                best[name][winners] = value.detach()[better]
            keep = step - best_step[live] < config.patience * config.evaluate_every
            if keep.all():
                continue
            if not keep.any():
                break
            live, x, y, x_held, y_held = (rows[keep] for rows in (live, x, y, x_held, y_held))
            current = _Critics(current.fixed, {n: v.detach() for n, v in current.free.items()}).select(keep)
            moments = {name: (m[keep], v[keep]) for name, (m, v) in moments.items()}
        self.free = best
        return best_step, best_bound

    def _bounds(self, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            return self.row_bounds(x, y).mean(dim=1)


def _with_norm(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows.square().mean(dim=2, keepdim=True) - 1], dim=2)


def _gaussian_scores(x: Tensor, y: Tensor) -> Parameters:
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
        for _ in range(_POWER_STEPS):
            a = torch.nn.functional.normalize(inside_a * (x.transpose(1, 2) @ ((x @ b) * (y @ c))), dim=1)
            b = torch.nn.functional.normalize(inside_b * (x.transpose(1, 2) @ ((x @ a) * (y @ c))), dim=1)
            c = torch.nn.functional.normalize(y.transpose(1, 2) @ ((x @ a) * (x @ b)), dim=1)
        size = ((x @ a) * (x @ b) * (y @ c)).sum(dim=1) / n
        best = size.topk(count // 2, dim=1).indices[:, None, :]
        kept.append(tuple(v.gather(2, best.expand(-1, v.shape[1], -1)) for v in (a, b, c)))
    return tuple(torch.cat(pair, dim=2).contiguous() for pair in zip(*kept, strict=True))
