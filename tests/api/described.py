"""Answers are held to the description, each that a test of the API gets: status, headers, body."""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

from ingress.api.description import openapi
from ingress.api.endpoints import ENDPOINTS
from ingress.api.table import AnyEndpoint

FORMATS = Draft202012Validator.FORMAT_CHECKER


@functools.cache
def description() -> dict[str, Any]:
    described: dict[str, Any] = json.loads(json.dumps(openapi()))
    return described


@functools.cache
def _patterns() -> list[tuple[re.Pattern[str], AnyEndpoint]]:
    """What is spelt out before what has a name in it."""
    found = sorted(ENDPOINTS, key=lambda one: "{" in one.path)
    return [(re.compile(re.sub(r"{\w+}", "[0-9]+", one.path)), one) for one in found]


def endpoint_of(method: str, path: str) -> AnyEndpoint | None:
    """`path` is below /v1."""
    for pattern, endpoint in _patterns():
        if endpoint.method == method and pattern.fullmatch(path.partition("?")[0]):
            return endpoint
    return None


def operation_of(endpoint: AnyEndpoint) -> dict[str, Any]:
    found: dict[str, Any] = description()["paths"][f"/v1{endpoint.path}"][endpoint.method.lower()]
    return found


def wrong_in_answer(
    endpoint: AnyEndpoint, status: int, headers: Mapping[str, str], body: Any
) -> list[str]:
    """Everything in which it is not as described."""
    response = operation_of(endpoint)["responses"].get(str(status))
    if response is None:
        return [f"the status {status} is not there"]
    return [*_wrong_headers(response, headers), *_wrong_body(response, headers, body)]


def _wrong_headers(response: dict[str, Any], headers: Mapping[str, str]) -> Iterator[str]:
    for name, described in response["headers"].items():
        if name not in headers:
            if described.get("required"):
                yield f"the header {name} is missing"
            continue
        given: Any = headers[name]
        if described["schema"].get("type") == "integer":
            given = int(given)
        yield from (f"{name}: {why}" for why in violations(described["schema"], given))


def _wrong_body(response: dict[str, Any], headers: Mapping[str, str], body: Any) -> Iterator[str]:
    if "content" not in response:
        if body is not None:
            yield "a body where there is none"
        return
    kind = headers["Content-Type"].partition(";")[0]
    if kind not in response["content"]:
        yield f"the body is {kind}"
    elif not isinstance(body, bytes):
        yield from violations(response["content"][kind]["schema"], body)


def violations(schema: dict[str, Any], value: Any) -> list[str]:
    """By JSON Schema 2020-12, with formats."""
    return [
        f"at {error.json_path}: {error.message[:300]}"
        for error in _validator(json.dumps(schema, sort_keys=True)).iter_errors(value)
    ]


@functools.cache
def _validator(schema: str) -> Draft202012Validator:
    whole = {**json.loads(schema), "components": description()["components"]}
    kind = validator_for(whole, default=Draft202012Validator)
    kind.check_schema(whole)
    return kind(whole, format_checker=FORMATS)  # type: ignore[return-value]
