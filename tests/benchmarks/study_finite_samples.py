"""What estimates from 900 rows are worth: error of every atom before and after correction, spread, coverage.

    python tests/benchmarks/study_finite_samples.py [--dims 5 10] [--sets 200] [--rows 900] [--systems tied generic]

One line a system and dimension (d1 = d2 = m = d), in bits. Errors are means over data sets minus the truth, for the
redundancy: plug-in, corrected by permutations alone, corrected as estimate_pid does. Then the largest error of any
atom, the spread of the redundancy over data sets, its mean jackknife error, and the least and the greatest coverage of
the nominal 95 % intervals among the atoms of 0.01 bit and more, and the least of those nearer to zero in truth.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "lib"))

from pidflow.pid.bias import consistent_union
from pidflow.pid.from_latents import estimate_pid_from_latents
from pidflow.pid.gaussian import ATOMS, gaussian_pid

SYSTEMS = ("independent", "weakly-tied", "tied", "few", "alternating", "graded", "generic", "dominated")
# Bits; at a bound that no estimate goes below, an interval of value ± t · error cannot miss on both sides.
NEAR_ZERO = 0.01


@dataclass(frozen=True)
class Study:
    """Atoms of each data set, shape ``(sets, 4)``, beside the truth, shape ``(4,)``."""

    truth: np.ndarray
    plug_in: np.ndarray
    permutation: np.ndarray
    corrected: np.ndarray
    se: np.ndarray
    covered: np.ndarray


def population(system: str, d: int) -> np.ndarray:
    """Covariance of a system: two channels ``x_i = H_i y + noise``, whose noises correlate by 0.3."""
    if system == "generic":
        rows = np.random.default_rng(2).normal(size=(3 * d, 3 * d))
        return rows @ rows.T / (3 * d) + 0.5 * np.eye(3 * d)
    steps = np.arange(d)
    gains = {
        "independent": (0 * steps, 0 * steps),
        "weakly-tied": (0.2 + 0 * steps, 0.2 + 0 * steps),
        "tied": (1 + 0 * steps, 1 + 0 * steps),
        "few": (np.where(steps == 0, 1.5, 1.0 * (steps == 1)), np.where(steps == 2, 1.5, 1.0 * (steps == 1))),
        "alternating": (np.where(steps % 2, 0.3, 1.0), np.where(steps % 2, 1.0, 0.3)),
        "graded": (np.linspace(0.1, 1.2, d), np.linspace(0.84, 0.07, d)),
        "dominated": (0.8 + 0 * steps, 0.3 + 0 * steps),
    }[system]
    h = np.vstack([np.diag(gain) for gain in gains])
    noise = np.kron(np.array([[1.0, 0.3], [0.3, 1.0]]), np.eye(d))
    return np.block([[h @ h.T + noise, h], [h.T, np.eye(d)]])


def study(system: str, d: int, *, rows: int, sets: int, definition: str = "broja") -> Study:
    """Estimates from `sets` Gaussian data sets of `rows` rows each."""
    cov = population(system, d)
    factor = np.linalg.cholesky(cov)
    truth = gaussian_pid(cov, (d, d, d), definition=definition)
    true_atoms = np.array([float(getattr(truth, name)) for name in ATOMS])
    collected = {name: [] for name in ("plug_in", "permutation", "corrected", "se", "covered")}
    for seed in range(sets):
        table = np.random.default_rng(seed).normal(size=(rows, 3 * d)) @ factor.T
        blocks = np.split(table, 3, axis=1)
        found = estimate_pid_from_latents(*blocks, seed=seed, definitions=(definition,))[definition]
        one, two, both = found.mi_1, found.mi_2, found.mi_12
        union = float(consistent_union(found.union_raw - found.union_null, one, two, both)[0])
        intervals = np.array([found.interval(name) for name in ATOMS])
        collected["plug_in"].append([found.raw[name] for name in ATOMS])
        collected["permutation"].append([one + two - union, union - two, union - one, both - union])
        collected["corrected"].append([getattr(found, name) for name in ATOMS])
        collected["se"].append([found.se[name] for name in ATOMS])
        # A unique that is zero in truth and in every replicate has an interval of zero width.
        collected["covered"].append((intervals[:, 0] - 1e-9 <= true_atoms) & (true_atoms <= intervals[:, 1] + 1e-9))
    return Study(true_atoms, **{name: np.array(values) for name, values in collected.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--dims", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--rows", type=int, default=900)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument("--definition", default="broja")
    arguments = parser.parse_args()

    heads = (
        "truth R U1 U2 S",
        "plug-in R",
        "permuted R",
        "corrected R",
        "worst atom",
        "spread R",
        "error R",
        "coverage",
        "of zeros",
    )
    print(f"{'d':>3} {'system':<12} {heads[0]:>24} " + " ".join(f"{head:>11}" for head in heads[1:]))
    for d in arguments.dims:
        for system in arguments.systems:
            found = study(system, d, rows=arguments.rows, sets=arguments.sets, definition=arguments.definition)
            truth = " ".join(f"{abs(value):.2f}" for value in found.truth)
            plug_in, permutation, corrected = (
                (atoms.mean(axis=0) - found.truth) for atoms in (found.plug_in, found.permutation, found.corrected)
            )
            covered, zero = 100 * found.covered.mean(axis=0), np.abs(found.truth) < NEAR_ZERO
            some = f"{covered[~zero].min():.1f}-{covered[~zero].max():.1f}" if not zero.all() else ""
            none = f"{covered[zero].min():.1f}" if zero.any() else ""
            print(
                f"{d:>3} {system:<12} {truth:>24} {plug_in[0]:>+11.3f} {permutation[0]:>+11.3f} {corrected[0]:>+11.3f} "
                f"{np.abs(corrected).max():>11.3f} {found.corrected[:, 0].std():>11.3f} {found.se[:, 0].mean():>11.3f} "
                f"{some:>11} {none:>11}",
                flush=True,
            )


if __name__ == "__main__":
    main()
