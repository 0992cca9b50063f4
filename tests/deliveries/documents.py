"""python -m tests.deliveries.documents: writes docs/events.md and docs/events.schema.json anew.

They are made of handlers/deliveries/described.py, and test_documents.py holds them equal.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from handlers.deliveries.catalogue import CATALOGUE
from handlers.deliveries.described import DRAFT, Described, described

DOCS = Path(__file__).parents[2] / "docs"
FILE, SCHEMAS = DOCS / "events.md", DOCS / "events.schema.json"
HEADER = """\
# Events

What tenants are told, by their webhooks and by `GET /v1/events`. Written by `make events` from `handlers/deliveries/catalogue.py`; a program finds the same in `GET /v1/events/catalogue`, and all schemas in one file in [events.schema.json](events.schema.json) (JSON Schema 2020-12). How they are delivered and signed: [api.md](api.md).

Every body is one JSON object:

| field | |
|---|---|
| `type` | the event's name, as below |
| `timestamp` | when it happened, in UTC with microseconds |
| `data` | what it tells; `user_id` always, `chatbot_id` and `contact_id` where it is about one |

`data` may get more fields with a release, and there may be more types: ignore what you do not know. A field that tells of a row (a message, a contact, a conversation, an action) has its value of that moment, and is absent when the row is gone by then. Times have an offset; amounts are texts, so that nothing is rounded.

A webhook's `events` has names, families with a star (`message.*`), or `*` alone for all. *Kept* events are also in `GET /v1/events`; those that are *only told* go to the webhooks that want them at that moment and are in no list.
"""  # noqa: E501
WORDS = {"integer": "number", "string": "text", "boolean": "true or false", "object": "object"}
FORMATS = {"date-time": "time", "date": "date"}


def markdown() -> str:
    families: dict[str, list[Described]] = {}
    for one in described():
        families.setdefault(one.type.partition(".")[0], []).append(one)
    listed = "".join(
        f"| {', '.join(f'[`{one.type}`](#{_anchor(one.type)})' for one in family)} |\n"
        for family in families.values()
    )
    sections = (section for family in families.values() for one in family for section in _told(one))
    return f"{HEADER}\n| by family |\n|---|\n{listed}\n" + "\n".join(sections)


def schemas() -> str:
    every = described()
    whole = {
        "$schema": DRAFT,
        "title": "Events",
        "description": "The body of a webhook's request, one of these by its type.",
        "oneOf": [{"$ref": f"#/$defs/{one.type}"} for one in every],
        "$defs": {
            one.type: {name: part for name, part in one.schema.items() if name != "$schema"}
            for one in every
        },
    }
    return json.dumps(whole, indent=2) + "\n"


def _anchor(name: str) -> str:
    """As GitHub makes it of a title."""
    return name.replace(".", "")


def _told(one: Described) -> Iterator[str]:
    kept = "Kept." if one.kept else "Only told."
    yield f"## {one.type}\n\n{one.description} {kept}\n"
    fields = one.schema["properties"]["data"]["properties"]
    always = one.schema["properties"]["data"]["required"]
    rows = "".join(
        f"| `{name}` | {_kind(schema)} |{_when(one, name, always)} |\n"
        for name, schema in fields.items()
    )
    yield f"| `data` | | |\n|---|---|---|\n{rows}"
    yield f"```json\n{json.dumps(one.sample, indent=2, ensure_ascii=False)}\n```\n"


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kinds = schema.get("type", "any")
    if kinds == "any":
        return "any JSON"
    names = [kinds] if isinstance(kinds, str) else kinds
    told = [
        FORMATS.get(schema.get("format", ""), "amount" if "pattern" in schema else WORDS.get(k, k))
        for k in names
        if k != "null"
    ]
    return " or ".join([*told, *(["null"] if "null" in names else [])])


def _when(one: Described, name: str, always: list[str]) -> str:
    if name in always:
        return ""
    if name in ("chatbot_id", "contact_id"):
        return " where it is about one"
    return f" of the {CATALOGUE[one.type].OF}"


if __name__ == "__main__":
    FILE.write_text(markdown())
    SCHEMAS.write_text(schemas())
