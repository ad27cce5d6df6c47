"""Five definitions of a discrete decomposition side by side: atoms, times, and dit beside them where it is installed.

python tests/benchmarks/compare_definitions.py [--no-dit]
"""

import argparse
import importlib.util
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "lib"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.compare_estimators import discrete_systems

from pidflow.pid.discrete import METHODS, discrete_pid
from pidflow.pid.gaussian import ATOMS

MEASURES = {"broja": "PID_BROJA", "imin": "PID_WB", "mmi": "PID_MMI", "dep": "PID_dep", "ccs": "PID_CCS"}
NODES = (((0,), (1,)), ((0,),), ((1,),), ((0, 1),))


def by_dit(pmf: np.ndarray, definition: str) -> list[float]:
    """Atoms by dit."""
    import dit
    import dit.pid

    outcomes = [index for index in np.ndindex(*pmf.shape) if pmf[index] > 0]
    distribution = dit.Distribution(outcomes, [pmf[index] for index in outcomes])
    found = getattr(dit.pid, MEASURES[definition])(distribution, [[0], [1]], [2])
    return [float(found.get_pi(node)) for node in NODES]


def main() -> None:
    """Print a line a system and definition."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--no-dit", action="store_true")
    beside = not parser.parse_args().no_dit and importlib.util.find_spec("dit") is not None
    print(
        f"{'system':<15} {'definition':<10} {'R':>7} {'U1':>7} {'U2':>7} {'S':>7} {'ms':>7} {'ms dit':>8} {'apart':>8}"
    )
    for system, pmf in discrete_systems().items():
        for definition in METHODS:
            started = time.perf_counter()
            found = discrete_pid(pmf, definition=definition)
            ours = time.perf_counter() - started
            atoms = [float(getattr(found, name)) for name in ATOMS]
            line = f"{system:<15} {definition:<10} " + " ".join(f"{value + 0.0:7.4f}" for value in np.round(atoms, 4))
            line += f" {1e3 * ours:7.1f}"
            if beside:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    started = time.perf_counter()
                    try:
                        theirs = by_dit(pmf, definition)
                        apart = f"{max(abs(a - b) for a, b in zip(atoms, theirs, strict=True)):8.1e}"
                    except Exception as error:  # another package's failure is a result worth printing
                        apart = type(error).__name__
                    line += f" {1e3 * (time.perf_counter() - started):8.0f} {apart}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
