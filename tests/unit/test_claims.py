"""Claims: planted stories get the verdict they deserve, and what cannot be known is not claimed."""

from dataclasses import replace

import numpy as np
import pytest
from tests import synthetic_run as run

from pidflow import names, stats
from pidflow.analysis import claims
from pidflow.analysis.profiles import Profile, agreement, change, paired, quantity_of
from pidflow.errors import DataError
from pidflow.stats import NOT_SUPPORTED, SUPPORTED, UNDETERMINED

TASKS = run.TASKS[-5:]
LOST = {("standin", task): stats.Estimate(0.45 * run.need_of_vision(task), 0.01, 299) for task in run.TASKS}
CONDITIONS = ("intact", run.CUT, run.RANDOM)


def story(**options):
    options = {"tasks": TASKS, "estimators": ("flow",), "definitions": ("broja",)} | options
    return run.records(**options)


def verdicts(found, *, task="all", model="standin"):
    return {claim.id: claim for claim in found if (claim.task, claim.model) == (task, model)}


def profile(course, *, quantity="unique_vision", condition="intact", n=run.ROWS, se=run.SE, model="m"):
    """A profile in which one atom follows `course` and the others are flat."""
    atoms = [dict.fromkeys(names.ATOMS, 0.3) | {quantity: value} for value in course]
    return Profile.of([run.record(model, "t", condition, layer, a, se=se, n=n) for layer, a in enumerate(atoms)])


def test_the_planted_story_is_supported():
    planted = story(tasks=run.TASKS, conditions=CONDITIONS)
    found = verdicts(claims.judge(planted, LOST, knockout=run.CUT, control=run.RANDOM))
    one_model = found.pop("trajectories-agree")
    assert {claim.verdict for claim in found.values()} == {SUPPORTED}
    assert one_model.verdict == UNDETERMINED
    assert "one model" in one_model.reason
    assert len(found) == 5 + 3 * 4


def reversed_story():
    """The planted story with the layers upside down, and intact and cut exchanged."""
    exchanged = {"intact": run.CUT, run.CUT: "intact"}
    return [replace(each, layer=8 - each.layer, condition=exchanged[each.condition]) for each in story()]


def test_the_opposite_story_is_not_supported():
    lost = {key: replace(value, value=-value.value) for key, value in LOST.items()}
    found = verdicts(claims.judge(reversed_story(), lost, knockout=run.CUT))
    expected = {"vision-peaks-early", "vision-decays", "language-surges-late", "language-dominates-last"}
    expected |= {"knockout-traps-vision", "knockout-raises-synergy", "knockout-raises-cost", "synergy-is-small"}
    expected |= {"knockout-traps-vision-by-redundancy"}
    assert {name for name, claim in found.items() if claim.verdict == NOT_SUPPORTED} == expected - {"synergy-is-small"}


def test_noise_supports_nothing():
    """Flat curves of equal atoms: apart from shares, whose thresholds are not zero, nothing holds."""
    rng = np.random.default_rng(5)
    records = [
        run.record("standin", task, condition, layer, dict.fromkeys(names.ATOMS, 0.3), rng=rng)
        for task in TASKS
        for condition in ("intact", run.CUT)
        for layer in range(9)
    ]
    found = verdicts(claims.judge(records, LOST, knockout=run.CUT))
    assert not [name for name, claim in found.items() if claim.verdict == SUPPORTED]
    assert found["language-dominates-last"].verdict == NOT_SUPPORTED
    assert found["synergy-is-small"].verdict == NOT_SUPPORTED


def test_every_task_has_its_row_and_the_mean_is_the_mean():
    found = [c for c in claims.judge(story(), LOST, knockout=run.CUT) if c.id == "vision-decays"]
    tasks = [c for c in found if c.task != "all"]
    assert [c.task for c in tasks] == sorted(TASKS)
    mean = next(c for c in found if c.task == "all")
    assert mean.estimate == pytest.approx(np.mean([c.estimate for c in tasks]))
    assert mean.se == pytest.approx(np.sqrt(np.sum(np.square([c.se for c in tasks]))) / len(tasks))
    assert "mean over 5 of 5 tasks" in mean.reason


def test_holm_keeps_what_is_clear_and_doubts_what_is_not():
    """Of flat noise some rows are judged one by one, by chance; together none that lies on its threshold is."""
    rng = np.random.default_rng(7)
    flat = [
        run.record("standin", task, condition, layer, {a: 0.3 + run.SE * rng.normal() for a in names.ATOMS}, rng=rng)
        for task in run.TASKS
        for condition in ("intact", run.CUT)
        for layer in range(9)
    ]
    table = claims.claims_table(claims.judge(flat, LOST, knockout=run.CUT))
    at_threshold = table[(table["threshold"] == 0) & (table["id"] != "vision-peaks-early")]  # a maximum of more layers
    assert (at_threshold["verdict"] != UNDETERMINED).any()
    assert set(at_threshold["verdict_holm"]) == {UNDETERMINED}
    table = claims.claims_table(claims.judge(story(tasks=run.TASKS), LOST, knockout=run.CUT))
    assert set(table.loc[table["id"] == "vision-decays", "verdict_holm"]) == {SUPPORTED}
    both = table[table["verdict_holm"] != UNDETERMINED]
    assert (both["verdict_holm"] == both["verdict"]).all()
    assert (table["p_holm"].dropna() >= table["p_value"].dropna()).all()


def test_without_a_knockout_its_claims_are_undetermined():
    found = verdicts(claims.judge(story(conditions=("intact",)), {}, knockout=None))
    for name in (*NAMES, *(f"{name}-beyond-random" for name in NAMES)):
        assert found[name].verdict == UNDETERMINED
        assert "no task was run with this attention cut" in found[name].reason
        assert found[name].condition == "none"
    assert found["vision-peaks-early"].verdict == SUPPORTED


NAMES = ("knockout-traps-vision", "knockout-raises-synergy", "knockout-raises-cost")


def test_a_control_that_does_the_same_leaves_nothing():
    """A random control with the effect of the cut: the cut raises everything, and nothing beyond the control."""
    records = run.records(tasks=TASKS, conditions=(*CONDITIONS, "other"), estimators=("flow",), definitions=("broja",))
    found = verdicts(claims.judge(records, LOST, knockout=run.CUT, control="other"))
    for name in NAMES:
        assert found[name].verdict == SUPPORTED
        assert found[f"{name}-beyond-random"].verdict != SUPPORTED
        assert abs(found[f"{name}-beyond-random"].estimate) < 0.02


def test_beyond_random_is_cut_minus_random_task_by_task():
    found = claims.judge(story(conditions=CONDITIONS), LOST, knockout=run.CUT, control=run.RANDOM)
    over_control = {c.task: c for c in found if c.id == "knockout-traps-vision-beyond-random"}
    assert set(over_control) == {*TASKS, "all"}
    depth = np.linspace(0, 1, 9)[1:]
    for task in TASKS:
        expected = 0.8 * 0.5 * run.need_of_vision(task) * depth.mean()
        assert over_control[task].estimate == pytest.approx(expected, abs=4 * over_control[task].se)
        assert over_control[task].condition == run.CUT


@pytest.mark.parametrize(
    ("control", "reason"),
    [
        (run.RANDOM, "add 'image-question-random' to run.conditions"),
        (None, "define one of kind random with the source, target and blocks of the cut"),
    ],
)
def test_without_its_control_a_cut_is_judged_but_not_against_it(control, reason):
    found = verdicts(claims.judge(story(), LOST, knockout=run.CUT, control=control))
    for name in NAMES:
        assert found[name].verdict == SUPPORTED
        assert found[f"{name}-beyond-random"].verdict == UNDETERMINED
        assert reason in found[f"{name}-beyond-random"].reason


def test_without_blind_answers_dependence_is_undetermined_and_redundancy_is_not():
    found = verdicts(claims.judge(story(), {}, knockout=run.CUT))
    for name in NAMES:
        assert found[f"{name}-by-dependence"].verdict == UNDETERMINED
        assert "claims.blind names the condition" in found[f"{name}-by-dependence"].reason
        assert "over 5 tasks" in found[f"{name}-by-redundancy"].reason
    assert found["knockout-traps-vision-by-redundancy"].verdict == SUPPORTED


def test_few_tasks_give_no_correlation():
    found = verdicts(claims.judge(story(tasks=TASKS[:3]), LOST, knockout=run.CUT))
    claim = found["knockout-traps-vision-by-dependence"]
    assert claim.verdict == UNDETERMINED
    assert "a correlation needs 4" in claim.reason
    assert "claims.blind" not in claim.reason
    assert found["knockout-traps-vision-by-redundancy"].verdict == UNDETERMINED


def test_a_share_of_no_information_is_not_judged():
    records = [run.record("standin", "t", "intact", layer, dict.fromkeys(names.ATOMS, 0.001)) for layer in range(9)]
    found = verdicts(claims.judge(records, {}, knockout=None), task="t")
    assert found["synergy-is-small"].verdict == UNDETERMINED
    assert "not above zero" in found["synergy-is-small"].reason


def clipped_profile(atom):
    """Profiles whose `atom` is at zero in every replicate."""
    atoms = dict.fromkeys(names.ATOMS, 0.3) | {atom: 0.0}
    jackknife = {atom: np.zeros(run.GROUPS)}
    return [run.record("standin", "t", "intact", layer, atoms, jackknife=jackknife) for layer in range(9)]


@pytest.mark.parametrize(
    ("atom", "name", "expected"),
    [("synergy", "synergy-is-small", UNDETERMINED), ("unique_language", "language-dominates-last", NOT_SUPPORTED)],
)
def test_a_clipped_share_borrows_the_error_of_the_joint_information(atom, name, expected):
    """No spread over the replicates is not certainty: a synergy of 0 ± 0 must not pass for one below 2 %."""
    found = clipped_profile(atom)
    claim = verdicts(claims.judge(found, {}, knockout=None), task="t")[name]
    joint = Profile.of(found).estimate(lambda values, _: quantity_of(values, "mi_joint")[..., -1])
    assert claim.estimate == 0.0
    assert claim.se == pytest.approx(joint.se / joint.value)
    assert claim.verdict == expected
    assert "clipped" in claim.reason


def test_a_change_without_spread_is_not_judged():
    found = clipped_profile("unique_language")
    claim = verdicts(claims.judge(found, {}, knockout=None), task="t")["language-surges-late"]
    assert claim.verdict == UNDETERMINED
    assert "error is not known" in claim.reason


def test_other_estimators_are_left_aside():
    assert claims.judge(story(), LOST, knockout=run.CUT, estimator="copula") == []


def test_layers_without_a_first_third_are_not_judged():
    late = [each for each in story() if each.layer > 4]
    found = verdicts(claims.judge(late, LOST, knockout=run.CUT))
    assert found["vision-peaks-early"].verdict == UNDETERMINED
    assert "first third" in found["vision-peaks-early"].reason


def test_warnings_are_counted_in_the_reason():
    claim = verdicts(claims.judge(story(), LOST, knockout=run.CUT), task="easy-yesno")["vision-peaks-early"]
    assert "layers carry warnings" in claim.reason
    assert "largest at layer" in claim.reason


def test_models_that_agree():
    both = story(models=("llava", "standin"), conditions=("intact",))
    claim = verdicts(claims.judge(both, {}, knockout=None), model="llava / standin")["trajectories-agree"]
    assert claim.verdict == SUPPORTED
    assert claim.estimate > 0.96
    assert claim.low < claim.estimate < claim.high <= 1


def test_models_that_disagree():
    upside_down = [replace(each, layer=8 - each.layer) for each in story(models=("llava",), conditions=("intact",))]
    both = story(conditions=("intact",)) + upside_down
    claim = verdicts(claims.judge(both, {}, knockout=None), model="llava / standin")["trajectories-agree"]
    assert claim.verdict == NOT_SUPPORTED


def test_claims_as_a_table():
    frame = claims.claims_table(claims.judge(story(), LOST, knockout=run.CUT))
    assert tuple(frame.columns) == claims.COLUMNS
    assert not frame.duplicated(["id", "model", "task"]).any()
    assert set(frame["side"]) == {"above", "below"}
    assert tuple(claims.claims_table([]).columns) == claims.COLUMNS


def test_peak_location_error_covers():
    """The interval of the peak contrast holds the true contrast about as often as it says."""
    rng = np.random.default_rng(7)
    depth = np.linspace(0, 1, 9)
    truth = run.truth("easy-shape", "intact", depth)
    contrast = truth["unique_vision"][:3].max() - truth["unique_vision"][3:].max()
    hits = []
    for _ in range(200):
        records = []
        for layer in range(9):
            atoms = {atom: float(v[layer]) + run.SE * rng.standard_normal() for atom, v in truth.items()}
            records.append(run.record("m", "t", "intact", layer, atoms, rng=rng))
        low, high = Profile.of(records).estimate(claims.INTACT_STATEMENTS[0].of).interval()
        hits.append(low <= contrast <= high)
    assert 0.88 <= np.mean(hits) <= 0.99


def test_profile_orders_layers():
    shuffled = Profile.of(profile([0.1, 0.2, 0.3]).decompositions[::-1])
    assert shuffled.layers == [0, 1, 2]
    np.testing.assert_allclose(shuffled.curve("unique_vision"), [0.1, 0.2, 0.3])
    np.testing.assert_allclose(shuffled.depth, [0, 0.5, 1])


def test_profile_of_different_rows_is_refused():
    found = [*profile([0.1, 0.2]).decompositions, profile([0.1, 0.2, 0.3], n=800).decompositions[2]]
    with pytest.raises(DataError, match=r"m/t/intact: layers \[2\] were decomposed with other rows"):
        Profile.of(found)


def test_change_is_paired_only_over_the_same_rows():
    last = lambda values, depth: quantity_of(values, "unique_vision")[..., -1]  # noqa: E731
    intact = profile([0.1, 0.2, 0.3])
    same, other = profile([0.2, 0.3, 0.4], condition="cut"), profile([0.2, 0.3, 0.4], condition="cut", n=800)
    assert paired(same, intact)
    assert not paired(other, intact)
    assert change(same, intact, last).value == pytest.approx(0.1)
    assert change(other, intact, last).se > change(same, intact, last).se == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("scale", "sign"), [(1.0, 1), (3.0, 1), (-1.0, -1)])
def test_agreement_sees_shape_not_height(scale, sign):
    a = profile([0.1, 0.4, 0.2, 0.1])
    b = profile(list(1.0 + scale * np.array([0.1, 0.4, 0.2, 0.1])), model="other")
    assert np.tanh(agreement(a, b).value) == pytest.approx(sign)


def test_agreement_compares_at_equal_depth():
    """A deeper model that runs the same straight curve agrees."""
    a, b = profile(np.linspace(0, 1, 5)), profile(np.linspace(0, 1, 9), model="deeper")
    assert np.tanh(agreement(a, b).value) == pytest.approx(1.0)
    assert np.tanh(agreement(b, a).value) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "quantity", "course", "expected"),
    [
        ("vision-peaks-early", "unique_vision", [0, 5, 1, 2, 3, 1, 1], 2),
        ("vision-decays", "unique_vision", [6, 6, 6, 9, 1, 1, 1], -5),
        ("language-surges-late", "unique_language", [1, 1, 1, 9, 3, 4, 5], 3),
        ("language-dominates-last", "unique_language", [0, 0, 0, 0, 0, 0, 0.9], 0.5),
        ("synergy-is-small", "synergy", [0, 0, 0, 0, 0, 0, 0.1], 0.1),
    ],
)
def test_numbers_of_the_claims(name, quantity, course, expected):
    """Seven layers: 0 to 2 are the first third, 4 to 6 the last."""
    found = profile([float(value) for value in course], quantity=quantity, se=0.001)
    (claim,) = (c for c in claims.judge(found.decompositions, {}, knockout=None) if (c.id, c.task) == (name, "t"))
    assert claim.estimate == pytest.approx(expected)
