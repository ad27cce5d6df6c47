"""Monotone warps of single columns: what the flow finds beside the copula estimate, which no such warp changes.

    python tests/benchmarks/study_tails.py [--sets 4] [--rows 900]

One line a warp, in bits: the joint information by copula, gaussian and flow, the largest distance of any atom of the
flow from that of the copula in any set, and in how many sets it stayed within 0.1 bit. Integers, which tie, are warped
as well; a warp of the copula's own rows is the same to it.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "lib"))

from pidflow.pid.estimate import estimate_pid
from pidflow.pid.gaussian import ATOMS

BAR = 0.1
Blocks = Sequence[np.ndarray]


def rows(seed: int, n: int) -> Blocks:
    """A target of three columns; source 1 sees the first two, source 2 the last two."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, 3))
    return y[:, :2] * [1.5, 1.0] + rng.normal(size=(n, 2)), y[:, 1:] * [1.0, 0.8] + rng.normal(size=(n, 2)), y


def each(warp: Callable[[np.ndarray], np.ndarray]) -> Callable[[Blocks], Blocks]:
    """The warp on every column."""
    return lambda blocks: [np.column_stack([warp(column) for column in block.T]) for block in blocks]


def far_row(column: np.ndarray) -> np.ndarray:
    """The largest value of a column, moved out to 100 standard deviations."""
    return np.where(column < column.max(), column, 100 * column.std())


def far_hundredth(column: np.ndarray) -> np.ndarray:
    """The largest hundredth of the values, moved out by 300 standard deviations."""
    return np.where(column < np.quantile(column, 0.99), column, column + 300 * column.std())


def whole_numbers(blocks: Blocks) -> Blocks:
    """Some columns as integers, fine and coarse, one of them raised to a power besides."""
    x1, x2, y = (block.copy() for block in blocks)
    x1[:, 0], x2[:, 1] = np.round(3 * x1[:, 0]), np.exp(3 * x2[:, 1])
    y[:, 2] = np.round(4 * y[:, 2]) ** 3
    return x1, x2, y


WARPS: dict[str, Callable[[Blocks], Blocks]] = {
    "none": lambda blocks: blocks,
    "exp(3x), all columns": each(lambda x: np.exp(3 * x)),
    "exp(3x), source 1 alone": lambda blocks: (np.exp(3 * blocks[0]), *blocks[1:]),
    "-exp(-3x)": each(lambda x: -np.exp(-3 * x)),
    "cubes": each(lambda x: x**3),
    "ninth powers": each(lambda x: x**9),
    "sinh(4x)": each(lambda x: np.sinh(4 * x)),
    "logistic(6x)": each(lambda x: 1 / (1 + np.exp(-6 * x))),
    "largest row at 100 sigma": each(far_row),
    "1 % of rows at 300 sigma": each(far_hundredth),
    "ranks": each(lambda x: np.argsort(np.argsort(x)).astype(float)),
    "some integers": whole_numbers,
    "integers, all columns": each(lambda x: np.round(3 * x)),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--sets", type=int, default=4)
    parser.add_argument("--rows", type=int, default=900)
    asked = parser.parse_args()
    print(f"{'warp':<26} {'copula':>7} {'gaussian':>9} {'flow':>6} {'largest':>8} within")
    for name, warp in WARPS.items():
        joint, apart = [], []
        for seed in range(asked.sets):
            blocks = warp(rows(seed, asked.rows))
            found = {
                estimator: estimate_pid(*blocks, estimator=estimator, definitions=("broja",))["broja"]
                for estimator in ("copula", "gaussian", "flow")
            }
            joint.append([one.mi_12 for one in found.values()])
            apart.append(max(abs(getattr(found["flow"], atom) - getattr(found["copula"], atom)) for atom in ATOMS))
        copula, gaussian, flow = np.mean(joint, axis=0)
        print(
            f"{name:<26} {copula:>7.2f} {gaussian:>9.2f} {flow:>6.2f} {max(apart):>8.2f} "
            f"{sum(value <= BAR for value in apart)} of {asked.sets}",
            flush=True,
        )


if __name__ == "__main__":
    main()
