"""Correction by the twin: laws of the corrected numbers and their errors, and that it gives back what flows lose."""

from dataclasses import replace

import numpy as np
import pytest

from pidflow.errors import ConfigError, DataError
from pidflow.flows.gaussianize import FlowConfig
from pidflow.pid.correction import LARGEST, UNSURE, corrected, pattern
from pidflow.pid.estimate import estimate_pid
from pidflow.pid.from_latents import estimate_pid_from_latents
from pidflow.pid.gaussian import DEFINITIONS
from pidflow.pid.paired import paired_difference
from pidflow.pid.results import QUANTITIES
from pidflow.stats import jackknife_se, within
from pidflow.validation.planted_cases import planted_cases


def estimates(seed, *, noise=1.0, n=400, alike=False):
    """Decompositions of Gaussian rows, the noisier the less informative; `alike`: the second source is constant."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((n, 2))
    x1, x2 = (y + noise * rng.standard_normal((n, 2)) for _ in range(2))
    return estimate_pid_from_latents(x1, np.zeros((n, 1)) if alike else x2, y)


@pytest.fixture(scope="module")
def three():
    """What was found in rows, in the latents of their twin and in those that flows find in it."""
    return estimates(0, noise=1.2), estimates(1, noise=1.0), estimates(1, noise=1.3)


@pytest.fixture(params=DEFINITIONS)
def one(request, three):
    return [each[request.param] for each in three]


def test_informations_are_moved_by_what_the_twin_lost(one):
    estimate, perfect, found = one
    result = corrected(estimate, perfect=perfect, found=found)
    for name in ("mi_1", "mi_2", "mi_12"):
        lost = getattr(perfect, name) - getattr(found, name)
        assert getattr(result, name) == pytest.approx(getattr(estimate, name) + lost)
    assert result.uncorrected.bits == {name: getattr(estimate, name) for name in QUANTITIES}
    assert result.uncorrected.se == estimate.se


def test_atoms_add_up_and_none_is_negative(one):
    result = corrected(one[0], perfect=one[1], found=one[2])
    for values in (vars(result), {name: np.array(each) for name, each in result.replicates.items()}):
        np.testing.assert_allclose(values["redundancy"] + values["unique_1"], values["mi_1"])
        np.testing.assert_allclose(values["redundancy"] + values["unique_2"], values["mi_2"])
        np.testing.assert_allclose(
            values["redundancy"] + values["unique_1"] + values["unique_2"] + values["synergy"], values["mi_12"]
        )
    assert min(getattr(result, name) for name in QUANTITIES) >= -1e-12
    if result.definition == "mmi":
        assert result.union == max(result.mi_1, result.mi_2)


def test_a_twin_without_loss_changes_nothing(one):
    estimate, perfect, _ = one
    result = corrected(estimate, perfect=perfect, found=perfect)
    for name in QUANTITIES:
        assert getattr(result, name) == pytest.approx(getattr(estimate, name), abs=1e-12)
        np.testing.assert_allclose(result.replicates[name], estimate.replicates[name], atol=1e-12)
    assert result.warnings == estimate.warnings


def test_the_error_has_three_parts(one):
    """Of the estimate, of what the twin shows, and a share of the correction; independent but for chance."""
    estimate, perfect, found = one
    result = corrected(estimate, perfect=perfect, found=found)
    shown = jackknife_se(np.subtract(perfect.replicates["mi_12"], found.replicates["mi_12"]))
    unsure = UNSURE * (perfect.mi_12 - found.mi_12)
    parts = np.sqrt(estimate.se["mi_12"] ** 2 + shown**2 + unsure**2)
    assert result.se["mi_12"] == pytest.approx(parts, rel=0.35)
    assert result.se["mi_12"] == pytest.approx(jackknife_se(result.replicates["mi_12"]))


@pytest.mark.parametrize("groups", [5, 8, 19, 20])
def test_the_pattern_is_a_number_of_mean_0_and_error_1(groups):
    assert pattern(groups).mean() == pytest.approx(0, abs=1e-12)
    assert jackknife_se(pattern(groups)) == pytest.approx(1)


def test_what_corrections_share_cancels_in_a_difference(three):
    """Two conditions with the same correction differ as the uncorrected ones do, with the same error."""
    estimate, perfect, found = (each["broja"] for each in three)
    other = estimates(0, noise=1.4)["broja"]
    result = paired_difference(*(corrected(each, perfect=perfect, found=found) for each in (estimate, other)))
    expected = paired_difference(estimate, other)
    for name in ("mi_1", "mi_2", "mi_12"):
        assert result.difference[name] == pytest.approx(expected.difference[name])
        assert result.se[name] == pytest.approx(expected.se[name])


def test_a_constant_source_still_carries_nothing():
    one, two, three = (
        each["broja"] for each in (estimates(0, alike=True), estimates(1, alike=True), estimates(2, alike=True))
    )
    result = corrected(one, perfect=two, found=three)
    assert (result.mi_2, result.unique_2, result.redundancy, result.synergy) == pytest.approx((0, 0, 0, 0), abs=1e-12)
    assert result.unique_1 == pytest.approx(result.mi_12)


def test_a_number_that_is_mostly_correction_says_so(three):
    estimate, perfect, found = (each["broja"] for each in three)
    assert not [text for text in corrected(estimate, perfect=perfect, found=found).warnings if "given back" in text]
    less = replace(found, mi_12=perfect.mi_12 - 1.1 * estimate.mi_12 * LARGEST / (1 - LARGEST))
    assert [text for text in corrected(estimate, perfect=perfect, found=less).warnings if "given back" in text]


def test_estimates_that_do_not_belong_together_are_refused(three):
    with pytest.raises(DataError, match="one definition"):
        corrected(three[0]["broja"], perfect=three[1]["mmi"], found=three[2]["broja"])
    few = estimate_pid_from_latents(*np.random.default_rng(0).normal(size=(3, 90, 2)), jackknife=10)["broja"]
    with pytest.raises(DataError, match="jackknife groups"):
        corrected(three[0]["broja"], perfect=few, found=few)


def test_what_a_flow_loses_is_given_back():
    """Bent blocks of few rows: less than three quarters is found, and most of the rest given back."""
    case = next(planted_cases(700, (6, 6, 3), names=("bent",)))
    how = {"groups": case.groups, "folds": 3, "definitions": ("broja",), "estimator": "flow"}
    result = estimate_pid(case.x1, case.x2, case.y, correct="twin", **how)["broja"]
    plain = estimate_pid(case.x1, case.x2, case.y, **how)["broja"]
    assert plain.uncorrected is None
    assert result.uncorrected.bits["mi_12"] == pytest.approx(plain.mi_12, abs=1e-9)
    lost = case.information - plain.mi_12
    assert lost > 0.25
    assert abs(result.mi_12 - case.information) < 0.5 * lost
    for atom, truth in case.truth["broja"].items():
        assert within(getattr(result, atom), truth, se=result.se[atom], df=result.groups - 1)


def test_estimators_that_need_no_flow_are_left_as_they_are():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((200, 1))
    rows = y + rng.standard_normal((200, 1)), y + rng.standard_normal((200, 1)), y
    for estimator in ("gaussian", "copula"):
        assert estimate_pid(*rows, estimator=estimator, correct="twin") == estimate_pid(*rows, estimator=estimator)


def test_a_constant_block_needs_no_twin():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((300, 1))
    nothing = estimate_pid(np.ones(300), np.ones(300), y, estimator="flow", correct="twin")["broja"]
    assert (nothing.mi_12, nothing.uncorrected) == (0, None)
    quick = FlowConfig(max_steps=20, stages=1)
    half = estimate_pid(
        np.ones(300), y + rng.standard_normal((300, 1)), y, estimator="flow", correct="twin", flow=quick
    )["broja"]
    assert half.mi_1 == half.redundancy == 0
    assert half.uncorrected is not None


def test_another_word_is_refused():
    with pytest.raises(ConfigError, match="correct must be one of"):
        estimate_pid(*np.zeros((3, 50, 1)), correct="yes")


def test_clusters_are_not_corrected_and_every_estimator_that_knows_nothing_of_them_says_so():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, size=(300, 1)) * 9.0 + rng.standard_normal((300, 1))
    rows = y + rng.standard_normal((300, 1)), y + 4 * rng.standard_normal((300, 1)), y
    settings = {"correct": "twin", "flow": FlowConfig(max_steps=20, stages=1), "definitions": ("mmi",)}
    for estimator in ("gaussian", "copula", "flow", "mixed"):
        found = estimate_pid(*rows, estimator=estimator, **settings)["mmi"]
        assert found.uncorrected is None
        words = "; ".join(found.warnings)
        assert (f"y lies in 3 clusters, of which estimator {estimator} knows nothing" in words) == (
            estimator != "mixed"
        )
        assert ("not corrected: a planted twin has neither codes nor clusters" in words) == (estimator == "flow")
