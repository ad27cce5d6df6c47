"""Tables a second, certified gap and accuracy of the discrete PID solver.

Run as a script: ``python tests/benchmarks/bench_discrete_pid.py``. The exponential-cone column (cvxpy + Clarabel, a few
tables one at a time) is filled when those are installed.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "lib"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.references import union_by_cone

from pidflow.pid.discrete import discrete_pid

SHAPES = ((2, 2, 2), (4, 4, 4), (8, 8, 4), (16, 16, 4))


def cone_speed(tables: np.ndarray, unions: np.ndarray) -> str:
    """Tables a second and largest difference, or why there is none."""
    try:
        import cvxpy  # noqa: F401
    except ModuleNotFoundError:
        return "cvxpy is not installed"
    started = time.perf_counter()
    reference = [union_by_cone(pmf) for pmf in tables]
    seconds = time.perf_counter() - started
    return f"{len(tables) / seconds:8.1f} /s, differs by {np.abs(unions - reference).max():.1e} bit"


def main() -> None:
    """Print one line per table shape and concentration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=256, help="tables per line")
    parser.add_argument("--cone", type=int, default=3, help="tables also given to the cone solver")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(
        f"{'k1 x k2 x ky':>14} {'Dirichlet':>9} {'ours /s':>9} {'largest gap (bit)':>18} {'done':>6}  exponential cone"
    )
    for shape in SHAPES:
        for concentration in (0.1, 1.0):
            count = options.count if np.prod(shape) <= 256 else options.count // 16
            tables = rng.dirichlet(np.full(np.prod(shape), concentration), count).reshape(count, *shape)
            started = time.perf_counter()
            atoms = discrete_pid(tables)
            speed = count / (time.perf_counter() - started)
            few = slice(0, options.cone)
            cone = cone_speed(tables[few], atoms.union[few]) if options.cone and np.prod(shape) <= 256 else "-"
            print(
                f"{' x '.join(map(str, shape)):>14} {concentration:9g} {speed:9.0f} {atoms.info.gap_bits.max():18.1e} "
                f"{atoms.info.converged.mean():6.0%}  {cone}",
                flush=True,
            )


if __name__ == "__main__":
    main()
