"""Independent programs for the same optima, for tests and benchmarks; they need cvxpy with Clarabel."""

import numpy as np


def union_by_cone(pmf: np.ndarray, *, tolerance: float = 1e-8) -> float:
    """Union information of a table in bits: ``min H(Y) + sum q log(q / q12)`` with its pair marginals.

    The exponential-cone program that Liang et al. 2023 call CVX.
    """
    import cvxpy as cp

    k1, k2, ky = pmf.shape
    entries = [cp.Variable((k1, k2), nonneg=True) for _ in range(ky)]
    cell = sum(entries)
    constraints = []
    for y, q in enumerate(entries):
        constraints += [cp.sum(q, axis=1) == pmf[:, :, y].sum(axis=1), cp.sum(q, axis=0) == pmf[:, :, y].sum(axis=0)]
    program = cp.Problem(cp.Minimize(sum(cp.sum(cp.rel_entr(q, cell)) for q in entries)), constraints)
    program.solve(solver=cp.CLARABEL, tol_gap_abs=tolerance, tol_gap_rel=tolerance, tol_feas=tolerance)
    target = pmf.sum(axis=(0, 1))
    return float(program.value - (target * np.log(np.where(target > 0, target, 1.0))).sum()) / np.log(2)


def union_by_max_det(cov: np.ndarray, dims: tuple[int, int, int]) -> float:
    """Union information of a Gaussian in bits, from the max-det program over noise cross-covariances Z."""
    import cvxpy as cp

    d1, d2, m = dims
    white_y = np.linalg.inv(np.linalg.cholesky(cov[d1 + d2 :, d1 + d2 :]))
    channels = []
    for rows in (slice(0, d1), slice(d1, d1 + d2)):
        cross = cov[rows, d1 + d2 :] @ white_y.T
        channels.append(np.linalg.solve(np.linalg.cholesky(cov[rows, rows] - cross @ cross.T), cross))
    h = np.vstack(channels)
    z = cp.Variable((d1, d2))
    w = cp.Variable((m, m), symmetric=True)
    noise = cp.bmat([[np.eye(d1), z], [z.T, np.eye(d2)]])
    program = cp.Problem(
        cp.Maximize(cp.log_det(w)), [noise >> 0, cp.bmat([[np.eye(m) - w, h.T], [h, h @ h.T + noise]]) >> 0]
    )
    program.solve(solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    return float(-0.5 * program.value / np.log(2))
