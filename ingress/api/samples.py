"""Examples of requests, for the description: a body, and the whole as a line for curl. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from ingress.api.table import FORM, JSON, MERGE_PATCH, AnyEndpoint, StoredFile

Schema = dict[str, Any]

# By the name of a field, where the kind alone would make no sense to a reader.
_BY_NAME: Mapping[str, Any] = {
    "phone_number": "+12025550143",
    "whatsapp_phone_number": "+12025550143",
    "language": "en",
    "email": "ada@shop.example",
    "name": "Ada",
    "product_sku": "CAKE-1",
    "sku": "CAKE-1",
    "currency": "USD",
    "price": "38.50",
    "question": "When are you open?",
    "answer": "From 9 to 6.",
    "category": "hours",
    "tags": ["regular"],
    "reason": "Ada answers",
    "since": "2026-01-31T17:00:00Z",
    "user_response": "Refunded today.",
    "content_text": "This is Ada. I have your cake here.",
    "instruction_text": "Call her Ada.",
}
_BY_FORMAT = {
    "date-time": "2030-01-31T17:00:00Z",
    "date": "2030-01-31",
    "time": "09:00",
    "uri": "https://shop.example/hook",
    "email": "ada@shop.example",
    "uuid": "6f1c3a52-6d2c-4d1e-9a75-5b1b1c7a3f10",
}
_IN_PATH = "1"


def example(endpoint: AnyEndpoint, schema: Schema, components: Schema) -> Any:
    """Of the body: the endpoint's own, or one made of the schema."""
    if endpoint.example is not None:
        return endpoint.example
    return _sample("", schema, components)


def _sample(name: str, schema: Schema, components: Schema) -> Any:
    if "$ref" in schema:
        return _sample(name, components[schema["$ref"].rpartition("/")[2]], components)
    if "const" in schema or "enum" in schema:
        return schema.get("const", next(iter(schema.get("enum", [None]))))
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return _sample(name, schema[choice][0], components)
    kinds = schema.get("type", "object")
    kind = kinds[0] if isinstance(kinds, list) else kinds
    if name in _BY_NAME:
        return _BY_NAME[name]
    match kind:
        case "object":
            properties: Schema = schema.get("properties", {})
            needed = schema.get("required") or list(properties)[:1]
            return {one: _sample(one, properties[one], components) for one in needed}
        case "array":
            return [_sample("", schema.get("items", {}), components)]
        case "integer" | "number":
            return max(1, schema.get("minimum", 1))
        case "boolean":
            return True
        case _:
            text = _BY_FORMAT.get(schema.get("format", ""), "text")
            return text[: schema.get("maxLength", len(text))]


def curl(endpoint: AnyEndpoint, body: Any) -> str:
    """One command, over several lines. $KEY and $API are the reader's; ids are 1."""
    path = endpoint.path.format_map(dict.fromkeys(endpoint.path_names, _IN_PATH))
    words = ["curl -s"]
    posts = body is not None or FORM in endpoint.takes  # curl then does so by itself
    if endpoint.method not in ("GET", "POST") or (endpoint.method == "POST" and not posts):
        words.append(f"-X {endpoint.method}")
    words.append('-H "Authorization: Bearer $KEY"')
    if endpoint.once:
        words.append('-H "Idempotency-Key: $(uuidgen)"')
    if endpoint.conditional:
        words.append("-H 'If-Match: \"1\"'")
    if body is not None:
        kind = MERGE_PATCH if MERGE_PATCH in endpoint.takes else JSON
        words.append(f'-H "Content-Type: {kind}"')
        words.append(f"-d {_quoted(json.dumps(body, ensure_ascii=False))}")
    elif FORM in endpoint.takes:
        words.append("-F file=@file")
    elif endpoint.has_body and JSON not in endpoint.takes:  # a file
        words.append(f'-H "Content-Type: {endpoint.takes[0]}"')
        words.append("--data-binary @file")
    if endpoint.answers is StoredFile:
        words.append("-OJ")
    query = "&".join(f"{name}={value}" for name, value in _needed_query(endpoint).items())
    words.append(f'"$API/v1{path}{"?" if query else ""}{query}"')
    return " \\\n  ".join(words)


def _needed_query(endpoint: AnyEndpoint) -> dict[str, str]:
    fields = endpoint.parameters.model_fields.items()
    return {
        field.alias or name: "1"
        for name, field in fields
        if field.is_required() and name not in endpoint.path_names
    }


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
