"""Discrete PID: textbook answers, laws of the decomposition, an independent exponential-cone solver, bad input."""

import tracemalloc
from dataclasses import fields

import numpy as np
import pytest
import torch
from tests.references import union_by_cone

from pidflow.errors import DataError, NumericsError
from pidflow.pid.discrete import _bytes_a_table, discrete_pid
from pidflow.pid.gaussian import ATOMS


def table(rule, shape, *, sources=None):
    """Joint pmf of Y = rule(x1, x2), for independent uniform sources unless their joint table is given."""
    k1, k2, _ = shape
    sources = np.full((k1, k2), 1.0 / (k1 * k2)) if sources is None else sources
    pmf = np.zeros(shape)
    for i in range(k1):
        for j in range(k2):
            pmf[i, j, rule(i, j)] += sources[i, j]
    return pmf


def redundant_xor():
    pmf = np.zeros((4, 4, 4))
    for shared, i, j in np.ndindex(2, 2, 2):
        pmf[2 * shared + i, 2 * shared + j, 2 * shared + (i ^ j)] = 1 / 8
    return pmf


def pointwise_unique():
    pmf = np.zeros((3, 3, 3))
    for y in (1, 2):
        pmf[0, y, y] = pmf[y, 0, y] = 0.25
    return pmf


def dirichlet(shape, *, count, seed, concentration=1.0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(np.prod(shape), concentration), count).reshape(count, *shape)


def atoms_of(pmf):
    atoms = discrete_pid(pmf)
    return np.stack([getattr(atoms, name) for name in ATOMS], axis=-1)


AND_REDUNDANCY = 1.5 - 0.75 * np.log2(3)
UNIFORM_MAX = table(max, (4, 4, 4))
CANONICAL = {  # redundancy, unique_1, unique_2, synergy in bits
    "and": (table(lambda i, j: i & j, (2, 2, 2)), (AND_REDUNDANCY, 0, 0, 0.5)),
    "or": (table(lambda i, j: i | j, (2, 2, 2)), (AND_REDUNDANCY, 0, 0, 0.5)),
    "implies": (table(lambda i, j: int(not i or j), (2, 2, 2)), (AND_REDUNDANCY, 0, 0, 0.5)),
    "xor": (table(lambda i, j: i ^ j, (2, 2, 2)), (0, 0, 0, 1)),
    "sum": (table(lambda i, j: i + j, (2, 2, 3)), (0.5, 0, 0, 1)),
    "copy": (table(lambda i, j: 2 * i + j, (2, 2, 4)), (0, 1, 1, 0)),
    "unique": (table(lambda i, j: i, (2, 2, 2)), (0, 1, 0, 0)),
    "redundant": (table(lambda i, j: i, (2, 2, 2), sources=np.eye(2) / 2), (1, 0, 0, 0)),
    "redundant-xor": (redundant_xor(), (1, 0, 0, 1)),
    "pointwise-unique": (pointwise_unique(), (0.5, 0, 0, 0.5)),
    "constant-target": (np.full((2, 3, 1), 1 / 6), (0, 0, 0, 0)),
    "single-entry": (np.eye(8)[3].reshape(2, 2, 2), (0, 0, 0, 0)),
}


@pytest.mark.parametrize("name", CANONICAL)
def test_textbook_systems(name):
    pmf, expected = CANONICAL[name]
    np.testing.assert_allclose(atoms_of(pmf), expected, atol=1e-7)


def test_maximum_of_two_dice_has_no_unique_information():
    # Equal pair marginals: the diagonal coupling makes each source a copy of the other.
    atoms = discrete_pid(UNIFORM_MAX)
    np.testing.assert_allclose([atoms.unique_1, atoms.unique_2], 0, atol=1e-7)
    np.testing.assert_allclose(atoms.redundancy, atoms.mi_1, atol=1e-7)


@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 5, 2), (2, 4, 6), (1, 3, 2), (3, 3, 1)])
@pytest.mark.parametrize("concentration", [0.05, 1.0])
def test_every_table_is_certified(shape, concentration):
    atoms = discrete_pid(dirichlet(shape, count=20, seed=1, concentration=concentration))
    assert atoms.info.gap_bits.max() < 1e-6
    assert (atoms.info.gap_bits >= 0).all()


def test_the_certificate_is_honest_when_the_solver_stops_early(monkeypatch):
    tables = dirichlet((3, 3, 3), count=30, seed=2)
    exact = discrete_pid(tables).union
    monkeypatch.setattr("pidflow.pid.discrete_solver.MAX_ITERATIONS", 4)
    with pytest.raises(NumericsError, match=r"exceeds 0\.001 bit"):
        discrete_pid(tables)
    early = discrete_pid(tables, most_gap_bits=1.0)
    assert not early.info.converged.any()
    assert (early.union >= exact - 1e-8).all()
    assert (early.union - early.info.gap_bits <= exact + 1e-8).all()
    assert early.info.gap_bits.max() > 1e-4


def test_ordinary_tables_take_few_steps(monkeypatch):
    monkeypatch.setattr("pidflow.pid.discrete_solver.MAX_ITERATIONS", 20)
    assert discrete_pid(dirichlet((4, 4, 4), count=20, seed=14)).info.converged.all()


def test_atoms_add_up_to_the_informations():
    atoms = discrete_pid(dirichlet((3, 4, 2), count=10, seed=3))
    np.testing.assert_allclose(atoms.redundancy + atoms.unique_1, atoms.mi_1, atol=1e-12)
    np.testing.assert_allclose(atoms.redundancy + atoms.unique_2, atoms.mi_2, atol=1e-12)
    total = atoms.redundancy + atoms.unique_1 + atoms.unique_2 + atoms.synergy
    np.testing.assert_allclose(total, atoms.mi_12, atol=1e-12)
    assert min(getattr(atoms, name).min() for name in ATOMS) > -1e-8


def test_swapping_the_sources_swaps_the_uniques():
    tables = dirichlet((3, 4, 3), count=10, seed=4)
    np.testing.assert_allclose(atoms_of(tables.swapaxes(1, 2)), atoms_of(tables)[:, [0, 2, 1, 3]], atol=2e-8)


def test_names_and_splits_of_symbols_do_not_matter():
    tables = dirichlet((3, 3, 3), count=5, seed=5)
    rng = np.random.default_rng(0)
    renamed = tables[:, rng.permutation(3)][:, :, rng.permutation(3)][..., rng.permutation(3)]
    np.testing.assert_allclose(atoms_of(renamed), atoms_of(tables), atol=2e-8)
    # Splitting symbol 0 of X1 by an independent biased coin adds nothing.
    split = np.concatenate([0.3 * tables[:, :1], 0.7 * tables[:, :1], tables[:, 1:]], axis=1)
    np.testing.assert_allclose(atoms_of(split), atoms_of(tables), atol=2e-8)


def test_independent_systems_add():
    one, two = dirichlet((2, 2, 2), count=2, seed=6)
    both = np.einsum("abc,def->adbecf", one, two).reshape(4, 4, 4)
    np.testing.assert_allclose(atoms_of(both), atoms_of(one) + atoms_of(two), atol=3e-8)


def test_a_noisier_copy_of_a_source_has_no_unique_information():
    pmf = dirichlet((4, 1, 3), count=1, seed=7)[0, :, 0]
    channel = dirichlet((4, 3, 1), count=1, seed=8)[0, :, :, 0]
    channel /= channel.sum(axis=1, keepdims=True)
    atoms = discrete_pid(pmf[:, None, :] * channel[:, :, None])
    np.testing.assert_allclose([atoms.unique_2, atoms.synergy], 0, atol=1e-7)


def test_batch_equals_one_by_one_whatever_the_chunk(monkeypatch):
    tables = dirichlet((2, 3, 2), count=6, seed=9).reshape(2, 3, 2, 3, 2)
    monkeypatch.setattr("pidflow.pid.discrete.CHUNK", 4)
    batch = discrete_pid(tables)
    assert batch.union.shape == batch.info.gap_bits.shape == (2, 3)
    for index in np.ndindex(2, 3):
        alone = discrete_pid(tables[index])
        assert float(alone.union) == pytest.approx(float(batch.union[index]), abs=1e-12)


@pytest.mark.parametrize("size", [1e-6, 1e-8, 1e-10, 1e-14, 1e-300])
def test_tiny_entries_move_the_answer_little(size):
    noise = dirichlet((2, 2, 2), count=1, seed=10)[0]
    pmf = CANONICAL["and"][0] + size * noise
    atoms = discrete_pid(pmf / pmf.sum())
    assert float(atoms.info.gap_bits) < 1e-6
    np.testing.assert_allclose(
        [float(getattr(atoms, name)) for name in ATOMS], CANONICAL["and"][1], atol=1e-6 + 40 * size
    )


def against_cone(tables):
    for package in ("cvxpy", "clarabel"):
        pytest.importorskip(package, reason=f"the exponential-cone reference needs {package}")
    reference = [union_by_cone(pmf, tolerance=1e-10) for pmf in tables]
    np.testing.assert_allclose(discrete_pid(np.stack(tables)).union, reference, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("shape", [(2, 3, 2), (4, 4, 4), (8, 8, 4), (3, 7, 5)])
@pytest.mark.parametrize("concentration", [0.2, 1.0])
def test_agrees_with_an_exponential_cone_solver_up_to_8_by_8_by_4(shape, concentration):
    against_cone(list(dirichlet(shape, count=3, seed=13, concentration=concentration)))


@pytest.mark.parametrize(
    ("pmf", "message"),
    [
        (np.full((2, 2), 0.25), r"shape \(\.\.\., k1, k2, ky\).*found \(2, 2\)"),
        (np.zeros((2, 0, 2)), "no empty axis"),
        (np.full((2, 2, 2), 0.2), "sum to one"),
        (np.full((2, 2, 2), 0.125) + np.eye(8)[0].reshape(2, 2, 2) * 1e-8, "sum to one"),
        (np.where(np.arange(8).reshape(2, 2, 2) == 0, -0.125, 1.125 / 7), "negative"),
        (np.full((2, 2, 2), np.nan), "not finite"),
    ],
)
def test_bad_tables_are_refused(pmf, message):
    with pytest.raises(DataError, match=message):
        discrete_pid(pmf)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_tables_normalised_in_their_own_precision_are_scaled_and_say_so(kind):
    exact = dirichlet((3, 4, 5), count=1, seed=3, concentration=1.0)[0]
    low = torch.from_numpy(exact).to(getattr(torch, kind))
    atoms = discrete_pid(low)
    assert any("were scaled to one" in note for note in atoms.info.notes)
    assert float(atoms.union) == pytest.approx(float(discrete_pid(exact).union), abs=2e-3)
    if kind == "float32":
        assert float(discrete_pid(low.double().numpy()).union) == float(atoms.union)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_what_is_off_by_more_than_its_precision_is_refused(kind):
    exact = dirichlet((3, 4, 5), count=1, seed=3, concentration=1.0)[0]
    with pytest.raises(DataError, match="must sum to one"):
        discrete_pid((exact * (1 + 1e-5)).astype(kind))


def test_a_table_beyond_memory_is_refused_before_it_dies(monkeypatch):
    with pytest.raises(NumericsError, match=r"a table of 300 x 300 x 120 would take about \d+ GB of memory, found"):
        discrete_pid(np.full((300, 300, 120), 1 / (300 * 300 * 120)))
    monkeypatch.setattr("pidflow.arrays.memory", lambda: 1000)
    with pytest.raises(NumericsError, match="merge symbols"):
        discrete_pid(CANONICAL["and"][0])


@pytest.mark.parametrize("shape", [(8, 8, 4), (20, 3, 6)])
def test_memory_is_estimated_from_above_and_not_by_far(shape):
    table = dirichlet(shape, count=1, seed=5)[0]
    tracemalloc.start()
    discrete_pid(table)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < _bytes_a_table(*shape) < 5 * peak


def test_how_many_tables_go_together_changes_no_bit(monkeypatch):
    tables = dirichlet((3, 2, 4), count=20, seed=6)
    together = discrete_pid(tables).union
    monkeypatch.setattr("pidflow.pid.discrete.CHUNK", 7)
    assert discrete_pid(tables).union.tobytes() == together.tobytes()
    assert discrete_pid(tables[:0]).union.shape == (0,)


def test_the_result_is_that_of_the_gaussian_decomposition():
    atoms = discrete_pid(CANONICAL["and"][0])
    assert {field.name for field in fields(atoms)} >= {*ATOMS, "mi_1", "mi_2", "mi_12", "union", "info"}
    assert bool(atoms.info.converged)
