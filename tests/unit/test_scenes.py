"""Laws of the drawn scenes: answers follow from the objects, nothing is ambiguous, the prior does what it says."""

import numpy as np
import pytest

from pidflow.data import scenes
from pidflow.errors import ConfigError


def a_question(task, seed, **settings):
    return scenes.ask_about_new_scene(task, np.random.default_rng(seed), language_prior=0.2, answer=None, **settings)


def truth(scene, question):
    """The answer, worked out from the text alone."""
    words = question.text.split()
    named = [scene.find(word) for word in words if word in scenes.SHAPES]
    match question.task:
        case "choose-attr":
            first, second = words[3], words[5]
            values = (named[0].color, named[0].size, named[0].texture)
            return first if first in values else second
        case "choose-cat":
            (only,) = [item for item in scene.objects if item.color == words[2]]
            return only.shape
        case "choose-rel":
            axis = "x" if "left" in words else "y"
            before, after = ("left", "right") if axis == "x" else ("above", "below")
            return before if getattr(named[0], axis) < getattr(named[1], axis) else after
        case "compare-attr":
            shared = [name for name in scenes.ATTRIBUTES if getattr(named[0], name) == getattr(named[1], name)]
            (answer,) = [name for name in shared if name in question.options]
            return answer
        case "logical-obj":
            return "yes" if any(named) else "no"
        case "query-attr":
            return "left" if named[0].x < scenes.IMAGE_SIZE / 2 else "right"


@pytest.mark.parametrize("task", scenes.TASKS)
def test_answers_follow_from_the_scene(task):
    for seed in range(60):
        scene, question = a_question(task, seed)
        assert question.answer == truth(scene, question)
        assert question.answer in question.options
        assert len(set(question.options)) == 2


@pytest.mark.parametrize("task", ["choose-attr", "choose-cat", "choose-rel", "compare-attr"])
def test_option_order_is_a_fair_coin(task):
    first = [question.options[0] == question.answer for _, question in (a_question(task, seed) for seed in range(400))]
    assert 0.42 < np.mean(first) < 0.58


@pytest.mark.parametrize("task", scenes.TASKS)
@pytest.mark.parametrize("index", [0, 1])
def test_the_answer_asked_for_is_the_answer(task, index):
    wanted = scenes.answers(task)[index]
    rng = np.random.default_rng(3)
    _, question = scenes.ask_about_new_scene(task, rng, language_prior=0.0, answer=wanted)
    assert question.answer == wanted


def test_shapes_and_cells_are_distinct_and_objects_inside():
    for seed in range(100):
        scene = scenes.sample_scene(np.random.default_rng(seed))
        assert 2 <= len(scene.objects) <= 4
        assert len({item.shape for item in scene.objects}) == len(scene.objects)
        assert len({(item.row, item.column) for item in scene.objects}) == len(scene.objects)
        for x, y, width, height in (item.box for item in scene.objects):
            assert min(x, y) >= 0
            assert max(x + width, y + height) <= scenes.IMAGE_SIZE


def test_a_box_holds_its_object_and_nothing_is_drawn_outside():
    for seed in range(20):
        scene = scenes.sample_scene(np.random.default_rng(seed))
        pixels = np.asarray(scenes.render(scene)).astype(int)
        drawn = np.abs(pixels - np.array(scene.background)).sum(axis=2) > 90
        inside = np.zeros_like(drawn)
        for x, y, width, height in (item.box for item in scene.objects):
            window = (slice(int(y), int(np.ceil(y + height)) + 1), slice(int(x), int(np.ceil(x + width)) + 1))
            assert drawn[window].any()
            inside[window] = True
        assert not (drawn & ~inside).any()


@pytest.mark.parametrize("prior", [0.0, 0.5, 1.0])
def test_language_prior_is_the_share_of_typical_values(prior):
    rng = np.random.default_rng(0)
    textures = [
        item.texture == scenes.TYPICAL[item.shape]["texture"]
        for _ in range(1000)
        for item in scenes.sample_scene(rng, language_prior=prior).objects
    ]
    expected = prior + (1 - prior) / len(scenes.TEXTURES)
    assert np.mean(textures) == pytest.approx(expected, abs=0.03)


def test_the_same_state_draws_the_same_picture():
    pictures = [scenes.render(scenes.sample_scene(np.random.default_rng(7))).tobytes() for _ in range(2)]
    assert pictures[0] == pictures[1]


def test_impossible_requests_are_refused():
    with pytest.raises(ConfigError, match="language_prior must be a probability"):
        scenes.sample_scene(np.random.default_rng(0), language_prior=1.5)
    with pytest.raises(ConfigError, match="unknown scene task 'colour'"):
        scenes.ask(scenes.sample_scene(np.random.default_rng(0)), "colour", np.random.default_rng(0))
    with pytest.raises(ConfigError, match="lower the prior"):
        scenes.ask_about_new_scene(
            "compare-attr", np.random.default_rng(0), language_prior=1.0, answer="color", attempts=3
        )
