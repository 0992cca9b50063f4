"""GET /v1/openapi.json, made of the table of endpoints, their models and the rows they answer
with. Pure."""

import re
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from handlers.deliveries.described import described
from ingress.api import headers
from ingress.api.encoding import shown_once
from ingress.api.endpoints import ENDPOINTS
from ingress.api.fields import NO_NUL
from ingress.api.nouns import noun_of, tags
from ingress.api.problem_schemas import REF, content, problem_schemas
from ingress.api.problems import PROBLEMS
from ingress.api.samples import curl, example
from ingress.api.table import (
    CSV,
    FORM,
    JSON,
    JSONL,
    AnyEndpoint,
    Intake,
    Nothing,
    Outflow,
    StoredFile,
    Upload,
)

ANY = (
    "invalid_request",
    "not_authenticated",
    "permission_missing",
    "not_in_plan",
    "unsupported_media_type",  # of what comes packed, whatever it is
    "too_many_requests",
    "internal_error",
    "unavailable",
)
WITH_ID = ("not_found",)
ONCE = ("idempotency_in_progress", "idempotency_key_reused")
CONDITIONAL = ("precondition_failed",)
WITH_BODY = ("request_timeout", "too_large")

Schema = dict[str, Any]

_INFO = """Everything that a business does with its WhatsApp assistants, by program.

**A key** comes from whoever runs the installation (`swiftreplies apikey create`) or from `POST
/v1/api-keys`. Every call carries it: `Authorization: Bearer $KEY`. `$API` below is this
installation's address.

**Lists** are `{"data": [...], "next": "17"}`: `?after=17` is the next page, and `next` is `null` on
the last one. What comes meanwhile does not move the pages.

**Once.** What makes something takes an `Idempotency-Key` of your own: for 24 hours the same request
with it makes nothing and gets the first answer.

**Changing.** What can be changed has an `ETag`. PATCH is a JSON merge patch; with `If-Match` it is
412 when somebody else was faster.

**Errors** are `application/problem+json` (RFC 9457). `type` tells the kind, `detail` what to do,
`errors` everything that is wrong with the request. A field or parameter that there is not is
refused, and told with those that there are. An address that there is not is 404 `not_found`,
another method 405 `method_not_allowed` with `Allow`.

What is another tenant's looks like what is not there. Texts are Unicode without NUL and without
halves of surrogate pairs; bodies have 64 KiB and 32 levels at most, unless an operation says
otherwise."""


def openapi() -> Schema:
    paths: Schema = {}
    schemas, components = _schemas()
    for endpoint in ENDPOINTS:
        path = paths.setdefault(f"/v1{endpoint.path}", {})
        path[endpoint.method.lower()] = _operation(endpoint, schemas, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "SwiftReplies tenant API",
            "version": "1",
            "summary": "WhatsApp assistants that businesses trust, by program",
            "description": _INFO,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "where this description was read"}],
        "tags": tags(ENDPOINTS),
        "security": [{"api_key": []}],
        "paths": paths,
        "webhooks": _webhooks(),
        "components": {
            "schemas": {**problem_schemas(), **components},
            "securitySchemes": {
                "api_key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "an API key, `sr_...`; each operation names the permission that"
                    " the key needs",
                }
            },
        },
    }


def _operation(endpoint: AnyEndpoint, schemas: dict[Any, Schema], components: Schema) -> Schema:
    operation: Schema = {
        "tags": [noun_of(endpoint)],
        "summary": endpoint.summary,
        "description": _needs(endpoint),
        "operationId": endpoint.name,
        "security": [{"api_key": [endpoint.permission] if endpoint.permission else []}],
        "parameters": _parameters(endpoint),
        "responses": {
            str(status): {"description": meaning, **_answer(endpoint, status, schemas)}
            for status, meaning in endpoint.statuses.items()
        }
        | _problem_answers(endpoint),
    }
    if isinstance(endpoint, Intake):
        file = {"schema": {"type": "string", "minLength": 1}}
        operation["requestBody"] = {
            "required": True,
            "content": dict.fromkeys(endpoint.takes, file),
        }
    if isinstance(endpoint, Upload):
        operation["requestBody"] = {
            "required": True,
            "content": {FORM: {"schema": _form(endpoint)}},
        }
    fields = endpoint.body.model_fields.values()
    body = None
    if fields:
        body = example(endpoint, schemas[endpoint.body], components)
        operation["requestBody"] = {
            "required": any(field.is_required() for field in fields),
            "content": {
                one: {"schema": schemas[endpoint.body], "example": body} for one in endpoint.takes
            },
        }
    operation["x-codeSamples"] = [
        {"lang": "Shell", "label": "curl", "source": curl(endpoint, body)}
    ]
    return operation


def _form(endpoint: Upload[Any, Any, Any]) -> Schema:
    schema = endpoint.fields.model_json_schema(ref_template=REF, schema_generator=Described)
    fields = {name: _without_null(kind) for name, kind in schema["properties"].items()}
    file: Schema = {"type": "string", "format": "binary", "description": "the file itself"}
    return {"type": "object", "required": ["file"], "properties": {"file": file, **fields}}


SHOWN = "Any key may ask; it is shown what is of a noun that it may read."


def _needs(endpoint: AnyEndpoint) -> str:
    said = [f"Needs the permission `{endpoint.permission}`." if endpoint.permission else SHOWN]
    if endpoint.features:
        keys = " and ".join(f"`{key}`" for key in endpoint.features)
        said.append(f"The plan has to allow {keys}.")
    if endpoint.once:
        said.append("With an `Idempotency-Key` it is done once, however often it is called.")
    if endpoint.conditional:
        said.append("With `If-Match` it is done only to the version that you read.")
    return " ".join(said)


def _answer(endpoint: AnyEndpoint, status: int, schemas: dict[Any, Schema]) -> Schema:
    answer: Schema = {"headers": headers.of_answer(endpoint, status)}
    if endpoint.answers is StoredFile:
        binary = {"type": "string", "format": "binary"}
        answer["content"] = {kind: {"schema": binary} for kind in endpoint.file_types}
    elif isinstance(endpoint, Outflow):
        answer["content"] = {one: {"schema": {"type": "string"}} for one in (CSV, JSONL)}
    elif isinstance(endpoint, Intake) and status == 202:
        answer["content"] = {JSON: {"schema": schemas[endpoint.later]}}
    elif status != 204:
        answer["content"] = {JSON: {"schema": schemas[endpoint.answers]}}
    return answer


def _parameters(endpoint: AnyEndpoint) -> list[Schema]:
    schema = endpoint.parameters.model_json_schema(ref_template=REF, schema_generator=Described)
    kinds: Schema = schema["properties"]
    parameters: list[Schema] = []
    for name in sorted(kinds, key=lambda name: name not in endpoint.path_names):
        in_path = name in endpoint.path_names
        kind = _without_null(kinds[name])
        meaning = kind.pop("description", None)
        parameters.append(
            {
                "name": name,
                "in": "path" if in_path else "query",
                "required": in_path or name in schema.get("required", ()),
                "schema": kind,
                **({"description": meaning} if meaning else {}),
            }
        )
    return [
        *parameters,
        *([headers.IDEMPOTENCY_KEY] * endpoint.once),
        *([headers.IF_MATCH] * endpoint.conditional),
        *([headers.PREFER] * isinstance(endpoint, Intake)),
    ]


def _without_null(kind: Schema) -> Schema:
    """What may be missing from a query is None in our hands, and no value that it can have."""
    if isinstance(kind.get("type"), list):
        kinds = [one for one in kind["type"] if one != "null"]
        kind = {**kind, "type": kinds if len(kinds) > 1 else kinds[0]}
    if "enum" in kind:
        kind = {**kind, "enum": [one for one in kind["enum"] if one is not None]}
    return dict(kind)


def _problem_answers(endpoint: AnyEndpoint) -> Schema:
    by_status: dict[str, set[str]] = {}
    for name in problems_of(endpoint):
        by_status.setdefault(str(PROBLEMS[name][0]), set()).add(name)
    return {
        status: {
            "description": "; ".join(f"`{name}`: {PROBLEMS[name][1]}" for name in sorted(found)),
            "headers": headers.of_problems(sorted(found)),
            "content": content(sorted(found)),
        }
        for status, found in sorted(by_status.items())
    }


def problems_of(endpoint: AnyEndpoint) -> tuple[str, ...]:
    with_id = WITH_ID if endpoint.path_names else ()
    with_body = WITH_BODY if endpoint.has_body else ()
    once = ONCE if endpoint.once else ()
    conditional = CONDITIONAL if endpoint.conditional else ()
    return (*ANY, *endpoint.problems, *once, *conditional, *with_id, *with_body)


def _webhooks() -> Schema:
    """What is posted to the tenant's own addresses."""
    return {
        event.type: {"post": _told(event.type, event.description, event)} for event in described()
    }


def _told(name: str, meaning: str, event: Any) -> Schema:
    schema = {key: value for key, value in event.schema.items() if key not in ("$schema", "title")}
    return {
        "tags": ["events"],
        "summary": name,
        "operationId": f"told_{re.sub('[^a-z]', '_', name)}",
        "description": f"{meaning} Posted to your webhooks, signed as Standard Webhooks has it, at"
        " least once and by the same `webhook-id`.",
        "security": [],
        "parameters": [
            {"name": one, "in": "header", "required": True, "schema": {"type": "string"}}
            for one in ("webhook-id", "webhook-timestamp", "webhook-signature")
        ],
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": schema, "example": event.sample}},
        },
        "responses": {
            "2XX": {"description": "taken"},
            "410": {"description": "nobody is there any more: the webhook is switched off"},
            "default": {"description": "it is told again later"},
        },
    }


# ---- schemas -------------------------------------------------------------------------------------


def _schemas() -> tuple[dict[Any, Schema], Schema]:
    """Of every body and row, and the components that they refer to. All at once, so that each name
    is one schema's."""
    kinds: dict[Any, JsonSchemaMode] = {}
    for endpoint in ENDPOINTS:
        if isinstance(endpoint, Outflow):
            continue
        if isinstance(endpoint, Intake):
            kinds[endpoint.later] = "serialization"
        if endpoint.answers not in (Nothing, StoredFile):
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
        bare = _bare(super().dataclass_schema(schema)) | {"additionalProperties": False}
        not_again = shown_once(schema["cls"])
        bare["required"] = [name for name in bare.get("required", ()) if name not in not_again]
        return bare

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        """Of a text that is given to us: PostgreSQL keeps no NUL."""
        text = super().str_schema(schema)
        return text if self.mode == "serialization" else {"pattern": NO_NUL, **text}

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
