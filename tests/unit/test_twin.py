"""The planted twin: what its flow says about it is the Gaussian it was drawn from."""

import numpy as np
import pytest

from pidflow.flows.gaussianize import FlowConfig, apply, gaussianize
from pidflow.pid.gaussian import gaussian_pid
from pidflow.pid.gaussian_system import gaussian_mi
from pidflow.pid.planted_twin import more_informative, planted_twin, strength_of

CONFIG = FlowConfig(max_steps=30, stages=2)


@pytest.fixture(scope="module")
def real():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((2000, 2))
    x1, x2 = y[:, [0, 1, 0]] + rng.standard_normal((2000, 3)), y + rng.standard_normal((2000, 2))
    return gaussianize(np.sinh(x1), x2, y**3, folds=np.arange(2000) % 2 + 5, config=CONFIG)


def twin_of(real, *, strength=1.0, **settings):
    """A twin of what was learned, or one that is so many times as strong."""
    loss = real.info.held_out_loss
    return planted_twin(real.z1, real.z2, real.y, real.weights, held_out_loss=loss, strength=strength, **settings)


def best_fold(real):
    return real.info.fold_labels[np.nanmin(real.info.held_out_loss, axis=1).argmin()]


def test_its_latents_under_the_same_flow_are_the_gaussian(real):
    twin = twin_of(real)
    latents = apply(real.weights, twin.x1, twin.x2, twin.y, folds=np.full(2000, best_fold(real)))
    rows = np.concatenate([latents.x1, latents.x2, latents.y], axis=1)
    np.testing.assert_allclose(rows, np.hstack([twin.z1, twin.z2, twin.zy]), atol=1e-6)
    scale = np.sqrt(np.outer(np.diag(twin.covariance), np.diag(twin.covariance)))
    np.testing.assert_allclose(np.cov(rows.T) / scale, twin.covariance / scale, atol=0.08)
    np.testing.assert_allclose(np.cov(np.hstack([real.z1, real.z2, real.y]).T), twin.covariance, rtol=1e-9, atol=1e-12)


def test_it_looks_like_the_real_rows(real):
    """The heavy tails of the first source come back; a Gaussian of the same covariance has none."""
    twin = twin_of(real)
    kurtosis = (((twin.x1 - twin.x1.mean(axis=0)) / twin.x1.std(axis=0)) ** 4).mean(axis=0)
    assert (kurtosis > 5).all()


def test_the_draw_depends_on_the_seed(real):
    one, again, other = (twin_of(real, seed=seed).x1 for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)


def test_a_flow_trained_on_it_finds_its_truth(real):
    twin = twin_of(real)
    found = gaussianize(twin.x1, twin.x2, twin.y, folds=np.arange(2000) % 2, config=CONFIG)
    truth = gaussian_mi(twin.covariance, (5, 2))
    linear = gaussian_mi(np.cov(np.hstack([twin.x1, twin.x2, twin.y]).T), (5, 2))
    assert abs(gaussian_mi(np.cov(np.hstack([found.z1, found.z2, found.y]).T), (5, 2)) - truth) < 0.12
    assert linear < truth - 0.3


def test_copied_sources_have_a_twin_of_copies():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((300, 2))
    x = y + rng.standard_normal((300, 2))
    twin = twin_of(gaussianize(x, x, y, folds=np.arange(300) % 2, config=CONFIG))
    assert all(np.isfinite(block).all() for block in (twin.x1, twin.x2, twin.y))
    assert gaussian_pid(twin.covariance, (2, 2, 2)).synergy == pytest.approx(0, abs=0.05)


def test_a_constant_source_stays_without_columns():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((300, 2))
    twin = twin_of(gaussianize(y + rng.standard_normal((300, 2)), y[:, :0], y, folds=np.arange(300) % 2))
    assert twin.x2.shape == (300, 0)
    assert gaussian_pid(twin.covariance, (2, 0, 2)).mi_2 == 0


def test_a_flow_that_learned_nothing_makes_no_twin(real):
    """The twin goes through the flow with the lowest held-out loss, whichever fold that is."""
    for best in (0, 1):
        loss = np.where(np.arange(2)[:, None] == best, -1.0, 0.0) * np.ones((2, 3))
        twin = planted_twin(real.z1, real.z2, real.y, real.weights, held_out_loss=loss, strength=1.0)
        label = real.info.fold_labels[best]
        found = apply(real.weights, twin.x1, twin.x2, twin.y, folds=np.full(2000, label))
        np.testing.assert_allclose(found.x1, twin.z1, atol=1e-6)


def test_a_stronger_twin_carries_as_much_more_information_in_every_direction(real):
    covariance = twin_of(real).covariance
    for by in (0.5, 1.0, 1.3):
        raised = twin_of(real, strength=by).covariance
        assert gaussian_mi(raised, (5, 2)) == pytest.approx(by * gaussian_mi(covariance, (5, 2)))
        for part in (slice(0, 5), slice(5, 7)):
            np.testing.assert_allclose(raised[part, part], covariance[part, part], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(more_informative(covariance, 5, by=1.0), covariance, rtol=1e-9, atol=1e-12)


def test_a_stronger_twin_is_bent_more(real):
    """Farther from what linear maps see: the share of its information in its raw columns falls."""
    seen = [
        gaussian_mi(np.cov(np.hstack([twin.x1, twin.x2, twin.y]).T), (5, 2)) / gaussian_mi(twin.covariance, (5, 2))
        for twin in (twin_of(real, strength=by) for by in (1.0, 2.0))
    ]
    assert seen[1] < seen[0] - 0.02


def test_strength_falls_with_rows_and_rises_with_columns():
    assert strength_of(900, 24, 3) == pytest.approx(1.28)
    assert strength_of(10**6, 24, 3) == pytest.approx(1.0, abs=1e-3)
    assert strength_of(900, 24, 5) < strength_of(900, 24, 3) < strength_of(900, 48, 3)
