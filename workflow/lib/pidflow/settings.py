"""Typed settings: what the configuration may say, said once; schema, known keys and refusals come from here."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
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

from pidflow.errors import ConfigError
from pidflow.names import SPANS

ID_PATTERN = r"[a-z0-9]+([.-][a-z0-9]+)*"
# The largest random state that every library takes.
LARGEST_SEED = 2**32 - 1
_SHOWN = 60


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
            raise ValueError(f"{value!r} stands in the list twice; leave one out")
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
    for name in value.split("+"):
        if name not in SPANS:
            inside = f" in '{value}'" if name != value else ""
            known = ", ".join(SPANS)
            raise ValueError(f"unknown span '{name}'{inside}, expected one of: {known}, or several joined by +")
    return value


def _edge(value: Any) -> Any:
    if not isinstance(value, str) or value.count("->") != 1:
        raise mismatch()
    source, target = value.split("->")
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
    if max(SPANS[name][1] for name in target.split("+")) < min(SPANS[name][0] for name in source.split("+")):
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
        json_schema_extra={"expected": "an id: lower-case letters, digits, and single dots or dashes between them"},
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
    _described(f"a span ({', '.join(SPANS)}) or several joined by +", type="string"),
]
EdgeName = Annotated[
    str, BeforeValidator(_edge), _described("source->target, two spans such as image->question", type="string")
]


_ID = {"expected": "lower-case letters, digits, and single dots or dashes between them"}


def sentence(settings: type[Settings], error: ValidationError, given: Any, *, where: str) -> str:
    """The first thing that is wrong with settings, as one sentence; unknown keys go before what else is wrong.

    Parameters
    ----------
    settings
        The class that refused.
    given
        What it refused.
    where
        What stands before the path of the key.
    """
    errors = error.errors(include_url=False, include_input=False)
    first = min(errors, key=lambda each: each["type"] != "extra_forbidden")
    schema, definitions = _schema(settings)
    path, place, value = [], _resolved(schema, definitions, given), given
    missing = first["type"] in ("missing", "extra_forbidden")
    if first["loc"][-1:] == ("[key]",):
        at = _at(where, [str(step) for step in first["loc"][:-2]])
        return f"{at}: {_shown(first['loc'][-2])} is no id; expected {expected(_ID)}"
    for step in first["loc"][:-1] if missing else first["loc"]:
        inner = _inside(place, step, value)
        if inner is None:
            continue  # pydantic names the branches of a choice too
        path.append(str(step))
        value = value[step]
        place = _resolved(inner, definitions, value)
    key = first["loc"][-1] if first["loc"] else ""
    if missing:
        at = _at(where, path)
        if first["type"] == "missing":
            wanted = place["properties"].get(key, {})
            return f"{at}: '{key}' is missing, expected {_expectation(wanted, definitions)}"
        return f"{at}: {_unknown(str(key), place)}"
    if first["type"].startswith("union_tag"):
        tag = place["discriminator"]["propertyName"]
        known = ", ".join(sorted(place["discriminator"]["mapping"]))
        if tag not in value:
            return f"{_at(where, path)}: '{tag}' is missing, expected one of: {known}"
        found = value[tag]
        return f"{_at(where, [*path, tag])}: found {_shown(found)}, expected one of: {known}{_close(found, known)}"
    at = _at(where, path)
    if first["type"] == "value_error":
        return f"{at}: {first['ctx']['error']}"
    return f"{at}: found {_shown(value)}, expected {_expectation(place, definitions)}{_hint(value, place)}"


def _at(where: str, path: Iterable[str]) -> str:
    if not path:
        return where
    return where + ("." if " " in where else " ") + ".".join(path)


@cache
def _schema(settings: type[Settings]) -> tuple[dict, dict]:
    schema = settings.model_json_schema()
    return schema, schema.get("$defs", {})


def _resolved(schema: dict, definitions: dict, value: Any) -> dict:
    """A part of a schema with what it refers to, the branch that a value chose taken; its own words go first."""
    while True:
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[-1]
            schema = {**definitions[name], **{key: each for key, each in schema.items() if key != "$ref"}}
        elif "discriminator" in schema and isinstance(value, Mapping):
            choice = schema["discriminator"]
            chosen = value.get(choice["propertyName"])
            if not isinstance(chosen, str) or chosen not in choice["mapping"]:
                return schema
            schema = {"$ref": choice["mapping"][chosen]}
        elif isinstance(value, Mapping | list) and "anyOf" in schema:
            kinds = ("array",) if isinstance(value, list) else ("object", None)
            fitting = [each for each in schema["anyOf"] if each.get("type") in kinds]
            if len(fitting) != 1 or "expected" in schema:
                return schema
            schema = fitting[0]
        else:
            return schema


def _inside(schema: dict, step: str | int, value: Any) -> dict | None:
    """The schema one step further in; None if the step leads nowhere in what was given."""
    if isinstance(step, int):
        if not isinstance(value, list) or step >= len(value):
            return None
        first = schema.get("prefixItems", ())
        return first[step] if step < len(first) else schema.get("items")
    if not isinstance(value, Mapping) or step not in value:
        return None
    entries = [schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()]
    inner = schema.get("properties", {}).get(step) or next((each for each in entries if isinstance(each, dict)), None)
    return inner


def _unknown(key: str, schema: dict) -> str:
    known = list(schema.get("properties", {}))
    renamed = schema.get("renamed", {})
    if key in renamed:
        return f"'{key}' is called '{renamed[key]}' now; rename it"
    return f"unknown key '{key}', expected one of: {', '.join(known)}{_close(key, known)}"


def _close(found: Any, known: str | Sequence[str]) -> str:
    known = known.split(", ") if isinstance(known, str) else known
    close = difflib.get_close_matches(str(found), known, n=1)
    return f"; did you mean '{close[0]}'?" if close and close[0] != found else ""


def _hint(value: Any, schema: dict) -> str:
    """What to do about a value that is nearly right."""
    if isinstance(value, str):
        if value in schema.get("renamed", {}):
            return f"; '{value}' is called '{schema['renamed'][value]}' now, rename it"
        if schema.get("type") in ("integer", "number") and re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", value, re.I):
            return "; numbers stand without quotes, and 1e-3 is written 1.0e-3 in YAML"
        return _close(value, [each for each in schema.get("enum", ()) if isinstance(each, str)])
    return ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _expectation(schema: dict, definitions: dict) -> str:
    described = re.split(r"[:;]|\. ", schema.get("description", ""))[0].rstrip(".")
    described = described[:1].lower() + described[1:] if described[1:2].islower() else described
    return expected(schema, definitions) + (f" ({described})" if described else "")


def expected(schema: dict, definitions: Mapping[str, dict] | None = None) -> str:
    """What a part of a JSON schema admits, in words that follow "expected"."""
    schema = _resolved(schema, definitions or {}, None)
    if "expected" in schema:
        return schema["expected"]
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return f"one of: {', '.join(map(str, schema['enum']))}"
    if "anyOf" in schema:
        return " or ".join(expected(each, definitions) for each in schema["anyOf"])
    kind = schema.get("type", "object")
    if kind in ("integer", "number"):
        noun = "a whole number" if kind == "integer" else "a number"
        return " ".join([noun, *_bounds(schema)])
    if kind == "array":
        least = schema.get("minItems", 0)
        return "a list" + (f" of at least {least}" if least else "")
    words = {"boolean": "true or false", "null": "null", "string": "text", "object": "a mapping (key: value)"}
    return words[kind]


def _bounds(schema: dict) -> list[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return [f"from {_number(low)} to {_number(high)}"]
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    words = [("at least", low), ("above", above), ("at most", high), ("below", below)]
    parts = [f"{word} {_number(bound)}" for word, bound in words if bound is not None]
    return ["of " * parts[0].startswith("at") + " and ".join(parts)] if parts else []


def _number(bound: float) -> str:
    return f"{int(bound):,}" if bound == int(bound) else f"{bound:g}"
