"""Other definitions of a discrete decomposition: dit as reference, closed forms, laws."""

import warnings

import numpy as np
import pytest

from pidflow.errors import ConfigError
from pidflow.pid.discrete import METHODS, discrete_pid
from pidflow.pid.discrete_definitions import greatest_entropy
from pidflow.pid.gaussian import ATOMS

OTHERS = tuple(name for name in METHODS if name != "broja")


def rule(function, k1, k2):
    """Joint pmf of a function of two independent uniform symbols."""
    pmf = np.zeros((k1, k2, 1 + max(function(i, j) for i, j in np.ndindex(k1, k2))))
    for i, j in np.ndindex(k1, k2):
        pmf[i, j, function(i, j)] = 1 / (k1 * k2)
    return pmf


def random_tables(shape, count, seed, concentration=1.0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(np.prod(shape), concentration), count).reshape(count, *shape)


SYSTEMS = {
    "and": rule(lambda i, j: i & j, 2, 2),
    "xor": rule(lambda i, j: i ^ j, 2, 2),
    "sum": rule(lambda i, j: i + j, 2, 2),
    "copy": rule(lambda i, j: 2 * i + j, 2, 2),
    "unique": rule(lambda i, j: i, 2, 2),
    "redundant": np.einsum("ij,ik->ijk", np.eye(2) / 2, np.eye(2)),
    "max": rule(max, 3, 3),
    "random": random_tables((2, 2, 2), 1, 1)[0],
    "random 3": random_tables((3, 2, 3), 1, 2)[0],
}


def atoms_of(pmf, definition):
    found = discrete_pid(pmf, definition=definition)
    return np.stack([getattr(found, name) for name in ATOMS], axis=-1)


@pytest.mark.parametrize("definition", OTHERS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_dit_agrees(system, definition):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dit = pytest.importorskip("dit", reason="dit is the reference")
        from dit.pid import PID_CCS, PID_MMI, PID_WB, PID_dep

        measure = {"imin": PID_WB, "mmi": PID_MMI, "dep": PID_dep, "ccs": PID_CCS}[definition]
        pmf = SYSTEMS[system]
        outcomes = [index for index in np.ndindex(*pmf.shape) if pmf[index] > 0]
        found = measure(dit.Distribution(outcomes, [pmf[index] for index in outcomes]), [[0], [1]], [2])
        nodes = (((0,), (1,)), ((0,),), ((1,),), ((0, 1),))
        expected = [float(found.get_pi(node)) for node in nodes]
    # dit finds the distribution of greatest entropy by a general optimiser.
    np.testing.assert_allclose(atoms_of(pmf, definition), expected, atol=1e-3 if definition in ("dep", "ccs") else 1e-9)


class TestKnownAnswers:
    def test_two_bits_copied(self):
        """The case on which the definitions are told apart: I_min calls a bit of it redundant, BROJA and dep none."""
        copy = SYSTEMS["copy"]
        np.testing.assert_allclose(atoms_of(copy, "imin"), [1, 0, 0, 1], atol=1e-12)
        np.testing.assert_allclose(atoms_of(copy, "mmi"), [1, 0, 0, 1], atol=1e-12)
        np.testing.assert_allclose(atoms_of(copy, "dep"), [0, 1, 1, 0], atol=1e-9)
        np.testing.assert_allclose(atoms_of(copy, "ccs"), [0, 1, 1, 0], atol=1e-9)

    def test_and(self):
        expected = 1.5 - 0.75 * np.log2(3)
        for definition in ("imin", "mmi"):
            assert atoms_of(SYSTEMS["and"], definition)[0] == pytest.approx(expected, abs=1e-12)
        # James et al. 2019, table 2; Ince 2017, table 4
        np.testing.assert_allclose(atoms_of(SYSTEMS["and"], "dep"), [0.08, 0.23, 0.23, 0.27], atol=0.005)
        np.testing.assert_allclose(atoms_of(SYSTEMS["and"], "ccs"), [0.104, 0.208, 0.208, 0.292], atol=0.002)

    def test_xor_is_synergy_by_any(self):
        for definition in METHODS:
            np.testing.assert_allclose(atoms_of(SYSTEMS["xor"], definition), [0, 0, 0, 1], atol=1e-7)


class TestLaws:
    TABLES = random_tables((3, 2, 4), 20, 3, concentration=0.5)

    @pytest.mark.parametrize("definition", METHODS)
    def test_atoms_add_up_and_swapped_sources_swap_the_uniques(self, definition):
        found = discrete_pid(self.TABLES, definition=definition)
        np.testing.assert_allclose(found.redundancy + found.unique_1, found.mi_1, atol=1e-12)
        np.testing.assert_allclose(sum(getattr(found, name) for name in ATOMS), found.mi_12, atol=1e-12)
        swapped = atoms_of(self.TABLES.swapaxes(1, 2), definition)
        np.testing.assert_allclose(swapped, atoms_of(self.TABLES, definition)[:, [0, 2, 1, 3]], atol=1e-7)
        assert found.info.method == METHODS[definition]

    @pytest.mark.parametrize("definition", METHODS)
    def test_a_batch_is_its_tables(self, definition):
        one_by_one = np.stack([atoms_of(pmf, definition) for pmf in self.TABLES[:5]])
        np.testing.assert_allclose(atoms_of(self.TABLES[:5], definition), one_by_one, atol=1e-8)

    def test_they_are_ordered(self):
        """The union of BROJA is the least that couplings allow; the larger source is the least that any may say."""
        union = {name: np.array(discrete_pid(self.TABLES, definition=name).union) for name in METHODS}
        assert (union["mmi"] <= union["broja"] + 1e-8).all()
        assert (union["broja"] <= union["dep"] + 1e-8).all()
        assert (union["mmi"] <= union["imin"] + 1e-12).all()

    def test_the_distribution_of_greatest_entropy_keeps_the_pairs(self):
        fitted, gap = greatest_entropy(self.TABLES)
        for axis in (1, 2, 3):
            np.testing.assert_allclose(fitted.sum(axis=axis), self.TABLES.sum(axis=axis), atol=1e-9)
        assert gap.max() < 1e-8
        entropy = -(fitted * np.log(fitted)).sum(axis=(1, 2, 3))
        assert (entropy >= -(self.TABLES * np.log(self.TABLES)).sum(axis=(1, 2, 3)) - 1e-12).all()


def test_an_unknown_definition_is_named():
    with pytest.raises(ConfigError, match="definition must be one of"):
        discrete_pid(SYSTEMS["and"], definition="williams")
