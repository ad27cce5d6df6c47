"""Product flows: laws of the maps, honesty of the cross-fitting, known information recovered."""

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from pidflow.errors import ConfigError, DataError, NumericsError
from pidflow.flows import training
from pidflow.flows._product import Layout, ProductFlows, initial_parameters
from pidflow.flows.gaussianize import FlowConfig, apply, gaussianize, gaussianize_layers, invert
from pidflow.flows.stack import train_members
from pidflow.flows.training import train_stack
from pidflow.groups import held_out_split

QUICK = FlowConfig(max_steps=20, evaluate_every=10, precision="float64")


def gaussian_information(x, y):
    """Plug-in I(X;Y) of jointly Gaussian columns, bits."""
    both = np.cov(np.hstack([x, y]).T)
    p = x.shape[1]
    return (np.linalg.slogdet(both[:p, :p])[1] + np.linalg.slogdet(both[p:, p:])[1] - np.linalg.slogdet(both)[1]) / (
        2 * np.log(2)
    )


def system(n, dims=(2, 2, 2), seed=0, rho=0.6):
    """Gaussian sources and a target that sees the leading columns of both."""
    rng = np.random.default_rng(seed)
    x1, x2, y = (rng.standard_normal((n, d)) for d in dims)
    y[:, 0] = rho * x1[:, 0] + rho * x2[:, 0] + np.sqrt(1 - 2 * rho**2) * y[:, 0]
    return x1, x2, y


def bent_system(n):
    """The same, with the first source bent along a parabola: a bend that maps of single columns cannot undo."""
    x1, x2, y = system(n, rho=0.65)
    return np.column_stack([x1[:, 0], x1[:, 1] + 2 * x1[:, 0] ** 2]), x2, y


def random_flows(dims, config, seed=0):
    """A stack far from its starting point, with its parameters."""
    layout = Layout.of(dims)
    generator = torch.Generator().manual_seed(seed)
    start = initial_parameters(layout, config, seed=seed, dtype=torch.float64)
    parameters = {
        name: value + 0.4 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in start.items()
    }
    return ProductFlows(layout, config), parameters


@pytest.mark.parametrize("dims", [(1, 1, 1), (3, 2, 1)])
def test_log_determinant_is_that_of_the_jacobian(dims):
    flows, parameters = random_flows([dims], FlowConfig())
    x = torch.randn(1, sum(dims), 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_det = flows.forward(parameters, x)[1][0]
    for row in range(5):
        jacobian = torch.autograd.functional.jacobian(
            lambda v: flows.forward(parameters, v[None, :, None])[0][0, :, 0], x[0, :, row]
        )
        torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, log_det[row])
        own = torch.block_diag(*(torch.ones(d, d) for d in dims))
        assert (jacobian[own == 0] == 0).all(), "a block saw the columns of another"


def test_inverse_undoes_the_maps_of_every_flow_in_a_stack():
    dims = [(3, 2, 1), (1, 4, 2)]
    flows, parameters = random_flows(dims, FlowConfig())
    x = torch.randn(2, 9, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = torch.where(flows.layout.valid[:, :, None], x, 0)
    torch.testing.assert_close(flows.inverse(parameters, flows.forward(parameters, x)[0]), x)


def test_the_start_is_a_rotation_within_each_block():
    layout = Layout.of([(3, 2, 2)])
    start = initial_parameters(layout, FlowConfig(), seed=3, dtype=torch.float64)
    x = torch.randn(1, 7, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z, log_det = ProductFlows(layout, FlowConfig()).forward(start, x)
    torch.testing.assert_close(log_det, torch.zeros_like(log_det))
    for block in ([0, 1, 2], [3, 4], [5, 6]):
        torch.testing.assert_close(z[0, block].norm(dim=0), x[0, block].norm(dim=0))


@pytest.mark.parametrize("others", [1, 3])
def test_a_layer_does_not_depend_on_its_neighbours_or_its_padding(others):
    x1, x2, y = system(150, (2, 3, 2))
    folds = np.arange(150) % 2
    rng = np.random.default_rng(1)
    wide1, wide2 = ([rng.standard_normal((150, 4 + extra)) for extra in range(others)] for _ in range(2))
    alone = gaussianize(x1, x2, y, folds=folds, config=QUICK)
    stacked = gaussianize_layers([x1, *wide1], [x2, *wide2], y, folds=folds, config=QUICK)[0]
    for name in ("z1", "z2", "y"):
        np.testing.assert_allclose(getattr(stacked, name), getattr(alone, name), atol=1e-8)
    assert {k: v.shape for k, v in stacked.weights.items()} == {k: v.shape for k, v in alone.weights.items()}


def test_splitting_a_stack_to_save_memory_changes_nothing():
    x1, x2, y = system(150)
    folds = np.arange(150) % 2
    small = QUICK.model_copy(update={"values_at_once": 1})
    whole, parts = (gaussianize_layers([x1, x2], [x2, x1], y, folds=folds, config=c) for c in (QUICK, small))
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a.z1, b.z1, atol=1e-8)


def test_same_seed_same_bits_other_seed_other_flow():
    x1, x2, y = system(200)
    folds = np.arange(200) % 2
    first, again, other = (gaussianize(x1**3, x2, y, folds=folds, seed=s, config=QUICK) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.z1, again.z1)
    assert not np.array_equal(first.z1, other.z1)


def test_a_flow_never_sees_the_pairing_of_its_own_fold():
    """Shuffling y within fold 0 leaves every column's marginal and every other pairing alone: flow 0 must not move."""
    x1, x2, y = bent_system(900)
    folds = np.arange(900) % 3
    shuffled = y.copy()
    own = np.flatnonzero(folds == 0)
    shuffled[own] = y[np.random.default_rng(0).permutation(own)]
    config = QUICK.model_copy(update={"batch_size": 256})
    before, after = (gaussianize(x1, x2, t, folds=folds, config=config) for t in (y, shuffled))
    assert before.info.best_step.min() > 0, "nothing was learnt, the test shows nothing"
    for name, value in before.weights.items():
        if name.startswith(("flow.", "frame.")):
            torch.testing.assert_close(after.weights[name][0], value[0], rtol=0, atol=1e-12)
            assert "mix" not in name or not torch.equal(after.weights[name][1], value[1])


def test_rows_of_a_group_stay_on_one_side_of_the_early_stopping_split():
    groups = np.repeat(np.arange(40), 5)
    outside = np.arange(200) % 4 != 0
    train, aside = held_out_split(outside, groups, fraction=0.2, seed=0)
    assert not set(groups[train]) & set(groups[aside])
    np.testing.assert_array_equal(train | aside, outside)
    assert 0.15 < aside.sum() / outside.sum() < 0.3


def test_stored_weights_reproduce_the_latents_and_invert_to_the_input():
    x1, x2, y = system(200, (3, 2, 1))
    folds = np.arange(200) % 2 + 5
    found = gaussianize(np.exp(x1), x2, y, folds=folds, config=QUICK)
    weights = load(save(found.weights))
    z = apply(weights, np.exp(x1), x2, y, folds=folds)
    np.testing.assert_array_equal(z.x1, found.z1)
    np.testing.assert_array_equal(z.y, found.y)
    back = invert(weights, z.x1, z.x2, z.y, folds=folds)
    np.testing.assert_allclose(back.x1, np.exp(x1), rtol=1e-7)
    np.testing.assert_allclose(back.y, y, atol=1e-7)


def test_weights_are_the_mean_over_evaluations_weighted_by_held_out_likelihood():
    """Targets move the parameter of each member to 1, 2, ... one a step; losses are what the test says."""
    losses = torch.tensor([[0.0, -1.0, -3.0, -2.5], [0.0, 0.5, float("nan"), 1.0]], dtype=torch.float64)

    class Course:
        evaluations = 0

        def loss(self, parameters):
            return -parameters["p"][:, 0]

        def judged(self, parameters):
            self.evaluations += 1
            return losses[:, self.evaluations - 1][None]

    start = {"p": torch.zeros(2, 1, dtype=torch.float64)}
    how = {"rates": lambda done: 1.0, "max_steps": 3, "evaluate_every": 1}
    mean = train_members(Course(), start, **how, temperature=0.5)
    weights = torch.softmax(-losses.nan_to_num(nan=torch.inf) / 0.5, dim=1)
    torch.testing.assert_close(
        mean.parameters["p"][:, 0], weights @ torch.arange(4.0, dtype=torch.float64), rtol=1e-6, atol=0
    )
    best = train_members(Course(), start, **how)
    torch.testing.assert_close(best.parameters["p"][:, 0], torch.tensor([2.0, 0.0], dtype=torch.float64))
    assert mean.best_step.tolist() == best.best_step.tolist() == [2, 0]


def test_directions_without_a_gradient_stay_put():
    """The gradient of rounding errors is far below the floor: Adam must not take whole steps along it."""

    class Flat:
        def loss(self, parameters):
            return (parameters["p"] * torch.tensor([1.0, 1e-8])).sum(dim=1)

        def judged(self, parameters):
            return self.loss(parameters)[None]

    moved = train_members(
        Flat(), {"p": torch.zeros(1, 2)}, rates=lambda done: 0.1, max_steps=10, evaluate_every=10, floor=0.003
    ).parameters["p"][0]
    assert moved[0] < -0.9
    assert -1e-5 < moved[1] < 0


def test_a_flow_that_only_got_worse_falls_back_to_its_start():
    x1, x2, y = system(200)
    found = gaussianize(x1, x2, y, folds=np.arange(200) % 2, config=QUICK.model_copy(update={"learning_rate": 5.0}))
    assert (found.info.best_step == 0).all()
    assert np.isfinite(found.info.held_out_loss[:, 1:]).any(axis=1).all()
    assert np.isfinite(found.z1).all()


@pytest.fixture
def losses_go_astray(monkeypatch):
    """``losses_go_astray(steps)``: the loss of the second flow is NaN from that evaluation on (1 is the start)."""
    honest = training.held_out_loss

    def after(evaluations):
        calls = []

        def astray(*arguments):
            calls.append(1)
            loss = honest(*arguments)
            return torch.where(torch.arange(len(loss)) == 1, torch.nan, loss) if len(calls) > evaluations else loss

        monkeypatch.setattr(training, "held_out_loss", astray)

    return after


def test_a_flow_whose_loss_is_never_finite_is_an_error(losses_go_astray):
    losses_go_astray(1)
    x1, x2, y = system(200)
    with pytest.raises(NumericsError, match="1 of 2 flows did not train: their loss was not finite"):
        gaussianize(x1, x2, y, folds=np.arange(200) % 2, config=QUICK)


def test_a_loss_that_is_lost_midway_keeps_what_came_before(losses_go_astray):
    blocks, folds = bent_system(900), np.arange(900) % 3
    config = QUICK.model_copy(update={"max_steps": 60})
    undisturbed = gaussianize(*blocks, folds=folds, config=config).info.best_step
    losses_go_astray(3)
    found = gaussianize(*blocks, folds=folds, config=config)
    assert 0 < found.info.best_step[1] <= 20 < undisturbed[1]
    assert found.info.best_step[0] == undisturbed[0] > 20
    assert np.isfinite(found.z1).all()


@pytest.mark.parametrize("marginals", ["quantile", "standardise"])
def test_a_block_of_no_columns_is_left_out(marginals):
    """A constant source comes without columns; the flow of the others trains as ever, also beside wider layers."""
    x1, x2, y = bent_system(400)
    none, folds = np.zeros((400, 0)), np.arange(400) % 2
    config = QUICK.model_copy(update={"marginals": marginals, "max_steps": 60})
    alone, beside = gaussianize_layers([x1, x1], [none, x2], y, folds=folds, config=config)
    assert alone.z2.shape == (400, 0)
    assert alone.info.best_step.min() > 0
    again = apply(alone.weights, x1, none, y, folds=folds)
    np.testing.assert_array_equal(again.x1, alone.z1)
    back = invert(alone.weights, alone.z1, alone.z2, alone.y, folds=folds)
    np.testing.assert_allclose(back.x1, x1, atol=1e-6)
    assert beside.z2.shape == x2.shape


def test_a_stack_without_a_covariance_cannot_start():
    x, weight = torch.zeros(1, 3, 50, dtype=torch.float64), torch.ones(1, 50, dtype=torch.float64)
    with pytest.raises(NumericsError, match="1 of 1 flows cannot start"):
        train_stack(x, weight, x, weight, layout=Layout.of([(1, 1, 1)]), config=QUICK, seed=0)


@pytest.mark.parametrize(("marginals", "left"), [("quantile", 0.4), ("standardise", 0.7)])
def test_recovers_information_hidden_by_a_bend(marginals, left):
    x1, x2, y = system(1200, rho=0.65)
    truth = gaussian_information(np.hstack([x1, x2]), y)
    bent = np.column_stack([x1[:, 0] + x1[:, 1] ** 2, x1[:, 1]])
    linear = gaussian_information(np.hstack([bent, x2]), y)
    assert linear < 0.8 * truth
    found = gaussianize(bent, x2, y, folds=np.arange(1200) % 3, config=FlowConfig(marginals=marginals))
    reached = gaussian_information(np.hstack([found.z1, found.z2]), found.y)
    assert abs(reached - truth) < left * (truth - linear)
    before, after = (at.anderson_darling.max() for at in (found.info.input_gaussianity, found.info.latent_gaussianity))
    assert after < 0.25 * before


def test_finds_nothing_in_noise():
    rng = np.random.default_rng(0)
    x1, x2, y = rng.standard_normal((3, 600, 6))
    found = gaussianize(x1, x2, y, folds=np.arange(600) % 3)
    bias = gaussian_information(np.hstack([x1, x2]), y)
    assert abs(gaussian_information(np.hstack([found.z1, found.z2]), found.y) - bias) < 0.05


X = np.random.default_rng(0).standard_normal((60, 2))
FOLDS = np.arange(60) % 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x1": X[:50]}, DataError, "same rows, found x1 50, x2 60"),
        ({"x2": np.where(X > 2, np.nan, X)}, DataError, "x2 is not finite"),
        ({"y": X * [1, 0]}, NumericsError, r"columns \[1\] of y are constant"),
        ({"y": X[:, [0, 0]]}, NumericsError, "1 of 2 columns of y are combinations"),
        ({"x1": X[:, :0], "x2": X[:, :0], "y": X[:, :0]}, NumericsError, "nothing to Gaussianize"),
        ({"device": "abacus"}, ConfigError, "device 'abacus' cannot be used"),
        ({"seed": -1}, ConfigError, "seed must be"),
        ({"config": {"stages": 3}}, ConfigError, "config must be a FlowConfig"),
        ({"folds": np.zeros(60, dtype=int)}, DataError, "two folds"),
        ({"folds": FOLDS[:50]}, DataError, "folds has shape"),
        ({"folds": FOLDS + 0.5}, DataError, "whole numbers"),
        ({"groups": FOLDS}, DataError, "groups"),
        ({"x1": np.random.default_rng(1).standard_normal((60, 30))}, NumericsError, "keep fewer components"),
    ],
)
def test_refuses_with_a_reason(change, error, message):
    arguments = {"x1": X, "x2": X[::-1], "y": X + X[::-1] ** 2, "folds": FOLDS} | change
    with pytest.raises(error, match=message):
        gaussianize(arguments.pop("x1"), arguments.pop("x2"), arguments.pop("y"), **arguments)


@pytest.mark.parametrize(
    ("name", "value"), [("marginals", "rank"), ("precision", "float16"), ("held_out_fraction", 1.0), ("max_steps", 0)]
)
def test_settings_refuse_with_a_reason(name, value):
    with pytest.raises(ConfigError, match=f"FlowConfig {name}: found {value!r}, expected "):
        FlowConfig(**{name: value})


def test_stored_flows_refuse_other_columns_and_unknown_folds():
    weights = gaussianize(X, X[::-1], X + X[::-1] ** 2, folds=FOLDS, config=QUICK).weights
    with pytest.raises(DataError, match=r"2 \+ 2 \+ 2 columns, found 7"):
        apply(weights, np.ones((60, 3)), X, X, folds=FOLDS)
    with pytest.raises(DataError, match=r"no flow for folds \[6, 7\]"):
        apply(weights, X, X, X, folds=FOLDS + 6)
