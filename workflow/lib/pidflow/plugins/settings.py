"""Typed settings: what the configuration may say, said once; schema, known keys and refusals come from here."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pidflow.errors import ConfigError, shown
from pidflow.names import RENAMED_SPANS, SPANS, edge_parts, extent, pattern_of, span_parts
from pidflow.plugins.refusals import did_you_mean, sentence

ID_PATTERN = r"[a-z0-9]+([.-][a-z0-9]+)*"
ID_WORDS = "at most 100 lower-case letters, digits, and single dots or dashes between them"
# The largest random state that every library takes.
LARGEST_SEED = 2**32 - 1


class Settings(BaseModel):
    """Settings of a part of a run: unknown keys and numbers that are not finite are refused, nothing is cast.

    Every field has a type, a ``description`` and bounds on both sides where a size could run for ever. Whole numbers
    are declared as :data:`Whole`, which takes 2.0 for 2. A validator that refuses a combination raises ``ValueError``
    with the sentence; the place in the configuration is put before it.

    Attributes
    ----------
    renamed
        Keys of earlier versions, each with the key that stands for it today; the refusal names it.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True, protected_namespaces=()
    )
    renamed: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as err:
            raise ConfigError(sentence(type(self), err, given, where=type(self).__name__)) from None

    @model_validator(mode="before")
    @classmethod
    def _tuples_from_lists(cls, given: Any) -> Any:
        """YAML has no tuples; a field that holds some takes lists."""
        if not isinstance(given, dict):
            return given
        wanted = [name for name, field in cls.model_fields.items() if "tuple[" in str(field.annotation)]
        return given | {name: _tupled(given[name]) for name in wanted if name in given}

    # Settings inside settings are checked without this method, so that an error knows where it is.
    __init__.__pydantic_base_init__ = True

    @classmethod
    def checked(cls, given: Any, *, where: str) -> Self:
        """These settings from a mapping, as YAML gives it.

        Parameters
        ----------
        where
            Where the mapping stands, which an error begins with: ``config``, or a part of it, ``config flow``.

        Raises
        ------
        ConfigError
            One sentence that names the key, what it holds and what was expected.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as err:
            raise ConfigError(sentence(cls, err, given, where=where)) from None

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        schema = handler(core)
        if cls.renamed:
            handler.resolve_ref_schema(schema)["renamed"] = dict(cls.renamed)
        return schema

    def plain(self) -> dict[str, Any]:
        """What was given, as values that JSON and YAML know; defaults that were not given stay out."""
        return self.model_dump(mode="json", exclude_unset=True)


def _integral(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _unique(values: list) -> list:
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"{shown(value)} stands in the list twice; leave one out")
    return values


def mismatch() -> PydanticCustomError:
    """What a validator raises to be answered with "found …, expected …"."""
    return PydanticCustomError("mismatch", "mismatch")


def _blocks(value: Any) -> Any:
    if value == "all":
        return value
    if not isinstance(value, list) or len(value) != 2:
        raise mismatch()
    first, last = (_integral(end) for end in value)
    if not all(isinstance(end, int) and not isinstance(end, bool) for end in (first, last)):
        raise mismatch()
    if not 0 <= first <= last:
        raise ValueError(f"the range [{first}, {last}] is empty; expected 0 <= first <= last, counted from 0")
    return [first, last]


def _layers(value: Any) -> Any:
    if value == "all":
        return value
    found = [_integral(each) for each in value] if isinstance(value, list) else []
    if not found or not all(
        isinstance(each, int) and not isinstance(each, bool) and -1000 <= each <= 1000 for each in found
    ):
        raise mismatch()
    return _unique(found)


def _heads(value: Any) -> Any:
    if not isinstance(value, list) or not value:
        raise mismatch()
    found = [[_integral(each) for each in head] if isinstance(head, list) else _integral(head) for head in value]
    pairs = all(isinstance(head, list) and len(head) == 2 for head in found)
    numbers = [number for head in found for number in head] if pairs else found
    if not all(isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 1000 for number in numbers):
        raise mismatch()
    return _unique(found)


def _window(value: Any) -> Any:
    size = _integral(value)
    if isinstance(size, int) and not isinstance(size, bool):
        if not 1 <= size <= 1000:
            raise mismatch()
        return size
    return _blocks(value)


def _span(value: Any) -> Any:
    if not isinstance(value, str):
        raise mismatch()
    for name in span_parts(value):
        pattern = pattern_of(name)
        if pattern is not None:
            _expression(pattern)
        elif name not in SPANS:
            inside = f" in {shown(value)}" if name != value else ""
            if name in RENAMED_SPANS:
                raise ValueError(f"span {shown(name)}{inside} is called '{RENAMED_SPANS[name]}' today")
            raise ValueError(
                f"unknown span {shown(name)}{inside}, expected one of: {', '.join(SPANS)}; a regular expression "
                f"between slashes; or several joined by +{did_you_mean(name, SPANS)}"
            )
    return value


def _expression(pattern: str) -> None:
    try:
        found = re.compile(pattern)
    except re.error as err:
        raise ValueError(f"the regular expression {shown(pattern)} is malformed: {err}") from None
    if found.fullmatch("") is not None:
        raise ValueError(f"the regular expression {shown(pattern)} matches nothing at all; let it match some text")


def _edge(value: Any) -> Any:
    found = edge_parts(value) if isinstance(value, str) else None
    if found is None:
        raise mismatch()
    source, target = found
    _span(source), _span(target)
    forwards(source, target)
    return value


def forwards(source: str, target: str) -> None:
    """Refuse an edge that runs backwards: a position attends to none that comes after it.

    Raises
    ------
    ValueError
        If all of the target comes before its source, in any prompt.
    """
    if extent(target)[1] < extent(source)[0]:
        raise ValueError(
            f"'{source}->{target}' runs against causality, all of its target comes before its source and attends to "
            "none of it; turn it round or leave it out"
        )


def _described(expected: str, **schema: Any) -> WithJsonSchema:
    return WithJsonSchema({**schema, "expected": expected})


_RANGE = {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "integer", "minimum": 0}}

Whole = Annotated[int, BeforeValidator(_integral)]
Id = Annotated[
    str,
    Field(
        pattern=f"^{ID_PATTERN}$",
        max_length=100,
        json_schema_extra={
            "expected": "an id: at most 100 lower-case letters, digits, and single dots or dashes between them"
        },
    ),
]
Ids = Annotated[list[Id], Field(min_length=1), AfterValidator(_unique)]
Text = Annotated[str, Field(min_length=1, max_length=4096)]
Unique = AfterValidator(_unique)
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED), BeforeValidator(_integral)]
# All blocks, or the first and the last of a range.
Blocks = Annotated[
    Any,
    BeforeValidator(_blocks),
    _described("all, or the first and the last block as [first, last]", anyOf=[{"const": "all"}, _RANGE]),
]
# All layers, or some by number, 0 the embedding output and -1 the last.
Layers = Annotated[
    Any,
    BeforeValidator(_layers),
    _described("all, or layers as [0, 4, -1]", anyOf=[{"const": "all"}, {"type": "array", "minItems": 1}]),
]
# Heads of each block, or pairs of a block and one of its heads.
Heads = Annotated[
    Any,
    BeforeValidator(_heads),
    _described("heads as [0, 3], or pairs of a block and a head as [[12, 0], [14, 3]]", type="array", minItems=1),
]
# Blocks cut together: a number (a window centred on each block), all, or a range.
WindowSize = Annotated[
    Any,
    BeforeValidator(_window),
    _described(
        "a number of blocks from 1 to 1000, all, or [first, last]",
        anyOf=[{"type": "integer", "minimum": 1, "maximum": 1000}, {"const": "all"}, _RANGE],
    ),
]
# A named group of positions in the prompt, or several joined by +.
Span = Annotated[
    str,
    BeforeValidator(_span),
    _described(
        f"a span ({', '.join(SPANS)}), a regular expression between slashes, or several joined by +", type="string"
    ),
]
EdgeName = Annotated[
    str, BeforeValidator(_edge), _described("source->target, two spans such as image->question", type="string")
]


class Titled(Settings):
    """What people read may call an entry otherwise than by its id."""

    title: Annotated[str, Field(min_length=1, max_length=30)] | None = Field(
        default=None,
        description="What figures and the report call it; else its id, in which tasks have blanks for dashes.",
    )
