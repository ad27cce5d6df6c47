"""Laws of the monotone splines: inverse, slope, identity, agreement with an independent implementation."""

import numpy as np
import pytest
import torch
from scipy import stats
from zuko.transforms import MonotonicRQSTransform

from pidflow.flows.splines import gaussianizing_knots, identity_tailed_knots, inverse, transform
from pidflow.stats import normal_scores


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


@pytest.mark.parametrize(
    "warp",
    [
        lambda x: np.exp(3 * x),
        lambda x: x**9,
        lambda x: np.where(x < np.partition(x, -9)[-9], x, x + 300),
        lambda x: np.where(x < x.max(), x, 1e12),
        lambda x: np.where(x > x.min(), x, -1e9),
    ],
    ids=["exp", "ninth power", "one in a hundred at 300", "one at 1e12", "one at -1e9"],
)
def test_what_lies_far_out_goes_by_its_rank(warp):
    """However far: the scores are those of the ranks, and foreign rows beyond the sample stay finite and in order."""
    sample = np.random.default_rng(0).standard_normal(900)
    expected = normal_scores(sample[:, None])[:, 0]
    knots = gaussianizing_knots(warp(sample)[None])
    scores = transform(torch.from_numpy(warp(sample))[None], knots)[0].numpy()[0]
    assert np.abs(scores - expected).max() < 0.3
    assert np.sqrt(np.square(scores - expected).mean()) < 0.06
    ends = np.array([[warp(sample).min() - 1.0, warp(sample).max() + 1.0]])
    below, above = transform(torch.from_numpy(ends), knots)[0].numpy()[0]
    assert below < scores.min() < scores.max() < above


def test_two_samples_that_nearly_tie_at_the_end_do_not_set_the_slope_beyond():
    sample = np.sort(np.random.default_rng(0).standard_normal(900))
    sample[-2] = sample[-1] - 1e-9
    knots = gaussianizing_knots(sample[None])
    beyond = transform(torch.tensor([[sample[-1] + 0.5]], dtype=torch.float64), knots)[0].item()
    assert beyond < 6


@pytest.mark.parametrize("levels", [[0, 1], [0, 1, 1, 1, 1], [0] * 299 + [1], [-1, 0, 0, 0, 1]])
def test_gaussianizing_knots_survive_ties(levels):
    sample = np.resize(np.array(levels, dtype=float), (1, 300))
    scores = transform(torch.from_numpy(sample), gaussianizing_knots(sample))[0].numpy()[0]
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) == len(set(levels))
    assert (np.diff(scores[np.argsort(sample[0], kind="stable")]) >= 0).all()
