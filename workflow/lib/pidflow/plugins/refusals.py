"""What is wrong with settings, in one sentence: where, what was found, what was expected; in words of the schema."""

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from pidflow.errors import shown

_ID = {"expected": "at most 100 lower-case letters, digits, and single dots or dashes between them"}


def sentence(settings: type[BaseModel], error: ValidationError, given: Any, *, where: str) -> str:
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
        return f"{at}: {shown(first['loc'][-2])} is no id; expected {expected(_ID)}"
    tag = None
    for step in first["loc"][:-1] if missing else first["loc"]:
        inner = None if step == tag else _inside(place, step, value)
        tag = None
        if inner is None:
            continue  # pydantic names the branches of a choice too
        path.append(str(step))
        value = value[step]
        place = _resolved(inner, definitions, value)
        if "discriminator" in inner and isinstance(value, Mapping):
            tag = value.get(inner["discriminator"]["propertyName"])
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
        return f"{_at(where, [*path, tag])}: found {shown(found)}, expected one of: {known}{did_you_mean(found, known)}"
    at = _at(where, path)
    if first["type"] == "value_error":
        return f"{at}: {first['ctx']['error']}"
    return f"{at}: found {shown(value)}, expected {_expectation(place, definitions)}{_hint(value, place)}"


def _at(where: str, path: Iterable[str]) -> str:
    if not path:
        return where
    return where + ("." if " " in where else " ") + ".".join(path)


@cache
def _schema(settings: type[BaseModel]) -> tuple[dict, dict]:
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
    return f"unknown key {shown(key)}, expected one of: {', '.join(known)}{did_you_mean(key, known)}"


def did_you_mean(found: Any, known: str | Iterable[str]) -> str:
    """The end of a sentence that names the known word nearest to what was found; nothing where none is near."""
    known = known.split(", ") if isinstance(known, str) else list(known)
    close = difflib.get_close_matches(str(found), known, n=1)
    return f"; did you mean '{close[0]}'?" if close and close[0] != found else ""


def _hint(value: Any, schema: dict) -> str:
    """What to do about a value that is nearly right."""
    if isinstance(value, str):
        if value in schema.get("renamed", {}):
            return f"; '{value}' is called '{schema['renamed'][value]}' now, rename it"
        if schema.get("type") in ("integer", "number") and re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", value, re.I):
            return "; numbers stand without quotes, and 1e-3 is written 1.0e-3 in YAML"
        return did_you_mean(value, [each for each in schema.get("enum", ()) if isinstance(each, str)])
    return ""


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
        each = expected(schema["items"], definitions) if schema.get("items") else ""
        return "a list" + (f" of at least {least}" if least else "") + (f", each {each}" if each else "")
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
