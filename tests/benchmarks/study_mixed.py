"""Rows some of which are labels: every atom of each estimator beside the truth, on planted mixed cases.

    python tests/benchmarks/study_mixed.py [--sets 4] [--rows 900] [--estimators auto gaussian] [--cases ...]

One line a case and estimator, in bits: the truth, the mean estimate, the largest error of any atom in any set, and how
many sets stayed within 0.15 bit in every atom. Truths are tables decomposed exactly, Gaussian channels, and densities
integrated on a grid; parts of a target that different columns tell add up.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "lib"))

from pidflow.pid.discrete import discrete_pid
from pidflow.pid.estimate import estimate_pid
from pidflow.pid.gaussian import ATOMS

BAR = 0.15
DIMS = (10, 10, 4)


@dataclass(frozen=True)
class MixedCase:
    """Rows with labels among them, and the truth of each atom (BROJA)."""

    x1: np.ndarray
    x2: np.ndarray
    y: np.ndarray
    truth: dict[str, float]


def rotated(rng: np.random.Generator, block: np.ndarray) -> np.ndarray:
    """The block in a random basis."""
    return block @ np.linalg.qr(rng.standard_normal((block.shape[1], block.shape[1])))[0]


def coded(rng: np.random.Generator, codes: np.ndarray, columns: int) -> np.ndarray:
    """Each code as a row of its own, in no more columns than tell the codes apart."""
    count = int(codes.max()) + 1
    return rng.standard_normal((count, min(columns, count - 1)))[codes]


def clustered(rng: np.random.Generator, codes: np.ndarray, columns: int, width: float, within=None) -> np.ndarray:
    """Each code as a tight cluster in as few directions as hold them; the other columns are noise."""
    count = int(codes.max()) + 1
    used = min(columns, 1 if count == 2 else 2 if count <= 4 else 3)
    corners = np.stack(np.meshgrid(*[np.arange(max(2, int(np.ceil(count ** (1 / used)))))] * used), -1).reshape(
        -1, used
    )
    out = rng.standard_normal((len(codes), columns))
    out[:, :used] = corners[codes] + width * out[:, :used]
    # The last column is noise, but for what is told within the clusters.
    out[:, -1] += 0.0 if within is None else within
    return rotated(rng, out)


def atoms_of_table(pmf: np.ndarray) -> dict[str, float]:
    """Exact atoms of a table."""
    exact = discrete_pid(pmf)
    return {name: float(getattr(exact, name)) for name in ATOMS}


def table_of(function: Callable[[int, int], int], k1: int, k2: int, joint: np.ndarray | None = None) -> np.ndarray:
    """Joint pmf of two symbols and a function of them."""
    joint = np.full((k1, k2), 1 / (k1 * k2)) if joint is None else joint
    pmf = np.zeros((k1, k2, 1 + max(function(i, j) for i, j in np.ndindex(k1, k2))))
    for i, j in np.ndindex(k1, k2):
        pmf[i, j, function(i, j)] += joint[i, j]
    return pmf


def mixture_information(levels: np.ndarray, noise: float) -> float:
    """Bits that equally likely levels tell of themselves through Gaussian noise."""
    grid = np.linspace(levels.min() - 8 * noise, levels.max() + 8 * noise, 20_001)
    density = np.exp(-0.5 * ((grid[:, None] - levels) / noise) ** 2).mean(axis=1) / (noise * np.sqrt(2 * np.pi))
    entropy = -np.sum(density * np.log2(np.maximum(density, 1e-300))) * (grid[1] - grid[0])
    return float(entropy - 0.5 * np.log2(2 * np.pi * np.e * noise**2))


def plus(*parts: dict[str, float]) -> dict[str, float]:
    """Atoms of independent parts."""
    return {name: sum(part.get(name, 0.0) for part in parts) for name in ATOMS}


def a_code(count: int, noise: float):
    """Source 2 is a code that shifts one direction of the target; source 1 tells another by 1 bit."""

    def draw(rng: np.random.Generator, n: int) -> MixedCase:
        code = rng.integers(count, size=n)
        levels = np.linspace(-1, 1, count)
        levels = levels / levels.std()
        x1, y = rng.standard_normal((n, DIMS[0])), rng.standard_normal((n, DIMS[2]))
        y[:, 0] = levels[code] + noise * y[:, 0]
        y[:, 1] = np.sqrt(3) * x1[:, 0] + y[:, 1]
        truth = {"unique_1": 1.0, "unique_2": mixture_information(levels, noise)}
        return MixedCase(rotated(rng, x1), coded(rng, code, 6), rotated(rng, y), plus(truth))

    return draw


def same_direction(count: int, noise: float, gain: float):
    """A code and a continuous source move the same, only informative direction of the target."""

    def draw(rng: np.random.Generator, n: int) -> MixedCase:
        levels = np.linspace(-1, 1, count)
        levels = levels / levels.std()
        code = rng.integers(count, size=n)
        x1, y = rng.standard_normal((n, DIMS[0])), rng.standard_normal((n, DIMS[2]))
        y[:, 0] = levels[code] + gain * x1[:, 0] + noise * y[:, 0]
        grid = np.quantile(rng.standard_normal(200_000), (np.arange(24) + 0.5) / 24)
        edges = np.linspace(levels.min() - 3.2 * (gain + noise), levels.max() + 3.2 * (gain + noise), 61)
        pmf = np.zeros((len(grid), count, len(edges) - 1))
        for k, level in enumerate(levels):
            mean = level + gain * grid
            below = _phi((edges[None, :] - mean[:, None]) / noise)
            pmf[:, k] = np.diff(below, axis=1)
        pmf /= pmf.sum()
        return MixedCase(rotated(rng, x1), coded(rng, code, 3), rotated(rng, y), atoms_of_table(pmf))

    return draw


def _phi(values: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    return ndtr(values)


def labels_told(pmf: np.ndarray, *, sources: str, width: float = 0.1, within: float = 0.0):
    """A table of two symbols and a clustered target; sources are codes, clusters, or one of each.

    `within`: bits that source 1 tells of where in its cluster the target lies.
    """

    def draw(rng: np.random.Generator, n: int) -> MixedCase:
        cell = rng.choice(pmf.size, size=n, p=pmf.ravel())
        one, two, label = np.unravel_index(cell, pmf.shape)
        make = {
            "codes": lambda code, d: coded(rng, code, 6),
            "clusters": lambda code, d: clustered(rng, code, d, width),
        }
        kinds = sources.split("+") if "+" in sources else (sources, sources)
        x1, x2 = (make[kind](code, d) for kind, code, d in zip(kinds, (one, two), DIMS, strict=False))
        truth = atoms_of_table(pmf)
        signal = rng.standard_normal(n) if within else None
        if within:
            x1 = np.column_stack([x1, signal])
            truth = plus(truth, {"unique_1": within})
        y = clustered(rng, label, DIMS[2], width, None if signal is None else np.sqrt(4.0**within - 1) * signal)
        return MixedCase(x1, x2, y, truth)

    return draw


def copies(count: int, coarse: bool):
    """Source 2 repeats source 1, or the half of it; the target is its cluster."""

    def draw(rng: np.random.Generator, n: int) -> MixedCase:
        one = rng.integers(count, size=n)
        two = one // 2 if coarse else one
        joint = np.zeros((count, count))
        joint[np.arange(count), np.arange(count) // 2 if coarse else np.arange(count)] = 1 / count
        truth = atoms_of_table(table_of(lambda i, j: min(i, 5), count, count, joint))
        x1 = coded(rng, one, 5)
        x2 = coded(rng, two, 5) if coarse else x1.copy()
        return MixedCase(x1, x2, clustered(rng, np.minimum(one, 5), DIMS[2], 0.1), truth)

    return draw


def two_codes(k1: int, k2: int, noise: float):
    """One code a source, each shifting a direction of its own."""

    def draw(rng: np.random.Generator, n: int) -> MixedCase:
        one, two = rng.integers(k1, size=n), rng.integers(k2, size=n)
        y = rng.standard_normal((n, DIMS[2]))
        truth = {}
        for column, (name, code, count) in enumerate((("unique_1", one, k1), ("unique_2", two, k2))):
            levels = np.linspace(-1, 1, count)
            levels = levels / levels.std()
            y[:, column] = levels[code] + noise * y[:, column]
            truth[name] = mixture_information(levels, noise)
        return MixedCase(coded(rng, one, 5), coded(rng, two, 5), rotated(rng, y), plus(truth))

    return draw


def _noisy_and() -> np.ndarray:
    pmf = np.zeros((2, 2, 2))
    for i, j in np.ndindex(2, 2):
        pmf[i, j, i & j], pmf[i, j, 1 - (i & j)] = 0.9 / 4, 0.1 / 4
    return pmf


CASES = {
    "code of 3, sharp": a_code(3, 0.15),
    "code of 3": a_code(3, 0.5),
    "code of 12": a_code(12, 0.3),
    "code of 36": a_code(36, 0.3),
    "code and column, 2": same_direction(2, 0.5, 1.0),
    "code and column, 5": same_direction(5, 0.4, 0.7),
    "two codes 3, 36": two_codes(3, 36, 0.4),
    "two codes 12, 12": two_codes(12, 12, 0.3),
    "copy of 3": copies(3, False),
    "copy of 12": copies(12, False),
    "coarse copy of 6": copies(6, True),
    "AND, codes": labels_told(table_of(lambda i, j: i & j, 2, 2), sources="codes"),
    "AND, clusters": labels_told(table_of(lambda i, j: i & j, 2, 2), sources="clusters"),
    "AND, code and clusters": labels_told(table_of(lambda i, j: i & j, 2, 2), sources="codes+clusters"),
    "AND, noisy": labels_told(_noisy_and(), sources="clusters"),
    "XOR, clusters": labels_told(table_of(lambda i, j: i ^ j, 2, 2), sources="clusters"),
    "COPY, clusters": labels_told(table_of(lambda i, j: 2 * i + j, 2, 2), sources="clusters"),
    "SUM of 3 and 3, codes": labels_told(table_of(lambda i, j: i + j, 3, 3), sources="codes"),
    "MAX of 4 and 4": labels_told(table_of(max, 4, 4), sources="clusters"),
    "6 of 36 codes": labels_told(table_of(lambda i, j: j % 6, 2, 36), sources="clusters+codes"),
    "6 of 2 and 3, clusters": labels_told(table_of(lambda i, j: 3 * i + j, 2, 3), sources="clusters"),
    "COPY and within": labels_told(table_of(lambda i, j: 2 * i + j, 2, 2), sources="clusters", within=0.8),
    "3 of 36 and within": labels_told(table_of(lambda i, j: j % 3, 2, 36), sources="clusters+codes", within=1.2),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--sets", type=int, default=4)
    parser.add_argument("--rows", type=int, default=900)
    parser.add_argument("--estimators", nargs="+", default=["auto", "gaussian", "copula"])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    asked = parser.parse_args()
    print(f"{'case':<24} {'estimator':<9} {'R, U1, U2, S: truth':>24} {'mean estimate':>24} {'largest':>8} within")
    for name in asked.cases:
        for estimator in asked.estimators:
            truths, found = [], []
            for seed in range(asked.sets):
                case = CASES[name](np.random.default_rng([seed, list(CASES).index(name)]), asked.rows)
                one = estimate_pid(case.x1, case.x2, case.y, estimator=estimator, definitions=("broja",))["broja"]
                found.append([getattr(one, atom) for atom in ATOMS])
                truths.append([case.truth[atom] for atom in ATOMS])
            error = np.abs(np.subtract(found, truths))
            row = [" ".join(f"{abs(v):5.2f}" for v in np.mean(values, axis=0)) for values in (truths, found)]
            print(
                f"{name:<24} {estimator:<9} {row[0]:>24} {row[1]:>24} {error.max():>8.2f} "
                f"{int((error.max(axis=1) <= BAR).sum())} of {asked.sets}",
                flush=True,
            )


if __name__ == "__main__":
    main()
