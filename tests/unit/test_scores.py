"""Scores of options: what the threshold acts on, one accuracy for all passes, what is not known is said."""

from dataclasses import replace

import numpy as np
import pytest
from tests.synthetic_predictions import synthetic_predictions

from pidflow.errors import ConfigError, DataError
from pidflow.spectrum.scores import confident_or_uniform, option_mass, right, right_published, scored
from pidflow.spectrum.words import BARE, JOINT, NORMALISED, SEQUENCE


def test_the_threshold_acts_on_what_the_options_have_before_they_are_renormalised():
    given = np.array([[0.9, 0.1], [0.9, 0.1], [0.55, 0.45]])
    found = confident_or_uniform(given, np.array([0.31, 0.29, 0.9]))
    np.testing.assert_allclose(found, [[0.9, 0.1], [0.5, 0.5], [0.55, 0.45]])


def test_a_row_becomes_uniform_over_its_own_options():
    given = np.array([[0.7, 0.2, 0.1], [0.8, 0.2, 0.0]])
    offered = np.array([[True, True, True], [True, True, False]])
    found = confident_or_uniform(given, np.zeros(2), offered=offered)
    np.testing.assert_allclose(found, [[1 / 3] * 3, [0.5, 0.5, 0.0]])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[0.9, 0.2]], [0.5]), DataError, "sum to 1"),
        (([[0.9, 0.1]], [1.5]), DataError, "mass must be probabilities"),
        (([[0.9, 0.1]], [0.5, 0.5]), DataError, "one mass a row"),
        (([[0.9, 0.1]], [np.nan]), DataError, "finite"),
    ],
)
def test_bad_input_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        confident_or_uniform(*map(np.array, arguments))


def test_probability_outside_the_options_is_refused():
    with pytest.raises(DataError, match="outside its options"):
        confident_or_uniform(np.array([[0.9, 0.1]]), np.ones(1), offered=np.array([[True, False]]))


@pytest.mark.parametrize("mass", [0.05, 0.9])
def test_little_option_mass_makes_every_pass_uniform(mass):
    predictions = synthetic_predictions(40, mass=mass)
    for key in predictions.passes:
        found = scored(predictions, key)
        np.testing.assert_allclose(found.mass, mass, rtol=1e-6)
        np.testing.assert_allclose(found.probabilities.sum(1), 1)
        assert (found.fired == (mass < 0.3)).all()
    joint = scored(predictions, JOINT).probabilities
    assert np.allclose(joint, 0.5) == (mass < 0.3)
    assert not np.allclose(scored(predictions, JOINT, threshold=0.0).probabilities, 0.5)


def test_draws_are_averaged_and_their_spread_reported():
    predictions = synthetic_predictions(40, draws=4)
    key = "vision-only/noise"
    each = predictions[key]
    alone = [
        replace(each, **{n: getattr(each, n)[[d]] for n in ("begins", "sequence", "bare", "greedy")}, lens={})
        for d in range(4)
    ]
    parts = [scored(replace(predictions, passes={key: one}), key) for one in alone]
    found = scored(predictions, key)
    np.testing.assert_allclose(found.probabilities, np.mean([part.probabilities for part in parts], axis=0))
    assert all((part.spread == 0).all() for part in parts)
    np.testing.assert_allclose(found.spread, np.std([part.probabilities for part in parts], axis=0, ddof=1))
    assert found.spread.max() > 0


def test_a_length_normalised_score_does_not_prefer_short_options():
    predictions = synthetic_predictions(20)
    ids = np.full((20, 2, 3), -1)
    ids[:, 0, :1], ids[:, 1] = 7, 8
    per_token = np.log([0.3, 0.4])
    joint = replace(predictions[JOINT], sequence=np.tile(per_token * [1, 3], (1, 20, 1)))
    predictions = replace(predictions, token_ids=ids, passes={JOINT: joint})
    assert (scored(predictions, JOINT, score=SEQUENCE).probabilities.argmax(1) == 0).all()
    normalised = scored(predictions, JOINT, score=NORMALISED).probabilities
    np.testing.assert_allclose(normalised, np.tile([3 / 7, 4 / 7], (20, 1)))


def test_options_that_share_their_bare_token_count_its_probability_once():
    predictions = synthetic_predictions(20)
    joint = replace(predictions[JOINT], bare=np.full((1, 20, 2), np.log(0.4)))
    predictions = replace(predictions, bare_ids=np.full((20, 2), 7), passes={JOINT: joint})
    np.testing.assert_allclose(option_mass(predictions, joint, BARE), 0.4)


def test_one_accuracy_for_all_passes_and_the_published_ones():
    predictions = synthetic_predictions(40, mass=0.2)
    assert right(predictions, JOINT).all()
    # Published: the joint pass by its greedy token, with no threshold, the others by the letters above a threshold.
    assert right_published(predictions, JOINT).all()
    assert not right_published(predictions, "vision-only/noise").any()
    said = replace(predictions[JOINT], greedy=np.full((1, 40), 999))
    predictions = replace(predictions, passes=dict(predictions.passes) | {JOINT: said})
    assert right(predictions, JOINT).all()
    assert not right_published(predictions, JOINT).any()


def test_a_tie_and_an_answer_that_is_not_offered_are_not_right():
    predictions = synthetic_predictions(20)
    tied = replace(predictions[JOINT], begins=np.full((1, 20, 2), -1.0))
    assert not right(replace(predictions, passes={JOINT: tied}), JOINT).any()
    assert not right(replace(predictions, answer=np.full(20, -1)), JOINT).any()


def test_a_score_that_is_not_known_is_refused():
    predictions = synthetic_predictions(20)
    begins = predictions[JOINT].begins.copy()
    begins[0, 3, 1] = np.nan
    predictions = replace(predictions, passes={JOINT: replace(predictions[JOINT], begins=begins)})
    with pytest.raises(DataError, match=r"option 'no' of item q3 is not known \(of 1 questions"):
        scored(predictions, JOINT)
    with pytest.raises(DataError, match="not known"):  # the mass takes it as well
        scored(predictions, JOINT, score=SEQUENCE)
    with pytest.raises(ConfigError, match="score"):
        scored(predictions, JOINT, score="loudness")
    assert scored(predictions, JOINT, score=BARE).probabilities.shape == (20, 2)
