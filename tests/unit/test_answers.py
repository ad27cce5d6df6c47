"""Who counts as right: named rules, spoken in every spelling, told apart from every wrong option."""

import re

import pytest

from pidflow.errors import ConfigError
from pidflow.models.answers import RULES, Expected, judge, may_become_right, spellings, words

NUMBERS = re.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty",
)


@pytest.mark.parametrize(
    ("spoken", "answer", "rules"),
    [
        ("sofa", "sofa", "published caseless verbatim normalised lenient"),
        ("Sofa", "sofa", "published caseless normalised lenient"),
        (" sofa\n", "sofa", "published caseless verbatim normalised lenient"),
        ("sofa.", "sofa", "normalised lenient"),
        ("The sofa.", "sofa", "normalised lenient"),
        ("\u2581sofa", "sofa", "caseless normalised lenient"),
        ("yellow", "Yellow", "caseless normalised lenient"),
        ("traffic  light", "traffic light", "caseless normalised lenient"),
        ("Traffic-light!", "traffic light", "normalised lenient"),
        ("t-shirt", "T shirt", "normalised lenient"),
        ("don't know", "don’t know", "normalised lenient"),
        ("tomato", "tomatoes", "lenient"),
        ("Two", "2", "lenient"),
        ("twenty-one", "21", "lenient"),
        ("one hundred and five", "105", "lenient"),
        ("1,000", "1000", "lenient"),
        ("two cats", "2 cat", "lenient"),
        ("men", "man", "lenient"),
        ("knife", "knives", "lenient"),
        ("boxes", "box", "lenient"),
        ("city", "cities", "lenient"),
        ("shoe", "shoes", "lenient"),
        ("A.", "a", "normalised lenient"),
        ("３", "3", "caseless normalised lenient"),
        ("椅子。", "椅子", "normalised lenient"),
        ("right , right", "right", "normalised lenient"),
        ("Traffic light. Traffic lights.", "traffic light", "lenient"),
        ("two, 2, two", "2", "lenient"),
    ],
)
def test_what_each_rule_takes_as_the_same(spoken, answer, rules):
    assert {name for name in RULES if judge(spoken, answer, rule=name)} == set(rules.split())


@pytest.mark.parametrize(
    ("spoken", "answer"),
    [
        ("3", "2"),
        ("traffic sign", "traffic light"),
        ("traffic", "traffic light"),
        ("glass", "glas"),
        ("brass", "bras"),
        ("princess", "princes"),
        ("planes", "plan"),
        ("cares", "car"),
        ("news", "new"),
        ("yes", "ye"),
        ("2.5", "25"),
        ("2.5", "2"),
        ("-3", "3"),
        ("1/2", "12"),
        ("3-4", "34"),
        ("50%", "50"),
        ("C#", "C"),
        ("C++", "C"),
        ("B", "A"),
        ("", "yes"),
        ("?", "yes"),
        ("yes it is", "yes"),
        ("vitamin a", "vitamin"),
        ("1990s", "1990"),
        ("second", "2"),
        ("twenty one", "20"),
        ("zero", "no"),
        ("two hundred", "2 100"),
        ("女", "男"),
    ],
)
def test_what_no_rule_takes_as_the_same(spoken, answer):
    assert [name for name in RULES if judge(spoken, answer, rule=name)] == []
    assert [name for name in RULES if judge(answer, spoken, rule=name)] == []


@pytest.mark.parametrize("rule", ["normalised", "lenient"])
def test_numbers_are_their_words_and_no_other_number(rule):
    for number, word in enumerate(NUMBERS):
        for other, spelled in enumerate(NUMBERS):
            assert judge(str(number), str(other), rule=rule) == (number == other)
            assert judge(word, spelled, rule=rule) == (number == other)
            assert judge(word, str(other), rule=rule) == (number == other and rule == "lenient")


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (("glass", "glasses"), "lenient"),
        (("2", "two"), "lenient"),
        (("a dog", "dog"), "lenient"),
        (("a dog", "dog"), "normalised"),
        (("dog", "dog?"), "normalised"),
        (("US", "us"), "lenient"),
        (("US", "us"), "caseless"),
    ],
)
def test_among_options_an_answer_never_equals_two(options, rule):
    for answer in options:
        assert [judge(said, answer, options=options, rule=rule) for said in options] == [o == answer for o in options]


def test_what_two_options_could_be_is_neither():
    assert judge("axes", "axe", rule="lenient")
    assert not judge("axes", "axe", options=("axe", "axis", "axes"), rule="lenient")
    assert judge("Glasses.", "glasses", options=("glass", "glasses"), rule="lenient")  # the next stricter rule says so
    assert judge("two", "2", options=("2", "3"), rule="lenient")


def test_options_that_the_rule_merges_are_judged_by_a_stricter_one_whatever_was_said():
    assert judge("bus", "buses", rule="lenient")
    assert not judge("bus", "buses", options=("buse", "buses"), rule="lenient")


def test_an_unknown_rule_is_named():
    with pytest.raises(ConfigError, match="unknown rule for right answers 'strict', expected one of: published, len"):
        judge("yes", "yes", rule="strict")


def test_stricter_rules_take_less():
    texts = [
        "The sofa",
        "sofa",
        "Sofa",
        "sofas",
        "SOFA.",
        " sofa",
        "2",
        "two",
        "Two!",
        "a",
        "A",
        "an a",
        "glasses",
        "glass",
    ]
    for one in texts:
        for two in texts:
            taken = [RULES[name](one, two) for name in ("verbatim", "caseless", "normalised", "lenient")]
            assert taken == sorted(taken)
            assert not RULES["published"](one, two) or RULES["normalised"](one, two)


@pytest.mark.parametrize(
    "right",
    ["sofa", "traffic light", "tomatoes", "knife", "city", "2", "twenty one", "T-shirt", "yes", "A", "top of the bus"],
)
def test_an_answer_on_its_way_is_never_given_up(right):
    """Whatever a rule takes as right, every beginning of it may become right."""
    said = [
        *spellings(right),
        f"The {right}.",
        f" an {right}",
        f"{right}s",
        f"{right}!",
        "knives",
        "tomato",
        "cities",
        "Two",
    ]
    for text in said:
        if any(judge(text, right, rule=name) for name in RULES):
            for end in range(len(text) + 1):
                assert may_become_right(text[:end], right), text[:end]


@pytest.mark.parametrize(
    ("begun", "answer"),
    [("no", "yes"), ("traffic s", "traffic light"), ("blue", "black"), ("yesterday", "yes"), ("sofa and", "sofa")],
)
def test_what_has_begun_otherwise_is_given_up(begun, answer):
    assert not may_become_right(begun, answer)


def test_words():
    assert words("The man with a hat.") == ("man", "with", "hat")
    assert words("...") == ("...",)
    assert words("") == ()


@pytest.mark.parametrize(
    ("answer", "options", "right", "wrong"),
    [
        ("Light blue", ("light blue", "red"), ["light blue", "Light Blue."], ["red", "light"]),
        ("A cat", ("cat", "dog"), ["cat", "a cat", "Cat"], ["dog"]),
        ("2", ("two", "three"), [], ["three", "3"]),
    ],
)
def test_an_option_may_spell_the_answer_otherwise(answer, options, right, wrong):
    assert all(judge(text, answer, options=options) for text in right)
    assert not any(judge(text, answer, options=options) for text in wrong)
    assert not Expected(answer, options).merged


@pytest.mark.parametrize("said", ["B", "b", " B.", "(B)", "B. under", "B: under", "under", "Under.", "the under"])
def test_lettered_options_may_be_said_in_many_ways(said):
    expected = Expected("B", ("A", "B"), offered=("a cat", "under"))
    assert expected.right(said)
    assert expected.still_open(said)
    assert not Expected("A", ("A", "B"), offered=("a cat", "under")).right(said)


def test_an_article_is_no_letter():
    expected = Expected("A", ("A", "B"), offered=("dog", "cat"))
    assert not expected.right("A cat")
    assert not expected.right("A mouse")
    assert expected.right("A dog")
    assert not expected.right("C")


@pytest.mark.parametrize(
    ("spoken", "answer", "options"),
    [
        ("right left", "right", ["right", "left"]),
        ("right right left", "right", ["right", "left"]),
        ("", "right", ["right", "left"]),
        ("bora", "bora bora", []),
        ("bora bora", "bora", ["bora", "bora bora"]),  # an option of its own
    ],
)
def test_only_the_answer_said_again_is_the_answer(spoken, answer, options):
    assert not any(judge(spoken, answer, options=options, rule=rule) for rule in RULES)


@pytest.mark.parametrize(
    ("begun", "answer", "open_still"),
    [
        ("right , ri", "right", True),
        ("right right", "right", True),
        ("right left", "right", False),
        ("traffic light traffic li", "traffic light", True),
        ("traffic light sign", "traffic light", False),
    ],
)
def test_an_answer_begun_again_may_still_be_right(begun, answer, open_still):
    assert may_become_right(begun, answer) == open_still
