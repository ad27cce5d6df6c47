"""Trained flows of one layer as a flat mapping of tensors, and the maps they stand for.

The mapping is all that is stored of a layer (in a safetensors file): the fixed map of each column, one flow for each
fold, and the affine map that brings the latents of each fold into the common frame.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pidflow import arrays
from pidflow.errors import DataError, NumericsError
from pidflow.flows._product import Parameters
from pidflow.flows.maps._maps import Maps
from pidflow.flows.settings import FlowConfig
from pidflow.flows.splines import Knots, inverse, transform
from pidflow.plugins import registry

_KNOTS = ("marginal.x", "marginal.y", "marginal.slope")
_FRAME = ("frame.matrix", "frame.offset")
_TAIL_START = 3.0


@dataclass(frozen=True)
class Blocks:
    """Rows of the three blocks, before or after a flow: ``x1`` ``(n, d1)``, ``x2`` ``(n, d2)``, ``y`` ``(n, m)``."""

    x1: np.ndarray
    x2: np.ndarray
    y: np.ndarray


def stored_flows(
    parameters: Parameters,
    columns: Tensor,
    dims: tuple[int, int, int],
    knots: Knots,
    labels: np.ndarray,
    config: FlowConfig,
) -> dict[str, Tensor]:
    """The flows of one layer without padding, with the fixed map of its columns."""
    named = {"maps": config.maps, "settings": config.map_settings}
    weights = {
        "dims": torch.tensor(dims),
        "fold_labels": torch.as_tensor(labels),
        "maps": torch.tensor(list(json.dumps(named).encode()), dtype=torch.uint8),
    }
    weights |= dict(zip(_KNOTS, (knots.x, knots.y, knots.slope), strict=True))
    weights |= registry.load("flows.maps", config.maps).stored(parameters, columns, config)
    return weights


def common_frame(weights: dict[str, Tensor], columns: Tensor, fold_of_row: np.ndarray) -> dict[str, Tensor]:
    """Affine map of each fold's latents that best predicts the standardised input, block by block.

    Latents are defined up to an invertible linear map per block, and each fold ends up with its own. Before latents of
    different folds can be pooled they need one frame, and the standardised input is the one frame that all folds share
    without having looked at each other's rows. Only rows outside the fold are used.
    """
    matrices, offsets = [], []
    bounds = np.cumsum([0, *weights["dims"].tolist()])
    for k in range(len(weights["fold_labels"])):
        flows = _flows_of(weights, k)
        x = columns[:, torch.from_numpy(fold_of_row != k)]
        z = flows.forward(x)
        centre_x, centre_z = x.mean(dim=1, keepdim=True), z.mean(dim=1, keepdim=True)
        matrix = torch.zeros(len(x), len(x), dtype=torch.float64)
        for start, stop in itertools.pairwise(bounds):
            a, b = (z - centre_z)[start:stop], (x - centre_x)[start:stop]
            matrix[start:stop, start:stop] = _solved(a @ a.T, a @ b.T).T
        matrices.append(matrix)
        offsets.append((centre_x - matrix @ centre_z).squeeze(1))
    return dict(zip(_FRAME, (torch.stack(matrices), torch.stack(offsets)), strict=True))


def apply(weights: dict[str, Tensor], x1: np.ndarray, x2: np.ndarray, y: np.ndarray, *, folds: np.ndarray) -> Blocks:
    """Latents of rows under stored flows, float64.

    Parameters
    ----------
    weights
        `Gaussianized.weights`, or what safetensors read back.
    x1, x2, y
        Rows with the columns the flows were trained on.
    folds
        For each row the label of the fold whose flow is to be used, shape ``(n,)``. For rows of the training data
        this is their own fold label; new rows may use any.
    """
    table = np.concatenate(arrays.same_rows(x1=x1, x2=x2, y=y), axis=1)
    return _per_fold(weights, table, folds, _forward_rows)


def invert(weights: dict[str, Tensor], z1: np.ndarray, z2: np.ndarray, y: np.ndarray, *, folds: np.ndarray) -> Blocks:
    """Rows whose latents under stored flows are given; the inverse of `apply`."""
    table = np.concatenate(arrays.same_rows(z1=z1, z2=z2, y=y), axis=1)
    return _per_fold(weights, table, folds, _inverse_rows)


def strengthened(weights: dict[str, Tensor], *, by: float) -> dict[str, Tensor]:
    """The flows with maps so many times as far from the identity, where their plug-in knows what that means.

    Like all flows they are products of diffeomorphisms. The common frame is left as it is.
    """
    plugin = registry.load("flows.maps", _named(weights)["maps"])
    return plugin.strengthened(weights, by) if hasattr(plugin, "strengthened") else weights


def _per_fold(weights: dict[str, Tensor], table: np.ndarray, folds: np.ndarray, rows_through: Callable) -> Blocks:
    d1, d2, m = weights["dims"].tolist()
    labels = weights["fold_labels"].tolist()
    if table.shape[1] != d1 + d2 + m:
        raise DataError(f"these flows take {d1} + {d2} + {m} columns, found {table.shape[1]} in all")
    folds = arrays.numbers(folds, "folds")
    if folds.shape != (len(table),):
        raise DataError(f"folds has shape {folds.shape}, expected ({len(table)},): one label a row")
    unknown = sorted(set(np.unique(folds.astype(np.int64)).tolist()) - set(labels))
    if unknown:
        raise DataError(f"no flow for folds {unknown}; these weights hold folds {labels}")
    out = np.empty_like(table)
    for k, label in enumerate(labels):
        rows = folds == label
        out[rows] = rows_through(weights, torch.from_numpy(table[rows].T), k).T.numpy()
    return Blocks(*np.split(out, [d1, d1 + d2], axis=1))


def _flows_of(weights: dict[str, Tensor], fold: int) -> Maps:
    """Stored flow of one fold, float64, by the plug-in that trained it."""
    named = _named(weights)
    return registry.load("flows.maps", named["maps"]).opened(weights, fold, named["settings"])


def _named(weights: dict[str, Tensor]) -> dict:
    """The plug-in of the maps and its settings."""
    return json.loads(bytes(weights["maps"].tolist()))


def _forward_rows(weights: dict[str, Tensor], columns: Tensor, fold: int) -> Tensor:
    flows = _flows_of(weights, fold)
    standardised = transform(columns, Knots(*(weights[name] for name in _KNOTS)))[0]
    z = flows.forward(standardised)
    matrix, offset = (weights[name][fold] for name in _FRAME)
    return _soft_tails(matrix @ z + offset[:, None])


def _inverse_rows(weights: dict[str, Tensor], columns: Tensor, fold: int) -> Tensor:
    flows = _flows_of(weights, fold)
    matrix, offset = (weights[name][fold] for name in _FRAME)
    z = _solved(matrix, _hard_tails(columns) - offset[:, None])
    return inverse(flows.inverse(z), Knots(*(weights[name] for name in _KNOTS)))


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """``matrix^-1 right``; an error when a block of latents has lost a direction.

    Raises
    ------
    NumericsError
    """
    try:
        return torch.linalg.solve(matrix, right)
    except torch.linalg.LinAlgError as err:
        raise NumericsError(
            "the latents of a block have lost a direction, so they have no common frame; drop columns that nearly "
            "repeat others, or reduce the block with PCA"
        ) from err


def _soft_tails(z: Tensor) -> Tensor:
    """Latents beyond three standard deviations, drawn in logarithmically.

    Nothing in training bounds where a held-out row lands that lies outside the training rows, and one row at twelve
    deviations spoils a covariance. Like everything else here the map is invertible, column by column.
    """
    excess = (z.abs() - _TAIL_START).clamp(min=0)
    return z - z.sign() * (excess - excess.log1p())


def _hard_tails(z: Tensor) -> Tensor:
    excess = (z.abs() - _TAIL_START).clamp(min=0)
    return z + z.sign() * (excess.expm1() - excess)
