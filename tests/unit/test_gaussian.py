"""Whitening and Gaussian mutual information: known answers, invariances, refusals."""

import numpy as np
import pytest

from pidflow.errors import DataError, NumericsError
from pidflow.pid.gaussian_system import gaussian_mi, whiten_system

DIMS = [(1, 1, 1), (2, 3, 4), (5, 2, 1), (1, 4, 3)]


def random_cov(dims, *, batch=(), seed=0):
    rng = np.random.default_rng(seed)
    total = sum(dims)
    rows = rng.normal(size=(*batch, 3 * total, total))
    return rows.swapaxes(-1, -2) @ rows


def log2_det(matrix):
    return np.linalg.slogdet(matrix)[1] / np.log(2)


@pytest.mark.parametrize("rho", [0.0, 0.3, -0.9])
def test_scalar_information_is_the_textbook_formula(rho):
    cov = np.array([[4.0, 2.0 * rho], [2.0 * rho, 1.0]])
    assert gaussian_mi(cov, (1, 1)) == pytest.approx(-0.5 * np.log2(1 - rho**2), abs=1e-14)


@pytest.mark.parametrize("dims", DIMS)
def test_informations_are_log_determinant_ratios(dims):
    d1, d2, _ = dims
    cov = random_cov(dims, batch=(2, 3))
    system = whiten_system(cov, dims)
    x1, x2, x12, y = np.r_[:d1], np.r_[d1 : d1 + d2], np.r_[: d1 + d2], np.r_[d1 + d2 : sum(dims)]
    for source, found in [(x1, system.mi_1), (x2, system.mi_2), (x12, system.mi_12)]:
        both = np.r_[source, y]
        block = [log2_det(cov[..., rows, :][..., rows]) for rows in (source, y, both)]
        np.testing.assert_allclose(found, 0.5 * (block[0] + block[1] - block[2]), atol=1e-12)
        np.testing.assert_allclose(gaussian_mi(cov[..., both, :][..., both], (len(source), len(y))), found, atol=1e-12)


@pytest.mark.parametrize("dims", DIMS)
def test_factors_rebuild_the_conditional_covariances(dims):
    d1, d2, m = dims
    cov = random_cov(dims)
    system = whiten_system(cov, dims)
    x1, y = slice(0, d1), slice(d1 + d2, None)
    conditional = cov[y, y] - cov[y, x1] @ np.linalg.solve(cov[x1, x1], cov[x1, y])
    # Coordinates are free; generalised eigenvalues of (Cov(Y|X1), Cov(Y)) are not.
    expected = np.sort(np.linalg.eigvals(np.linalg.solve(cov[y, y], conditional)).real)
    np.testing.assert_allclose(np.linalg.eigvalsh(system.factor_1 @ system.factor_1.T), expected, atol=1e-12)
    np.testing.assert_allclose(system.inverse_1 @ system.factor_1, np.eye(m), atol=1e-12)
    np.testing.assert_allclose(system.inverse_2 @ system.factor_2, np.eye(m), atol=1e-12)


def test_units_of_columns_do_not_matter():
    dims = (2, 3, 2)
    cov = random_cov(dims)
    scale = 10.0 ** np.arange(-9, 12, 3)
    plain, scaled = whiten_system(cov, dims), whiten_system(cov * np.outer(scale, scale), dims)
    for name in ("mi_1", "mi_2", "mi_12"):
        np.testing.assert_allclose(getattr(scaled, name), getattr(plain, name), atol=1e-13)


def test_shared_directions_are_counted_and_carry_no_extra_information():
    cov = random_cov((3, 1, 2))
    # x2 = (first two columns of x1 mixed, one of its own)
    mix = np.zeros((8, 6))
    mix[:3, :3] = np.eye(3)
    mix[3, :2], mix[4, :2], mix[5, 3] = [1.0, 2.0], [3.0, -1.0], 1.0
    mix[6:, 4:] = np.eye(2)
    system = whiten_system(mix @ cov @ mix.T, (3, 3, 2))
    assert system.shared_directions == 2
    assert system.mi_12 == pytest.approx(whiten_system(cov, (3, 1, 2)).mi_12, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c: c[:, :-1], DataError, r"shape \(\.\.\., 6, 6\)"),
        (lambda c: np.where(np.eye(6, dtype=bool), np.nan, c), DataError, "not finite"),
        (lambda c: c + np.triu(np.ones((6, 6)), 1), DataError, "not symmetric"),
        (
            lambda c: c * np.outer([1, 1, 1, 0, 1, 1], [1, 1, 1, 0, 1, 1]),
            NumericsError,
            "x2 is degenerate: its column 1",
        ),
        (lambda c: c[[0, 0, 2, 3, 4, 5]][:, [0, 0, 2, 3, 4, 5]], NumericsError, "x1 is degenerate.*rank 1 of 2"),
        (lambda c: c[[0, 1, 2, 3, 4, 4]][:, [0, 1, 2, 3, 4, 4]], NumericsError, "y is degenerate.*rank 1 of 2"),
        (lambda c: c[[0, 1, 2, 3, 0, 5]][:, [0, 1, 2, 3, 0, 5]], NumericsError, r"I\(x1; y\) is infinite.*1 of 2"),
        (lambda c: c[[0, 1, 2, 3, 4, 2]][:, [0, 1, 2, 3, 4, 2]], NumericsError, r"I\(x2; y\) is infinite"),
        (lambda c: c + 0.9 * np.sqrt(np.diag(c)[0] * np.diag(c)[2]) * _pair(0, 2), NumericsError, "semi-definite"),
    ],
)
def test_refusals_name_the_block(change, error, message):
    cov = random_cov((2, 2, 2))
    with pytest.raises(error, match=message):
        whiten_system(change(cov), (2, 2, 2))


def _pair(i, j):
    out = np.zeros((6, 6))
    out[i, j] = out[j, i] = 1.0
    return out


def test_joint_determinism_is_named_and_located_in_the_batch():
    cov = random_cov((1, 1, 1), batch=(2, 2))
    mix = np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]])
    cov[1, 0] = mix @ cov[1, 0] @ mix.T
    with pytest.raises(
        NumericsError, match=r"I\(\(x1, x2\); y\) is infinite.*problem \(1, 0\) of a batch of shape \(2, 2\)"
    ):
        whiten_system(cov, (1, 1, 1))


@pytest.mark.parametrize("dims", [(2, 2), (2, 5, -1), (2, 2.5, 1.5), (True, 2, 3), "222", 6, None])
def test_dims_must_be_three_whole_numbers(dims):
    with pytest.raises(DataError, match="3 whole numbers of at least 0, found"):
        whiten_system(np.eye(6), dims)


@pytest.mark.parametrize(
    "cov",
    [
        [[1, 1, 0.9], [1, 1, -0.9], [0.9, -0.9, 1]],
        [[1, 1, 0.5], [1, 1, 0.5001], [0.5, 0.5001, 1]],
        [[1, 1 + 1e-8, 0.5], [1 + 1e-8, 1, 0.5], [0.5, 0.5, 1]],
        [[1, 2, 0.5], [2, 1, 0.5], [0.5, 0.5, 1]],
        [[1e-170, 0, 1], [0, 1e-170, 0], [1, 0, 1e-170]],
    ],
)
def test_copies_that_know_different_things_are_refused(cov):
    with pytest.raises(NumericsError, match="not positive semi-definite"):
        whiten_system(cov, (1, 1, 1))


@pytest.mark.parametrize("shift", [1e-3, 1e-4])
def test_one_contradiction_in_a_batch_of_wide_copies_is_found(shift):
    """Two of four directions of each source are the same, in other coordinates; one covariance with y is moved."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, 6))
    x2 = np.column_stack([rows[:, 2:4] @ rng.standard_normal((2, 2)), rows[:, 4:]])
    y = rows @ rng.standard_normal((6, 2)) + rng.standard_normal((500, 2))
    cov = np.tile(np.cov(np.column_stack([rows[:, :4], x2, y]).T), (3, 1, 1))
    assert whiten_system(cov, (4, 4, 2)).shared_directions.tolist() == [2, 2, 2]
    cov[1, 4, 8] += shift
    cov[1, 8, 4] += shift
    with pytest.raises(NumericsError, match=r"covariances with y differ .*problem \(1,\) of a batch"):
        whiten_system(cov, (4, 4, 2))


def test_a_block_of_no_columns_carries_nothing():
    system = whiten_system([[1.0, 0.3], [0.3, 1.0]], (0, 1, 1))
    assert (float(system.mi_1), float(system.mi_12)) == (0.0, float(system.mi_2))
    assert float(gaussian_mi(np.eye(2), (2, 0))) == 0.0


def test_an_empty_batch_has_no_results():
    assert gaussian_mi(np.zeros((0, 3, 3)), (1, 2)).shape == (0,)
