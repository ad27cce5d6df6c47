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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pidflow import arguments, arrays
from pidflow.errors import DataError
from pidflow.flows.checked import fold_labels
from pidflow.flows.stack import usable_device
from pidflow.groups import held_out_split
from pidflow.pid.gaussian_system import LN2
from pidflow.validation.critics import CriticConfig, Critics, checked_config

Representation = Sequence[np.ndarray]

_QUARTILE_RANGE = 1.349  # of a standard normal
_TAIL_START = 3.0
_PAIRS_AT_ONCE = 2_000_000  # pairs of rows scored in one operation: 8 MB


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
        critics = Critics.start(_taken(x, train), _taken(y, train), dims[0], config=config, generator=shared)
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
