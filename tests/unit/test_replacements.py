"""What stands in for parts of the input, how far noise lies from real tokens, and which answers are offered."""

import numpy as np
import pytest

from pidflow.errors import ConfigError, DataError
from pidflow.spectrum.noise_check import check_noise
from pidflow.spectrum.options import (
    clusters,
    distinct,
    lettered,
    letters_of,
    offered_options,
    right_place,
    task_options,
)
from pidflow.spectrum.replacements import Donor, Moments, PartStatistics, Statistics

ASKED = {"item": "q1", "image": "im1", "question": "what ?"}


def statistics(donors=4, width=3):
    rng = np.random.default_rng(0)
    parts = {name: PartStatistics(np.arange(width) * 1.0, np.full(width, 0.5), 10) for name in ("image", "language")}
    lent = tuple(
        Donor(f"q{n}", f"im{n}", f"question {n} ?", {name: rng.standard_normal((2 + n, width)) for name in parts})
        for n in range(donors)
    )
    return Statistics(parts, lent)


def test_moments_are_those_of_all_tokens_at_once():
    rng = np.random.default_rng(1)
    tokens = 1e4 + rng.standard_normal((1000, 5)).astype(np.float32)
    moments = Moments()
    for piece in np.array_split(tokens, [3, 3, 500, 640]):
        moments.add(piece)
    np.testing.assert_allclose(moments.mean, tokens.astype(np.float64).mean(0), rtol=1e-12)
    np.testing.assert_allclose(
        moments.deviation, tokens.astype(np.float64).std(0), rtol=1e-9
    )  # population's, as published
    assert moments.count == 1000


def test_noise_has_the_mean_and_deviation_of_the_training_folds():
    noise = statistics().replacement("noise", "image", 40_000, draw=0, seed=0, **ASKED)
    np.testing.assert_allclose(noise.mean(0), [0, 1, 2], atol=0.02)
    np.testing.assert_allclose(noise.std(0), 0.5, atol=0.01)


def test_a_draw_depends_on_the_question_and_its_number_alone():
    made = statistics()

    def draw(part="image", number=0, seed=0, **changed):
        return made.replacement("noise", part, 5, draw=number, seed=seed, **ASKED | changed)

    np.testing.assert_array_equal(draw(), draw(question="another ?"))
    for other in (draw(number=1), draw(seed=1), draw(item="q2"), draw(part="language")):
        assert np.abs(other - draw()).min() > 0
    # The question's own words are drawn as those of the language are.
    np.testing.assert_array_equal(draw(part="question"), draw(part="language"))


def test_the_mean_is_the_same_everywhere():
    found = statistics().replacement("mean", "language", 4, draw=0, seed=0, **ASKED)
    np.testing.assert_array_equal(found, np.tile([0, 1, 2], (4, 1)))


def test_pictures_are_lent_by_other_pictures_and_words_by_other_questions():
    made = statistics()
    for draw in range(8):
        found = made.replacement("shuffle", "image", 7, draw=draw, seed=0, **ASKED)
        lender = [each for each in made.donors if (each.parts["image"][0].astype(np.float32) == found[0]).all()]
        assert len(lender) == 1
        assert lender[0].image_id != "im1"
        tokens = lender[0].parts["image"].astype(np.float32)
        np.testing.assert_array_equal(found, np.resize(tokens, (7, 3)))  # begun again where it has fewer
    firsts = {tuple(made.replacement("shuffle", "image", 1, draw=d, seed=0, **ASKED)[0]) for d in range(3)}
    assert len(firsts) == 3  # another one each time
    own = {"item": "q1", "image": "im9", "question": "question 1 ?"}
    for draw in range(6):
        found = made.replacement("shuffle", "language", 1, draw=draw, seed=0, **own)
        assert (found[0] != made.donors[1].parts["language"][0].astype(np.float32)).any()


def test_without_another_picture_there_is_no_shuffle():
    alone = Statistics(statistics().parts, statistics().donors[1:2])
    with pytest.raises(DataError, match=r"item q1: none of 1 donors has another picture; raise spectrum\.donors"):
        alone.replacement("shuffle", "image", 3, draw=0, seed=0, **ASKED)
    with pytest.raises(DataError, match="no statistics of part 'sound'"):
        alone.replacement("noise", "sound", 3, draw=0, seed=0, **ASKED)


def noise_check(real, groups, **changed):
    made = PartStatistics(real.mean(0), real.std(0), len(real))
    return check_noise("image", real, groups, made, **changed)


def test_gaussian_tokens_cannot_be_told_from_their_noise():
    real = np.random.default_rng(2).normal(3, 2, (1200, 4))
    found = noise_check(real, np.arange(1200) // 20)
    assert abs(found.accuracy - 0.5) < 0.06
    assert found.nearest_noise == pytest.approx(found.nearest_real, rel=0.1)
    assert found.norm_noise == pytest.approx(found.norm_real, rel=0.05)


def test_noise_lies_far_from_tokens_in_clusters():
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((5, 30)) * 10
    real = centres[rng.integers(5, size=1200)] + 0.1 * rng.standard_normal((1200, 30))
    found = noise_check(real, np.arange(1200) // 20)
    assert found.accuracy > 0.95
    assert found.nearest_noise > 5 * found.nearest_real


def test_a_single_donor_leaves_nothing_to_compare():
    found = noise_check(np.random.default_rng(4).standard_normal((50, 4)), np.zeros(50))
    assert np.isnan([found.accuracy, found.nearest_real]).all()


def test_the_answers_of_a_task_are_offered_where_questions_offer_none():
    assert task_options(["no", "yes", "yes", "red"], most=3) == ("yes", "no", "red")
    with pytest.raises(ConfigError, match=r"3 different answers, more than spectrum.most \(2\)"):
        task_options(["no", "yes", "red"], most=2)
    with pytest.raises(DataError, match="all have the answer 'no'"):
        task_options(["no", "no"], most=3)


@pytest.mark.parametrize("options", [(), ("a",), ("a", "a"), ("a", "")])
def test_what_is_no_choice_is_refused(options):
    with pytest.raises(DataError, match="item q1"):
        offered_options(options, where="item q1")


def test_letters_stand_for_options_line_by_line():
    assert lettered("which ?", ("cat", "dog"), letters_of(("cat", "dog"), where="x")) == "which ?\nA. cat\nB. dog"
    with pytest.raises(DataError, match="27 options, more than there are letters"):
        letters_of(range(27), where="item q1")


@pytest.mark.parametrize(
    ("answer", "place"), [("Cat", 1), ("cat", 0), ("DOG", 2), ("a dog.", 2), ("horse", -1), ("CAT", -1)]
)
def test_the_right_answer_is_found_by_the_strictest_rule(answer, place):
    assert right_place(("cat", "Cat", "dog"), answer) == place


def test_own_answers_of_the_same_words_are_one():
    said = ["Yes", "yes.", "yes", "no", "the no", "maybe", ""]
    assert clusters(said, most=2) == ("Yes", "no")
    assert len(clusters(said, most=9)) == 3
    assert distinct(["red", "Red.", "blue", "", "green"], most=2) == ("red", "blue")
    with pytest.raises(DataError, match="1 different answers"):
        clusters(["yes", "Yes"], most=2)
