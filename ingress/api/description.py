"""GET /v1/openapi.json, made of the table of endpoints and the rows they answer with. Pure."""

import dataclasses
import datetime as dt
import decimal
import types
import typing
from collections.abc import Mapping
from typing import Any

from ingress.api.endpoints import ENDPOINTS
from ingress.api.problems import CONTENT_TYPE, PROBLEMS
from ingress.api.table import Endpoint

ANY = (
    "invalid_request",
    "not_authenticated",
    "permission_missing",
    "not_in_plan",
    "too_many_requests",
    "internal_error",
    "unavailable",
)
WITH_ID = ("not_found",)
WITH_BODY = ("request_timeout", "too_large", "unsupported_media_type")
_PLAIN: Mapping[Any, dict[str, Any]] = {
    int: {"type": "integer"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    float: {"type": "number"},
    decimal.Decimal: {"type": "number"},
    dt.datetime: {"type": "string", "format": "date-time"},
    dt.date: {"type": "string", "format": "date"},
}


def openapi() -> dict[str, Any]:
    schemas: dict[str, Any] = {"Problem": _PROBLEM}
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        operation = _operation(endpoint, schemas)
        paths.setdefault(f"/v1{endpoint.path}", {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "SwiftReplies tenant API", "version": "1"},
        "security": [{"api_key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"api_key": {"type": "http", "scheme": "bearer"}},
        },
    }


_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. Some have further members: errors, limit, ends_at, action.",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {
            "type": "string",
            "enum": [f"urn:swiftreplies:problem:{name}" for name in PROBLEMS],
        },
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what to do"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


def _operation(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    row = _schema(endpoint.answers, schemas)
    if endpoint.page:
        row = {
            "type": "object",
            "required": ["data", "next"],
            "additionalProperties": False,
            "properties": {
                "data": {"type": "array", "items": row},
                "next": {
                    "type": ["string", "null"],
                    "description": "`after` of the next page; null: there is none",
                },
            },
        }
    good = {"content": {"application/json": {"schema": row}}}
    answers: dict[str, Any] = {"200": {"description": "done", **good}}
    if endpoint.creates:
        answers = {
            "201": {"description": "made", **good},
            "200": {"description": "made before with this Idempotency-Key", **good},
        }
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "description": f"Needs the permission `{endpoint.permission}`.",
        "operationId": endpoint.work.__name__.lstrip("_"),
        "parameters": _parameters(endpoint),
        "responses": answers | _problem_answers(endpoint),
    }
    if endpoint.body:
        operation["requestBody"] = {
            "required": any(field.required for field in endpoint.body),
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": [field.name for field in endpoint.body if field.required],
                        "properties": {field.name: field.schema() for field in endpoint.body},
                    }
                }
            },
        }
    return operation


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []
    if endpoint.has_id:
        kind = {"type": "integer", "minimum": 0}
        parameters.append({"name": "id", "in": "path", "required": True, "schema": kind})
    parameters += [
        {"name": field.name, "in": "query", "schema": field.schema()} for field in endpoint.query
    ]
    if endpoint.creates:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "a value of your own: repeating the request with it makes nothing",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }
        )
    return parameters


def _problem_answers(endpoint: Endpoint) -> dict[str, Any]:
    names = [*ANY, *endpoint.problems]
    names += WITH_ID if endpoint.has_id else ()
    names += WITH_BODY if endpoint.method == "POST" else ()
    by_status: dict[str, set[str]] = {}
    for name in names:
        by_status.setdefault(str(PROBLEMS[name][0]), set()).add(name)
    problem = {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": ", ".join(sorted(found)), "content": problem}
        for status, found in sorted(by_status.items())
    }


def _schema(hint: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """Of a type as the rows' fields have them."""
    hint = getattr(hint, "__supertype__", hint)  # a NewType
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (inner,) = [a for a in arguments if a is not types.NoneType]
        schema = _schema(inner, schemas)
        return {**schema, "type": [schema["type"], "null"]}
    if origin is list:
        return {"type": "array", "items": _schema(arguments[0], schemas)}
    if origin is dict:
        return {"type": "object"}
    if not (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
        raise TypeError(f"no schema for {hint}")
    name = hint.__name__
    if name not in schemas:
        fields = typing.get_type_hints(hint)
        schemas[name] = {
            "type": "object",
            "required": list(fields),
            "additionalProperties": False,
            "properties": {n: _schema(h, schemas) for n, h in fields.items()},
        }
    return {"$ref": f"#/components/schemas/{name}"}
