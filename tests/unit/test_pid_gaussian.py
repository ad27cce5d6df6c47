"""Gaussian decompositions: laws, closed forms, an independent convex solver, degenerate systems."""

import dataclasses
import doctest
import tracemalloc

import numpy as np
import pytest
from tests.references import union_by_max_det

import pidflow.pid.gaussian
from pidflow.errors import ConfigError, NumericsError
from pidflow.pid.gaussian import ATOMS, DEFINITIONS, INFORMATIONS, _duality_gap, decompose, gaussian_pid
from pidflow.pid.gaussian_system import Batch, whiten_system

DIMS = [(1, 1, 1), (1, 1, 3), (2, 2, 2), (3, 2, 4), (2, 5, 3), (4, 4, 1), (6, 6, 6)]
EVERYTHING = (*ATOMS, *INFORMATIONS, "union")


def random_cov(dims, *, batch=(), seed=0):
    rng = np.random.default_rng(seed)
    total = sum(dims)
    rows = rng.normal(size=(*batch, 2 * total, total))
    return rows.swapaxes(-1, -2) @ rows / (2 * total)


def channel_cov(channel_1, channel_2, *, noise=None):
    """Covariance of ``x_i = H_i y + noise`` with white y; `noise` is the cross-covariance of the noises."""
    h = np.vstack([channel_1, channel_2])
    d1, total = len(channel_1), len(h)
    within = np.eye(total)
    if noise is not None:
        within[:d1, d1:], within[d1:, :d1] = noise, noise.T
    return np.block([[h @ h.T + within, h], [h.T, np.eye(h.shape[1])]])


def assert_atoms(found, expected, *, atol):
    for name in EVERYTHING:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=atol, err_msg=name)


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("dims", DIMS)
class TestLaws:
    def test_atoms_add_up_and_are_not_negative(self, definition, dims):
        atoms = gaussian_pid(random_cov(dims, batch=(20,)), dims, definition=definition)
        np.testing.assert_allclose(atoms.redundancy + atoms.unique_1, atoms.mi_1, atol=1e-12)
        np.testing.assert_allclose(atoms.redundancy + atoms.unique_2, atoms.mi_2, atol=1e-12)
        np.testing.assert_allclose(sum(getattr(atoms, name) for name in ATOMS), atoms.mi_12, atol=1e-12)
        assert min(getattr(atoms, name).min() for name in ATOMS) > -1e-12
        assert atoms.info.converged.all()
        assert atoms.info.gap_bits.max() < 1e-10

    def test_linear_maps_of_a_block_change_nothing(self, definition, dims):
        cov = random_cov(dims, batch=(10,))
        rng = np.random.default_rng(1)
        change = np.zeros(cov.shape[-2:])
        start = 0
        for d in dims:
            change[start : start + d, start : start + d] = rng.normal(size=(d, d)) + 2 * np.eye(d)
            start += d
        found = gaussian_pid(change @ cov @ change.T, dims, definition=definition)
        assert_atoms(found, gaussian_pid(cov, dims, definition=definition), atol=1e-9)

    def test_swapping_the_sources_swaps_the_uniques(self, definition, dims):
        d1, d2, m = dims
        cov = random_cov(dims, batch=(10,))
        order = np.r_[d1 : d1 + d2, :d1, d1 + d2 : d1 + d2 + m]
        plain = gaussian_pid(cov, dims, definition=definition)
        swapped = gaussian_pid(cov[:, order][:, :, order], (d2, d1, m), definition=definition)
        np.testing.assert_allclose(swapped.unique_1, plain.unique_2, atol=1e-12)
        np.testing.assert_allclose(swapped.unique_2, plain.unique_1, atol=1e-12)
        np.testing.assert_allclose(swapped.redundancy, plain.redundancy, atol=1e-12)
        np.testing.assert_allclose(swapped.synergy, plain.synergy, atol=1e-12)

    def test_a_batch_is_its_problems_one_by_one(self, definition, dims):
        cov = random_cov(dims, batch=(2, 3))
        batch = gaussian_pid(cov, dims, definition=definition)
        single = gaussian_pid(cov[1, 2], dims, definition=definition)
        assert batch.synergy.shape == (2, 3)
        assert single.synergy.shape == ()
        for name in EVERYTHING:
            assert getattr(single, name) == pytest.approx(getattr(batch, name)[1, 2], abs=1e-12)


def test_broja_of_independent_systems_adds_up():
    parts = [(2, 3, 2), (3, 1, 4)]
    covs = [random_cov(dims, seed=seed) for seed, dims in enumerate(parts)]
    total = tuple(np.add(*parts))
    joint = np.zeros((sum(total), sum(total)))
    for k, (dims, cov) in enumerate(zip(parts, covs, strict=True)):
        starts = np.cumsum([0, *total[:-1]]) + (np.array(parts[0]) if k else 0)
        rows = np.concatenate([start + np.arange(d) for start, d in zip(starts, dims, strict=True)])
        joint[np.ix_(rows, rows)] = cov
    found = gaussian_pid(joint, total)
    apart = [gaussian_pid(cov, dims) for dims, cov in zip(parts, covs, strict=True)]
    for name in EVERYTHING:
        assert getattr(found, name) == pytest.approx(sum(getattr(p, name) for p in apart), abs=1e-12), name


class TestClosedForms:
    @pytest.mark.parametrize("m", [1, 2, 5])
    def test_scalar_sources(self, m):
        """d1 = d2 = 1: the optimal noise correlation solves a quadratic."""
        rng = np.random.default_rng(m)
        for _ in range(20):
            h1, h2 = rng.normal(size=(2, 1, m))
            a, b, c = (h1 @ h1.T).item(), (h2 @ h2.T).item(), (h1 @ h2.T).item()
            k = a + b + a * b - c**2
            z = 2 * c / (k + np.sqrt(k**2 - 4 * c**2))
            union = 0.5 * np.log2(((1 + a) * (1 + b) - (z + c) ** 2) / (1 - z**2))
            assert gaussian_pid(channel_cov(h1, h2), (1, 1, m)).union == pytest.approx(union, abs=1e-12)

    def test_commuting_channels(self):
        rng = np.random.default_rng(0)
        a, b = rng.exponential(size=(2, 5))
        basis = np.linalg.qr(rng.normal(size=(5, 5)))[0]
        found = gaussian_pid(channel_cov(np.diag(np.sqrt(a)) @ basis, np.diag(np.sqrt(b)) @ basis), (5, 5, 5))
        assert found.union == pytest.approx(0.5 * np.log2(1 + np.maximum(a, b)).sum(), abs=1e-12)
        assert found.redundancy == pytest.approx(0.5 * np.log2(1 + np.minimum(a, b)).sum(), abs=1e-12)

    def test_one_dimensional_target_is_mmi(self):
        cov = random_cov((3, 4, 1), batch=(30,))
        assert_atoms(gaussian_pid(cov, (3, 4, 1)), gaussian_pid(cov, (3, 4, 1), definition="mmi"), atol=1e-12)

    def test_a_degraded_source_has_nothing_unique(self):
        """x2 is x1 seen through a random map and more noise; the noises may still be correlated with anything."""
        rng = np.random.default_rng(3)
        h1 = rng.normal(size=(4, 3))
        through = rng.normal(size=(2, 4))
        through /= 1.2 * np.linalg.norm(through, 2)
        found = gaussian_pid(channel_cov(h1, through @ h1), (4, 2, 3))
        assert found.unique_2 == pytest.approx(0, abs=1e-12)
        assert found.union == pytest.approx(found.mi_1, abs=1e-12)
        assert found.unique_1 > 0.1

    @pytest.mark.parametrize("definition", DEFINITIONS)
    def test_a_copy_is_all_redundancy(self, definition):
        cov = random_cov((3, 3))
        copied = np.r_[:3, :3, 3:6]
        found = gaussian_pid(cov[copied][:, copied], (3, 3, 3), definition=definition)
        assert found.redundancy == pytest.approx(found.mi_1, abs=1e-12)
        for name in ("unique_1", "unique_2", "synergy"):
            assert getattr(found, name) == pytest.approx(0, abs=1e-12)
        assert "copies of each other in 3 directions" in found.info.notes[0]

    @pytest.mark.parametrize("definition", DEFINITIONS)
    def test_uninformative_sources(self, definition):
        cov = random_cov((3, 2, 2))
        cov[:5, 5:] = cov[5:, :5] = 0
        found = gaussian_pid(cov, (3, 2, 2), definition=definition)
        for name in EVERYTHING:
            assert getattr(found, name) == pytest.approx(0, abs=1e-12)

    def test_broja_depends_on_the_pairs_alone(self):
        rng = np.random.default_rng(5)
        h1, h2 = rng.normal(size=(2, 3, 3))
        plain = gaussian_pid(channel_cov(h1, h2), (3, 3, 3))
        noisy = gaussian_pid(channel_cov(h1, h2, noise=0.6 * np.eye(3)), (3, 3, 3))
        assert noisy.union == pytest.approx(plain.union, abs=1e-12)
        assert abs(noisy.mi_12 - plain.mi_12) > 0.1


@pytest.mark.parametrize("dims", [(1, 1, 2), (2, 2, 2), (2, 3, 2), (3, 3, 3), (1, 4, 3), (2, 2, 4)])
def test_broja_is_the_optimum_of_the_max_det_program(dims):
    for package in ("cvxpy", "clarabel"):
        pytest.importorskip(package, reason=f"the max-det reference needs {package}")
    for seed in range(2):
        cov = random_cov(dims, seed=seed)
        assert gaussian_pid(cov, dims).union == pytest.approx(union_by_max_det(cov, dims), abs=1e-6)


def entropy_maximiser(cov, cliques):
    """Gaussian of largest entropy among those that agree with `cov` on each clique (iterative proportional scaling)."""
    precision = np.diag(1 / np.diag(cov))
    for _ in range(150):
        for clique in cliques:
            here = np.ix_(clique, clique)
            current = np.linalg.inv(precision)[here]
            precision[here] += np.linalg.inv(cov[here]) - np.linalg.inv(current)
    return np.linalg.inv(precision)


@pytest.mark.parametrize("dims", [(1, 1, 1), (2, 1, 2), (2, 2, 3)])
def test_dep_is_the_smallest_step_of_the_constraint_lattice(dims):
    """Unique information as defined: least gain of I(X1,X2;Y) when the pair (Xi,Y) joins the preserved marginals."""
    d1, d2, _ = dims
    cov = random_cov(dims, seed=4)
    x1, x2, y = np.arange(d1), np.arange(d1, d1 + d2), np.arange(d1 + d2, sum(dims))
    blocks = {"1": x1, "2": x2, "y": y}

    def information(*pairs):
        cliques = [np.r_[blocks[a], blocks[b]] for a, b in pairs] + [x1, x2, y]
        return gaussian_pid(entropy_maximiser(cov, cliques), dims).mi_12

    for source, other, name in [("1", "2", "unique_1"), ("2", "1", "unique_2")]:
        added = (source, "y")
        below = [(), (("1", "2"),), ((other, "y"),), (("1", "2"), (other, "y"))]
        steps = [information(*pairs, added) - information(*pairs) for pairs in below]
        assert getattr(gaussian_pid(cov, dims, definition="dep"), name) == pytest.approx(min(steps), abs=1e-8)


class TestCertificate:
    def test_a_wrong_basis_is_found_out(self):
        """The gap is computed from what was found, not assumed: spoiling the answer must widen it."""
        system = whiten_system(random_cov((3, 3, 3)), (3, 3, 3))
        spoilt = dataclasses.replace(system, inverse_2=system.inverse_2 * (1 + 1e-5))
        assert decompose(system).info.gap_bits < 1e-12
        gap = decompose(spoilt).info.gap_bits
        assert 1e-6 < gap < 1e-3
        assert not decompose(spoilt).info.converged
        assert decompose(spoilt, tol_bits=1e-3).info.converged

    @pytest.mark.parametrize("size", [1e-8, 1e-4, 1e-2])
    def test_it_bounds_the_error_of_any_claim(self, size):
        """Spectra and bases that are wrong, together or apart: the claimed union is never further off than the gap."""
        system = whiten_system(random_cov((4, 4, 4), batch=(200,)), (4, 4, 4))
        ratio = system.inverse_1 @ system.factor_2
        basis, root, _ = np.linalg.svd(ratio)
        rng = np.random.default_rng(0)
        wrong_basis = basis + size * rng.normal(size=basis.shape) * rng.integers(0, 2, size=(200, 1, 1))
        wrong_root = root * np.exp(size * rng.normal(size=root.shape) * rng.integers(0, 2, size=(200, 1)))
        error = np.abs(np.log(np.minimum(wrong_root, 1)).sum(axis=-1) - np.log(np.minimum(root, 1)).sum(axis=-1))
        gap = _duality_gap(system, ratio, wrong_basis, wrong_root)
        assert (error <= gap + 1e-12).all()
        assert np.median(gap[error > size / 10]) < 100 * size

    def test_a_loose_certificate_is_an_error(self):
        system = whiten_system(random_cov((3, 3, 3)), (3, 3, 3))
        with pytest.raises(NumericsError, match="certified gap of 1 of 1"):
            decompose(dataclasses.replace(system, inverse_2=system.inverse_2 * 1.1))


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_ill_conditioned_blocks(definition):
    """Condition number 1e6 in every block costs six digits, not the answer."""
    dims = (4, 3, 4)
    cov = random_cov(dims, batch=(5,))
    rng = np.random.default_rng(2)
    change = np.zeros((11, 11))
    for rows in (slice(0, 4), slice(4, 7), slice(7, 11)):
        d = rows.stop - rows.start
        left, right = (np.linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(2))
        change[rows, rows] = left @ np.diag(np.logspace(0, -3, d)) @ right
    found = gaussian_pid(change @ cov @ change.T, dims, definition=definition)
    assert found.info.condition.min() > 1e5
    assert_atoms(found, gaussian_pid(cov, dims, definition=definition), atol=1e-8)


def test_very_different_sources_keep_their_digits():
    """Ratios of conditional variances of 1e5 one way and 1e-5 the other, in one system."""
    a, b = np.array([1e5, 1e-3]), np.array([1e-3, 1e5])
    found = gaussian_pid(channel_cov(np.diag(np.sqrt(a)), np.diag(np.sqrt(b))), (2, 2, 2))
    expected = 0.5 * np.log2((1 + 1e5) / (1 + 1e-3))
    assert found.unique_1 == pytest.approx(expected, abs=1e-9)
    assert found.unique_2 == pytest.approx(expected, abs=1e-9)


def test_unknown_definition():
    with pytest.raises(ConfigError, match="broja, mmi, dep"):
        gaussian_pid(np.eye(3), (1, 1, 1), definition="imin")


def test_docstring_examples():
    assert doctest.testmod(pidflow.pid.gaussian) == doctest.TestResults(failed=0, attempted=4)


@pytest.mark.parametrize("definition", ["broja", "mmi", "dep"])
def test_slices_of_a_batch_change_no_bit(definition, monkeypatch):
    cov = np.stack([random_cov((3, 2, 2), seed=seed) for seed in range(7)])
    whole = gaussian_pid(cov, (3, 2, 2), definition=definition)
    monkeypatch.setattr("pidflow.pid.gaussian_system.SLICE", 3 * 49)
    assert len(list(Batch.of(cov, (3, 2, 2), names=("x1", "x2", "y")).slices())) == 3
    sliced = gaussian_pid(cov, (3, 2, 2), definition=definition)
    for name in ("redundancy", "unique_1", "unique_2", "synergy", "mi_1", "mi_2", "mi_12"):
        assert getattr(whole, name).tobytes() == getattr(sliced, name).tobytes()
    with pytest.raises(NumericsError, match=r"problem \(5,\) of a batch of shape \(7,\)"):
        gaussian_pid(np.where(np.arange(7)[:, None, None] == 5, np.ones((7, 7)), cov), (3, 2, 2))


def test_memory_of_a_large_batch_stays_near_that_of_its_covariances():
    cov = np.tile(random_cov((6, 6, 6)), (20_000, 1, 1))
    tracemalloc.start()
    gaussian_pid(cov, (6, 6, 6))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * cov.nbytes
