"""The held-out critic: sees what a Gaussian cannot, proves nothing from noise, never exceeds the truth."""

import numpy as np
import pytest
import torch

from pidflow.errors import ConfigError, DataError
from pidflow.pid.results import MissedInformation
from pidflow.validation.critic import CriticConfig, critic_information, critic_information_of_layers
from pidflow.validation.critics import gaussian_scores, row_bounds
from pidflow.validation.missed import missed_information


def missed(*rows, folds, seed=0) -> MissedInformation:
    """What the Gaussian of these rows misses of what a critic proves on the same rows."""
    return missed_information(*rows, bound=critic_information(rows, folds=folds, seed=seed).rows)


def independent(n, dims, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((n, d)) for d in dims)


def xor_of_signs(n, dims, seed=0):
    x1, x2, y = independent(n, dims, seed)
    y[:, 0] = np.abs(y[:, 0]) * np.sign(x1[:, 0] * x2[:, 0])
    rng = np.random.default_rng(seed + 1)
    return tuple(b @ np.linalg.qr(rng.standard_normal((b.shape[1],) * 2)).Q for b in (x1, x2, y))


def correlated(n, dims, rho, seed=0):
    x1, x2, y = independent(n, dims, seed)
    y[:, 0] = rho * x1[:, 0] + np.sqrt(1 - rho**2) * y[:, 0]
    return x1, x2, y


@pytest.mark.parametrize(("n", "dims"), [(1000, (1, 1, 1)), (900, (10, 10, 4))])
def test_xor_of_signs_is_found_and_not_exaggerated(n, dims):
    found = missed(*xor_of_signs(n, dims), folds=np.arange(n) % 3)
    assert found.flag
    assert abs(found.gaussian_bits) < 0.1
    assert 0.2 < found.bits < 1 + 2 * found.se
    assert found.bits == pytest.approx(found.bound - found.gaussian_bits)


@pytest.mark.parametrize("seed", range(4))
def test_noise_raises_no_flag(seed):
    found = missed(*independent(600, (6, 6, 3), seed), folds=np.arange(600) % 3, seed=seed)
    assert not found.flag
    assert found.bound < 0.03


def test_gaussian_dependence_is_bounded_from_below_and_not_called_missed():
    rho = 0.9
    x1, x2, y = correlated(900, (3, 3, 2), rho)
    truth = -0.5 * np.log2(1 - rho**2)
    found = missed(x1, x2, y, folds=np.arange(900) % 3)
    assert not found.flag
    assert truth - 0.2 < found.bound < truth + 0.1
    assert found.gaussian_bits == pytest.approx(truth, abs=0.12)


def test_discrete_target_gives_the_information_of_a_noisy_bit():
    rng = np.random.default_rng(0)
    x1, x2 = rng.standard_normal((2, 1500, 2))
    bit = (x1[:, 0] * x2[:, 0] > 0) ^ (rng.random(1500) < 0.05)
    truth = 1 + 0.05 * np.log2(0.05) + 0.95 * np.log2(0.95)
    bound = critic_information((x1, x2, np.eye(2)[bit.astype(int)]), folds=np.arange(1500) % 3)
    assert 0.6 * truth < bound.bits < truth + 2 * bound.se


def test_the_bound_stays_below_its_ceiling():
    x1, x2, y = independent(150, (2, 2, 2))
    bound = critic_information((x1, x2, x1 + 1e-3 * y), folds=np.arange(150) % 3)
    assert bound.ceiling == pytest.approx(np.log2(50))
    assert 0.8 * bound.ceiling < bound.bits < bound.ceiling + 1e-6


def test_comparing_fewer_rows_lowers_the_ceiling():
    config = CriticConfig(max_steps=10, rows_compared=16)
    bound = critic_information(independent(150, (2, 2, 2)), folds=np.arange(150) % 3, config=config)
    assert np.log2(12) <= bound.ceiling <= 4
    assert np.isfinite(bound.rows).all()


def test_gaussian_scores_are_the_log_density_ratio():
    x1, x2, y = correlated(20000, (1, 1, 1), 0.6, seed=3)
    x = torch.from_numpy(np.hstack([x1, x2]))[None]
    score = gaussian_scores(x, torch.from_numpy(y)[None])
    # log p(y|x)/p(y) at unit variances, without the term in x alone: (2 rho x y - rho^2 y^2) / (2 (1 - rho^2))
    torch.testing.assert_close(score["cross"][0, 0, 0].item(), 0.6 / 0.64, rtol=0.03, atol=0)
    torch.testing.assert_close(score["own"][0, 0, 0].item(), -0.36 / 1.28, rtol=0.05, atol=0)
    assert abs(score["cross"][0, 1, 0]) < 0.03


def test_row_bounds_are_the_textbook_formula():
    left, right = torch.randn(2, 1, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = (left @ right.transpose(1, 2))[0].numpy()
    expected = [t[i, i] - np.log(np.mean(np.exp(t[i]))) for i in range(5)]
    np.testing.assert_allclose(row_bounds(left, right)[0].numpy(), expected)


def test_a_stack_gives_the_bounds_of_its_layers_alone():
    folds = np.arange(600) % 3
    layers = [
        (xor_of_signs(600, (3, 3, 2)), correlated(600, (3, 3, 2), 0.7)),
        (independent(600, (4, 3, 2)),),  # other widths: a stack of its own
        (correlated(600, (3, 3, 2), 0.9, seed=1),),
    ]
    stacked = critic_information_of_layers(layers, folds=folds, seed=2)
    for layer, bound in zip(layers, stacked, strict=True):
        alone = critic_information(*layer, folds=folds, seed=2)
        np.testing.assert_allclose(bound.rows, alone.rows, atol=2e-3)
        np.testing.assert_array_equal(bound.chosen, alone.chosen)
    assert stacked[0].bits > 0.2 > 0.02 > stacked[1].bits


def test_same_seed_same_bits():
    rows = xor_of_signs(400, (2, 2, 2))
    first, again = (critic_information(rows, folds=np.arange(400) % 2, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.rows, again.rows)


def coins(n, dims, seed=0):
    """Two coins and their AND as clusters: what :func:`smeared` makes of them still holds the same information."""
    x1, x2, y = independent(n, dims, seed)
    one, two = np.random.default_rng(seed + 1).integers(2, size=(2, n))
    for block, face in ((x1, one), (x2, two), (y, one & two)):
        block[:, 0] = (2 * face - 1) * (1 + 0.3 * np.abs(block[:, 0]))
    return x1, x2, y


def smeared(rows):
    """An invertible map of each column that closes the gap between clusters, as a Gaussianization does."""
    return tuple(np.sign(block) * np.maximum(np.abs(block) - 0.95, 0.05 * np.abs(block)) for block in rows)


def test_the_representation_that_shows_more_is_judged():
    n, folds = 900, np.arange(900) % 3
    clear, noise = xor_of_signs(n, (3, 3, 2)), independent(n, (3, 3, 2), seed=5)
    alone = critic_information(clear, folds=folds)
    both = critic_information(noise, clear, folds=folds)
    np.testing.assert_array_equal(both.chosen, [1, 1, 1])
    np.testing.assert_array_equal(both.rows, alone.rows)
    np.testing.assert_array_equal(critic_information(clear, noise, folds=folds).chosen, [0, 0, 0])


def test_what_one_representation_proves_is_missed_in_another():
    rows = coins(900, (4, 4, 2))
    latents = smeared(rows)
    bound = critic_information(rows, latents, folds=np.arange(900) % 3)
    truth = 0.8113
    assert 0.7 * truth < bound.bits < truth + 2 * bound.se
    found = missed_information(*latents, bound=bound.rows)
    assert found.flag
    assert found.bits == pytest.approx(bound.bits - found.gaussian_bits)


def test_a_bound_of_other_rows_is_refused():
    with pytest.raises(DataError, match=r"the bound has shape \(5,\), expected \(20,\)"):
        missed_information(*independent(20, (2, 2, 2)), bound=np.zeros(5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x1": np.ones((5, 2))}, "same rows, found x1 5, x2 20"),
        ({"x2": np.full((20, 2), np.inf)}, "x2 is not finite at row 0"),
        ({"folds": np.zeros(20)}, "two folds"),
        ({"folds": np.zeros(4)}, r"folds has shape \(4,\), expected \(20,\)"),
    ],
)
def test_refuses_with_a_reason(change, message):
    x1, x2, y = independent(20, (2, 2, 2))
    arguments = {"x1": x1, "x2": x2, "y": y, "folds": np.arange(20) % 2} | change
    folds = arguments.pop("folds")
    with pytest.raises(DataError, match=message):
        critic_information(tuple(arguments.values()), folds=folds)


def test_what_is_constant_is_bounded_by_nothing():
    x1, x2, y = independent(200, (2, 2, 2))
    y = y + x1
    folds = np.arange(200) % 2
    beside = critic_information((x1, np.ones((200, 1)), y), folds=folds)
    empty = critic_information((x1, np.zeros((200, 0)), y), folds=folds)
    assert beside.bits == pytest.approx(empty.bits, abs=1e-3)
    assert beside.bits > 0.3
    nothing = critic_information((x1, x2, np.zeros((200, 0))), folds=folds)
    assert nothing.bits == pytest.approx(0, abs=1e-6)
    missed = missed_information(x1, x2, np.ones((200, 1)), bound=nothing.rows)
    assert (missed.bits, missed.flag, missed.gaussian_bits) == (0, False, 0)


def test_copied_sources_count_once():
    x1, _, y = independent(300, (2, 2, 2))
    y = y + x1
    bound = np.full(300, 0.5)
    alone = missed_information(x1, np.zeros((300, 0)), y, bound=bound)
    copied = missed_information(x1, x1 @ np.array([[1.0, 2.0], [0.0, 1.0]]), y, bound=bound)
    assert copied.gaussian_bits == pytest.approx(alone.gaussian_bits, abs=1e-9)
    assert copied.se == pytest.approx(alone.se, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"products": 3}, "critic products must be even"),
        ({"max_steps": 0}, "critic max_steps must be a whole number from 1"),
        ({"held_out_fraction": 1.0}, "critic held_out_fraction must be above 0 and below 1"),
    ],
)
def test_settings_out_of_range_are_refused(change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        critic_information(independent(20, (2, 2, 2)), folds=np.arange(20) % 2, config=CriticConfig(**change))
