"""/v1/openapi.json says what there is, and the answers are as it says."""

import json
import re
import shlex
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

import pytest
from pydantic import TypeAdapter
from pydantic_core import to_json

from db.pool import Conn, Pool
from handlers.api_keys import PERMISSIONS
from ingress.api.description import Described, openapi
from ingress.api.door import application
from ingress.api.endpoints import ENDPOINTS
from ingress.api.keys import Keys
from ingress.api.meter import Meter
from ingress.api.problems import PROBLEMS
from tests.api import Answer, Client, make_action, make_open_conversation, spelt
from tests.cli import ROOT
from tests.factories import Tenant

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def violations(
    schema: dict[str, Any], value: Any, whole: dict[str, Any], at: str = ""
) -> list[str]:
    """Of the part of JSON Schema that the description uses; anything else is a violation too."""
    known = {
        *("type", "properties", "required", "additionalProperties", "items", "enum", "format"),
        *("$ref", "description", "pattern"),
    }
    if schema.keys() - known:
        return [f"{at}: cannot check {sorted(schema.keys() - known)}"]
    if "$ref" in schema:
        target = whole
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return violations(target, value, whole, at)
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    # To Python, True is an int.
    if not any(
        isinstance(value, TYPES[k]) and (k == "boolean" or not isinstance(value, bool))
        for k in kinds
    ):
        return [f"{at}: {value!r} is no {kinds}"]
    found: list[str] = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: {value!r} is none of {schema['enum']}")
    is_time = schema.get("format") == "date-time" and value is not None
    if is_time and datetime.fromisoformat(value).tzinfo is None:
        found.append(f"{at}: no zone")
    if isinstance(value, dict) and "properties" in schema:
        properties = schema["properties"]
        found += [f"{at}: lacks {name}" for name in schema.get("required", []) if name not in value]
        if schema.get("additionalProperties") is False:
            found += [f"{at}: has {name}" for name in value if name not in properties]
        for name in value.keys() & properties.keys():
            found += violations(properties[name], value[name], whole, f"{at}.{name}")
    if isinstance(value, list) and "items" in schema:
        for place, one in enumerate(value):
            found += violations(schema["items"], one, whole, f"{at}[{place}]")
    return found


def check(described: dict[str, Any], method: str, path: str, answer: Answer) -> None:
    operation = described["paths"][f"/v1{path}"][method.lower()]
    response = operation["responses"][str(answer.status)]
    (content_type,) = response["content"]
    assert answer.headers["Content-Type"].startswith(content_type)
    assert violations(response["content"][content_type]["schema"], answer.json, described) == []


async def test_routes_and_description_are_the_same(pool: Pool) -> None:
    routes = {
        (route.method, f"/v1{route.resource.canonical}")
        for route in application(pool, Keys(pool), Meter(pool)).router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    described = {
        (method.upper(), path) for path, methods in openapi()["paths"].items() for method in methods
    }
    assert routes == described | {("GET", "/v1/openapi.json")}
    assert len(described) == len(ENDPOINTS) == 12


async def test_the_answers_are_as_described(owner: Conn, client: Client, ours: Tenant) -> None:
    described = (await client.get("/openapi.json")).json
    assert described == openapi()
    action, _ = await make_action(owner, ours, user_response="yes")
    other, _ = await make_action(owner, ours)
    conversation, _ = await make_open_conversation(owner, ours)
    ids = {"/actions/{action_id}/deny": other}
    seen = set()
    for endpoint in sorted(ENDPOINTS, key=lambda e: e.method, reverse=True):
        row = ids.get(endpoint.path, action if "actions" in endpoint.path else conversation)
        path = spelt(endpoint, row)
        bodies: list[dict[str, Any]] = [{}, {"nonsense": 1}]
        if endpoint.once:
            bodies.append({"content_text": "hi"})
        for body in bodies if endpoint.method == "POST" else [{}]:
            request = {"json": body} if endpoint.method == "POST" else {}
            answer = await client.send(endpoint.method, path, **request)
            check(described, endpoint.method, endpoint.path, answer)
            seen.add(answer.status)
        if endpoint.path_names:
            answer = await client.send(endpoint.method, spelt(endpoint, 7777777))
            check(described, endpoint.method, endpoint.path, answer)
    answer = await client.post(f"/actions/{action}/deny")
    check(described, "POST", "/actions/{action_id}/deny", answer)
    assert seen | {answer.status} == {200, 201, 400, 409}


def test_each_endpoint_is_told_apart() -> None:
    names = [endpoint.name for endpoint in ENDPOINTS]
    assert len(set(names)) == len(names)
    for endpoint in ENDPOINTS:
        assert endpoint.permission in PERMISSIONS
        assert set(endpoint.problems) <= PROBLEMS.keys()
        for name in endpoint.path_names:
            assert name in endpoint.parameters.model_fields
            assert name.endswith("_id"), "an id says whose it is, there may be several"
            assert endpoint.parameters.model_fields[name].is_required()


def test_names_of_components_can_be_read() -> None:
    schemas = openapi()["components"]["schemas"]
    assert {"Action", "ActionPage", "Decision", "NewMessage", "Takeover"} <= schemas.keys()
    for name in schemas:  # with modules in them where two classes share a name
        assert re.fullmatch("([A-Z][a-z]+)+", name), name


def test_what_a_body_holds_is_bounded() -> None:
    schemas = openapi()["components"]["schemas"]
    bodies = {endpoint.body.__name__ for endpoint in ENDPOINTS} & schemas.keys()
    for body in bodies:
        for name, field in schemas[body]["properties"].items():
            if "string" in field["type"]:
                assert field.keys() & {"maxLength", "enum", "format"}, f"{body}.{name}"
            assert "array" not in field["type"] or "maxItems" in field, f"{body}.{name}"


@dataclass(frozen=True, slots=True)
class Part:
    """What a product is made of; no reader of the API needs to know."""

    amount: Decimal


@dataclass(frozen=True, slots=True)
class Product:
    price: Decimal | None
    day: date
    state: Literal["new", "sold"] | None
    part: Part | None


def test_rows_are_described_as_they_are_encoded() -> None:
    described = TypeAdapter(Product).json_schema(mode="serialization", schema_generator=Described)
    part = described.pop("$defs")["Part"]
    assert part.keys() == {"type", "properties", "required", "additionalProperties"}
    assert part["properties"]["amount"]["type"] == "string"
    kinds = described["properties"]
    assert kinds["price"]["type"] == ["string", "null"]
    assert kinds["day"] == {"type": "string", "format": "date"}
    assert kinds["state"] == {"type": ["string", "null"], "enum": ["new", "sold", None]}
    assert kinds["part"] == {"anyOf": [{"$ref": "#/$defs/Part"}, {"type": "null"}]}
    row = Product(Decimal("38.50"), date(2030, 1, 31), None, Part(Decimal("0.10")))
    assert json.loads(to_json(row)) == {
        "price": "38.50",
        "day": "2030-01-31",
        "state": None,
        "part": {"amount": "0.10"},
    }


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, "1"),
        ({"type": "integer"}, True),
        ({"type": ["string", "null"]}, 1),
        ({"type": "object", "required": ["a"], "properties": {}}, {}),
        ({"type": "object", "additionalProperties": False, "properties": {}}, {"a": 1}),
        ({"type": "array", "items": {"type": "string"}}, ["a", 1]),
        ({"type": "string", "enum": ["a"]}, "b"),
        ({"type": "string", "format": "date-time"}, "2026-01-01T00:00:00"),
        ({"type": "string", "maxLength": 1}, "what the check does not know"),
    ],
)
def test_a_violation_would_be_seen(schema: dict[str, Any], value: Any) -> None:
    assert violations(schema, value, {}) != []


def test_every_problem_is_documented() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \| (\d+) \|", text, re.MULTILINE)
    assert documented == [(name, str(status)) for name, (status, _) in PROBLEMS.items()]
    for endpoint in ENDPOINTS:
        assert f"`{endpoint.method} /v1{endpoint.path}`" in text


async def test_the_examples_of_the_page_work(owner: Conn, client: Client, ours: Tenant) -> None:
    """Each curl command, as it stands there, in order."""
    action, _ = await make_action(owner, ours)
    conversation, _ = await make_open_conversation(owner, ours)
    (block,) = re.findall(r"```\n(curl .*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    values = {"KEY": client.key, "API": "", "ACTION": action, "CONVERSATION": conversation}
    statuses = []
    for command in block.replace("\\\n", " ").strip().splitlines():
        words = iter(shlex.split(re.sub(r"\$(\w+)", lambda m: str(values[m[1]]), command)))
        method, headers, data, path = "GET", {}, None, ""
        for word in words:
            match word:
                case "-H":
                    name, _, value = next(words).partition(": ")
                    headers[name] = value
                case "-d":
                    method, data = "POST", next(words)
                case "-X":
                    method = next(words)
                case "curl" | "-s":
                    pass
                case _:
                    path = word
        answer = await client.send(method, path.removeprefix("/v1"), headers=headers, data=data)
        statuses.append(answer.status)
    assert statuses == [200, 200, 200, 201, 200, 200, 200]
    assert await owner.fetchval("SELECT status FROM actions") == "approved"
    assert await owner.fetchval("SELECT count(*) FROM messages WHERE is_from_human") == 1
