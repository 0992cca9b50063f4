"""GET /v1/openapi.json, made of the table of endpoints, their models and the rows they answer
with. Pure."""

import re
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from ingress.api.endpoints import ENDPOINTS
from ingress.api.problems import CONTENT_TYPE, PROBLEMS
from ingress.api.table import IDEMPOTENCY_CHARS, AnyEndpoint

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
REF = "#/components/schemas/{model}"

Schema = dict[str, Any]


def openapi() -> Schema:
    paths: Schema = {}
    schemas, components = _schemas()
    for endpoint in ENDPOINTS:
        path = paths.setdefault(f"/v1{endpoint.path}", {})
        path[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "SwiftReplies tenant API", "version": "1"},
        "security": [{"api_key": []}],
        "paths": paths,
        "components": {
            "schemas": {"Problem": _PROBLEM, **components},
            "securitySchemes": {"api_key": {"type": "http", "scheme": "bearer"}},
        },
    }


_PROBLEM: Schema = {
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


def _operation(endpoint: AnyEndpoint, schemas: dict[Any, Schema]) -> Schema:
    answer = {"content": {"application/json": {"schema": schemas[endpoint.answers]}}}
    operation: Schema = {
        "summary": endpoint.summary,
        "description": f"Needs the permission `{endpoint.permission}`.",
        "operationId": endpoint.name,
        "parameters": _parameters(endpoint),
        "responses": {
            str(status): {"description": meaning, **answer}
            for status, meaning in endpoint.statuses.items()
        }
        | _problem_answers(endpoint),
    }
    fields = endpoint.body.model_fields.values()
    if fields:
        operation["requestBody"] = {
            "required": any(field.is_required() for field in fields),
            "content": {"application/json": {"schema": schemas[endpoint.body]}},
        }
    return operation


def _parameters(endpoint: AnyEndpoint) -> list[Schema]:
    schema = endpoint.parameters.model_json_schema(ref_template=REF, schema_generator=Described)
    kinds: Schema = schema["properties"]
    parameters: list[Schema] = []
    for name in sorted(kinds, key=lambda name: name not in endpoint.path_names):
        in_path = name in endpoint.path_names
        parameters.append(
            {
                "name": name,
                "in": "path" if in_path else "query",
                "required": in_path or name in schema.get("required", ()),
                "schema": _without_null(kinds[name]),
            }
        )
    if endpoint.once:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "a value of your own: repeating the request with it makes nothing",
                "schema": {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_CHARS},
            }
        )
    return parameters


def _without_null(kind: Schema) -> Schema:
    """What may be missing from a query is None in our hands, and no value that it can have."""
    if isinstance(kind.get("type"), list):
        kinds = [one for one in kind["type"] if one != "null"]
        kind = {**kind, "type": kinds if len(kinds) > 1 else kinds[0]}
    if "enum" in kind:
        kind = {**kind, "enum": [one for one in kind["enum"] if one is not None]}
    return kind


def _problem_answers(endpoint: AnyEndpoint) -> Schema:
    by_status: dict[str, set[str]] = {}
    for name in problems_of(endpoint):
        by_status.setdefault(str(PROBLEMS[name][0]), set()).add(name)
    problem = {CONTENT_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}}
    return {
        status: {"description": ", ".join(sorted(found)), "content": problem}
        for status, found in sorted(by_status.items())
    }


def problems_of(endpoint: AnyEndpoint) -> tuple[str, ...]:
    with_id = WITH_ID if endpoint.path_names else ()
    with_body = WITH_BODY if endpoint.has_body else ()
    return (*ANY, *endpoint.problems, *with_id, *with_body)


# ---- schemas -------------------------------------------------------------------------------------


def _schemas() -> tuple[dict[Any, Schema], Schema]:
    """Of every body and row, and the components that they refer to. All at once, so that each name
    is one schema's."""
    kinds: dict[Any, JsonSchemaMode] = {}
    for endpoint in ENDPOINTS:
        kinds[endpoint.answers] = "serialization"
        if endpoint.body.model_fields:
            kinds[endpoint.body] = "validation"
    found, rest = TypeAdapter.json_schemas(
        [(kind, mode, TypeAdapter(kind)) for kind, mode in kinds.items()],
        ref_template=REF,
        schema_generator=Described,
    )
    return {kind: found[kind, mode] for kind, mode in kinds.items()}, rest.get("$defs", {})


class Described(GenerateJsonSchema):
    """Pydantic's, with less to read: no titles, no docstrings (they are for us), null as one more
    type, no default that is null, and rows that have their fields and no others."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - of each
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        return _bare(super().model_schema(schema))

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        return _bare(super().dataclass_schema(schema)) | {"additionalProperties": False}

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        if "type" not in inner:
            return super().nullable_schema(schema)
        kinds = inner["type"] if isinstance(inner["type"], list) else [inner["type"]]
        choices = {"enum": [*inner["enum"], None]} if "enum" in inner else {}
        return {**inner, "type": [*kinds, "null"], **choices}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        described = super().default_schema(schema)
        return {k: v for k, v in described.items() if k != "default" or v is not None}

    def normalize_name(self, name: str) -> str:
        """Page[Action] is ActionPage."""
        generic = re.fullmatch(r"(\w+)\[(?:\w+\.)*(\w+)\]", name)
        return super().normalize_name(f"{generic[2]}{generic[1]}" if generic else name)


def _bare(schema: JsonSchemaValue) -> JsonSchemaValue:
    return {k: v for k, v in schema.items() if k not in ("title", "description")}
