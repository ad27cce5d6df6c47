"""Transfer windows: planted ones are found, nothing is found in noise, and what cannot be known is not said."""

import numpy as np
import pytest
from tests.synthetic_sweep import TWO_STAGES, sweep

from pidflow.analysis import transfer_windows
from pidflow.analysis.edge_changes import ALL, CUT, RANDOM, EdgeChanges, edge_changes, resample
from pidflow.analysis.transfer_windows import NO, YES, locate, plateau, presence
from pidflow.errors import ConfigError, DataError
from pidflow.interventions.probes import EFFECT, kinds_on_edges
from pidflow.interventions.sweep import SUBSETS
from pidflow.interventions.windows import windows
from pidflow.stats import UNDETERMINED, clustered_mean

DEPTH = 12
WINDOWS = tuple(windows(3, depth=DEPTH))


def made_up(level, *, images=100, noise=0.3, control=None, seed=0):
    """Changes of one to three questions an image; neighbouring windows share noise, as they share blocks."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 4, images).astype(float)
    depth = len(level)

    def scattered(around):
        loose = rng.standard_normal((images, depth + 2))
        smooth = (loose[:, :-2] + loose[:, 1:-1] + loose[:, 2:]) / np.sqrt(3)
        return counts[:, None] * (np.asarray(around) + noise * smooth)

    named = tuple(f"im{i}" for i in range(images))
    beside = None if control is None else scattered(control)
    return EdgeChanges("image->last", ALL, tuple(windows(1, depth=depth)), named, counts, scattered(level), beside)


def level(first=0, last=-1, height=0.0, *, depth=DEPTH):
    found = np.zeros(depth)
    found[first : last + 1] = height
    return found


def found_in(each, *, least=0.05, seed=0, resamples=400):
    return locate(resample(each, seed=seed, resamples=resamples), least=least)


def test_names_are_those_of_the_sweep():
    assert {CUT, RANDOM} <= set(kinds_on_edges())
    assert EFFECT == CUT
    assert ALL in SUBSETS


# The best plateau, against all pairs of ends and the least squares written out.
@pytest.mark.parametrize("seed", range(5))
def test_a_plateau_is_the_best_of_all(seed):
    curve = np.random.default_rng(seed).standard_normal(7)
    squares = {}
    for first in range(7):
        for last in range(first, 7):
            inside = np.zeros(7)
            inside[first : last + 1] = max(0, curve[first : last + 1].mean())
            squares[first, last] = np.square(curve - inside).sum()
    assert tuple(int(end) for end in plateau(curve)) == min(squares, key=squares.get)


def test_plateaus_of_many_curves_at_once():
    curves = np.array([[[0, 1, 1, 0], [2, 0, 0, 0]], [[1, 1, 1, 1], [0, 0, 0.2, 1]]])
    first, last = plateau(curves)
    assert first.tolist() == [[1, 0], [0, 3]]
    assert last.tolist() == [[2, 0], [3, 3]]


def test_half_of_the_effect_belongs_to_the_window():
    assert plateau(np.array([0, 0.4, 1, 1, 1, 0.6, 0])) == (2, 5)


@pytest.mark.parametrize(("first", "last"), [(3, 6), (0, 2), (9, 11), (5, 5), (0, 11)])
@pytest.mark.parametrize("height", [-0.6, 0.8])
def test_planted_windows_are_found(first, last, height):
    found = found_in(made_up(level(first, last, height), control=level()))
    assert found.present == YES
    assert (found.onset, found.end) == (first, last)
    assert found.onset_low <= first <= found.onset_high
    assert found.end_low <= last <= found.end_high
    assert found.onset_share > 0.5
    assert found.height == pytest.approx(height, abs=0.15)
    assert first <= found.centre <= last
    assert found.low < found.change < found.high


def test_the_window_is_that_of_the_effect_beyond_the_control():
    """Random edges that hurt in the first blocks are no reason to see the edge at work there."""
    control = level(0, 3, -0.5)
    found = found_in(made_up(level(0, 7, -0.5), noise=0.1, control=control))
    assert (found.onset, found.end) == (4, 7)
    assert found.excess == pytest.approx(found.change, abs=0.1)


def test_ends_are_covered_where_they_are_unsure():
    hits, widths = [], []
    for seed in range(60):
        found = found_in(made_up(level(3, 6, -0.4), noise=1.0, seed=seed), seed=seed, resamples=200)
        if found.present == YES:
            hits.append(found.onset_low <= 3 <= found.onset_high and found.end_low <= 6 <= found.end_high)
            widths.append(found.onset_high - found.onset_low)
    assert len(hits) > 40
    assert np.mean(hits) >= 0.95
    assert np.mean(widths) > 1


@pytest.mark.parametrize("control", [False, True])
def test_nothing_is_found_in_noise_at_the_promised_rate(control):
    verdicts = []
    for seed in range(400):
        each = made_up(level(), images=40, control=level() if control else None, seed=seed)
        found = found_in(each, least=1e-9, seed=seed, resamples=300)
        assert (found.present == YES) == np.isfinite(found.onset)
        verdicts.append(found.present)
    # One in twenty at most, up to four standard errors of 400 trials; far fewer where the control has to agree.
    assert verdicts.count(YES) / 400 < (0.01 if control else 0.094)
    assert control or verdicts.count(YES) > 4  # intervals are not wider than promised by far


def test_an_effect_of_just_the_least_size_is_neither_claimed_nor_denied():
    verdicts = [
        found_in(made_up(level(5, 5, -0.05), noise=0.1, seed=seed), seed=seed, resamples=200).present
        for seed in range(200)
    ]
    assert verdicts.count(UNDETERMINED) >= 185


def test_no_is_said_of_what_is_surely_small():
    found = found_in(made_up(level(3, 6, -0.01), noise=0.02, control=level()))
    assert found.present == NO
    assert np.isnan(found.onset)
    assert np.isnan(found.height)


def test_no_needs_images_that_could_have_shown_the_effect():
    assert transfer_windows.images_for_no(0.05) == 59  # rule of three: 0.95^59 < 5 %
    assert found_in(made_up(level(), images=59, noise=1e-3)).present == NO
    assert found_in(made_up(level(), images=58, noise=1e-3)).present == UNDETERMINED


def test_no_more_than_random_edges_is_undetermined():
    found = found_in(made_up(level(2, 5, -0.5), control=level(2, 5, -0.5)))
    assert found.present == UNDETERMINED
    assert abs(found.change) > 0.3


def test_an_effect_opposite_to_the_control_does_not_count_twice():
    """Less harm than random edges do is not an effect of the edge."""
    assert found_in(made_up(level(2, 5, -0.3), noise=0.1, control=level(2, 5, -0.8))).present == UNDETERMINED


def test_exact_effects_have_no_width():
    each = made_up(level(2, 4, -1.0), noise=0.0)
    found = found_in(each)
    assert (found.onset, found.onset_low, found.onset_high, found.onset_share) == (2, 2, 2, 1)
    assert (found.low, found.change, found.high) == pytest.approx((-1, -1, -1))


def test_no_interval_promises_a_loss_of_more_than_everything():
    assert found_in(made_up(level(2, 4, -0.99), noise=0.05)).low >= -1


def test_one_image_says_nothing():
    found = found_in(made_up(level(2, 4, -0.5), images=1))
    assert found.present == UNDETERMINED
    assert np.isnan(found.low)


def test_a_model_of_one_block():
    found = found_in(made_up(level(0, 0, -0.5, depth=1), control=level(depth=1)))
    assert (found.present, found.onset, found.end, found.first_block, found.last_block) == (YES, 0, 0, 0, 0)


def test_errors_are_those_of_the_tables():
    each = made_up(level(2, 4, -0.5), images=30)
    curve = resample(each, seed=0, resamples=4000).effect
    spread = each.effect / each.counts[:, None]
    member = np.repeat(np.arange(30), each.counts.astype(int))
    for place in (0, 3):
        expected = clustered_mean(spread[member, place], member)
        assert curve.value[place] == pytest.approx(expected.value)
        assert curve.se[place] == pytest.approx(expected.se)
        assert curve.replicates[:, place].std() == pytest.approx(expected.se, rel=0.08)


def test_one_window_has_the_usual_interval():
    each = made_up(level(depth=1), images=12)
    curve = resample(each, seed=0, resamples=20000).effect
    found = found_in(each, least=0.9, resamples=20000)
    half = 2.2010 * curve.se[0]  # Student's t, 11 degrees of freedom
    assert found.high - found.change == pytest.approx(half, rel=0.06)


def test_an_image_weighs_the_same_in_every_course():
    first, second = (resample(made_up(level(), seed=0), seed=3, resamples=50) for _ in range(2))
    assert np.array_equal(first.effect.replicates, second.effect.replicates)
    other = resample(made_up(level(), seed=0), seed=4, resamples=50)
    assert not np.allclose(first.effect.replicates, other.effect.replicates)


def test_several_tasks_at_once():
    big, small, unsure = (
        made_up(level(3, 6, -0.6)),
        made_up(level(), noise=0.01, seed=1),
        made_up(level(), images=20, noise=0.5, seed=2),
    )
    found = [resample(each, seed=0, resamples=400) for each in (small, big, unsure)]
    there = presence(found, least=0.05)
    assert (there.verdict, there.which, there.verdicts) == (YES, 1, (NO, YES, UNDETERMINED))
    assert there.high - there.low > (alone := locate(found[1], least=0.05)).high - alone.low
    assert presence(found[:1] * 2, least=0.05).verdict == NO
    assert presence([found[0], found[2]], least=0.05).verdict == UNDETERMINED


@pytest.mark.parametrize("least", [0, 1, -0.1, np.nan])
def test_the_least_effect_is_a_share(least):
    with pytest.raises(ConfigError, match="the least change that counts is a share between 0 and 1, found"):
        presence([resample(made_up(level()), seed=0, resamples=10)], least=least)


def test_courses_are_read_off_every_question():
    summary, details = sweep(absent=["image->question"])
    found = {(each.edge, each.subset): each for each in edge_changes(details, windows=WINDOWS)}
    assert set(found) == {(edge, subset) for edge in TWO_STAGES for subset in ("right", "wrong", "all")}
    for (edge, subset), each in found.items():
        rows = summary[(summary["edge"] == edge) & (summary["subset"] == subset) & (summary["window"] == 3)]
        for kind, sums in ((CUT, each.effect), (RANDOM, each.control)):
            means = rows[rows["kind"] == kind].sort_values("centre")
            np.testing.assert_allclose(sums.sum(0) / each.n, means["change_first"])
            assert set(means["n"]) == {each.n}
            assert set(means["images"]) == {len(each.images)}


def test_two_stages_are_found_in_a_sweep():
    _, details = sweep()
    for each in edge_changes(details, windows=WINDOWS):
        first, last, height = TWO_STAGES[each.edge]
        found = found_in(each)
        if height:
            assert (found.present, found.onset, found.end) == (YES, first, last)
            assert (found.first_block, found.last_block) == (max(0, first - 1), last + 1)
        else:
            assert found.present != YES


def test_sweeps_without_a_control_and_with_even_windows():
    _, details = sweep(controls=(), window=4)
    found = [each for each in edge_changes(details, windows=windows(4, depth=DEPTH)) if each.subset == ALL]
    assert all(each.control is None for each in found)
    assert np.isnan(found_in(found[0]).excess)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda d: d.drop(d[(d.kind == CUT) & (d.centre == 4)].index[:1]),
            "image->question, cut: expected every question",
        ),
        (lambda d: d[(d.kind != RANDOM) | (d.item_id != "q3")], "image->question: 160 questions were cut and 159 have"),
        (lambda d: d.loc[[*d.index, d.index[0]]], "image->question, cut: a question has two rows in one window"),
    ],
)
def test_damaged_details_are_refused(damage, message):
    _, details = sweep(other_windows=())
    with pytest.raises(DataError, match=message):
        edge_changes(damage(details), windows=WINDOWS)
