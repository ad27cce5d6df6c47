"""How much faster the closed form is than projected gradient, and whether both find the same union information.

    python tests/benchmarks/bench_gaussian_pid.py [--batch 200] [--reference 8] [--dims 5 10 20]

The reference solves one problem at a time, as published solvers do: minimise I(X1, X2; Y) over the cross-covariance Z
of the two channels' noises, ||Z|| <= 1, by spectral projected gradient (Barzilai-Borwein steps, non-monotone Armijo
backtracking along the feasible direction), until a duality certificate is below 1e-6 bit or 2000 steps are made. Both
sides start from the same covariances and include their whitening. Times are processor seconds; for a meaningful ratio
set OMP_NUM_THREADS, OPENBLAS_NUM_THREADS and MKL_NUM_THREADS to 1.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "lib"))

from pidflow.pid.gaussian import gaussian_pid

TOL_NATS = 1e-6 * np.log(2)
MAX_ITERATIONS = 2000


def random_covariances(dims, count, seed=0):
    """Wishart covariances with twice as many degrees of freedom as dimensions: every pair of blocks is dependent."""
    rng = np.random.default_rng(seed)
    total = sum(dims)
    rows = rng.normal(size=(count, 2 * total, total))
    return rows.swapaxes(-1, -2) @ rows / (2 * total)


def projected_gradient(cov, dims):
    """``U*`` in bits, iterations and certificate in bits, of one problem."""
    d1, d2, _ = dims
    h1, h2 = channels(cov, dims)
    p, q = np.eye(d1) + h1 @ h1.T, np.eye(d2) + h2 @ h2.T
    between = h1 @ h2.T

    def value_and_gradient(z):
        noise = np.block([[np.eye(d1), z], [z.T, np.eye(d2)]])
        signal = np.block([[p, z + between], [(z + between).T, q]])
        try:
            factors = np.linalg.cholesky(np.stack([noise, signal]))
        except np.linalg.LinAlgError:
            return np.inf, None
        halves = np.log(np.einsum("kii->ki", factors)).sum(axis=-1)
        inverse_noise, inverse_signal = np.linalg.inv(np.stack([noise, signal]))
        return halves[1] - halves[0], inverse_signal[:d1, d1:] - inverse_noise[:d1, d1:]

    def project(z):
        u, s, vt = np.linalg.svd(z, full_matrices=False)
        return (u * np.minimum(s, 1 - 1e-9)) @ vt

    z = np.zeros((d1, d2))
    value, gradient = value_and_gradient(z)
    recent = [value]
    step, done = 1.0, 0
    while (certificate := (gradient * z).sum() + np.linalg.norm(gradient, "nuc")) > TOL_NATS and done < MAX_ITERATIONS:
        done += 1
        direction = project(z - step * gradient) - z
        slope = (gradient * direction).sum()
        part = 1.0
        while True:
            new_value, new_gradient = value_and_gradient(z + part * direction)
            if new_value <= max(recent) + 1e-4 * part * slope or part < 1e-12:
                break
            part *= 0.5
        move = part * direction
        curvature = ((new_gradient - gradient) * move).sum()
        step = np.clip((move * move).sum() / curvature, 1e-8, 1e8) if curvature > 0 else 1.0
        z, value, gradient = z + move, new_value, new_gradient
        recent = [*recent[-9:], value]
    return value / np.log(2), done, certificate / np.log(2)


def channels(cov, dims):
    """``H_i`` of the channels ``x_i = H_i y + noise`` once sources, noises and target are whitened."""
    d1, d2, _ = dims
    target = slice(d1 + d2, None)
    white_y = np.linalg.inv(np.linalg.cholesky(cov[target, target]))
    out = []
    for rows in (slice(0, d1), slice(d1, d1 + d2)):
        cross = cov[rows, target] @ white_y.T
        out.append(np.linalg.solve(np.linalg.cholesky(cov[rows, rows] - cross @ cross.T), cross))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--batch", type=int, default=200, help="problems in the batch of the closed form")
    parser.add_argument("--reference", type=int, default=8, help="problems the reference solves, one at a time")
    parser.add_argument("--dims", type=int, nargs="+", default=[5, 10, 20], help="d1 = d2 = m")
    arguments = parser.parse_args()

    heads = ("closed form", "reference", "iterations", "ratio", "difference", "gap of reference", "gap of closed form")
    print(f"{'d':>3} " + " ".join(f"{head:>18}" for head in heads))
    for d in arguments.dims:
        dims = (d, d, d)
        cov = random_covariances(dims, arguments.batch)
        gaussian_pid(cov[:2], dims)
        fast = min(_seconds(lambda: gaussian_pid(cov, dims)) for _ in range(3)) / arguments.batch  # noqa: B023
        atoms = gaussian_pid(cov, dims)

        started = time.process_time()
        solved = [projected_gradient(one, dims) for one in cov[: arguments.reference]]
        slow = (time.process_time() - started) / len(solved)
        difference = max(abs(found[0] - union) for found, union in zip(solved, atoms.union, strict=False))
        print(
            f"{d:>3} {fast * 1e3:>15.3f} ms {slow * 1e3:>15.1f} ms {np.mean([s[1] for s in solved]):>18.0f} "
            f"{slow / fast:>17.0f}x {difference:>14.1e} bit {max(s[2] for s in solved):>14.1e} bit "
            f"{atoms.info.gap_bits.max():>14.1e} bit"
        )


def _seconds(call):
    started = time.process_time()
    call()
    return time.process_time() - started


if __name__ == "__main__":
    main()
