"""Tenants' own tools: what their names, schemas and a model's arguments have to be. Pure.

A schema is a part of JSON Schema: no `$ref`, so nothing is looked up; no `pattern`, since an
expression can take for ever; nothing that is tried in branches. What is left is checked in one walk
over the arguments.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from jsonschema import Draft202012Validator

from handlers.rules.cutting import head
from handlers.rules.texts import storable

Effect: TypeAlias = Literal["none", "repeatable", "once"]

TOOLS_MAX = 10  # of a chatbot
NAME_CHARS = 40
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
DESCRIPTION_CHARS = 500
SCHEMA_CHARS = 3_000  # as JSON without spaces
ALL_CHARS = 12_000  # names, descriptions and schemas of a chatbot's active tools: 3,000 tokens
SCHEMA_DEPTH = 4
PROPERTIES_MAX = 30  # in all
ENUM_MAX = 50
ARGUMENTS_CHARS = 4_000  # as JSON
WRONG_MAX = 3  # that a model is told of at once
WRONG_UNITS = 200

# In front of a tool's name as a model calls it. No tool of the product begins so, today or later.
PREFIX: Final = "own_"
# A model that reads of one in its instructions is to find the product's, so nobody else's is called
# so. tests/unit/test_tools.py holds the list to what there is.
RESERVED: Final = frozenset(
    {
        "calculate",
        "find_products",
        "get_order_status",
        "hand_over_to_human",
        "offer_choices",
        "quote",
        "remember_fact",
        "request_human_action",
        "search_knowledge_base",
        "send_file",
        "system_event",
    }
)
_KEYWORDS: Final = frozenset(
    {
        *("type", "description", "title", "default", "examples", "format"),
        *("enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("minLength", "maxLength", "items", "minItems", "maxItems"),
        *("properties", "required", "additionalProperties"),
    }
)


def wrong_name(name: str) -> str | None:
    """Why it is none; None: it can be one."""
    if not NAME.fullmatch(name):
        return (
            f"a name has small letters, digits and _, begins with a letter and has {NAME_CHARS}"
            " characters at most"
        )
    if name in RESERVED or name.startswith(PREFIX):
        return f"{name} is a name that the product uses: take another"
    return None


def wrong_schema(schema: Mapping[str, Any]) -> str | None:
    """Why arguments cannot be described so; None: they can."""
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    if storable(text) != text or "\\u0000" in text:
        return "it has a character that cannot be stored"
    if len(text) > SCHEMA_CHARS:
        return f"it has {len(text)} characters as JSON, {SCHEMA_CHARS} at most"
    if schema.get("type") != "object":
        return 'its "type" has to be "object": a function has named arguments'
    wrong = next(_wrong(schema, "", 1), None)
    if wrong is not None:
        return wrong
    if (count := _count(schema)) > PROPERTIES_MAX:
        return f"it has {count} properties, {PROPERTIES_MAX} at most"
    error = next(
        iter(Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema)), None
    )
    if error is not None:
        return f"at {_at(error.absolute_path)}: {head(error.message, WRONG_UNITS)}"
    return None


def _wrong(schema: Any, at: str, depth: int) -> Iterator[str]:
    where = at or "the schema"
    if not isinstance(schema, Mapping):
        yield f"{where} has to be an object"
        return
    if depth > SCHEMA_DEPTH:
        yield f"{where} lies deeper than {SCHEMA_DEPTH} levels"
        return
    for keyword in schema:
        if keyword not in _KEYWORDS:
            yield (
                f"{where} has {keyword[:40]!r}, which is not taken: there are"
                f" {', '.join(sorted(_KEYWORDS))}"
            )
    if not isinstance(schema.get("additionalProperties", False), bool):
        yield f"additionalProperties of {where} has to be true or false"
    for choices in (schema.get("enum", []), schema.get("examples", [])):
        if isinstance(choices, list) and len(choices) > ENUM_MAX:
            yield f"{where} lists {len(choices)} values, {ENUM_MAX} at most"
    for name, one in _properties(schema).items():
        yield from _wrong(one, f"{at}.{name}" if at else str(name), depth + 1)
    if "items" in schema:
        yield from _wrong(schema["items"], f"{at}[]", depth + 1)


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found = schema.get("properties", {})
    return found if isinstance(found, Mapping) else {}


def _count(schema: Mapping[str, Any]) -> int:
    """Of properties; of a schema without anything wrong."""
    inner = [*_properties(schema).values(), *([schema["items"]] if "items" in schema else ())]
    return len(_properties(schema)) + sum(_count(one) for one in inner)


def _at(path: Any) -> str:
    return head("/" + "/".join(str(part) for part in path), WRONG_UNITS)


def takes(name: str, description: str, schema: Mapping[str, Any]) -> int:
    """Characters of a prompt, about."""
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return len(name) + len(description) + len(text)


def wrong_arguments(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """What a model is told is wrong with them; None: they are as the tenant wants them."""
    try:
        text = canonical(arguments)
    except (ValueError, TypeError, RecursionError):
        return "the arguments are no JSON"
    if len(text) > ARGUMENTS_CHARS:
        return f"the arguments have {len(text)} characters, {ARGUMENTS_CHARS} at most"
    found = []
    for error in Draft202012Validator(dict(schema)).iter_errors(dict(arguments)):
        found.append(f"{_at(error.absolute_path)}: {head(error.message, WRONG_UNITS)}")
        if len(found) == WRONG_MAX:
            break
    return "; ".join(found) or None


def canonical(arguments: Mapping[str, Any]) -> str:
    """One spelling for equal ones. Raises ValueError for what is no JSON (NaN)."""
    return json.dumps(
        plain(arguments), ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )


def plain(value: Any) -> Any:
    """As PostgreSQL takes it, and with 2.0 and 2 the same."""
    match value:
        case str():
            return storable(value)
        case float() if math.isfinite(value) and value.is_integer() and abs(value) < 2**53:
            return int(value)
        case Mapping():
            return {storable(str(key)): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return value
