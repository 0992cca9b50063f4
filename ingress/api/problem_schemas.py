"""The problems, each with its further members, as the API's description says them. Pure."""

from typing import Any

from ingress.api.problems import CONTENT_TYPE, PROBLEMS

Schema = dict[str, Any]

REF = "#/components/schemas/{model}"

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_WHAT_IS_WRONG: Schema = {
    "type": "object",
    "required": ["field", "detail"],
    "additionalProperties": False,
    "properties": {
        "field": {
            "type": "string",
            "description": "where: `items.0.quantity`, the name of a parameter or header, or `` for"
            " the body itself",
        },
        "detail": {"type": "string", "description": "what is wrong, and what there may be"},
    },
}
# Beside those that every problem has; a name with ? may be missing.
MEMBERS: dict[str, dict[str, Schema]] = {
    "invalid_request": {
        "errors?": {
            "type": "array",
            "items": _WHAT_IS_WRONG,
            "description": "everything that is wrong, the first 20",
        }
    },
    "permission_missing": {
        "permission": {"type": "string", "description": "that a key needs for it"}
    },
    "already_decided": {"action": {"$ref": REF.format(model="Action")}},
    "not_ready": {"status_now": {"type": "string", "description": "of the file"}},
    "limit_reached": {
        "limit": {"type": "string", "description": "the plan's key, or what is bounded"},
        "allowed": _COUNT,
        "count": {**_COUNT, "description": "what there is"},
    },
    "wrong_state": {
        "state": {
            "type": "object",
            "description": "in which it is",
            "additionalProperties": {"type": ["string", "null"]},
        },
        "possible": {
            "type": "object",
            "description": "where each of those may go from there",
            "additionalProperties": {"type": "array", "items": _TEXT},
        },
    },
    "out_of_stock": {
        "errors": {
            "type": "array",
            "items": _WHAT_IS_WRONG,
            "description": "of which item how much there is",
        }
    },
    "number_taken": {
        "errors": {
            "type": "array",
            "items": _WHAT_IS_WRONG,
            "description": "which of what you named is proven by another",
        }
    },
    "already_exists": {
        "contact_id?": {"type": "integer", "description": "the one there is"},
        "knowledge_id?": {"type": "integer", "description": "the one there is"},
        "product_id?": {"type": "integer", "description": "the one there is"},
        "template_id?": {"type": "integer", "description": "the one there is"},
    },
    "import_ended": {
        "job_id?": {"type": "integer"},
        "report?": {"$ref": REF.format(model="ImportReport")},
    },
    "template_not_approved": {
        "template_status": {"type": "string", "description": "Meta's word"},
    },
    "refused_by_meta": {
        "code": {"type": ["integer", "null"], "description": "Meta's"},
        "subcode": {"type": ["integer", "null"], "description": "Meta's"},
    },
    "campaign_running": {"campaign_id?": {"type": "integer"}},
    "message_limit": {
        "limit": {"type": "string", "enum": ["daily_message_limit", "monthly_message_limit"]},
        "ends_at": {
            "type": "string",
            "format": "date-time",
            "description": "when it starts anew",
        },
    },
}


def problem_schemas() -> dict[str, Schema]:
    """Components: one of each problem, by `component_of()`."""
    return {component_of(name): _schema(name) for name in PROBLEMS}


def component_of(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_")) + "Problem"


def type_of(name: str) -> str:
    return f"urn:swiftreplies:problem:{name}"


def _schema(name: str) -> Schema:
    status, title = PROBLEMS[name]
    members = MEMBERS.get(name, {})
    return {
        "type": "object",
        "description": f"{title}. RFC 9457; the answer is {status}.",
        "required": [
            *("type", "title", "status", "detail", "instance"),
            *(member for member in members if not member.endswith("?")),
        ],
        "additionalProperties": False,
        "properties": {
            "type": {"type": "string", "const": type_of(name)},
            "title": {"type": "string", "const": title},
            "status": {"type": "integer", "const": status},
            "detail": {"type": "string", "description": "what to do"},
            "instance": {"type": "string", "description": "the path that was called"},
            **{member.rstrip("?"): schema for member, schema in members.items()},
        },
    }


def content(names: list[str]) -> Schema:
    """Of an answer that is one of them."""
    refs = [{"$ref": REF.format(model=component_of(name))} for name in names]
    if len(refs) == 1:
        return {CONTENT_TYPE: {"schema": refs[0]}}
    told_apart = {
        "propertyName": "type",
        "mapping": {type_of(name): ref["$ref"] for name, ref in zip(names, refs, strict=True)},
    }
    return {CONTENT_TYPE: {"schema": {"oneOf": refs, "discriminator": told_apart}}}
