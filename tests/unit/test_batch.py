"""BATCH: couplings that keep their marginals, a derivative and a bound that are what they claim, textbook systems."""

import numpy as np
import pytest

from pidflow.errors import ConfigError, DataError, NumericsError
from pidflow.pid import batch_estimator, learned_coupling
from pidflow.pid.batch_estimator import batch_pid
from pidflow.pid.discrete import discrete_pid
from pidflow.pid.gaussian import ATOMS
from pidflow.pid.sinkhorn import feasible, information, lower_bound, scaled, slope

FAIR = {
    "and": np.minimum,
    "or": np.maximum,
    "xor": np.bitwise_xor,
    "unique": lambda a, b: a,
    "redundant": lambda a, b: a,
}
TRUTH = {
    "and": (0.3113, 0, 0, 0.5),
    "or": (0.3113, 0, 0, 0.5),
    "xor": (0, 0, 0, 1),
    "unique": (0, 1, 0, 0),
    "redundant": (1, 0, 0, 0),
}


def coins(name, n, *, seed=0):
    """Rows that show two fair coins among noise, and the true predictions of Y = rule(coins)."""
    rng = np.random.default_rng(seed)
    one, two = np.divmod(rng.permutation(np.arange(n) % 4), 2)
    two = one if name == "redundant" else two
    y = FAIR[name](one, two)
    said = [np.stack([[np.mean(y[c == face] == label) for label in (0, 1)] for face in (0, 1)])[c] for c in (one, two)]
    rows = [np.stack([c + 0.2 * rng.standard_normal(n), rng.standard_normal(n)], axis=1) for c in (one, two)]
    return *rows, *said, np.eye(2)[y]


def marginals(m, k, labels, *, seed):
    """Random marginals of a coupling that has some zeros."""
    rng = np.random.default_rng(seed)
    table = rng.dirichlet(np.ones(labels * m * k)).reshape(labels, m, k)
    table[0, 0] = 0
    table /= table.sum()
    return table.sum(axis=2), table.sum(axis=1)


def atoms_of(result):
    return [float(getattr(result.atoms, name)) for name in ATOMS]


@pytest.mark.parametrize("seed", range(3))
def test_feasible_predictions_have_the_mean_and_are_tilted_alike(seed):
    rng = np.random.default_rng(seed)
    given, target = rng.dirichlet(np.ones(3), 50), rng.dirichlet(np.full(3, 5.0))
    used = feasible(given, target)
    np.testing.assert_allclose(used.mean(axis=0), target, atol=1e-9)
    np.testing.assert_allclose(used.sum(axis=1), 1)
    tilt = np.log(used / given)
    np.testing.assert_allclose((tilt - tilt[:, :1] - (tilt - tilt[:, :1])[0]), 0, atol=1e-9)


def test_feasible_predictions_stay_where_they_are():
    given = np.random.default_rng(0).dirichlet(np.ones(4), 30)
    np.testing.assert_allclose(feasible(given, given.mean(axis=0)), given, atol=1e-12)


@pytest.mark.parametrize("target", [(0.5, 0.5), (0.3, 0.7), (1.0, 0.0)])
def test_certain_predictions_are_mixed(target):
    given = np.eye(2)[np.arange(10) % 5 // 4]
    used = feasible(given, np.array(target))
    np.testing.assert_allclose(used.mean(axis=0), target, atol=1e-9)
    assert (used >= 0).all()


@pytest.mark.parametrize("sharpness", [1.0, 30.0])
def test_scaling_ends_at_a_coupling_even_when_it_is_cut_short(sharpness):
    rows, columns = marginals(6, 7, 3, seed=0)
    weights = np.exp(sharpness * np.random.default_rng(1).standard_normal((3, 6, 7)))
    coupling, error = scaled(weights, rows, columns, tolerance=1e-9, max_iterations=50)
    assert (error > 1e-9) == (sharpness > 10)
    np.testing.assert_allclose(coupling.sum(axis=2), rows, atol=1e-12)
    np.testing.assert_allclose(coupling.sum(axis=1), columns, atol=1e-12)
    assert (coupling >= 0).all()


def test_the_slope_is_the_derivative():
    rows, columns = marginals(4, 5, 2, seed=2)
    rng = np.random.default_rng(3)
    logarithms, direction = rng.standard_normal((2, 2, 4, 5))

    def at(t):
        coupling, _ = scaled(np.exp(logarithms + t * direction), rows, columns, tolerance=1e-13, max_iterations=5000)
        return coupling

    coupling = at(0.0)
    analytic = np.vdot(slope(coupling, information(coupling)[1], rows, columns), direction)
    numeric = (information(at(1e-5))[0] - information(at(-1e-5))[0]) / 2e-5
    assert numeric == pytest.approx(analytic, rel=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_the_best_coupling_lies_between_the_bound_and_any_coupling(seed):
    rows, columns = marginals(5, 4, 3, seed=seed)
    weights = np.exp(np.random.default_rng(seed).standard_normal((3, 5, 4)))
    coupling, _ = scaled(weights, rows, columns, tolerance=1e-12, max_iterations=5000)
    value, posterior = information(coupling)
    best = float(discrete_pid(coupling.transpose(1, 2, 0)).union) * np.log(2)
    assert lower_bound(coupling, posterior, rows, columns) <= best + 1e-9
    assert best <= value + 1e-9
    assert value > best + 1e-3


def test_information_is_that_of_the_table():
    coupling = np.random.default_rng(0).dirichlet(np.ones(24)).reshape(2, 3, 4)
    exact = discrete_pid(coupling.transpose(1, 2, 0)).mi_12
    assert information(coupling)[0] / np.log(2) == pytest.approx(float(exact))


@pytest.mark.parametrize("name", FAIR)
def test_textbook_systems(name):
    result = batch_pid(*coins(name, 241))
    np.testing.assert_allclose(atoms_of(result), TRUTH[name], atol=0.03)
    assert result.info.stopped
    assert result.atoms.info.gap_bits < 0.02
    assert result.info.rows == 241


def test_soft_predictions_agree_with_the_exact_table():
    pmf = np.random.default_rng(5).dirichlet(np.full(18, 0.5)).reshape(3, 3, 2)
    cells = np.repeat(np.arange(9), np.diff(np.round(600 * np.cumsum([0, *pmf.sum(axis=2).ravel()]))).astype(int))
    one, two = np.divmod(np.random.default_rng(6).permutation(cells), 3)
    said = [p / p.sum(axis=-1, keepdims=True) for p in (pmf.sum(axis=1), pmf.sum(axis=0), pmf)]
    result = batch_pid(np.eye(3)[one], np.eye(3)[two], said[0][one], said[1][two], said[2][one, two])
    exact = discrete_pid(pmf)
    np.testing.assert_allclose(atoms_of(result), [float(getattr(exact, name)) for name in ATOMS], atol=0.02)


def test_nothing_is_dropped_when_there_are_several_blocks(monkeypatch):
    monkeypatch.setattr(batch_estimator, "BLOCK", 90)
    result = batch_pid(*coins("and", 200))
    assert (result.info.rows, result.info.blocks) == (200, 3)
    np.testing.assert_allclose(atoms_of(result), TRUTH["and"], atol=0.08)


def test_a_constant_prediction_is_an_offset_and_no_information():
    x1, x2, _, p2, p12 = coins("xor", 100)
    p12 = np.concatenate([p12[:50], 1 - p12[:50]])
    result = batch_pid(x1, x2, np.tile([0.9, 0.1], (100, 1)), p2, p12, max_steps=20)
    assert result.info.offset_1 == pytest.approx(0.531, abs=1e-3)
    assert result.info.offset_2 == pytest.approx(0.0, abs=0.01)
    assert result.info.moved_1 == pytest.approx(0.4, abs=1e-6)
    assert float(result.atoms.mi_1) == pytest.approx(0.0, abs=1e-9)
    assert any("contradict" in warning for warning in result.info.warnings)


def test_contradictions_are_shown_not_clipped():
    x1, x2, p1, p2, _ = coins("unique", 120)
    result = batch_pid(x1, x2, p1, p2, np.tile(p1.mean(axis=0), (120, 1)))
    assert float(result.atoms.mi_12) == pytest.approx(0.0, abs=1e-9)
    assert float(result.atoms.synergy) == pytest.approx(-1.0, abs=0.05)
    assert result.info.raw_sum == pytest.approx(0.0, abs=1e-9)
    assert result.info.clipped_sum == pytest.approx(1.0, abs=0.05)
    assert any("synergy" in warning for warning in result.info.warnings)


def test_training_that_ran_out_of_steps_says_so():
    result = batch_pid(*coins("and", 100), max_steps=10, patience=50)
    assert not result.info.stopped
    assert not result.atoms.info.converged
    assert result.info.steps == 10
    assert any("max_steps" in warning for warning in result.info.warnings)


def test_training_lowers_the_held_out_information():
    curve = batch_pid(*coins("and", 200)).info.held_out_bits
    assert curve.min() < curve[0] - 0.05


def test_the_weights_that_were_best_on_held_out_rows_are_kept(monkeypatch):
    def union(losses, **settings):
        script = iter(losses)
        monkeypatch.setattr(learned_coupling, "union_of", lambda *_: next(script))
        return batch_pid(*coins("and", 60), evaluate_every=1, patience=3, **settings)

    best_first = union([1.0, 0.5, 0.9, 0.9, 0.9])
    assert best_first.info.steps == 4
    assert float(best_first.atoms.union) == float(union([1.0, 0.5], max_steps=1).atoms.union)


def test_the_seed_decides():
    one, again, other = (batch_pid(*coins("or", 100), max_steps=20, seed=seed) for seed in (0, 0, 1))
    assert float(one.atoms.union) == float(again.atoms.union) != float(other.atoms.union)


def test_labels_that_nobody_predicts_change_nothing():
    """As constants far from zero they saturated the networks: half of the seeds lost half of the redundancy."""
    x1, x2, *said = coins("and", 120)
    padded = [np.pad(p, ((0, 0), (0, 2))) for p in said]
    for seed in range(8):
        found = batch_pid(x1, x2, *padded, seed=seed, max_steps=150)
        np.testing.assert_allclose(atoms_of(found), TRUTH["and"], atol=0.04)


@pytest.mark.parametrize(("sparsity", "seed"), [(0.01, 6), (0.01, 11), (0.005, 3), (0.005, 4), (0.005, 7)])
def test_predictions_that_drown_in_rounding_do_no_harm(sparsity, seed):
    """Contradictory predictions with probabilities down to 1e-300: fits to masses below rounding used to diverge."""
    rng = np.random.default_rng(seed)
    said = [rng.dirichlet(np.full(3, sparsity), 30) for _ in range(3)]
    found = batch_pid(rng.standard_normal(30), rng.standard_normal(30), *said, max_steps=10)
    assert np.isfinite(atoms_of(found)).all()
    assert 0 <= float(found.atoms.info.gap_bits) < 2


def test_couplings_beyond_memory_are_refused(monkeypatch):
    monkeypatch.setattr("pidflow.arrays.memory", lambda: 1000)
    with pytest.raises(NumericsError, match="couplings of 100 rows for 2 labels would take"):
        batch_pid(*coins("and", 100))


@pytest.mark.parametrize(
    ("setting", "value"), [("max_steps", 0), ("hidden", 2.5), ("learning_rate", np.nan), ("patience", True)]
)
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(ConfigError, match=f"{setting} must be a"):
        batch_pid(*coins("and", 100), **{setting: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({0: np.zeros((99, 2))}, "same rows"),
        ({2: np.full((100, 3), 1 / 3)}, "one set of labels"),
        ({2: np.full((100, 2), 0.4)}, "row 0 sums to 0.8"),
        ({3: np.tile([1.5, -0.5], (100, 1))}, "apply softmax"),
        ({1: np.full((100, 2), np.nan)}, "finite"),
    ],
)
def test_bad_input_is_refused(changes, message):
    arguments = [changes.get(i, value) for i, value in enumerate(coins("and", 100))]
    with pytest.raises(DataError, match=message):
        batch_pid(*arguments)


def test_a_handful_of_rows_is_refused():
    with pytest.raises(DataError, match="at least 20 rows"):
        batch_pid(*coins("and", 16))
