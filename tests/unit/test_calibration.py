"""Planted cases: the stated truth is the truth of the rows, and a pass means what it says."""

import numpy as np
import pytest

from pidflow.errors import ConfigError, DataError
from pidflow.pid.discrete import discrete_pid
from pidflow.pid.estimate import estimate_pid
from pidflow.pid.gaussian import ATOMS, DEFINITIONS, gaussian_pid
from pidflow.validation import planted_cases as cases
from pidflow.validation.planted_cases import CASES, parallel_channels, planted_cases


def case(name, *, n=900, dims=(10, 10, 4), seed=0):
    return next(planted_cases(n, dims, seed=seed, names=[name]))


def channel_covariance(a, b, r):
    """Covariance of [x1, x2, y] for parallel channels with unit noise."""
    count = len(a)
    one, eye = np.ones(count), np.eye(count)
    top = np.concatenate([np.diag(a + one), np.diag(np.sqrt(a * b) + r), np.diag(np.sqrt(a))], axis=1)
    middle = np.concatenate([np.diag(np.sqrt(a * b) + r), np.diag(b + one), np.diag(np.sqrt(b))], axis=1)
    bottom = np.concatenate([np.diag(np.sqrt(a)), np.diag(np.sqrt(b)), eye], axis=1)
    return np.concatenate([top, middle, bottom])


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("seed", range(3))
def test_parallel_channels_agree_with_the_covariance(definition, seed):
    rng = np.random.default_rng(seed)
    a, b, r = rng.exponential(2, 3), rng.exponential(2, 3), rng.uniform(-0.9, 0.9, 3)
    atoms = gaussian_pid(channel_covariance(a, b, r), (3, 3, 3), definition=definition)
    truth = parallel_channels(a, b, r)[definition]
    np.testing.assert_allclose([truth[atom] for atom in ATOMS], [getattr(atoms, atom) for atom in ATOMS], atol=1e-9)


@pytest.mark.parametrize("dims", [(10, 10, 4), (3, 5, 8), (1, 1, 1)])
def test_gaussian_rows_have_the_stated_truth(dims):
    planted = case("gaussian", n=20_000, dims=dims)
    estimate = estimate_pid(planted.x1, planted.x2, planted.y, estimator="gaussian")
    for definition in DEFINITIONS:
        found = [getattr(estimate[definition], atom) for atom in ATOMS]
        np.testing.assert_allclose(found, [planted.truth[definition][atom] for atom in ATOMS], atol=0.07)


def test_the_gaussian_case_has_every_atom():
    assert min(case("gaussian").truth["broja"].values()) > 0.3


def test_warp_and_bend_can_be_undone():
    base, warped, bent = (case(name) for name in ("gaussian", "warped", "bent"))
    for block in ("x1", "x2", "y"):
        rows = getattr(base, block)
        np.testing.assert_allclose(np.arcsinh(getattr(warped, block)) / cases.WARP, rows, atol=1e-12)
        straight = getattr(bent, block).copy()
        straight[:, 1::2] -= cases.BEND * (straight[:, ::2] ** 2 - 1)
        np.testing.assert_allclose(straight, rows, atol=1e-12)
    assert warped.truth == bent.truth == base.truth


def test_a_single_column_cannot_bend():
    planted = case("bent", dims=(1, 2, 1))
    np.testing.assert_array_equal(planted.x1, case("gaussian", dims=(1, 2, 1)).x1)


def test_the_faces_of_the_coins_decompose_as_stated():
    planted = case("discrete", n=20_000, dims=(1, 1, 1))
    faces = [(block[:, 0] > 0).astype(int) for block in (planted.x1, planted.x2, planted.y)]
    table = np.zeros((2, 2, 2))
    np.add.at(table, tuple(faces), 1 / len(planted.y))
    atoms = discrete_pid(table)
    found = sorted(float(getattr(atoms, atom)) for atom in ATOMS)
    np.testing.assert_allclose(found, sorted(planted.truth["broja"].values()), atol=0.03)
    np.testing.assert_allclose(sum(planted.truth["mmi"].values()), planted.information, atol=1e-9)


def test_the_sign_of_the_xor_target_is_the_product_of_two_signs():
    planted = case("xor", n=5000, dims=(1, 1, 1))
    product = np.sign(planted.x1 * planted.x2 * planted.y)
    assert abs(product.sum()) == 5000
    pairs = np.corrcoef(np.sign([planted.x1[:, 0], planted.x2[:, 0], planted.y[:, 0]]))
    assert np.abs(pairs - np.eye(3)).max() < 0.05


@pytest.mark.parametrize("name", CASES)
def test_the_draw_depends_on_the_seed_only(name):
    alone, again = case(name), next(c for c in planted_cases(900, (10, 10, 4)) if c.name == name)
    other = case(name, seed=1)
    for block, width in (("x1", 10), ("x2", 10), ("y", 4)):
        assert getattr(alone, block).shape == (900, width)
        np.testing.assert_array_equal(getattr(alone, block), getattr(again, block))
        assert not np.allclose(getattr(alone, block), getattr(other, block))
    assert np.bincount(alone.groups).max() == cases.GROUP_ROWS


@pytest.mark.parametrize("name", CASES)
def test_truths_add_up_to_the_information(name):
    planted = case(name)
    for atoms in planted.truth.values():
        assert sum(atoms.values()) == pytest.approx(planted.information)
        assert min(atoms.values()) > -1e-8


def test_rules():
    planted = case("gaussian")
    truth = planted.truth["broja"]["redundancy"]
    edge = truth + 2.093024054 * 0.05 + planted.tolerance
    assert planted.passes("broja", "redundancy", bits=edge - 1e-8, se=0.05, df=19, flagged=True)
    assert not planted.passes("broja", "redundancy", bits=edge + 1e-8, se=0.05, df=19, flagged=True)
    assert case("bent").passes("broja", "synergy", bits=0, se=0, df=19, flagged=True)
    assert not case("bent").passes("broja", "synergy", bits=0, se=0, df=19, flagged=False)
    assert case("xor").passes("broja", "synergy", bits=0, se=0, df=19, flagged=True)
    assert not case("xor").holds("broja", "synergy", bits=0, se=0, df=19)
    assert planted.holds("broja", "redundancy", bits=edge - 1e-8, se=0.05, df=19)
    assert not case("xor").passes("broja", "synergy", bits=1, se=0, df=19, flagged=False)
    assert not case("independent").passes("broja", "synergy", bits=0.11, se=1.0, df=19, flagged=False)
    assert case("independent").passes("broja", "synergy", bits=-0.09, se=0, df=19, flagged=False)


def test_a_flag_is_right_where_information_is_missing():
    planted = case("gaussian")
    assert planted.flag_is_right(flagged=False, low=planted.information + 1)
    assert planted.flag_is_right(flagged=True, low=planted.information - 0.5)
    assert not planted.flag_is_right(flagged=True, low=planted.information + 0.5)
    assert not case("xor").flag_is_right(flagged=False, low=0)


@pytest.mark.parametrize(
    ("dims", "names", "message"),
    [
        ((10, 10), CASES, "must be 3 whole numbers of at least 1"),
        ((1, 0, 1), CASES, "at least 1"),
        ((1, 1, 1), ["moon"], "'moon'"),
    ],
)
def test_impossible_requests(dims, names, message):
    with pytest.raises((ConfigError, DataError), match=message):
        list(planted_cases(100, dims, names=names))
