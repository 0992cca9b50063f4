"""The catalogue as tenants read it: schemas (JSON Schema 2020-12) and samples. Pure."""

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from handlers.deliveries.catalogue import CATALOGUE
from handlers.deliveries.event import TenantEvent

Schema = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_COLUMNS = ("chatbot_id", "contact_id", "erased")  # said as chatbot_id and contact_id
_AT = "2026-03-02T09:30:00.250000+00:00"
_ID: Schema = {"type": "integer"}
_TEXT: Schema = {"type": "string"}
_WORDS: Schema = {"type": ["string", "null"]}
_TIME: Schema = {"type": "string", "format": "date-time"}
_TIME_OR_NOT: Schema = {"type": ["string", "null"], "format": "date-time"}
_YES: Schema = {"type": ["boolean", "null"]}
_AMOUNT: Schema = {"type": ["string", "null"], "pattern": r"^[0-9]+(\.[0-9]+)?$"}
_ANYTHING: Schema = {"type": ["object", "null"]}

# The fields of the row that an event tells of, as SQL writes them: a schema and a sample each.
# tests/deliveries holds them equal to what is written.
ROWS: Mapping[str, Mapping[str, tuple[Schema, Any]]] = {
    "message": {
        "message_id": (_ID, 481),
        "wamid": (_WORDS, "wamid.HBgLMTIwMjU1NTAxNDMVAgASGBQz"),
        "conversation_id": ({"type": ["integer", "null"]}, 17),
        "direction": ({"enum": ["inbound", "outbound"]}, "inbound"),
        "message_type": (_TEXT, "text"),
        "content_text": (_WORDS, "Are you open on Sunday?"),
        "content_url": (_WORDS, None),
        "status": (_TEXT, "received"),
        "sent_at": (_TIME_OR_NOT, _AT),
        "is_from_human": (_YES, False),
        "ai_processed": (_YES, False),
        "in_reply_to": (_WORDS, None),
        "metadata": (_ANYTHING, {}),
        "created_at": (_TIME, _AT),
    },
    "contact": {
        "phone_number": (_WORDS, "+12025550143"),
        "bsuid": (_WORDS, None),
        "name": (_WORDS, "Ana"),
        "language": (_WORDS, "es"),
        "tags": ({"type": ["array", "null"]}, []),
        "custom_fields": (_ANYTHING, {}),
        "contact_status": (_WORDS, "active"),
        "conversation_paused": (_YES, False),
        "last_interaction": (_TIME_OR_NOT, _AT),
        "created_at": (_TIME_OR_NOT, _AT),
        "updated_at": (_TIME_OR_NOT, _AT),
    },
    "conversation": {
        "phone_number": (_WORDS, "+12025550143"),
        "bsuid": (_WORDS, None),
        "name": (_WORDS, "Ana"),
        "last_inbound_at": (_TIME_OR_NOT, _AT),
        "created_at": (_TIME_OR_NOT, _AT),
    },
    "action": {
        "conversation_id": ({"type": ["integer", "null"]}, 17),
        "request_type": (_TEXT, "refund"),
        "request_details": (_TEXT, "The cake came without candles: 4 dollars back"),
        "context_data": ({}, {"kb_ids": [3]}),
        "amount": (_AMOUNT, "4.00"),
        "currency": (_WORDS, "USD"),
        "status": ({"enum": ["pending", "approved", "denied", "expired"]}, "pending"),
        "user_response": (_WORDS, None),
        "auto_approve_similar": (_YES, False),
        "max_amount": (_AMOUNT, None),
        "max_per_day": (_AMOUNT, None),
        "any_contact": (_YES, False),
        "auto_approve_until": (_TIME_OR_NOT, None),
        "withdrawn_at": (_TIME_OR_NOT, None),
        "auto_approved_by": ({"type": ["integer", "null"]}, None),
        "created_at": (_TIME_OR_NOT, _AT),
        "expires_at": (_TIME_OR_NOT, _AT),
        "resolved_at": (_TIME_OR_NOT, None),
        "resolved_by": ({"type": ["integer", "null"]}, None),
    },
}
_SAMPLES: Mapping[str, Any] = {
    "message_id": 481, "conversation_id": 17, "action_id": 52, "order_id": 9, "webhook_id": 4,
    "account_event_id": 31, "campaign_id": 6, "export_id": 2, "template_id": 8,
    "tool_call_id": 23, "idempotency_key": "call_23", "tool_name": "book_table",
    "subscription_id": 1, "subscription_name": "standard", "used": 80,
    "order_number": "K7Q2-M4XD", "currency": "USD", "limit":
    "daily_message_limit", "value": 100, "days_left": 7, "field": "phone_number_quality_update",
    "event": "FLAGGED", "request_type": "refund", "status": "pending", "payment_status": "paid",
    "what": "tenant", "name": "order_ready", "language": "en_US", "by": "human",
    "auto_approved_by": None,
}  # fmt: skip
_REASONS: Mapping[str, str] = {
    "message.failed": "not_delivered",
    "conversation.taken_over": "api",
    "bot.failing": "model_unavailable",
    "sending.paused": "account:190",
    "tool.unknown": "timeout",
    "webhook.disabled": "gone",
    "campaign.paused": "window",
}


_STATUSES: Mapping[str, str] = {
    "message.sent": "accepted",
    "message.delivered": "delivered",
    "message.read": "read",
    "message.failed": "failed",
}


@dataclass(frozen=True, slots=True)
class Described:
    type: str
    description: str
    kept: bool  # also where no webhook wants it: GET /v1/events
    schema: Schema  # of the whole body
    sample: dict[str, Any]


def described() -> list[Described]:
    return [
        Described(name, kind.TELLS, kind.KEPT, _schema(kind), _sample(kind))
        for name, kind in CATALOGUE.items()
    ]


def _schema(kind: type[TenantEvent]) -> Schema:
    own = _own(kind)
    row = ROWS.get(kind.OF or "", {})
    properties: Schema = {"user_id": _ID, "chatbot_id": _ID, "contact_id": _ID}
    properties |= {name: schema for name, (schema, _) in row.items()}
    properties |= {name: properties.get(name) or _of(hint) for name, hint in own.items()}
    return {
        "$schema": DRAFT,
        "title": kind.TYPE,
        "description": kind.TELLS,
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"const": kind.TYPE},
            "timestamp": _TIME,
            "data": {
                "type": "object",
                "required": ["user_id", *own],
                "properties": properties,
            },
        },
    }


def _own(kind: type[TenantEvent]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    names = [one.name for one in dataclasses.fields(kind)]
    return {name: hints[name] for name in names if name not in _COLUMNS}


def _of(hint: Any) -> Schema:
    origin = get_origin(hint)
    if origin is Literal:
        return {"enum": list(get_args(hint))}
    if origin in (Union, types.UnionType):
        inner = [_of(one) for one in get_args(hint) if one is not type(None)]
        kinds = inner[0].get("type", "string")
        return inner[0] | {"type": [kinds, "null"]} if "enum" not in inner[0] else inner[0]
    hint = getattr(hint, "__supertype__", hint)
    if hint is datetime:
        return _TIME
    if hint is date:
        return {"type": "string", "format": "date"}
    if hint is Decimal:
        return {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}
    return {"type": {int: "integer", str: "string", bool: "boolean"}[hint]}


def _sample(kind: type[TenantEvent]) -> dict[str, Any]:
    data: dict[str, Any] = {"user_id": 3}
    if not kind.TYPE.startswith(("limit.", "subscription.", "export.", "contact.", "ping")):
        data["chatbot_id"] = 5
    if kind.OF is not None or kind.TYPE == "contact.erased":
        data["contact_id"] = 11
    data |= {name: sample for name, (_, sample) in ROWS.get(kind.OF or "", {}).items()}
    data |= {name: _like(kind, name, hint) for name, hint in _own(kind).items()}
    if (status := _STATUSES.get(kind.TYPE)) is not None:
        data |= {"direction": "outbound", "status": status, "content_text": "Yes, until six."}
    return {"type": kind.TYPE, "timestamp": "2026-03-02T09:30:00.250000Z", "data": data}


def _like(kind: type[TenantEvent], name: str, hint: Any) -> Any:
    if name == "reason":
        return _REASONS[kind.TYPE]
    if name in _SAMPLES:
        return _SAMPLES[name]
    text = str(hint)
    if "datetime.datetime" in text:
        return _AT
    if "date" in text:
        return datetime(2026, 3, 2, tzinfo=UTC).date().isoformat()
    return "38.50" if "Decimal" in text else None
