"""/v1/openapi.json says what there is, and the answers are as it says."""

import json
import re
import shlex
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

import pytest
from openapi_spec_validator import validate
from pydantic import TypeAdapter
from pydantic_core import to_json

from db.pool import Conn, Pool
from handlers.api_keys import PERMISSIONS
from handlers.outbound.addresses import Allow
from handlers.process.secrets import Vault
from ingress.api.description import Described, openapi
from ingress.api.door import application
from ingress.api.endpoints import ENDPOINTS
from ingress.api.headers import OF_PROBLEMS
from ingress.api.keys import Keys
from ingress.api.meter import Meter
from ingress.api.problem_schemas import MEMBERS, component_of
from ingress.api.problems import PROBLEMS
from ingress.api.table import JSON, Installation
from tests.api import Client, make_action, make_open_conversation, make_webhook
from tests.api.described import endpoint_of, operation_of, violations, wrong_in_answer
from tests.cli import ROOT
from tests.factories import Tenant
from tests.ingress import Door

HERE = Installation(Vault(("of what is encrypted at rest",)), Allow())


async def test_routes_and_description_are_the_same(pool: Pool) -> None:
    routes = {
        (route.method, f"/v1{route.resource.canonical}")
        for route in application(pool, Keys(pool), Meter(pool), HERE).router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    described = {
        (method.upper(), path) for path, methods in openapi()["paths"].items() for method in methods
    }
    assert routes == described | {("GET", "/v1/openapi.json")}
    assert len(described) == len(ENDPOINTS)


def test_it_is_openapi() -> None:
    validate(openapi())


async def test_anybody_may_read_it(api: Door) -> None:
    answer = await Client(api.url, api.http, "").get("/openapi.json")
    assert (answer.status, answer.json) == (200, openapi())


def test_every_example_is_what_its_schema_says() -> None:
    for endpoint in ENDPOINTS:
        operation = operation_of(endpoint)
        for body in operation.get("requestBody", {}).get("content", {}).values():
            if JSON in endpoint.takes:  # else a file
                assert violations(body["schema"], body["example"]) == [], endpoint.name
        for parameter in operation["parameters"]:
            if "example" in parameter:
                assert violations(parameter["schema"], parameter["example"]) == [], endpoint.name
    for name, told in openapi()["webhooks"].items():
        (body,) = told["post"]["requestBody"]["content"].values()
        assert violations(body["schema"], body["example"]) == [], name


def test_every_operation_says_what_a_reader_needs() -> None:
    described = openapi()
    nouns = {tag["name"] for tag in described["tags"]}
    for endpoint in ENDPOINTS:
        operation = operation_of(endpoint)
        assert set(operation["tags"]) <= nouns, f"{endpoint.name}: its noun goes into NOUNS"
        assert (endpoint.permission or "Any key") in operation["description"]
        (sample,) = operation["x-codeSamples"]
        assert shlex.split(sample["source"])[0] == "curl"
        for feature in endpoint.features:
            assert str(feature) in operation["description"]


def test_every_problem_has_a_schema_of_its_own() -> None:
    schemas = openapi()["components"]["schemas"]
    assert set(MEMBERS) <= set(PROBLEMS)
    assert set(OF_PROBLEMS) <= set(PROBLEMS)
    for name, (status, title) in PROBLEMS.items():
        schema = schemas[component_of(name)]["properties"]
        assert (schema["status"]["const"], schema["title"]["const"]) == (status, title)


def test_each_endpoint_is_told_apart() -> None:
    names = [endpoint.name for endpoint in ENDPOINTS]
    assert len(set(names)) == len(names)
    for endpoint in ENDPOINTS:
        assert endpoint.permission is None or endpoint.permission in PERMISSIONS
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
    for body in bodies | {"ModelMade", "ModelChange", "Fallback"}:  # and what is within them
        for name, field in schemas[body]["properties"].items():
            if "type" not in field:
                assert "$ref" in str(field), f"{body}.{name}"
                continue
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
    ("status", "headers", "body", "wrong"),
    [
        (200, {}, {"data": [], "next": None}, ["the header Cache-Control is missing"]),
        (418, {"Cache-Control": "no-store"}, {}, ["the status 418 is not there"]),
        (200, {"Cache-Control": "public"}, {"data": [], "next": None}, ["Cache-Control: at $"]),
        (200, {"Cache-Control": "no-store"}, {"data": []}, ["at $: 'next' is a required"]),
        (200, {"Cache-Control": "no-store"}, {"data": [{}], "next": None}, ["at $.data[0]: "]),
        (401, {"Cache-Control": "no-store"}, {}, ["the header WWW-Authenticate is missing"]),
    ],
)
def test_an_answer_that_is_not_as_described_is_seen(
    status: int, headers: dict[str, str], body: Any, wrong: list[str]
) -> None:
    kind = "application/json" if status < 400 else "application/problem+json"
    endpoint = endpoint_of("GET", "/actions?status=pending")
    assert endpoint is not None
    found = wrong_in_answer(endpoint, status, {"Content-Type": kind, **headers}, body)
    for one in wrong:
        assert any(seen.startswith(one) for seen in found), found


def test_every_problem_is_documented() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \| (\d+) \|", text, re.MULTILINE)
    assert documented == [(name, str(status)) for name, (status, _) in PROBLEMS.items()]


async def test_the_examples_of_the_guide_work(owner: Conn, client: Client, ours: Tenant) -> None:
    """Each curl command, as it stands there, in order."""
    action, _ = await make_action(owner, ours)
    conversation, _ = await make_open_conversation(owner, ours)
    webhook = await make_webhook(owner, ours)
    text = (ROOT / "docs" / "api.md").read_text()
    block = "".join(re.findall(r"```\n(curl .*?)```", text, re.DOTALL))
    values = {
        "KEY": client.key,
        "API": "",
        "ACTION": action,
        "CONVERSATION": conversation,
        "WEBHOOK": webhook,
    }
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
                    method, data = "POST" if method == "GET" else method, next(words)
                case "-X":
                    method = next(words)
                case "curl" | "-s":
                    pass
                case _:
                    path = word
        answer = await client.send(method, path.removeprefix("/v1"), headers=headers, data=data)
        statuses.append(answer.status)
    assert statuses == [200, 200, 200, 201, 200, 200, 200, 201, 200]
    assert await owner.fetchval("SELECT status FROM actions") == "approved"
    assert await owner.fetchval("SELECT count(*) FROM messages WHERE is_from_human") == 1


async def test_the_refusal_in_the_guide_is_what_is_answered(client: Client) -> None:
    (told,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    assert (await client.post("/webhooks", {"urls": 1, "events": ["*"]})).json == json.loads(told)
