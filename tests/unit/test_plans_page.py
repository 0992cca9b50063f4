"""docs/plans.md says of every key where it acts, as the code has it."""

import json
import re
from typing import Any

import pytest

from handlers.plan_places import LATER, PLACES, table
from handlers.plan_schema import plan_schema
from handlers.plans import KINDS, validate
from tests.plans import ODD
from tests.plans_page import PAGE, page
from tests.unit.test_plans import DOCUMENTED


def test_its_table_is_made_of_the_code() -> None:
    now = PAGE.read_text()
    assert page(now) == now, "run `make plans`"


def test_every_key_has_one_line() -> None:
    assert PLACES.keys() == KINDS.keys()
    keys = re.findall(r"^\| `([\w.]+)` \|", table(), re.MULTILINE)
    assert keys == [*KINDS]
    assert all(place and place != LATER for place in PLACES.values())


def accepts(schema: dict[str, Any], value: Any) -> bool:
    """By the part of JSON Schema that a plan's has."""
    known = {
        *("$schema", "title", "type", "properties", "additionalProperties", "items", "enum"),
        *("anyOf", "minimum", "maximum", "exclusiveMaximum", "minLength", "maxLength", "pattern"),
    }
    assert schema.keys() <= known, schema.keys() - known
    if "anyOf" in schema and not any(accepts(one, value) for one in schema["anyOf"]):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    kinds: dict[str, Any] = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "integer": int,
        "number": (int, float),
    }
    if "type" in schema:
        right = isinstance(value, kinds[schema["type"]])
        if not right or (isinstance(value, bool) and schema["type"] != "boolean"):
            return False
    return _within(schema, value)


def _within(schema: dict[str, Any], value: Any) -> bool:
    if isinstance(value, dict) and "properties" in schema:
        inner = schema["properties"]
        assert schema["additionalProperties"] is False
        return value.keys() <= inner.keys() and all(
            accepts(inner[name], one) for name, one in value.items()
        )
    if isinstance(value, list) and "items" in schema:
        return all(accepts(schema["items"], one) for one in value)
    if isinstance(value, str):
        return (
            len(value) >= schema.get("minLength", 0)
            and len(value) <= schema.get("maxLength", len(value))
            and re.search(schema.get("pattern", ""), value) is not None
        )
    if isinstance(value, int | float) and not isinstance(value, bool):
        return bool(
            value >= schema.get("minimum", value)
            and value <= schema.get("maximum", value)
            and (value < schema["exclusiveMaximum"] if "exclusiveMaximum" in schema else True)
        )
    return True


def nested(path: str, value: Any) -> Any:
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


@pytest.mark.parametrize("key", KINDS)
def test_the_schema_takes_what_is_taken(key: str) -> None:
    """But for what JSON Schema cannot say: an amount's decimals, blanks beyond ASCII's."""
    schema = plan_schema()
    for text in (*ODD, '"x"', '"overage"', '"38.50"', "9000", "101", '"' + "x" * 300 + '"'):
        value = json.loads(text)
        if text in ("1e30", '"\\u00a0"'):
            continue
        taken = not validate(nested(key, value))
        assert accepts(schema, nested(key, value)) == taken, (key, text)


def test_the_schema_takes_the_documented_plan_and_no_unknown_key() -> None:
    schema = plan_schema()
    assert accepts(schema, json.loads(DOCUMENTED))
    assert not accepts(schema, {"limit": {}})
    assert not accepts(schema, {"limits": {"max_chatbot": 1}})
