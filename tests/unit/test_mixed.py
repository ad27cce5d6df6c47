"""Codes and clusters: found where they are, decomposed as they should be, and chosen by default."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from pidflow.pid.discrete import discrete_pid, redundancy_beside
from pidflow.pid.estimate import estimate_mi, estimate_pid
from pidflow.pid.estimators._rows import estimates_by
from pidflow.pid.gaussian import ATOMS, DEFINITIONS
from pidflow.pid.labels import CLUSTERS, CODES, CONTINUOUS, any_discrete, clumped, labels_of
from pidflow.pid.mixed import _p_value
from pidflow.pid.overlapping import overlapping_labels
from pidflow.pid.parts import patterns
from pidflow.pid.results import QUANTITIES
from pidflow.pid.tails_within import widened_by_tails
from pidflow.stats import jackknife_se
from pidflow.validation.planted_cases import planted_cases


def _script(name):
    path = Path(__file__).resolve().parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


study = _script("study_mixed")


def case(name, seed=0, n=900):
    return study.CASES[name](np.random.default_rng([seed, 99]), n)


class TestLabels:
    @pytest.mark.parametrize(
        "block",
        [
            np.random.default_rng(0).normal(size=(900, 10)),
            np.random.default_rng(1).uniform(size=(300, 10)),
            np.random.default_rng(2).standard_t(3, size=(900, 4)),
            np.exp(np.random.default_rng(3).normal(size=(900, 4))),
            np.random.default_rng(4).normal(size=(40, 2)),
            np.random.default_rng(5).normal(size=(900, 0)),
        ],
    )
    def test_what_has_no_valley_is_continuous(self, block):
        assert labels_of(block).kind == CONTINUOUS

    @pytest.mark.parametrize("count", [2, 3, 36, 150])
    def test_rows_that_repeat_are_codes_up_to_rounding(self, count):
        rng = np.random.default_rng(count)
        code = rng.integers(count, size=900)
        block = rng.normal(size=(count, 5))[code] * (1 + 1e-12 * rng.normal(size=(900, 1))) + 1e3
        found = labels_of(block)
        assert (found.kind, found.count) == (CODES, len(np.unique(code)))
        assert len(set(zip(found.index, code, strict=True))) == found.count

    @pytest.mark.parametrize("share", [0.5, 0.2113, 0.05])
    @pytest.mark.parametrize("columns", [1, 4, 10])
    def test_two_clusters_are_found_in_one_direction_of_many(self, columns, share):
        """A share of 0.2113 has the kurtosis of a normal: only its skewness shows."""
        rng = np.random.default_rng(columns)
        one = rng.uniform(size=900) < share
        block = rng.normal(size=(900, columns))
        block[:, 0] = np.where(one, 1.0, -1.0) + 0.12 * block[:, 0]
        found = labels_of(study.rotated(rng, block))
        assert (found.kind, found.count) == (CLUSTERS, 2)
        assert len(set(zip(found.index, one, strict=True))) == 2

    @staticmethod
    def in_a_row(count, n=900):
        rng = np.random.default_rng(count)
        block = rng.normal(size=(n, 3))
        block[:, 0] = rng.integers(count, size=n) + 0.1 * block[:, 0]
        return block

    @pytest.mark.parametrize("count", [6, 12])
    def test_many_clusters_in_a_row_are_told_apart(self, count):
        assert labels_of(self.in_a_row(count)).count == count

    def test_more_clusters_than_rows_can_tell_apart_are_said(self):
        rows = self.in_a_row(40, n=300)
        assert labels_of(rows).kind == CONTINUOUS
        others = np.random.default_rng(0).normal(size=(2, 300, 2))
        found = estimate_pid(*others, rows, estimator="copula")["broja"]
        (note,) = (word for word in found.warnings if "clumps" in word)
        assert note.startswith("y lies in clumps of few rows each, more clusters than 300 rows can tell apart")
        some = self.in_a_row(12, n=300)
        assert labels_of(some).kind == CLUSTERS
        assert labels_of(some).count < 12
        assert clumped(some)
        assert not any(clumped(np.random.default_rng(seed).uniform(size=(300, 5))) for seed in range(3))

    def test_one_far_row_merges_no_clusters(self):
        block = self.in_a_row(4)
        block[7] = 50.0
        assert labels_of(block).count == 4

    def test_codes_that_stand_for_few_rows_each_are_none(self):
        block = np.random.default_rng(0).normal(size=(600, 4))[np.random.default_rng(1).integers(600, size=900)]
        assert labels_of(block).kind == CONTINUOUS


@pytest.mark.parametrize("name", study.CASES)
def test_every_atom_of_a_planted_mixed_case_is_within_the_bar(name):
    one = case(name)
    found = estimate_pid(one.x1, one.x2, one.y)["broja"]
    assert found.spoke == "mixed"
    for atom in ATOMS:
        assert getattr(found, atom) == pytest.approx(one.truth[atom], abs=study.BAR), atom


def test_covariances_see_bits_that_are_not_there_and_the_result_says_so():
    one = case("COPY, clusters")
    plain = estimate_pid(one.x1, one.x2, one.y, estimator="gaussian")["broja"]
    assert plain.mi_12 > 2.5
    (note,) = (w for w in estimate_pid(one.x1, one.x2, one.y)["broja"].warnings if "estimator gaussian disagrees" in w)
    assert "unique_1 1.86 instead of 0.9" in note


class TestLaws:
    @pytest.fixture(scope="class")
    @staticmethod
    def found():
        one = case("6 of 36 codes")
        return one, estimate_pid(one.x1, one.x2, one.y, estimator="mixed")

    def test_atoms_and_replicates_add_up(self, found):
        assert tuple(found[1]) == DEFINITIONS
        for each in found[1].values():
            values = {name: np.array([getattr(each, name), *each.replicates[name]]) for name in QUANTITIES}
            np.testing.assert_allclose(values["redundancy"] + values["unique_1"], values["mi_1"], atol=1e-12)
            np.testing.assert_allclose(sum(values[atom] for atom in ATOMS), values["mi_12"], atol=1e-12)

    def test_swapped_sources_swap_the_uniques(self, found):
        one, direct = found
        swapped = estimate_pid(one.x2, one.x1, one.y, estimator="mixed")["broja"]
        assert swapped.unique_1 == pytest.approx(direct["broja"].unique_2, abs=0.01)
        assert swapped.synergy == pytest.approx(direct["broja"].synergy, abs=0.01)

    def test_the_unit_and_the_basis_of_a_code_do_not_matter(self, found):
        one, direct = found
        moved = 1e4 + one.x2 @ np.random.default_rng(0).normal(size=(one.x2.shape[1],) * 2)
        again = estimate_pid(one.x1, moved, one.y, estimator="mixed")["broja"]
        assert again.mi_12 == pytest.approx(direct["broja"].mi_12, abs=0.02)

    def test_one_source_alone_is_mutual_information(self, found):
        one, direct = found
        alone = estimate_mi(one.x2, one.y)
        assert alone.bits == pytest.approx(direct["broja"].mi_2, abs=0.03)
        assert alone.bits == pytest.approx(np.log2(6), abs=0.08)
        assert not any("x2" in warning for warning in alone.warnings)

    def test_shuffled_rows_hold_nothing(self, found):
        one, _ = found
        order = np.random.default_rng(0).permutation(len(one.y))
        null = estimate_pid(one.x1, one.x2, one.y[order])["broja"]
        assert null.spoke == "mixed"
        assert null.mi_12 < 0.1
        assert null.p_value > 0.01
        assert all(abs(getattr(null, atom)) < 0.1 for atom in ATOMS)


def test_little_within_the_clusters_is_no_bias_of_the_whole():
    one = case("AND, codes", n=300)
    assert not any("finite-sample bias" in word for word in estimate_pid(one.x1, one.x2, one.y)["broja"].warnings)


def test_groups_are_kept_together_and_few_rows_are_answered():
    one = case("AND, code and clusters", n=200)
    found = estimate_pid(one.x1, one.x2, one.y, groups=np.arange(200) // 4)["broja"]
    assert found.synergy == pytest.approx(0.5, abs=0.2)
    assert len(found.replicates["mi_12"]) == 20


def test_what_is_exactly_discrete_on_all_sides_is_its_table():
    rng = np.random.default_rng(0)
    one, two = rng.integers(3, size=900), rng.integers(2, size=900)
    found = estimate_pid(one, two, one + 3 * (two == one))["broja"]
    exact = study.atoms_of_table(study.table_of(lambda i, j: i + 3 * (i == j), 3, 2))
    for atom in ATOMS:
        assert getattr(found, atom) == pytest.approx(exact[atom], abs=0.05), atom


def test_a_constant_source_beside_a_code_carries_nothing():
    one = case("6 of 36 codes")
    found = estimate_pid(np.ones((900, 3)), one.x2, one.y)["broja"]
    assert found.mi_1 == pytest.approx(0, abs=0.01)
    assert found.unique_2 == pytest.approx(np.log2(6), abs=0.08)


@pytest.mark.parametrize("seed", range(2))
def test_planted_coins_are_read_by_default(seed):
    """The case of the calibration in which the flow does harm."""
    (coins,) = planted_cases(900, (10, 10, 4), seed=seed, names=["discrete"])
    found = estimate_pid(coins.x1, coins.x2, coins.y)["broja"]
    assert found.redundancy == pytest.approx(0.31, abs=0.1)
    assert found.synergy == pytest.approx(0.5, abs=0.1)


def test_rows_without_labels_are_left_to_the_flow():
    rng = np.random.default_rng(0)
    x1, x2 = rng.normal(size=(2, 300, 2))
    found = estimate_pid(x1, x2, x1 + x2 + rng.normal(size=(300, 2)))["broja"]
    assert found.spoke == "flow"


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_a_certain_label_has_a_p_value_above_zero(noise):
    """As records ask for, although the normal tail of so clear a case underflows."""
    classes = np.arange(900) % 4
    scores = -noise * np.random.default_rng(0).random(900)  # log2 of the probability that the right label was given
    assert 0 < _p_value(scores, classes) < 1e-100


def test_relations_that_differ_from_label_to_label_are_seen_in_each():
    """Over all labels together the target goes with nothing: its slope turns round."""
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=900)
    x1, x2 = rng.normal(size=(2, 900, 3))
    within = np.where(label, 1.0, -1.0) * x2[:, 0] * np.sqrt(3) + rng.normal(size=900)
    y = np.column_stack([label + 0.1 * rng.normal(size=900), within])
    x2[:, 1] = label + 0.1 * x2[:, 1]
    found = estimate_pid(x1, x2, y)["broja"]
    assert found.mi_12 == pytest.approx(2.0, abs=0.1)  # one bit of the label, one within it
    assert found.unique_2 == pytest.approx(2.0, abs=0.1)
    assert not any("heavy tails" in word for word in found.warnings)


class TestGaussiansOfLabels:
    """Blocks that cluster, each cluster turned in a way of its own (tests/benchmarks/study_clusters.py)."""

    @pytest.fixture(scope="class")
    @staticmethod
    def planted():
        _script("study_correction")
        return _script("study_clusters")

    @staticmethod
    def found(planted, table, strength, kind, rows=900):
        cell = planted._planted(np.random.default_rng([3, rows]), table, strength, kind, rows)
        found, _ = estimates_by(
            "mixed", scores=tuple(cell.blocks), latents=lambda: None, groups=None, **planted.SETTINGS
        )
        return dict(zip(QUANTITIES, cell.truth, strict=True)), found["broja"]

    @pytest.fixture(scope="class")
    @classmethod
    def divided(cls, planted):
        return cls.found(planted, "4 labels, sum of two codes", "strong", "straight")

    def test_clusters_of_a_source_divide_the_labels_of_the_target(self, divided):
        """No label goes with one cluster; one Gaussian a label sees a tenth of what is told within."""
        truth, found = divided
        assert truth["mi_12"] == pytest.approx(5.24, abs=0.01)
        assert found.mi_12 == pytest.approx(truth["mi_12"], abs=0.4)
        assert not found.warnings

    def test_intervals_hold_what_is_systematic(self, divided):
        truth, found = divided
        for name in ("unique_1", "unique_2", "synergy", "mi_12"):
            low, high = found.interval(name)
            assert low <= truth[name] <= high, name
            assert jackknife_se(found.replicates[name]) == pytest.approx(found.se[name])

    def test_bends_within_labels_are_said(self, planted):
        truth, found = self.found(planted, "4 labels, the text knows", "strong", "bent")
        assert found.mi_12 < truth["mi_12"] - 0.3
        assert any("is far from normal within its labels" in word for word in found.warnings)

    def test_a_target_that_overlaps_is_divided_by_what_a_source_knows(self, planted):
        """Eight labels a source, of which 64 combinations are too many; the clusters of x2 show in shallow valleys."""
        rng = np.random.default_rng([10, 900, *map(ord, "8 labels, the text knowsnone")])
        blocks = planted._planted(rng, "8 labels, the text knows", "none", "overlapping", 900).blocks
        sources = [labels_of(block) for block in blocks[:2]]
        assert labels_of(blocks[2]).kind == CONTINUOUS
        assert sources[1].count == 8
        assert overlapping_labels(blocks[2], sources).count == 8

    def test_labels_with_few_rows_are_said(self, planted):
        truth, found = self.found(planted, "8 labels, the text knows", "strong", "straight", rows=300)
        assert found.mi_12 < truth["mi_12"] - 0.3
        assert any("rows have a label of the target with fewer than 2 rows a column" in w for w in found.warnings)

    def test_a_mean_that_bends_is_seen(self):
        rng = np.random.default_rng(0)
        label, x1, x2 = rng.integers(2, size=900), *rng.normal(size=(2, 900, 2))
        within = x1[:, 0] + x1[:, 0] ** 2 + 0.5 * rng.normal(size=900)
        y = np.column_stack([label + 0.1 * rng.normal(size=900), within])
        x2[:, 1] = label + 0.1 * x2[:, 1]
        found = estimate_pid(x1, x2, y, estimator="mixed")["broja"]
        assert found.unique_1 > 0.5  # a straight mean leaves 0.2


@pytest.mark.parametrize("excess", [False, True])
def test_what_is_not_normal_widens_intervals_and_a_word_follows_where_that_is_most_of_them(excess):
    rng = np.random.default_rng(0)
    shared = np.exp(1.5 * rng.normal(size=(900, 1))) if excess else 1.0
    rows = rng.normal(size=(900, 5)) * shared, *(rng.normal(size=(900, d)) for d in (5, 3))
    mi = {name: np.full(21, bits) for name, bits in zip(("mi_1", "mi_2", "mi_12"), (1.0, 0.5, 1.2), strict=True)}
    unsure = dict.fromkeys(mi, 0.05)
    words = widened_by_tails(rows, [np.zeros(900, dtype=int)] * 3, mi, unsure)
    assert [word[:2] for word in words] == (["x1"] if excess else [])
    assert unsure["mi_2"] == 0.05
    assert (unsure["mi_1"] > 0.1) == (unsure["mi_12"] > 0.1) == excess


def test_patterns_have_the_size_that_is_unsure_and_do_not_go_together():
    unsure = {"mi_1": 0.1, "mi_2": 0.2, "mi_12": 0.3, "redundancy": 0.05}
    for groups in (5, 20):
        added = patterns(unsure, groups)
        assert jackknife_se(added["redundancy"]) == pytest.approx(0.05)
        assert jackknife_se(added["unique_2"]) == pytest.approx(0.2)
        product = np.stack(list(added.values())) @ np.stack(list(added.values())).T
        np.testing.assert_allclose(product - np.diag(np.diag(product)), 0, atol=1e-12)


@pytest.mark.parametrize("definition", ["broja", "dep"])
def test_tables_hardly_different_follow_from_the_solution_of_the_whole(definition):
    rng = np.random.default_rng(0)
    one, two = rng.integers(3, size=(2, 900))
    target = np.where(rng.uniform(size=900) < 0.7, one + two, rng.integers(5, size=900))
    counts = np.zeros((3, 3, 5))
    np.add.at(counts, (one, two, target), 1)
    left = counts.copy()
    left[1, 1] = np.floor(0.8 * left[1, 1])  # without some of the rows
    without = np.stack([left]) / left.sum()
    whole, near, _ = redundancy_beside(counts / 900, without, definition=definition, tol_bits=1e-8)
    exact = float(discrete_pid(without[0], definition=definition).redundancy)
    assert whole == pytest.approx(float(discrete_pid(counts / 900, definition=definition).redundancy), abs=1e-6)
    assert abs(exact - whole) > 1e-3
    assert near[0] == pytest.approx(exact, abs=0.2 * abs(exact - whole))


def test_a_target_of_more_codes_than_rows_tell_apart_has_no_number():
    """What a model says that sees the question alone: as clusters the codes would be told beyond their entropy."""
    rng = np.random.default_rng(0)
    vision, code = rng.standard_normal((900, 4)), rng.integers(250, size=900)
    words, answer = rng.standard_normal((250, 5))[code], rng.standard_normal((250, 3))[code]
    found = estimate_pid(vision, words, answer, estimator="mixed")["broja"]
    assert not found.bounded
    assert any("y takes 238 distinct values in 900 rows" in word for word in found.warnings)
    assert not estimate_pid(vision, words, answer)["broja"].bounded
    asked_twice = np.repeat(rng.standard_normal((450, 9)), 2, axis=0)
    twice = np.split(asked_twice, 3, axis=1)
    assert estimate_pid(*twice, estimator="mixed", groups=np.repeat(np.arange(450), 2))["broja"].bounded


@pytest.mark.parametrize("rounding", [0.0, 1e-9])
def test_a_cluster_of_equal_rows_is_a_cluster(rounding):
    """As where one question template of some is asked again and again and the others differ a little."""
    rng = np.random.default_rng(0)
    template, centre = rng.integers(4, size=900), 20 * rng.standard_normal((4, 5))
    spread = np.where(template == 0, rounding, 1.0)[:, None]
    found = labels_of(centre[template] + spread * rng.standard_normal((900, 5)))
    assert (found.kind, found.count) == (CLUSTERS, 4)
    assert len(np.unique(np.stack([found.index, template]), axis=1).T) == 4


@pytest.mark.parametrize("width", [0, 1, 3])
def test_a_block_that_does_not_vary_is_continuous_and_hides_no_codes_beside_it(width):
    rng = np.random.default_rng(0)
    still, codes = np.full((300, width), 2.5), rng.integers(0, 4, (300, 1)) * 0.1
    free = rng.standard_normal((300, 2))
    assert labels_of(still).kind == labels_of(np.column_stack([still, free])).kind == "continuous"
    assert labels_of(still, labels_of(codes)).kind == "continuous"
    assert labels_of(np.column_stack([still, codes])).count == 4
    assert not any_discrete((still, free, free))
    assert any_discrete((still, codes, free))


@pytest.mark.parametrize("distance", [0.0, 3.0])
def test_a_value_that_many_rows_take_is_a_label(distance):
    """Two fifths of the target are one point, with nothing to see it by in the sources: 0.6 · log2 5 = 1.39 bits.

    Three standard deviations away no valley shows: as continuous rows they gave 0.64 bit, without a warning.
    """
    rng = np.random.default_rng(5)
    x1, x2 = rng.normal(size=(2, 900, 4))
    at = rng.random(900) < 0.4
    y = np.stack([x[:, 0] + 0.5 * rng.normal(size=900) for x in (x1, x2)], axis=1)
    y[at] = [-distance, 0]
    found = estimate_pid(x1, x2, y, definitions=["broja"])["broja"]
    assert found.spoke == "mixed"
    assert found.mi_12 == pytest.approx(0.6 * np.log2(5), abs=0.15)
