"""What a customer sent, as messages.metadata keeps it: whole. Pure.

A webhook has 4 MiB at most, and so has what is kept of it. Nothing is left out; what jsonb does not
take as it is becomes text.
"""

import json
import math
from typing import Any

from handlers.rules.texts import storable
from handlers.whatsapp.cloud_api.untrusted import Json, get

DEPTH_MAX = 50  # of nesting; jsonb takes some thousand, and what reads it later may take less
# Of a message, besides what is named like its type: its sender and time, which have columns.
_COMMON = {
    *("id", "type", "timestamp", "from", "from_user_id", "from_parent_user_id", "to", "to_user_id"),
    *("to_parent_user_id", "group_id", "history_context", "context", "referral", "errors"),
}
_OF_CONTEXT = {"from", "id", "forwarded", "frequently_forwarded", "referred_product"}


def plain(value: Json, depth: int = DEPTH_MAX) -> Json:
    """As jsonb takes it."""
    match value:
        case str():
            return storable(value)
        case int() if not isinstance(value, bool) and abs(value) >= 2**63:
            return str(value)
        case float() if not math.isfinite(value):
            return str(value)
        case dict() | list() if depth == 0:
            return _as_text(value)
        case dict():
            return {storable(key): plain(inner, depth - 1) for key, inner in value.items()}
        case list():
            return [plain(inner, depth - 1) for inner in value]
        case _:
            return value


def parsed(text: Json) -> dict[str, Json] | None:
    """The object that a text holds; None: it holds none."""
    if isinstance(text, dict):
        return text
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def beside(kind: str, raw: Json) -> dict[str, Any]:
    """What stands in a message beside what its type is for."""
    kept: dict[str, Any] = {}
    context, referral = get(raw, "context"), get(raw, "referral")
    if isinstance(referral, dict):
        kept["referral"] = plain(referral)
    if product := get(context, "referred_product"):
        kept["product"] = plain(product)
    if isinstance(context, dict) and (rest := _without(context, _OF_CONTEXT)):
        kept["context"] = plain(rest)
    if get(raw, "errors"):
        kept["errors"] = plain(raw["errors"])
    if isinstance(raw, dict) and (rest := _without(raw, {*_COMMON, kind})):
        kept["more"] = plain(rest)
    return kept


def _without(value: dict[str, Json], keys: set[str]) -> dict[str, Json]:
    return {key: inner for key, inner in value.items() if key not in keys}


def _as_text(value: Json) -> str:
    try:
        return json.dumps(value, separators=(",", ":"))
    except RecursionError:
        return "(nested too deeply to be kept)"
