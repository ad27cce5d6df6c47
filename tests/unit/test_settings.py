"""Settings refuse with one sentence that names the key, what it holds and what was expected."""

import re
from math import inf, nan
from typing import Annotated, ClassVar, Literal, Self

import pytest
from pydantic import Field, model_validator

from pidflow.errors import ConfigError
from pidflow.plugins.settings import Blocks, EdgeName, Id, Ids, Seed, Settings, Span, Whole, WindowSize


class Part(Settings):
    renamed: ClassVar = {"routes": "estimators"}

    count: Whole = Field(ge=1, le=1_000_000, description="Number of decoder blocks.")
    share: float = Field(default=0.5, gt=0, le=1, description="BATCH's share.")
    on: bool = Field(default=True, description="Whether.")
    seed: Seed = Field(default=0, description="Random state.")

    @model_validator(mode="after")
    def _even(self) -> Self:
        if not self.on and self.count > 100:
            raise ValueError("with 'on: false' at most 100 can be counted")
        return self


class Left(Settings):
    reader: Literal["left"]
    window: WindowSize = Field(description="Blocks cut together.")
    layers: Blocks = Field(default="all", description="Blocks.")


class Right(Settings):
    reader: Literal["right-hand"]
    source: Span = Field(default="image", description="Positions.")


class Named(Settings):
    """Its tag is also the name of one of its keys."""

    reader: Literal["table"]
    table: str = Field(description="A file.")


class Pairs(Settings):
    pairs: tuple[tuple[str, Whole], ...] | str = Field(default=(), description="Pairs.")


class All(Settings):
    part: Part | None = Field(description="A part.")
    ids: Ids = Field(default=["a"], description="Some ids.")
    entries: dict[Id, Annotated[Left | Right | Named, Field(discriminator="reader")]] = Field(
        default={}, description="Some."
    )
    edges: list[EdgeName] = Field(default=[], description="Edges.")


def test_tuples_are_written_as_lists():
    found = Pairs.checked({"pairs": [["a", 1.0], ["b", 2]]}, where="config")
    assert found.pairs == (("a", 1), ("b", 2))
    assert found.plain() == {"pairs": [["a", 1], ["b", 2]]}
    with pytest.raises(ConfigError, match=r"config pairs.0.1: found 'x', expected a whole number"):
        Pairs.checked({"pairs": [["a", "x"]]}, where="config")


def sentence(given):
    with pytest.raises(ConfigError) as caught:
        All.checked(given, where="config")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("value", ["two", True, "2", 2.5, nan, inf, None, [2], {"a": 1}, 0, 1_000_001, 2**70])
def test_whole_numbers(value):
    found = sentence({"part": {"count": value}})
    assert found.startswith(
        f"config part.count: found {value!r}, expected a whole number from 1 to 1,000,000 (number of "
    )


def test_integral_floats_are_whole_numbers():
    plain = All.checked(
        {
            "part": {"count": 2.0, "seed": 3.0},
            "entries": {"x": {"reader": "left", "window": 3.0, "layers": [0.0, 2.0]}},
        },
        where="config",
    ).plain()
    assert plain["part"] == {"count": 2, "seed": 3}
    numbers = [plain["part"]["count"], plain["entries"]["x"]["window"], *plain["entries"]["x"]["layers"]]
    assert [type(number) for number in numbers] == [int] * 4


@pytest.mark.parametrize("value", ["0.5", nan, inf, -inf, 0, 1.5, True, None, [0.5]])
def test_finite_numbers(value):
    found = sentence({"part": {"count": 1, "share": value}})
    assert found.startswith(
        f"config part.share: found {value!r}, expected a number above 0 and at most 1 (BATCH's share)"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"part": {"count": 1, "on": "yes"}}, r"part.on: found 'yes', expected true or false \(whether\)"),
        ({"part": {"count": 1, "on": 1}}, r"part.on: found 1, expected true or false"),
        (
            {"part": {"count": 1, "seed": 2**63}},
            r"part.seed: found \d+, expected a whole number from 0 to 4,294,967,295",
        ),
        ({"part": {"count": 1, "seed": -1}}, r"part.seed: found -1, expected a whole number from 0"),
        ({"part": {"cuont": 1}}, r"part: unknown key 'cuont', expected one of: count, .*; did you mean 'count'\?"),
        ({"part": {"count": 1, "zebra": 1}}, r"part: unknown key 'zebra', expected one of: count, share, on, seed$"),
        ({"part": {"count": 1, "routes": 1}}, r"part: 'routes' is called 'estimators' now"),
        ({"part": {"count": 1, "share": "1e-3"}}, r"found '1e-3', expected .*1e-3 is written 1.0e-3 in YAML"),
        ({"part": {}}, r"part: 'count' is missing, expected a whole number from 1"),
        ({"part": []}, r"part: found \[\], expected a mapping"),
        ({"part": {"count": 101, "on": False}}, r"config part: with 'on: false' at most 100"),
        ({}, r"config: 'part' is missing"),
        (None, r"config: found None, expected a mapping"),
        ({"part": None, "ids": []}, r"ids: found \[\], expected a list of at least 1"),
        ({"part": None, "ids": "a"}, r"ids: found 'a', expected a list"),
        ({"part": None, "ids": ["a", "b", "a"]}, r"ids: 'a' stands in the list twice"),
        ({"part": None, "ids": ["A_b"]}, r"ids.0: found 'A_b', expected an id: at most 100 lower-case letters"),
        ({"part": None, "ids": [1]}, r"ids.0: found 1, expected an id"),
        ({"part": None, "ids": ["x" * 101]}, r"ids.0: found 'x+ … \d+ characters … x+', expected an id: at most 100"),
        ({"part": None, "entries": {"B_": {}}}, r"entries: 'B_' is no id; expected at most 100 lower-case"),
        ({"part": None, "entries": {3: {}}}, r"entries: 3 is no id"),
        (
            {"part": None, "entries": {"x": {}}},
            r"entries.x: 'reader' is missing, expected one of: left, right-hand, table",
        ),
        (
            {"part": None, "entries": {"x": {"reader": "lefty"}}},
            r"entries.x.reader: found 'lefty', expected one of: .*'left'\?",
        ),
        (
            {"part": None, "entries": {"x": {"reader": ["left"]}}},
            r"entries.x.reader: found \['left'\], expected one of",
        ),
        ({"part": None, "entries": {"x": None}}, r"entries.x: found None, expected a mapping"),
        (
            {"part": None, "entries": {"x": {"reader": "left"}}},
            r"entries.x: 'window' is missing, expected a number of blocks",
        ),
        (
            {"part": None, "entries": {"x": {"reader": "right-hand", "window": 2}}},
            r"entries.x: unknown key 'window', expected one of: reader, source$",
        ),
        (
            {"part": None, "entries": {"x": {"reader": "table", "table": "a.csv", "image": "x"}}},
            r"entries.x: unknown key 'image', expected one of: reader, table$",
        ),
        ({"part": None, "entries": {"x": {"reader": "table", "table": 3}}}, r"entries.x.table: found 3, expected text"),
        *(
            ({"part": None, "entries": {"x": {"reader": "left", "window": window}}}, rf"entries.x.window: {message}")
            for window, message in [
                (0, "found 0, expected a number of blocks from 1 to 1000, all, or"),
                ("al", "found 'al', expected a number of blocks"),
                (True, "found True, expected"),
                ([1], r"found \[1\], expected"),
                ([1, 2.5], r"found \[1, 2.5\], expected"),
                ([3, 2], r"the range \[3, 2\] is empty"),
                ([-1, 2], r"the range \[-1, 2\] is empty"),
            ]
        ),
        (
            {"part": None, "entries": {"x": {"reader": "right-hand", "source": "imag"}}},
            r"entries.x.source: unknown span 'imag', expected one of: image",
        ),
        ({"part": None, "edges": ["image->last", "image"]}, r"edges.1: found 'image', expected source->target"),
        ({"part": None, "edges": ["image->last->text"]}, r"edges.0: found .*, expected source->target"),
        ({"part": None, "edges": ["last->question"]}, r"edges.0: 'last->question' runs against causality"),
        ({"part": None, "edges": [["image", "last"]]}, r"edges.0: found \['image', 'last'\], expected source->target"),
    ],
)
def test_every_refusal_is_one_sentence(given, message):
    assert re.search(message, sentence(given))


def test_long_values_are_not_printed_whole():
    assert len(sentence({"part": {"count": "x" * 10_000}})) < 300


def test_built_in_a_notebook_the_class_is_named():
    with pytest.raises(ConfigError, match="Part count: found 0, expected a whole number"):
        Part(count=0)
    assert Part(count=3).plain() == {"count": 3}
