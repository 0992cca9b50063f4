"""plan.json for other programs: what handlers/plans.py takes, as JSON Schema 2020-12. Pure."""

from typing import Any

from handlers.plans import FORM, Form, Kind

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def plan_schema() -> dict[str, Any]:
    return {"$schema": DIALECT, "title": "A plan of SwiftReplies", **_schema(FORM)}


def _schema(form: Form | Kind[Any]) -> dict[str, Any]:
    if isinstance(form, Kind):
        return dict(form.schema)
    return {
        "type": "object",
        "properties": {name: _schema(inner) for name, inner in form.items()},
        "additionalProperties": False,
    }
