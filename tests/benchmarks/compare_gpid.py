"""The closed form beside gpid (Venkatesh et al. 2023) on the same problems: times, and how far apart they are.

    pip install 'git+https://github.com/praveenv253/gpid'
    python tests/benchmarks/compare_gpid.py [--dims 5 10 20] [--problems 10]

gpid is in no package index and no part of the locked environment. One line a dimension (d1 = d2 = m = d), one problem
at a time, median times.
"""

import argparse
import importlib.util
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "lib"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.compare_estimators import by_gpid, gaussian_ours


def problem(d: int, seed: int) -> tuple[np.ndarray, tuple[int, int, int]]:
    """A random covariance that no row count makes singular."""
    rows = np.random.default_rng([d, seed]).standard_normal((4 * d, 3 * d))
    return rows.T @ rows / len(rows) + 0.1 * np.eye(3 * d), (d, d, d)


def main() -> None:
    """Print the table, or why it cannot be made."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--dims", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--problems", type=int, default=10)
    asked = parser.parse_args()
    if importlib.util.find_spec("gpid") is None:
        raise SystemExit("gpid is not installed; pip install 'git+https://github.com/praveenv253/gpid'")
    print(f"{'d':>3} {'ms here':>9} {'ms gpid':>9} {'ratio':>7} {'largest difference, bit':>24}")
    for d in asked.dims:
        times, apart = [], 0.0
        for seed in range(asked.problems):
            system, spent = problem(d, seed), []
            found = []
            for solve in (gaussian_ours, by_gpid):
                started = time.perf_counter()
                found.append(solve(system))
                spent.append(1e3 * (time.perf_counter() - started))
            times.append(spent)
            apart = max(apart, float(np.abs(np.subtract(*found)).max()))
        ours, theirs = np.median(times, axis=0)
        print(f"{d:>3} {ours:>9.2f} {theirs:>9.1f} {theirs / ours:>6.0f}x {apart:>24.1e}", flush=True)


if __name__ == "__main__":
    main()
