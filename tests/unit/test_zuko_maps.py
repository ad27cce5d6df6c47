"""Maps of the library zuko: known information found, none in noise, and a way back."""

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from pidflow.errors import ConfigError
from pidflow.flows.gaussianize import FlowConfig, apply, gaussianize, invert
from pidflow.pid.estimate import estimate_mi
from pidflow.pid.planted_twin import planted_twin

ZUKO = FlowConfig(maps="zuko-nsf")


def information(x, y):
    logdet = lambda *blocks: np.linalg.slogdet(np.atleast_2d(np.cov(np.hstack(blocks).T)))[1]  # noqa: E731
    return (logdet(x) + logdet(y) - logdet(x, y)) / (2 * np.log(2))


@pytest.fixture(scope="module")
def bent():
    """A banana; the truth is log2(5) bits."""
    rng = np.random.default_rng(0)
    y = rng.standard_normal((1200, 2))
    x = y + 0.5 * rng.standard_normal((1200, 2))
    x[:, 1] += x[:, 0] ** 2
    blocks, folds = (x, rng.standard_normal((1200, 1)), y**3), np.arange(1200) % 2
    return blocks, folds, gaussianize(*blocks, folds=folds, config=ZUKO)


def test_a_banana_is_straightened(bent):
    blocks, _, found = bent
    assert information(blocks[0], blocks[2]) < 1
    assert information(found.z1, found.y) == pytest.approx(np.log2(5), abs=0.5)


def test_weights_read_back_give_the_same_latents_and_the_way_back(bent):
    blocks, folds, found = bent
    weights = load(save(found.weights))
    z = apply(weights, *blocks, folds=folds)
    np.testing.assert_array_equal(z.x1, found.z1)
    back = invert(weights, z.x1, z.x2, z.y, folds=folds)
    for rows, block in zip((back.x1, back.x2, back.y), blocks, strict=True):
        np.testing.assert_allclose(rows, block, atol=1e-4)
    loss = found.info.held_out_loss
    assert np.isfinite(planted_twin(found.z1, found.z2, found.y, weights, held_out_loss=loss).x1).all()


def test_noise_holds_no_information():
    blocks = [np.random.default_rng(b).standard_normal((600, 3)) for b in range(3)]
    found = gaussianize(*blocks, folds=np.arange(600) % 2, config=ZUKO)
    assert information(np.hstack([found.z1, found.z2]), found.y) < 0.1


def test_training_leaves_the_global_random_state_alone():
    blocks = [np.random.default_rng(b).standard_normal((60, 1)) for b in range(3)]
    before = torch.get_rng_state()
    gaussianize(*blocks, folds=np.arange(60) % 2, config=FlowConfig(maps="zuko-nsf", map_settings={"max_steps": 10}))
    assert torch.equal(before, torch.get_rng_state())


def test_an_estimate_takes_them_and_the_default_is_product():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 80, 1))
    quick = FlowConfig(maps="zuko-nsf", map_settings={"max_steps": 10})
    default = estimate_mi(x, y, folds=2).raw
    assert estimate_mi(x, y, folds=2, flow=FlowConfig(maps="product")).raw == default
    assert estimate_mi(x, y, folds=2, flow=quick).raw != default


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="unknown map of the flow 'nsf', expected one of: product, zuko-nsf"):
        FlowConfig(maps="nsf")
    with pytest.raises(ConfigError, match="flow: found 'NCSF'"):
        FlowConfig(maps="zuko-nsf", map_settings={"flow": "NCSF"})
    with pytest.raises(ConfigError, match="hidden"):
        FlowConfig(map_settings={"hidden": 3})
