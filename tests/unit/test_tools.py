"""What tenants' own tools may be called and take."""

from typing import Any

import pytest

from handlers.agent.events import EVENT
from handlers.agent.files import Files, files_of
from handlers.agent.powers import Powers
from handlers.agent.remembering import REMEMBER
from handlers.agent.selling import TOOLS as SELLING
from handlers.agent.tools import REQUEST, SEARCH
from handlers.rules.echoes import without_echoes
from handlers.rules.tools import (
    ENUM_MAX,
    PREFIX,
    PROPERTIES_MAX,
    RESERVED,
    canonical,
    wrong_arguments,
    wrong_name,
    wrong_schema,
)


def objects(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def test_the_product_s_names_are_all_reserved() -> None:
    files = Files(files_of([(1, "document", "Menu")]))
    powers = Powers(hands_over=True, calculates=True, offers=True, files=files).schemas
    ours = {one["function"]["name"] for one in powers} | {REQUEST, SEARCH, REMEMBER, EVENT}
    assert ours | set(SELLING) == RESERVED
    assert not any(name.startswith(PREFIX) for name in RESERVED)


@pytest.mark.parametrize(
    "name", ["", "Book", "1st", "a" * 41, "a-b", "a b", "own_x", "ünder", "x\n", *sorted(RESERVED)]
)
def test_a_name_that_is_none(name: str) -> None:
    assert wrong_name(name) is not None


@pytest.mark.parametrize("name", ["a", "book_table", "x2", "a" * 40, "owner"])
def test_a_name(name: str) -> None:
    assert wrong_name(name) is None


deep: dict[str, Any] = {"type": "string"}
for _ in range(6):
    deep = objects(x=deep)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({}, "has to be"),
        ({"type": "array"}, "has to be"),
        (objects(x={"$ref": "https://evil.example/x"}), "$ref"),
        (objects(x={"$ref": "#"}), "$ref"),
        ({"type": "object", "$id": "https://evil.example"}, "$id"),
        ({"type": "object", "$defs": {}}, "$defs"),
        (objects(x={"type": "string", "pattern": "(a+)+$"}), "pattern"),
        (objects(x={"anyOf": []}), "anyOf"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "additionalProperties"),
        (deep, "deeper"),
        (objects(x={"type": "no_type"}), "at /"),
        (objects(x=5), "an object"),
        (objects(x={"type": "array", "items": [{"type": "string"}]}), "an object"),
        (objects(x={"enum": list(range(ENUM_MAX + 1))}), "lists"),
        (objects(**{f"p{n}": {} for n in range(PROPERTIES_MAX + 1)}), "properties"),
        (objects(x={"description": "x" * 4_000}), "characters"),
        (objects(x={"description": "a\0b"}), "cannot be stored"),
        (objects(x={"minimum": "5"}), "at /"),
        ({"type": "object", "required": "x"}, "at /"),
        ({"type": "object", "properties": []}, "at /"),
    ],
)
def test_a_schema_that_is_refused(schema: dict[str, Any], says: str) -> None:
    wrong = wrong_schema(schema)
    assert wrong is not None
    assert says in wrong


def test_a_schema() -> None:
    schema = objects(
        day={"type": "string", "format": "date", "minLength": 1, "maxLength": 20},
        people={"type": ["integer", "null"], "minimum": 1, "maximum": 12},
        extras={"type": "array", "maxItems": 3, "items": {"enum": ["cake", "candles"]}},
        address={"type": "object", "properties": {"street": {"type": "string"}}},
    ) | {"required": ["day"], "additionalProperties": False}
    assert wrong_schema(schema) is None
    assert wrong_arguments(schema, {"day": "1 May", "people": None, "extras": ["cake"]}) is None
    for given in (
        {},
        {"day": ""},
        {"day": "x", "people": 0},
        {"day": "x", "extras": ["gold"]},
        {"day": "x", "other": 1},
        {"day": "x", "address": {"street": 5}},
    ):
        assert wrong_arguments(schema, given) is not None


def test_arguments_are_bounded_and_json() -> None:
    schema = {"type": "object"}
    assert wrong_arguments(schema, {"x": "y" * 4_000}) is not None
    assert wrong_arguments(schema, {"x": float("nan")}) is not None
    assert wrong_arguments(schema, {"x": ["y"]}) is None


def test_equal_arguments_have_one_spelling() -> None:
    assert canonical({"b": 2.0, "a": "x\0"}) == canonical({"a": "x\ufffd", "b": 2})
    assert canonical({"a": 1}) != canonical({"a": "1"})
    assert canonical({"a": True}) != canonical({"a": 1})


@pytest.mark.parametrize(
    ("arguments", "text", "left"),
    [
        ({"n": 500}, '{"n": 500, "total": 1500}', '{"n":  , "total": 1500}'),
        ({"n": 500}, "500.00 EUR, 500.50 EUR, 5,500", "  EUR, 500.50 EUR, 5,500"),
        ({"note": "pay 30 EUR"}, "you said: pay 30 EUR. 30 it is.", "you said:  .   it is."),
        ({"x": {"y": ["https://evil.example"]}}, "see https://evil.example", "see  "),
        ({"q": 'a "b"'}, '{"q": "a \\"b\\""}', '{"q": " "}'),
        ({"flag": True, "none": None, "s": "EU"}, "true, None, EU", "true, None, EU"),
    ],
)
def test_what_is_only_said_again_is_taken_out(
    arguments: dict[str, Any], text: str, left: str
) -> None:
    assert without_echoes(text, arguments) == left
