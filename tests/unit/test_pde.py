"""Continuous-time attention: laws of the evolution, its limits, and the models that run and train with it."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.captured import on_edge

from pidflow.errors import ConfigError
from pidflow.interventions.intervention import entered, intervention_of
from pidflow.interventions.prefix import read_prefix
from pidflow.interventions.recompute import full_pass, recompute
from pidflow.interventions.self_check import self_check
from pidflow.models.continuous_time import (
    attention_weights,
    continuous_attention,
    evolve,
)
from pidflow.models.dynamics import EQUATIONS, Dynamics, dynamics_of
from pidflow.models.inputs import encode

K = 12
SOME = [
    Dynamics("diffusion", 6, 0.5),
    Dynamics("diffusion", 3, 0.1, strength=2.0),
    Dynamics("wave", 5, 1.0),
    Dynamics("wave", 4, 0.3),
    Dynamics("reaction-diffusion", 5, 0.5, rate=2.0),
]
MASKS = {
    "causal": torch.ones(K, K, dtype=torch.bool).tril(),
    "padded": torch.ones(K, K, dtype=torch.bool).tril() & (torch.arange(K) > 2) | torch.eye(K, dtype=torch.bool),
    "cut": torch.ones(K, K, dtype=torch.bool).tril()
    & ~((torch.arange(K)[:, None] > 7) & (torch.arange(K)[None] > 1) & (torch.arange(K)[None] < 6)),
}


def random_weights(open_keys, seed=0):
    scores = torch.randn(2, 3, *open_keys.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return scores.mul(3).masked_fill(~open_keys, -torch.inf).softmax(-1)


@pytest.mark.parametrize("open_keys", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("dynamics", SOME, ids=lambda d: f"{d.equation}-{d.size:g}")
def test_rows_sum_to_one_closed_keys_stay_closed_and_nothing_is_negative(dynamics, open_keys):
    found = evolve(random_weights(open_keys), open_keys, dynamics)
    torch.testing.assert_close(found.sum(-1), torch.ones_like(found[..., 0]), rtol=0, atol=1e-12)
    assert (found[..., ~open_keys] == 0).all()
    assert (found >= 0).all()
    assert not torch.allclose(found, random_weights(open_keys), atol=1e-3)


@pytest.mark.parametrize("equation", EQUATIONS)
def test_no_steps_change_nothing(equation):
    weights = random_weights(MASKS["cut"])
    assert evolve(weights, MASKS["cut"], Dynamics(equation, 0, 0.1)) is weights


@pytest.mark.parametrize("dynamics", SOME, ids=lambda d: f"{d.equation}-{d.size:g}")
def test_closed_keys_do_not_exist(dynamics):
    open_keys = MASKS["cut"][-1]
    weights = random_weights(open_keys[None])[..., 0, :]
    alone = evolve(weights[..., open_keys], torch.ones(int(open_keys.sum()), dtype=torch.bool), dynamics)
    torch.testing.assert_close(evolve(weights, open_keys, dynamics)[..., open_keys], alone, rtol=0, atol=1e-15)


def test_diffusion_is_the_heat_equation_between_walls():
    """A cosine that fits between the walls decays by exactly 1 - 2 r (1 - cos k) a step and keeps its shape."""
    dynamics, mode = Dynamics("diffusion", 7, 0.3), 3
    angle = math.pi * mode / K
    wave = torch.cos(angle * (torch.arange(K, dtype=torch.float64) + 0.5))
    found = evolve((1 + 0.5 * wave) / K, torch.ones(K, dtype=torch.bool), dynamics)
    decay = (1 - 2 * 0.3 * (1 - math.cos(angle))) ** 7
    torch.testing.assert_close(found, (1 + 0.5 * decay * wave) / K, rtol=0, atol=1e-15)


def test_diffusion_smooths_and_ends_in_the_uniform():
    open_keys = MASKS["causal"]
    weights = random_weights(open_keys)
    roughness = [weights.diff(dim=-1)[..., -1, :].square().sum()]
    for steps in (1, 2, 4):
        roughness.append(
            evolve(weights, open_keys, Dynamics("diffusion", steps, 0.4))[..., -1, :].diff().square().sum()
        )
    assert all(later < earlier for earlier, later in pairwise(roughness))
    end = evolve(weights, open_keys, Dynamics("diffusion", 2000, 0.5, strength=0.9))
    torch.testing.assert_close(end[0, 0], open_keys.double() / open_keys.sum(-1, keepdim=True), rtol=0, atol=1e-9)


def test_a_wave_travels_one_key_a_step_and_comes_back():
    """At size 1 the scheme is exact: a pulse splits in two halves; between walls it is whole again after 2 K steps."""
    pulse = torch.zeros(K, dtype=torch.float64)
    pulse[5] = 1
    everywhere = torch.ones(K, dtype=torch.bool)
    expected = torch.zeros(K, dtype=torch.float64)
    expected[[2, 8]] = 0.5
    torch.testing.assert_close(evolve(pulse, everywhere, Dynamics("wave", 3, 1.0)), expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(evolve(pulse, everywhere, Dynamics("wave", 2 * K, 1.0)), pulse, rtol=0, atol=1e-12)


def test_a_reaction_alone_is_the_logistic_map_renormalised():
    weights = torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=torch.float64)
    found = evolve(weights, weights > 0, Dynamics("reaction-diffusion", 2, 0.5, strength=0.0, rate=1.0))
    for _ in range(2):
        weights = weights + 0.5 * weights * (1 - weights)
    torch.testing.assert_close(found, weights / weights.sum(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("dynamics", SOME, ids=lambda d: f"{d.equation}-{d.size:g}")
def test_gradients_are_right(dynamics):
    random = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 2, 6, 3, generator=random, dtype=torch.float64).requires_grad_().unbind(0)
    open_keys = MASKS["cut"][:6, :6] & ~torch.tensor([0, 0, 1, 0, 0, 0], dtype=torch.bool) | torch.eye(
        6, dtype=torch.bool
    )

    def weights(query, key):
        return attention_weights(query, key, open_keys, scaling=0.7, dynamics=dynamics)

    assert torch.autograd.gradcheck(weights, (query, key))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"equation": "heat"}, "unknown equation 'heat', expected one of: diffusion, wave, reaction-diffusion"),
        ({"size": 0.6}, r"'diffusion' is unstable: strength \* size = 0.6 exceeds 0.5; take size 0.5 or less"),
        ({"equation": "wave", "size": 0.6, "strength": 2.0}, r"'wave' is unstable: .* = 1.2 exceeds 1; take size 0.5"),
        ({"equation": "reaction-diffusion", "rate": 11.0}, r"unstable: rate \* size = 1.1 exceeds 1"),
        ({"rate": 1.0}, "'diffusion' has no reaction"),
        ({"steps": -1}, "steps must be a whole number of at least 0, found -1"),
        ({"strength": float("nan")}, "strength must be a number of at least 0"),
        ({"blocks": [1, 3]}, r"blocks must be 'all' or \[first, last\] within 0 and 2, found \[1, 3\]"),
        ({"speed": 1}, "has equation, steps and size, optionally strength, rate and blocks"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        dynamics_of({"equation": "diffusion", "steps": 2, "size": 0.1} | settings, depth=3)


def test_just_beyond_the_limit_diffusion_does_blow_up():
    """The limit is the right one: the same steps a little larger grow without bound."""
    weights = random_weights(MASKS["causal"])[0, 0, -1]
    tame = evolve(weights, MASKS["causal"][-1], Dynamics("diffusion", 400, 0.5))
    wild = Dynamics("diffusion", 400, 0.5)
    object.__setattr__(wild, "size", 0.55)
    assert tame.max() < 1
    assert evolve(weights, MASKS["causal"][-1], wild).abs().max() > 1e3


@pytest.fixture(params=["tiny_llava", "tiny_llava_next"])
def loaded(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def batch(loaded, asked):
    examples, pictures, _ = asked(4)
    return encode(loaded, examples, pictures)


def logits_of(loaded, batch):
    with torch.no_grad():
        return loaded.model(**batch.inputs, use_cache=False, logits_to_keep=1).logits[:, -1]


def test_models_run_in_continuous_time_at_the_chosen_blocks_alone(loaded, batch):
    plain = logits_of(loaded, batch)
    with continuous_attention(loaded.text_model, Dynamics("diffusion", 0, 0.1)):
        torch.testing.assert_close(logits_of(loaded, batch), plain, rtol=0, atol=1e-6)
    found = []
    for layers in (None, (1,)):
        with continuous_attention(loaded.text_model, Dynamics("diffusion", 4, 0.5, blocks=layers)):
            found.append(logits_of(loaded, batch))
    assert (found[0] - plain).abs().max() > 1e-5
    assert (found[0] - found[1]).abs().max() > 1e-5
    assert torch.equal(logits_of(loaded, batch), plain)


def test_padding_and_cuts_keep_their_meaning(loaded, batch, asked):
    examples, pictures, _ = asked(4)
    with continuous_attention(loaded.text_model, SOME[2]):
        together = logits_of(loaded, batch)
        alone = logits_of(loaded, encode(loaded, examples[:1], pictures[:1]))
        check = self_check(loaded, batch)  # blocked weights exactly 0, rows sum to 1
        with on_edge("image", "question", (1,)).entered(loaded, batch.spans):
            cut = logits_of(loaded, batch)
    torch.testing.assert_close(together[:1], alone, rtol=0, atol=1e-5)
    assert check.row_error < 1e-5
    assert (cut - together).abs().max() > 1e-6


def test_sweeps_see_the_evolved_weights(loaded, batch):
    plans = [
        (on_edge(*edge, layers),) for edge in (("image", "question"), ("image", "last")) for layers in ((0,), (2,))
    ]
    with continuous_attention(loaded.text_model, Dynamics("wave", 3, 0.5, blocks=(0, 2))):
        prefix = read_prefix(loaded, batch, plans, answer_tokens=2)
        for found in recompute(loaded, prefix, plans):
            for index, logits in zip(found.which, found.logits, strict=True):
                torch.testing.assert_close(logits, full_pass(loaded, prefix, plans[index]), rtol=0, atol=2e-6)


def test_it_is_an_intervention_that_others_join(loaded, batch):
    """A cut inside continuous time is the same in either order, and neither of the two alone."""
    wave = intervention_of({"kind": "pde", "equation": "wave", "steps": 3, "size": 0.5, "blocks": [0, 1]}, depth=3)
    cut = on_edge("image", "question", (1, 2))
    found = []
    for together in ([wave, cut], [cut, wave], [wave], [cut], []):
        with entered(loaded, together, batch.spans):
            found.append(logits_of(loaded, batch))
    assert torch.equal(found[0], found[1])
    assert all((found[0] - other).abs().max() > 1e-6 for other in found[2:])
    with continuous_attention(loaded.text_model, Dynamics("wave", 3, 0.5, blocks=(0, 1))):
        assert torch.equal(logits_of(loaded, batch), found[2])


def test_inside_a_model_that_attends_so_another_equation_rules_its_own_blocks_alone(loaded, batch):
    own = Dynamics("diffusion", 2, 0.25)
    with continuous_attention(loaded.text_model, own):
        trained = logits_of(loaded, batch)
        with continuous_attention(loaded.text_model, Dynamics("diffusion", 2, 0.25, blocks=(1,))):
            assert torch.equal(logits_of(loaded, batch), trained)
        with continuous_attention(loaded.text_model, Dynamics("diffusion", 0, 0.25, blocks=(1,))):
            inside = logits_of(loaded, batch)
    with continuous_attention(loaded.text_model, Dynamics("diffusion", 2, 0.25, blocks=(0, 2))):
        torch.testing.assert_close(logits_of(loaded, batch), inside, rtol=0, atol=1e-6)


def test_a_model_can_be_trained_through_it():
    from pidflow.models import loading
    from pidflow.models.standin import architecture

    loaded = loading.wrap(
        "llava",
        architecture.build_model(seed=1, width=32, depth=2),
        architecture.build_processor(),
        prompt=architecture.PROMPT,
    )
    loaded.model.requires_grad_(True)
    ids = torch.tensor([[2, 7, 8, 9, 10]])
    optimizer = torch.optim.SGD(loaded.model.parameters(), lr=0.02)
    losses = []
    with continuous_attention(loaded.text_model, Dynamics("reaction-diffusion", 2, 0.2, rate=1.0)):
        for _ in range(8):
            loss = loaded.model(input_ids=ids, labels=ids).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    gradient = loaded.layers[0].self_attn.q_proj.weight.grad
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0
    assert np.all(np.diff(losses) < 0)
