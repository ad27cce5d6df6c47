"""Laws of the monotone splines: inverse, slope, identity, agreement with an independent implementation."""

import numpy as np
import pytest
import torch
from scipy import stats
from zuko.transforms import MonotonicRQSTransform

from pidflow.flows.splines import gaussianizing_knots, identity_tailed_knots, inverse, transform


@pytest.fixture
def free():
    generator = torch.Generator().manual_seed(0)
    return [2 * torch.randn(3, 2, size, generator=generator, dtype=torch.float64) for size in (8, 8, 7)]


VALUES = torch.linspace(-9, 9, 400, dtype=torch.float64).expand(3, 2, 400)


def test_zero_parameters_are_the_identity():
    knots = identity_tailed_knots(*(torch.zeros(1, size, dtype=torch.float64) for size in (8, 8, 7)), bound=5.0)
    y, log_slope = transform(VALUES[0, :1], knots)
    torch.testing.assert_close(y, VALUES[0, :1])
    torch.testing.assert_close(log_slope, torch.zeros_like(y))


def test_agrees_with_zuko(free):
    reference = MonotonicRQSTransform(*(part[:, :, None] for part in free), bound=5.0)
    y, log_slope = transform(VALUES, identity_tailed_knots(*free, bound=5.0))
    expected, expected_log_slope = reference.call_and_ladj(VALUES)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(log_slope, expected_log_slope)


def test_inverse_returns_the_values(free):
    knots = identity_tailed_knots(*free, bound=5.0)
    torch.testing.assert_close(inverse(transform(VALUES, knots)[0], knots), VALUES)


def test_log_slope_is_the_derivative(free):
    values = VALUES.clone().requires_grad_()
    y, log_slope = transform(values, identity_tailed_knots(*free, bound=5.0))
    (slope,) = torch.autograd.grad(y.sum(), values)
    torch.testing.assert_close(log_slope, slope.log())


@pytest.mark.parametrize(
    "warp",
    [lambda x: x**3 + 0.1 * x, np.sinh, np.exp, lambda x: x + 3 * np.tanh(4 * x)],
    ids=["cube", "sinh", "exp", "two modes"],
)
def test_gaussianizing_knots_make_a_warped_normal_normal(warp):
    sample = warp(np.random.default_rng(0).standard_normal((1, 2000)))
    knots = gaussianizing_knots(sample)
    scores = transform(torch.from_numpy(sample), knots)[0].numpy()[0]
    assert stats.kstest(scores, "norm").statistic < 0.03
    assert np.abs(scores).max() < 5
    torch.testing.assert_close(inverse(torch.from_numpy(scores)[None], knots), torch.from_numpy(sample))


@pytest.mark.parametrize("levels", [[0, 1], [0, 1, 1, 1, 1], [0] * 299 + [1], [-1, 0, 0, 0, 1]])
def test_gaussianizing_knots_survive_ties(levels):
    sample = np.resize(np.array(levels, dtype=float), (1, 300))
    scores = transform(torch.from_numpy(sample), gaussianizing_knots(sample))[0].numpy()[0]
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) == len(set(levels))
    assert (np.diff(scores[np.argsort(sample[0], kind="stable")]) >= 0).all()
