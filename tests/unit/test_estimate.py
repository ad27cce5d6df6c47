"""Estimates from rows: estimators, corrections, errors, refusals, paired differences."""

import doctest
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pidflow
from pidflow.errors import ConfigError, DataError, NumericsError
from pidflow.flows.settings import FlowConfig
from pidflow.pid.bias import mi_bias
from pidflow.pid.covariances import covariance, deleted_covariances, jackknife_blocks, permuted_covariances
from pidflow.pid.estimate import estimate_mi, estimate_pid
from pidflow.pid.from_latents import estimate_pid_from_latents
from pidflow.pid.gaussian import ATOMS, DEFINITIONS, gaussian_pid
from pidflow.pid.gaussian_system import gaussian_mi
from pidflow.pid.paired import paired_difference
from pidflow.pid.results import QUANTITIES
from pidflow.stats import normal_scores


def rows(n=400, *, seed=0, gain_1=1.0, gain_2=0.6):
    """A target of three columns; source 1 sees the first two, source 2 the last two."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, 3))
    x1 = gain_1 * y[:, :2] + rng.normal(size=(n, 2))
    x2 = gain_2 * y[:, 1:] + rng.normal(size=(n, 2))
    return x1, x2, y


class TestCovariances:
    def test_deleted_blocks_are_covariances_of_what_is_left(self):
        table = np.random.default_rng(0).normal(size=(101, 4)) + 50
        blocks = jackknife_blocks(101, 20, groups=None, seed=0)
        found, sizes = deleted_covariances(table, blocks)
        assert sizes.sum() == 19 * 101
        for block in range(20):
            np.testing.assert_allclose(found[block], np.cov(table[blocks != block].T), rtol=1e-12)

    def test_permuted_covariances_keep_the_blocks_and_cut_the_target_loose(self):
        x1, x2, y = rows()
        sources = np.concatenate([x1, x2], axis=1)
        found = permuted_covariances(sources, y, 30, groups=None, seed=0)
        np.testing.assert_allclose(found[:, :4, :4], np.broadcast_to(np.cov(sources.T), (30, 4, 4)), rtol=1e-12)
        np.testing.assert_allclose(found[:, 4:, 4:], np.broadcast_to(np.cov(y.T), (30, 3, 3)), rtol=1e-12)
        assert np.abs(found[:, :4, 4:].mean(axis=0)).max() < 0.05
        np.testing.assert_array_equal(found, found.swapaxes(-1, -2))

    def test_normal_scores(self):
        column = np.array([3.0, -1.0, 3.0, 100.0])
        expected = [0.0, -0.8416212335729142, 0.0, 0.8416212335729142]
        # ranks 2.5, 1, 2.5, 4 of 5; a monotone map changes nothing
        np.testing.assert_allclose(normal_scores(column[:, None])[:, 0], expected, atol=1e-12)
        x = np.random.default_rng(0).normal(size=(50, 3))
        np.testing.assert_array_equal(normal_scores(np.exp(x)), normal_scores(x))


class TestEstimate:
    def test_fields_are_consistent(self):
        x1, x2, y = rows()
        found = estimate_pid(x1, x2, y, estimator="gaussian")
        assert tuple(found) == DEFINITIONS
        for name, result in found.items():
            atoms = gaussian_pid(covariance(np.concatenate([x1, x2, y], axis=1)), (2, 2, 3), definition=name)
            assert result.definition == name
            assert sum(getattr(result, atom) for atom in ATOMS) == pytest.approx(result.mi_12, abs=1e-12)
            assert result.redundancy + result.unique_1 == pytest.approx(result.mi_1, abs=1e-12)
            assert result.union == pytest.approx(result.mi_2 + result.unique_1, abs=1e-12)
            assert result.mi_12 == pytest.approx(float(atoms.mi_12) - mi_bias(400, 4, 3), abs=1e-12)
            assert result.union_raw == pytest.approx(float(atoms.union), abs=1e-12)
            assert result.union_corrected == pytest.approx(result.union_raw - result.union_bias, abs=1e-12)
            assert result.clipped is (abs(result.union - result.union_corrected) > 1e-12)
            assert result.union_correction == ("exact" if name == "mmi" else "cross-fit")
            assert 0 < result.union_null < 0.05
            assert result.raw["synergy"] == pytest.approx(float(atoms.synergy), abs=1e-12)
            assert result.converged
            assert result.gap_bits < 1e-9
            assert (result.n, result.ratio) == (400, pytest.approx(400 / 7))
            assert result.p_value == pytest.approx(1 / 21)
            assert set(result.se) == set(result.replicates) == set(QUANTITIES)
            assert all(0.001 < result.se[q] < 0.2 for q in ("mi_1", "mi_2", "mi_12"))

    def test_mmi_follows_the_corrected_informations(self):
        result = estimate_pid(*rows(), estimator="gaussian", definitions=("mmi",))["mmi"]
        assert result.union == pytest.approx(max(result.mi_1, result.mi_2), abs=1e-12)
        assert not result.clipped

    def test_the_error_of_an_information_is_its_spread(self):
        """Jackknife errors against the spread over 60 data sets."""
        results = [estimate_pid(*rows(seed=s), estimator="gaussian", definitions=("mmi",))["mmi"] for s in range(60)]
        for quantity in ("mi_1", "mi_12", "unique_1"):
            spread = np.std([getattr(r, quantity) for r in results], ddof=1)
            assert np.mean([r.se[quantity] for r in results]) == pytest.approx(spread, rel=0.35), quantity

    def test_interval_widens_with_level(self):
        result = estimate_pid(*rows(), estimator="gaussian")["broja"]
        low, high = result.interval("mi_1")
        # Student with 19 degrees of freedom
        assert (high - low) / 2 == pytest.approx(2.093024 * result.se["mi_1"], rel=1e-6)
        assert result.interval("mi_1", level=0.99)[1] > high

    def test_latents_take_the_same_path(self):
        x1, x2, y = rows()
        direct = estimate_pid(x1, x2, y, estimator="copula", seed=4)
        latents = estimate_pid_from_latents(normal_scores(x1), normal_scores(x2), normal_scores(y), seed=4)
        assert {name: replace(each, spoke="") for name, each in direct.items()} == latents

    def test_copula_ignores_monotone_warps(self):
        x1, x2, y = rows()
        plain = estimate_pid(x1, x2, y, estimator="copula")["broja"]
        assert estimate_pid(np.exp(x1), x2**3, np.tanh(y), estimator="copula")["broja"] == plain
        assert estimate_pid(np.exp(2 * x1), x2**3, y, estimator="gaussian")["broja"].mi_12 < plain.mi_12 - 0.2

    def test_one_dimensional_arrays_are_one_column(self):
        x1, x2, y = rows()
        flat = estimate_pid(x1[:, 0], x2[:, 0], y[:, 0], estimator="gaussian")
        assert flat == estimate_pid(x1[:, :1], x2[:, :1], y[:, :1], estimator="gaussian")

    def test_order_of_rows_and_labels_of_groups_do_not_matter_to_the_atoms(self):
        x1, x2, y = rows()
        groups = np.repeat(np.arange(100), 4)
        names = np.array([f"g{i:03d}" for i in groups])
        plain = estimate_pid(x1, x2, y, estimator="gaussian", groups=groups)["broja"]
        assert estimate_pid(x1, x2, y, estimator="gaussian", groups=names)["broja"] == plain

    def test_without_cross_fitting_replicates_carry_the_bias_of_fewer_rows(self):
        """Five blocks: each replicate has a fifth fewer rows, hence more bias, and is corrected for that."""
        rng = np.random.default_rng(0)
        y = rng.normal(size=(150, 8))
        x1 = 2 * y * (np.arange(8) < 4) + rng.normal(size=y.shape)
        x2 = 2 * y * (np.arange(8) >= 4) + y + rng.normal(size=y.shape)
        result = estimate_pid(x1, x2, y, estimator="gaussian", jackknife=5)["broja"]
        assert result.union_correction == "permutation"
        assert not result.clipped
        assert np.mean(result.replicates["synergy"]) == pytest.approx(result.synergy, abs=0.05)

    def test_a_column_that_varies_in_one_row_is_refused(self):
        x1, x2, y = rows()
        x1[:, 0] = np.arange(400) == 3
        with pytest.raises(NumericsError, match=r"when some of the rows are left out.*x1 is degenerate: its column 0"):
            estimate_pid(x1, x2, y, estimator="gaussian")

    def test_few_groups_give_few_blocks(self):
        result = estimate_pid(*rows(), estimator="gaussian", groups=np.arange(400) % 8)["broja"]
        assert len(result.replicates["mi_1"]) == 8


class TestConstants:
    @pytest.mark.parametrize("estimator", ["gaussian", "copula", "flow"])
    @pytest.mark.parametrize("constant", [np.ones((400, 2)), np.zeros((400, 0)), np.full(400, 1e9)])
    def test_a_constant_source_carries_exactly_nothing(self, estimator, constant):
        _, x2, y = rows()
        if estimator == "flow" and constant.shape != (400, 2):
            return
        for result in estimate_pid(constant, x2, y, estimator=estimator).values():
            assert (result.mi_1, result.redundancy, result.unique_1, result.synergy) == (0, 0, 0, 0)
            assert result.unique_2 == result.mi_2 == result.mi_12 > 0.35
            assert result.se["unique_1"] == 0
            assert "x1 is constant over all 400 rows: it carries 0 bits" in result.warnings

    def test_a_constant_target_is_told_exactly_nothing(self):
        x1, x2, _ = rows()
        result = estimate_pid(x1, x2, np.ones(400), estimator="gaussian")["broja"]
        assert (result.mi_1, result.mi_2, result.mi_12, result.synergy, result.p_value) == (0, 0, 0, 0, 1)
        assert estimate_mi(x1, np.ones(400), estimator="copula").bits == 0

    def test_a_constant_column_changes_nothing(self):
        x1, x2, y = rows()
        clean = estimate_pid(x1, x2, y, estimator="gaussian")["broja"]
        padded = estimate_pid(np.column_stack([x1, np.ones(400)]), x2, y, estimator="gaussian")["broja"]
        assert padded.synergy == clean.synergy
        assert "columns [2] of x1 are constant and were left out" in padded.warnings


def test_copied_sources_have_the_bias_of_one_of_them():
    """The directions that were dropped add no noise: I12 is I1 in every draw, also after its correction."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        y, x = rng.normal(size=(150, 4)), rng.normal(size=(150, 10))
        x[:, :4] += y
        result = estimate_pid(x, x @ rng.normal(size=(10, 10)), y, estimator="gaussian")["broja"]
        assert result.mi_12 == pytest.approx(result.mi_1, abs=1e-9)
        assert result.synergy == pytest.approx(0, abs=1e-9)


class TestRepeatedRows:
    def test_copies_without_groups_are_noticed(self):
        copies = [np.concatenate([block, block[:40]]) for block in rows()]
        found = estimate_pid(*copies, estimator="gaussian")["broja"].warnings
        assert any(w.startswith("40 of 440 rows are copies of other rows and no groups were given") for w in found)
        groups = np.concatenate([np.arange(400), np.arange(40)])
        found = estimate_pid(*copies, estimator="gaussian", groups=groups)["broja"].warnings
        assert not any("copies of other rows" in w for w in found)

    def test_coarse_columns_repeat_by_themselves(self):
        x1, x2, y = (np.random.default_rng(seed).integers(0, 3, size=200) for seed in range(3))
        assert not any(
            "copies of other rows" in w for w in estimate_pid(x1, x2, y, estimator="gaussian")["broja"].warnings
        )


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_units_and_offsets_of_columns_do_not_matter(scale):
    x1, x2, y = rows()
    plain = estimate_pid(x1, x2, y, estimator="gaussian")["broja"]
    other = estimate_pid(x1 * scale, x2 / scale + 1e6 / scale, y, estimator="gaussian")["broja"]
    assert other.synergy == pytest.approx(plain.synergy, abs=1e-8)


class TestWarnings:
    def test_bias_larger_than_what_is_left(self):
        x1, x2, _ = rows(60)
        y = np.random.default_rng(9).normal(size=(60, 3))
        result = estimate_pid(x1, x2, y, estimator="gaussian")["broja"]
        assert any("exceeds half of what is left" in w for w in result.warnings)
        assert result.p_value > 1 / 21

    def test_dependent_rows_show(self):
        x1, x2, y = (np.repeat(block, 5, axis=0) for block in rows(80))
        x1 = x1 + 1e-3 * np.random.default_rng(0).normal(size=x1.shape)
        groups = np.repeat(np.arange(80), 5)
        result = estimate_pid(x1, x2, y, estimator="gaussian", groups=groups)["broja"]
        assert any("rows depend on each other" in w for w in result.warnings)
        assert not any(
            "depend on each other" in w for w in estimate_pid(*rows(), estimator="gaussian")["broja"].warnings
        )

    def test_shared_columns_are_noted(self):
        x1, x2, y = rows()
        result = estimate_pid(x1, np.column_stack([x2, x1[:, 0]]), y, estimator="gaussian")["broja"]
        assert any("copies of each other in 1 directions" in w for w in result.warnings)

    def test_clipping_is_told(self):
        """Source 1 dominates, and permutations take too much from the union: it falls below I(x1; y)."""
        rng = np.random.default_rng(0)
        y = rng.normal(size=(200, 10))
        x1, x2 = 2 * y + rng.normal(size=y.shape), rng.normal(size=y.shape)
        result = estimate_pid(x1, x2, y, estimator="gaussian", jackknife=5)["broja"]
        assert (result.union_correction, result.clipped) == ("permutation", True)
        assert any("rows are too few to be divided" in w for w in result.warnings)
        assert any("was clipped to" in w for w in result.warnings)

    @pytest.mark.parametrize(("d", "warned"), [(5, False), (7, True)])
    def test_few_rows_to_choose_bases_by(self, d, warned):
        """Twelve rows a dimension are enough, 8.6 are not; `mmi` needs no bases."""
        rng = np.random.default_rng(0)
        y = rng.normal(size=(180, d))
        x1, x2 = (y + rng.normal(size=y.shape) for _ in range(2))
        found = estimate_pid(x1, x2, y, estimator="gaussian", definitions=("broja", "mmi"))
        told = {name: any("rows a dimension are few to divide" in w for w in r.warnings) for name, r in found.items()}
        assert told == {"broja": warned, "mmi": False}
        assert found["broja"].union_correction == "cross-fit"

    def test_clipped_noise_is_not_worth_a_warning(self):
        """One source knows nothing: half of the estimates fall outside by chance."""
        results = []
        for seed in range(12):
            _, x2, y = rows(200, seed=seed)
            x1 = np.random.default_rng(100 + seed).normal(size=(200, 2))
            results.append(estimate_pid(x1, x2, y, estimator="gaussian", definitions=("broja",))["broja"])
        assert sum(r.clipped for r in results) > 3
        assert sum(any("was clipped" in w for w in r.warnings) for r in results) <= 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"y": np.full((400, 3), np.nan)}, DataError, "y is not finite at row 0, column 0"),
        ({"x2": np.zeros((399, 2))}, DataError, "x1 400, x2 399, y 400"),
        ({"x2": np.zeros((400, 2, 2))}, DataError, r"x2 must have shape"),
        (
            {"x1": np.random.default_rng(0).normal(size=(400, 395))},
            NumericsError,
            "400 rows are too few for 400 columns",
        ),
        ({"x1": np.random.default_rng(0).normal(size=(400, 390))}, NumericsError, "jackknife leaves 380"),
        ({"estimator": "quantile"}, ConfigError, "auto, copula, flow, gaussian, mixed"),
        ({"definitions": ("imin",)}, ConfigError, "broja, mmi, dep"),
        ({"definitions": ()}, ConfigError, "broja, mmi, dep"),
        ({"permutations": 19}, ConfigError, "from 20 to 10000, found 19"),
        ({"jackknife": 3}, NumericsError, "at least 5 blocks"),
        ({"groups": np.arange(400) % 4}, NumericsError, "4 groups"),
        ({"groups": np.arange(10)}, DataError, r"groups must have shape \(400,\)"),
    ],
)
def test_refusals(change, error, message):
    x1, x2, y = rows()
    arguments = {"x1": x1, "x2": x2, "y": y, "estimator": "gaussian", **change}
    with pytest.raises(error, match=message):
        estimate_pid(arguments.pop("x1"), arguments.pop("x2"), arguments.pop("y"), **arguments)


class TestFlowRoute:
    @pytest.fixture
    def calls(self, monkeypatch):
        """A flow that halves what it is given, and remembers it; the real one needs seconds to import and to train."""
        calls = []

        def gaussianize(x1, x2, y, *, folds, groups, seed, config=None):
            calls.append({"x2": x2, "folds": folds, "groups": groups, "seed": seed, "config": config})
            return SimpleNamespace(z1=x1 / 2, z2=x2 / 2, y=y / 2)

        monkeypatch.setitem(sys.modules, "pidflow.flows.gaussianize", SimpleNamespace(gaussianize=gaussianize))
        return calls

    def test_latents_are_decomposed_and_folds_keep_groups_whole(self, calls):
        x1, x2, y = rows()
        groups = np.arange(400) // 4
        found = estimate_pid(x1, x2, y, folds=3, groups=groups, seed=7)
        assert {each.spoke for each in found.values()} == {"flow"}
        found = {name: replace(each, spoke="") for name, each in found.items()}
        assert found == estimate_pid_from_latents(x1 / 2, x2 / 2, y / 2, groups=groups, seed=7)
        (call,) = calls
        assert (call["groups"] is groups, call["seed"]) == (True, 7)
        assert set(call["folds"]) == {0, 1, 2}
        assert (call["folds"].reshape(100, 4) == call["folds"][::4, None]).all()

    def test_information_of_two_blocks_needs_an_idle_third(self, calls):
        x1, _, y = rows()
        assert estimate_mi(x1, y) == estimate_mi(x1 / 2, y / 2, estimator="gaussian")
        assert np.abs(np.corrcoef(calls[0]["x2"][:, 0], x1[:, 0])[0, 1]) < 0.15


class TestMutualInformation:
    def test_it_is_corrected_and_has_an_error(self):
        x1, _, y = rows()
        result = estimate_mi(x1, y, estimator="gaussian")
        assert result.raw == pytest.approx(float(gaussian_mi(covariance(np.concatenate([x1, y], axis=1)), (2, 3))))
        assert result.bits == pytest.approx(result.raw - mi_bias(400, 2, 3))
        assert abs(result.bits - 1.0) < 4 * result.se

    def test_it_agrees_with_the_decomposition(self):
        x1, x2, y = rows()
        whole = estimate_pid(x1, x2, y, estimator="copula", seed=2)["broja"]
        part = estimate_mi(x1, y, estimator="copula", seed=2)
        assert part.bits == pytest.approx(whole.mi_1, abs=1e-12)
        assert part.se == pytest.approx(whole.se["mi_1"], rel=1e-9)

    def test_few_rows_warn(self):
        rng = np.random.default_rng(0)
        assert (
            "exceeds half"
            in estimate_mi(rng.normal(size=(40, 5)), rng.normal(size=(40, 5)), estimator="copula").warnings[0]
        )


class TestPairedDifference:
    def test_errors_shrink_when_conditions_share_their_noise(self):
        x1, x2, y = rows()
        first = estimate_pid(x1, x2, y, estimator="gaussian")["broja"]
        weaker = x1 + 0.3 * np.random.default_rng(1).normal(size=x1.shape)
        second = estimate_pid(weaker, x2, y, estimator="gaussian")["broja"]
        found = paired_difference(first, second)
        for quantity in QUANTITIES:
            change = getattr(second, quantity) - getattr(first, quantity)
            assert found.difference[quantity] == pytest.approx(change, abs=1e-15)
        assert found.se["mi_1"] < 0.5 * np.hypot(first.se["mi_1"], second.se["mi_1"])
        low, high = found.interval("mi_1")
        assert low < found.difference["mi_1"] < high < 0

    def test_other_rows_are_refused(self):
        first = estimate_pid(*rows(), estimator="gaussian")
        with pytest.raises(DataError, match="deleted different rows"):
            paired_difference(first["broja"], estimate_pid(*rows(), estimator="gaussian", seed=1)["broja"])
        with pytest.raises(DataError, match="cannot subtract"):
            paired_difference(first["broja"], first["mmi"])


class TestPackage:
    def test_public_names_resolve(self):
        assert set(pidflow.__all__) <= set(dir(pidflow))
        for name in pidflow.__all__:
            assert getattr(pidflow, name) is not None
        with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
            _ = pidflow.nonsense

    def test_estimating_does_not_import_torch(self):
        code = (
            "import sys, numpy as np; from pidflow import estimate_pid; r = np.random.default_rng(0).normal;"
            "estimate_pid(r(size=50), r(size=50), r(size=50), estimator='copula');"
            "sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
        )
        home = pidflow.__path__[0].removesuffix("pidflow")
        assert (
            subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {home!r}); {code}"]).returncode == 0
        )


def test_examples_in_the_manual():
    page = Path(__file__).resolve().parents[2] / "docs" / "finite-samples.md"
    found = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert (found.failed, found.attempted > 5) == (0, True)


def _exact(case):
    """Sources and a target that they tell exactly, in one direction or in all."""
    rng = np.random.default_rng(0)
    x1, x2, y = rng.standard_normal((3, 300, 3))
    code = rng.integers(6, size=300)
    return {
        "a column": (x1, x2, x1[:, :1]),
        "a column beside others": (x1, x2, np.column_stack([y, x1[:, 0]])),
        "a turned copy": (x1, x2, x2 @ np.linalg.qr(rng.standard_normal((3, 3))).Q),
        "both sources": (x1, x1.copy(), x1.copy()),
        "only together": (x1, x2, x1[:, :2] + x2[:, :2]),
        "beside a constant": (x1, x2, np.column_stack([x1[:, 0], np.ones(300)])),
        "a code": (x1, rng.standard_normal((6, 5))[code], rng.standard_normal((6, 2))[code]),
    }[case]


@pytest.mark.parametrize("estimator", ["gaussian", "copula", "flow", "auto"])
@pytest.mark.parametrize(
    "case",
    ["a column", "a column beside others", "a turned copy", "both sources", "only together", "beside a constant"],
)
def test_where_a_source_tells_the_target_exactly_there_is_no_number_but_a_word(case, estimator):
    x1, x2, y = _exact(case)
    brief = FlowConfig(max_steps=1)
    for found in estimate_pid(x1, x2, y, estimator=estimator, folds=2, flow=brief, correct="twin").values():
        assert not found.bounded
        assert np.isnan([getattr(found, name) for name in QUANTITIES]).all()
        assert any(word.startswith("no number: I(") and "is infinite" in word for word in found.warnings)


def test_a_code_tells_its_function_in_bits_that_can_be_counted():
    found = estimate_pid(*_exact("a code"))["broja"]
    assert found.spoke == "mixed"
    assert found.unique_2 == pytest.approx(np.log2(6), abs=0.1)
    assert not estimate_pid(*_exact("a code"), estimator="gaussian")["broja"].bounded


def test_an_information_without_bound_is_no_number_either():
    x, _, y = _exact("a turned copy")
    assert estimate_mi(x, y, estimator="gaussian").bits < 0.1
    for estimator in ("gaussian", "copula"):
        found = estimate_mi(x, x[:, :1], estimator=estimator)
        assert np.isnan(found.bits)
        assert found.warnings[-1].startswith("no number: I(x; y) is infinite")
