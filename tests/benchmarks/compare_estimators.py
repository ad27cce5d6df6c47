"""Our decompositions beside those of other packages: values and times, on systems with a known answer.

Run as a script: ``python tests/benchmarks/compare_estimators.py``. Lines for dit (discrete), CVX (discrete: the
exponential-cone program of Liang et al. 2023, by cvxpy and Clarabel), SDP (Gaussian: the max-det program, by the same)
and gpid (Gaussian) are printed when these are installed; none is needed by pidflow.
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "lib"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.references import union_by_cone, union_by_max_det

from pidflow.pid.discrete import discrete_pid
from pidflow.pid.gaussian import ATOMS, gaussian_pid


def rule(function: Callable[[int, int], int], symbols: int, labels: int) -> np.ndarray:
    """Joint pmf of ``Y = function(x1, x2)`` for independent uniform sources."""
    pmf = np.zeros((symbols, symbols, labels))
    for i, j in np.ndindex(symbols, symbols):
        pmf[i, j, function(i, j)] = 1 / symbols**2
    return pmf


def copied_xor() -> np.ndarray:
    """A shared bit beside an XOR: one bit of redundancy, one of synergy."""
    pmf = np.zeros((4, 4, 4))
    for shared, i, j in np.ndindex(2, 2, 2):
        pmf[2 * shared + i, 2 * shared + j, 2 * shared + (i ^ j)] = 1 / 8
    return pmf


def pointwise_unique() -> np.ndarray:
    """In every event exactly one source knows."""
    pmf = np.zeros((3, 3, 3))
    for y in (1, 2):
        pmf[0, y, y] = pmf[y, 0, y] = 0.25
    return pmf


def discrete_systems() -> dict[str, np.ndarray]:
    """Joint probabilities by name."""
    rng = np.random.default_rng(0)
    return {
        "AND": rule(lambda i, j: i & j, 2, 2),
        "OR": rule(lambda i, j: i | j, 2, 2),
        "XOR": rule(lambda i, j: i ^ j, 2, 2),
        "SUM": rule(lambda i, j: i + j, 2, 3),
        "COPY": rule(lambda i, j: 2 * i + j, 2, 4),
        "UNQ": rule(lambda i, j: i, 2, 2),
        "RDN": np.einsum("ij,ik->ijk", np.eye(2) / 2, np.eye(2)),
        "RDNXOR": copied_xor(),
        "PWUNQ": pointwise_unique(),
        "MAX 4": rule(max, 4, 4),
        "random 2x2x2": rng.dirichlet(np.ones(8)).reshape(2, 2, 2),
        "random 4x4x4": rng.dirichlet(np.ones(64)).reshape(4, 4, 4),
    }


def gaussian_systems() -> dict[str, tuple[np.ndarray, tuple[int, int, int]]]:
    """Covariances and dimensions by name."""
    out = {}
    for name, dims in {"random 1+1+1": (1, 1, 1), "random 3+3+2": (3, 3, 2), "random 10+10+4": (10, 10, 4)}.items():
        rows = np.random.default_rng(1).standard_normal((4 * sum(dims), sum(dims)))
        out[name] = np.cov(rows.T), dims
    return out


def ours(pmf: np.ndarray) -> list[float]:
    """Atoms by :func:`pidflow.pid.discrete.discrete_pid`."""
    atoms = discrete_pid(pmf)
    return [float(getattr(atoms, name)) for name in ATOMS]


def by_cone(pmf: np.ndarray) -> list[float]:
    """Atoms from the union information of the cone program."""
    return _around(discrete_pid(pmf), union_by_cone(pmf))


def by_max_det(system: tuple[np.ndarray, tuple[int, int, int]]) -> list[float]:
    """Atoms from the union information of the max-det program."""
    return _around(gaussian_pid(*system), union_by_max_det(*system))


def _around(atoms: object, union: float) -> list[float]:
    """Atoms that follow from another union information."""
    one, two, both = (float(getattr(atoms, name)) for name in ("mi_1", "mi_2", "mi_12"))
    return [one + two - union, union - two, union - one, both - union]


def by_dit(pmf: np.ndarray) -> list[float]:
    """Atoms by dit's PID_BROJA."""
    import dit
    from dit.pid import PID_BROJA

    outcomes = [index for index in np.ndindex(*pmf.shape) if pmf[index] > 0]
    found = PID_BROJA(dit.Distribution(outcomes, [pmf[index] for index in outcomes]), [[0], [1]], [2])
    return [float(found.get_pi(node)) for node in (((0,), (1,)), ((0,),), ((1,),), ((0, 1),))]


def gaussian_ours(system: tuple[np.ndarray, tuple[int, int, int]]) -> list[float]:
    """Atoms by :func:`pidflow.pid.gaussian.gaussian_pid`."""
    atoms = gaussian_pid(*system)
    return [float(getattr(atoms, name)) for name in ATOMS]


def by_gpid(system: tuple[np.ndarray, tuple[int, int, int]]) -> list[float]:
    """Atoms by gpid's exact Gaussian PID, which orders blocks target first."""
    from gpid.tilde_pid import exact_gauss_tilde_pid

    cov, (d1, d2, m) = system
    order = np.r_[d1 + d2 : d1 + d2 + m, : d1 + d2]
    found = exact_gauss_tilde_pid(cov[np.ix_(order, order)], m, d1, d2)
    unique_1, unique_2, redundancy, synergy = found[-4:]
    return [float(v) for v in (redundancy, unique_1, unique_2, synergy)]


def timed(solve: Callable, system: object, *, repeats: int) -> tuple[list[float], float]:
    """Result and the shortest of `repeats` times, in milliseconds."""
    best = np.inf
    for _ in range(repeats):
        started = time.perf_counter()
        result = solve(system)
        best = min(best, 1e3 * (time.perf_counter() - started))
    return result, best


def table(title: str, systems: dict, solvers: dict[str, tuple[str, Callable]], *, repeats: int) -> None:
    """Print a line a system and solver."""
    print(f"\n{title}\n{'system':>15} {'by':>8} {'R':>9} {'U1':>9} {'U2':>9} {'S':>9} {'ms':>9}")
    for name, system in systems.items():
        for label, (package, solve) in solvers.items():
            if importlib.util.find_spec(package) is None:
                continue
            try:
                atoms, milliseconds = timed(solve, system, repeats=repeats)
            except Exception as error:  # another package's failure is a result worth printing
                print(f"{name:>15} {label:>8} {type(error).__name__}: {str(error)[:60]}", flush=True)
                continue
            values = " ".join(f"{value + 0.0:9.6f}" for value in np.round(atoms, 6))
            print(f"{name:>15} {label:>8} {values} {milliseconds:9.2f}", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="times are the shortest of this many")
    repeats = parser.parse_args().repeats
    packages = {name: importlib.util.find_spec(name) is not None for name in ("dit", "cvxpy", "gpid")}
    print("installed:", ", ".join(name for name, here in packages.items() if here) or "none of the others")
    discrete = {"pidflow": ("pidflow", ours), "dit": ("dit", by_dit), "CVX": ("cvxpy", by_cone)}
    table("Discrete systems, BROJA, bits", discrete_systems(), discrete, repeats=repeats)
    gaussian = {"pidflow": ("pidflow", gaussian_ours), "SDP": ("cvxpy", by_max_det), "gpid": ("gpid", by_gpid)}
    table("Gaussian systems, BROJA, bits", gaussian_systems(), gaussian, repeats=repeats)


if __name__ == "__main__":
    main()
