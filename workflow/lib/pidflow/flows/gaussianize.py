r"""Cross-fitted Gaussianization of ``(X1, X2, Y)`` by a product of diffeomorphisms.

Mutual information and every PID atom are unchanged by invertible maps of X1, of X2 and of Y. So learn
``z1 = f1(x1), z2 = f2(x2), zY = fY(y)``, three maps that never see each other's input, such that ``(z1, z2, zY)`` is as
close to jointly Gaussian as such maps allow, and decompose the Gaussian ``z`` instead of ``x``. The target map is one
per layer and shared by both sources: two different targets would be two different questions.

What is estimated from which rows:

- the fixed map of each column (centre and scale, or normal scores) from **all** rows. It looks at one column at a time,
  so it cannot see, and cannot overfit, any dependence; being common to all folds it keeps their latents comparable.
- the flow of fold ``k`` from the rows **outside** fold ``k``, a part of which is held out to judge the training. It is
  applied to the rows of fold ``k`` only. Without this, flows find information in noise.
- the linear map that brings the latents of fold ``k`` into the common frame of the standardised input, likewise from
  the rows outside fold ``k``.

Splines bend ``[-5, 5]`` only; because input is standardised here, callers pass raw columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pidflow import arguments, arrays
from pidflow.errors import ConfigError, NumericsError
from pidflow.flows._product import Layout
from pidflow.flows.checked import blocks_of_layers, check_rows, fold_labels, independent_columns
from pidflow.flows.normality import Gaussianity, gaussianity
from pidflow.flows.settings import FlowConfig
from pidflow.flows.splines import Knots, gaussianizing_knots, transform
from pidflow.flows.stack import usable_device
from pidflow.flows.training import TrainedStack
from pidflow.flows.weights import Blocks, apply, common_frame, invert, stored_flows
from pidflow.groups import held_out_split
from pidflow.plugins import registry

__all__ = ["Blocks", "FlowConfig", "FlowInfo", "Gaussianized", "apply", "gaussianize", "gaussianize_layers", "invert"]


@dataclass(frozen=True)
class FlowInfo:
    """How the flows of one layer were trained and what they reached. ``K`` folds, ``E`` evaluations.

    Attributes
    ----------
    fold_labels
        Label of each fold, shape ``(K,)``; the first axis of everything below that has one.
    steps
        Steps at which losses were recorded, shape ``(E,)``.
    training_loss, held_out_loss
        Negative profile log-likelihood in nats per row, relative to the untrained flow, shape ``(K, E)``; NaN once a
        flow has stopped.
    best_step, steps_run, stopped_early
        Step of the lowest held-out loss, steps made, and whether the held-out loss ended the training (maps that stop
        early), shape ``(K,)``.
    epochs_run
        Passes over the training rows, shape ``(K,)``.
    input_gaussianity, latent_gaussianity
        Normality tests of the standardised input and of the pooled held-out latents, all blocks together.
    """

    fold_labels: np.ndarray
    steps: np.ndarray
    training_loss: np.ndarray
    held_out_loss: np.ndarray
    best_step: np.ndarray
    steps_run: np.ndarray
    stopped_early: np.ndarray
    epochs_run: np.ndarray
    input_gaussianity: Gaussianity
    latent_gaussianity: Gaussianity


@dataclass(frozen=True)
class Gaussianized:
    """Held-out latents of one layer.

    Attributes
    ----------
    z1, z2, y
        Latents ``(n, d1)``, ``(n, d2)``, ``(n, m)``, float64, rows in input order; each row comes from the flow that
        was not trained on it.
    info
        Training record and diagnostics.
    weights
        Everything `apply` and `invert` need, as a flat mapping of tensors (ready for safetensors).
    """

    z1: np.ndarray
    z2: np.ndarray
    y: np.ndarray
    info: FlowInfo
    weights: dict[str, Tensor]


def gaussianize(
    x1: np.ndarray,
    x2: np.ndarray,
    y: np.ndarray,
    *,
    folds: np.ndarray,
    groups: np.ndarray | None = None,
    seed: int = 0,
    device: str = "cpu",
    config: FlowConfig | None = None,
) -> Gaussianized:
    """Held-out Gaussian latents of one layer; `gaussianize_layers` with a single layer.

    Parameters
    ----------
    x1, x2, y
        Rows of the two sources and the target, ``(n, d1)``, ``(n, d2)``, ``(n, m)``. A block may have no column, which
        is how a constant source comes in (see :func:`pidflow.flows.pca.fit_pca`).
    folds
        Fold label of each row, shape ``(n,)``, at least two different ones.
    groups
        Rows with the same group (image) stay on one side of the split of training rows, shape ``(n,)``.
    seed
        Determines the starting point, the split of training rows and the order of rows.
    device
        Where to train.
    config
        Shape and training of the flow; the defaults of `FlowConfig` when omitted.

    Raises
    ------
    ConfigError
        When a setting is out of range, or the device cannot be used.
    DataError
        When shapes disagree, values are no finite numbers, or a label is missing.
    NumericsError
        When a column is constant or a combination of others of its block, there are too few rows for the number of
        columns, or a flow does not train.
    """
    y = arrays.rows(y, "y")
    return gaussianize_layers([x1], [x2], y, folds=folds, groups=groups, seed=seed, device=device, config=config)[0]


def gaussianize_layers(
    x1: Sequence[np.ndarray],
    x2: Sequence[np.ndarray],
    y: np.ndarray | Sequence[np.ndarray],
    *,
    folds: np.ndarray,
    groups: np.ndarray | None = None,
    seed: int = 0,
    device: str = "cpu",
    config: FlowConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Gaussianized]:
    """Held-out Gaussian latents of every layer, all layers and folds trained as one stack.

    A layer's result is the same, up to rounding (docs/flows.md has what that does), whichever other layers are in the
    list.

    Parameters
    ----------
    x1, x2
        One array per layer, ``(n, d1_l)`` and ``(n, d2_l)``; widths may differ between layers.
    y
        The target ``(n, m)`` that all layers share, or a list of one array per layer.
    progress
        Called as ``progress(step, flows_still_training)`` after each evaluation.

    The other parameters and errors are those of `gaussianize`.
    """
    config = FlowConfig() if config is None else config
    if not isinstance(config, FlowConfig):
        raise ConfigError(f"config must be a FlowConfig, found {arguments.shown(config)}")
    seed, device = arguments.seed_of(seed), usable_device(device)
    blocks = blocks_of_layers(x1, x2, y)
    layers = [independent_columns(layer, number) for number, layer in enumerate(blocks)]
    labels, fold_of_row = fold_labels(folds, len(layers[0].T))
    if groups is not None:
        groups = arrays.group_index(groups, len(fold_of_row))
    splits = [
        held_out_split(fold_of_row != k, groups, fraction=config.held_out_fraction, seed=seed)
        for k in range(len(labels))
    ]
    knots = [_marginal_knots(layer, config) for layer in layers]
    inputs = [_through_marginals(layer, k) for layer, k in zip(layers, knots, strict=True)]
    dims = [tuple(block.shape[1] for block in layer) for layer in blocks]
    check_rows(dims, splits)

    out: list[Gaussianized] = []
    rows = max(train.sum() for train, _ in splits)
    at_once = max(1, int(config.values_at_once // (len(labels) * max(map(sum, dims)) * rows)))
    for first in range(0, len(layers), at_once):
        some = slice(first, first + at_once)
        trained = _train(inputs[some], dims[some], splits, seed=seed, device=device, config=config, progress=progress)
        for i, layer in enumerate(layers[some]):
            flows = slice(i * len(labels), (i + 1) * len(labels))
            columns = _own_columns(dims[first + i], _widest(dims[some]))
            weights = stored_flows(
                {n: v[flows] for n, v in trained.parameters.items()},
                columns,
                dims[first + i],
                knots[first + i],
                labels,
                config,
            )
            weights |= common_frame(weights, inputs[first + i], fold_of_row)
            out.append(_result(layer, weights, fold_of_row, labels, trained, flows, splits))
    return out


def _marginal_knots(columns: np.ndarray, config: FlowConfig) -> Knots:
    """The fixed map of each column, as a spline; `columns` has shape ``(d, n)``."""
    if config.marginals == "quantile":
        return gaussianizing_knots(columns)
    mean, scale = (torch.from_numpy(s(axis=1, keepdims=True)) for s in (columns.mean, columns.std))
    unit = torch.tensor([[-1.0, 0.0, 1.0]], dtype=torch.float64)
    return Knots(mean + unit * scale, unit.expand(len(columns), 3).contiguous(), (1 / scale).expand(-1, 3).contiguous())


def _through_marginals(columns: np.ndarray, knots: Knots) -> Tensor:
    return transform(torch.from_numpy(columns), knots)[0]


def _train(
    inputs: Sequence[Tensor],
    dims: Sequence[tuple[int, int, int]],
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    seed: int,
    device: str,
    config: FlowConfig,
    progress: Callable[[int, int], None] | None,
) -> TrainedStack:
    """All layers and folds as one stack, layers outermost."""
    layout = Layout.of([d for d in dims for _ in splits], device=device)
    dtype = getattr(torch, config.precision)
    parts = []
    for side in (0, 1):
        masks = [split[side] for split in splits]
        longest = max(int(mask.sum()) for mask in masks)
        x = torch.zeros(len(layout.dims), len(layout.block), longest, dtype=dtype)
        weight = torch.zeros(len(layout.dims), longest, dtype=dtype)
        for i, columns in enumerate(inputs):
            own = _own_columns(dims[i], layout.widest)
            for k, mask in enumerate(masks):
                flow, count = i * len(masks) + k, int(mask.sum())
                x[flow, own, :count] = columns[:, torch.from_numpy(mask)].to(dtype)
                weight[flow, :count] = 1
        parts += [x.to(device), weight.to(device)]
    return registry.load("flows.maps", config.maps).train(
        *parts, layout=layout, config=config, seed=seed, progress=progress
    )


def _widest(dims: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    return tuple(max(widths) for widths in zip(*dims, strict=True))


def _own_columns(dims: tuple[int, int, int], widest: tuple[int, int, int]) -> Tensor:
    """Where the columns of a layer lie among the padded columns of its stack."""
    starts = (0, widest[0], widest[0] + widest[1])
    return torch.cat([torch.arange(start, start + d) for start, d in zip(starts, dims, strict=True)])


def _result(
    columns: np.ndarray,
    weights: dict[str, Tensor],
    fold_of_row: np.ndarray,
    labels: np.ndarray,
    trained: TrainedStack,
    flows: slice,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
) -> Gaussianized:
    d1, d2, _ = weights["dims"].tolist()
    z = apply(weights, *np.split(columns.T, [d1, d1 + d2], axis=1), folds=labels[fold_of_row])
    if not all(np.isfinite(block).all() for block in (z.x1, z.x2, z.y)):
        raise NumericsError("latents of held-out rows are not finite; lower the learning rate or train in float64")
    training_rows = np.array([train.sum() for train, _ in splits])
    steps_run = trained.steps_run[flows].cpu().numpy()
    info = FlowInfo(
        fold_labels=labels,
        steps=trained.steps.numpy(),
        training_loss=trained.training_loss[flows].cpu().numpy(),
        held_out_loss=trained.held_out_loss[flows].cpu().numpy(),
        best_step=trained.best_step[flows].cpu().numpy(),
        steps_run=steps_run,
        stopped_early=trained.stopped_early[flows].cpu().numpy(),
        epochs_run=steps_run * np.minimum(1.0, trained.batch_rows / training_rows),
        input_gaussianity=gaussianity(columns.T),
        latent_gaussianity=gaussianity(np.concatenate([z.x1, z.x2, z.y], axis=1)),
    )
    return Gaussianized(z.x1, z.x2, z.y, info, weights)
