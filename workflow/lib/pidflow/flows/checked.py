"""What a flow is given: blocks and fold labels, checked before training starts."""

from collections.abc import Iterable, Sequence

import numpy as np

from pidflow import arguments, arrays
from pidflow.errors import DataError, NumericsError

_NAMES = ("x1", "x2", "y")
# A block whose correlation matrix has a smaller eigenvalue ratio has lost its rank in float64 arithmetic.
_SINGULAR = 1e-10


def fold_labels(folds: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the folds ``(K,)`` and the place among them of each row's label, ``(n,)``.

    Raises
    ------
    DataError
        When there is not one whole number a row, or only one fold.
    """
    values = arrays.numbers(folds, "folds")
    if values.shape != (n,):
        raise DataError(f"folds has shape {values.shape}, expected ({n},): one label for each row of y")
    if (values % 1 != 0).any():
        raise DataError(f"fold labels must be whole numbers, found {values[values % 1 != 0][0]:g}")
    labels, fold_of_row = np.unique(values.astype(np.int64), return_inverse=True)
    if len(labels) < 2:
        raise DataError("cross-fitting needs at least two folds, found one label; assign rows to 3 or 5 folds")
    return labels, fold_of_row


def blocks_of_layers(
    x1: Sequence[np.ndarray], x2: Sequence[np.ndarray], y: np.ndarray | Sequence[np.ndarray]
) -> list[list[np.ndarray]]:
    """The three blocks of each layer, ``(n, d)`` float64 with one common ``n``.

    Raises
    ------
    DataError
        When layers or rows disagree, or values are no finite numbers.
    """
    if not all(isinstance(layers, Iterable) for layers in (x1, x2)):
        raise DataError(
            f"x1 and x2 must be lists of one array a layer, found {arguments.shown(x1)} and {arguments.shown(x2)}"
        )
    one, two = list(x1), list(x2)
    shared = not (isinstance(y, list | tuple) and y and np.ndim(y[0]) > 0 and hasattr(y[0], "shape"))
    targets = [y] * len(one) if shared else list(y)
    if not len(one) == len(two) == len(targets) or not one:
        raise DataError(
            f"expected as many layers of x1 as of x2 (and of y, if it is a list), and at least one; found {len(one)}, "
            f"{len(two)} and {len(targets)}"
        )
    out = []
    for layer, blocks in enumerate(zip(one, two, targets, strict=True)):
        try:
            out.append(arrays.same_rows(**dict(zip(_NAMES, blocks, strict=True))))
        except DataError as err:
            raise DataError(f"layer {layer}: {err}") from err
    lengths = [len(blocks[0]) for blocks in out]
    if len(set(lengths)) > 1:
        raise DataError(f"every layer must have the same rows, found {lengths}; align them by item first")
    return out


def independent_columns(blocks: Sequence[np.ndarray], layer: int) -> np.ndarray:
    """The columns of a layer ``(d1 + d2 + m, n)``.

    Raises
    ------
    NumericsError
        When a column is constant or a combination of others of its block, or there is none.
    """
    for name, block in zip(_NAMES, blocks, strict=True):
        constant = np.flatnonzero(arrays.constant_columns(block))
        if len(constant):
            raise NumericsError(f"layer {layer}: columns {constant.tolist()} of {name} are constant; drop them first")
        if block.shape[1] < 2:
            continue
        centred = block - block.mean(axis=0)
        values = np.linalg.eigvalsh(np.corrcoef(centred / np.abs(centred).max(axis=0), rowvar=False))
        lost = int((values < _SINGULAR * values[-1]).sum())
        if lost:
            raise NumericsError(
                f"layer {layer}: {lost} of {len(values)} columns of {name} are combinations of the others; "
                "drop duplicate columns or reduce it with PCA"
            )
    if not sum(block.shape[1] for block in blocks):
        raise NumericsError(f"layer {layer}: no block has a column that varies; there is nothing to Gaussianize")
    return np.ascontiguousarray(np.concatenate(blocks, axis=1).T)


def check_rows(dims: Sequence[tuple[int, int, int]], splits: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Refuse rows that are too few for the widest layer.

    Raises
    ------
    NumericsError
    """
    fewest, widest = min(int(train.sum()) for train, _ in splits), max(map(sum, dims))
    if fewest < 2 * widest:
        raise NumericsError(
            f"a flow over {widest} columns would train on {fewest} rows, expected at least {2 * widest}; "
            "keep fewer components, use more folds or more rows"
        )
