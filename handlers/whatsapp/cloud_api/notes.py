"""What a message says, as one text that people and the model can read. Pure.

What is not the customer's own text stands in square brackets, in front of it: "[photo] Like this
one?". Square brackets that a customer writes become round ones, so whatever is in square brackets
is ours; the message keeps the customer's own characters in its details.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from handlers.rules.texts import storable
from handlers.whatsapp.cloud_api.untrusted import Json, get, string
from handlers.whatsapp.cloud_api.wire import error_report

MAX_TEXT_CHARS = 4096  # of a text body, by WhatsApp's own limit
MAX_PART_CHARS = 300  # of a name, an address, a field within a note
MAX_PARTS = 30  # items of a cart, cards, fields of a form
MAX_KIND_CHARS = 50  # messages.message_type
MAX_RAW_CHARS = 16_000
_ROUND = str.maketrans("[]", "()")
_SPACES = re.compile(r"\s+")

MEDIA = {
    "image": "photo",
    "video": "video",
    "audio": "audio file",
    "document": "document",
    "sticker": "sticker",
}


@dataclass(frozen=True, slots=True)
class Content:
    text: str
    opaque: bool = False  # nothing in it that a model could read
    details: dict[str, Any] = field(default_factory=dict)  # for messages.metadata


def content_of(kind: str, raw: Json) -> Content | None:
    """None: a kind that nobody told us of, and too long to be kept beside the message."""
    read = READERS.get(kind)
    content = read(get(raw, kind)) if read is not None else None
    if content is None:
        return _unreadable(kind, raw)
    notes = _context_notes(raw)
    if not notes:
        return content
    return Content("\n".join([*notes, content.text]), content.opaque, content.details)


def customers(text: Json) -> str:
    """A customer's own text, bounded, in which nothing looks like one of our notes."""
    return storable(text)[:MAX_TEXT_CHARS].translate(_ROUND) if isinstance(text, str) else ""


def part(value: Json, longest: int = MAX_PART_CHARS) -> str:
    """A piece of a note: one line, without brackets."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = str(value) if not isinstance(value, int) or abs(value) < 10**30 else ""
    return _SPACES.sub(" ", storable(text[: 4 * longest])).strip()[:longest].translate(_ROUND)


def note(*parts: str) -> str:
    return f"[{', '.join(p for p in parts if p)}]"


def _own(body: str) -> dict[str, Any]:
    """What the customer wrote, where the readable text differs from it."""
    plain = storable(body)[:MAX_TEXT_CHARS]
    return {"as_written": plain} if plain.translate(_ROUND) != plain else {}


def _text(inner: Json) -> Content | None:
    body = get(inner, "body")
    if not isinstance(body, str):
        return None
    return Content(customers(body), details=_own(body))


def _media(kind: str) -> Callable[[Json], Content | None]:
    def read(inner: Json) -> Content | None:
        if not isinstance(inner, dict):
            return None
        name = "voice message" if kind == "audio" and inner.get("voice") is True else MEDIA[kind]
        keys = ("id", "mime_type", "sha256", "filename", "voice", "animated", "caption")
        kept = {k: _plain(inner[k]) for k in keys if _plain(inner.get(k)) is not None}
        if kind == "document":
            name = " ".join(p for p in (name, _quoted(inner.get("filename"))) if p)
        caption = string(inner.get("caption"))
        if caption is None:
            return Content(f"[{name}: cannot be opened]", True, {"media": kept})
        return Content(f"[{name}] {customers(caption)}", details={"media": kept})

    return read


def _location(inner: Json) -> Content | None:
    if not isinstance(inner, dict):
        return None
    at = [part(inner.get(k), 20) for k in ("latitude", "longitude")]
    keys = ("latitude", "longitude", "name", "address", "url")
    kept = {k: _plain(inner[k]) for k in keys if _plain(inner.get(k)) is not None}
    where = ", ".join(at) if all(at) else ""
    text = ", ".join(p for p in (part(inner.get("name")), part(inner.get("address")), where) if p)
    return Content(f"[location: {text or 'unknown'}]", details={"location": kept})


def _contacts(inner: Json) -> Content | None:
    if not isinstance(inner, list):
        return None
    lines, kept = [], []
    for card in inner[:MAX_PARTS]:
        name = part(get(get(card, "name"), "formatted_name"))
        phones = get(card, "phones")
        found = phones[:10] if isinstance(phones, list) else []
        numbers = [n for p in found if (n := part(get(p, "phone") or get(p, "wa_id"), 40))]
        lines.append(note("contact card: " + (name or "without a name"), *numbers))
        kept.append({"name": name, "phones": numbers, "origin": part(get(card, "origin"))})
    return Content("\n".join(lines) or "[contact card: empty]", details={"contacts": kept})


def _interactive(inner: Json) -> Content | None:
    kind = string(get(inner, "type"))
    reply = get(inner, kind) if kind else None
    if not isinstance(reply, dict):
        return None
    match kind:
        case "button_reply" | "list_reply":
            chosen = {"id": part(reply.get("id")), "title": part(reply.get("title"))}
            said = note(
                f"chose {_quoted(reply.get('title')) or _quoted(reply.get('id'))}",
                part(reply.get("description")),
            )
            return Content(said, details={"reply": chosen})
        case "nfm_reply":
            fields = _form(reply.get("response_json"))
            said = "; ".join(f"{k}: {v}" for k, v in fields.items() if k != "flow_token")
            return Content(f"[filled in a form: {said or 'no fields'}]", details={"form": fields})
        case "call_permission_reply":
            answer = "allows calls" if reply.get("response") == "accept" else "does not allow calls"
            return Content(f"[{answer}]", details={"call_permission": part(reply.get("response"))})
        case _:
            return None


def _form(text: Json) -> dict[str, str]:
    """The fields of a Flow: what the customer typed, and anybody could have sent it."""
    try:
        # The bound keeps the nesting below what later steps can still write.
        fields = json.loads(text) if isinstance(text, str) and len(text) < MAX_RAW_CHARS else None
    except (ValueError, RecursionError):
        return {}
    if not isinstance(fields, dict):
        return {}
    return {part(k, 60): _field(v) for k, v in [*fields.items()][:MAX_PARTS]}


def _field(value: Json) -> str:
    if isinstance(value, list):
        return ", ".join(p for v in value[:MAX_PARTS] if (p := part(v, 60)))
    return part(str(value).lower() if isinstance(value, bool) else value)


def _button(inner: Json) -> Content | None:
    text, payload = part(get(inner, "text")), part(get(inner, "payload"))
    if not text and not payload:
        return None
    return Content(
        f'[chose "{text or payload}"]', details={"reply": {"id": payload, "title": text}}
    )


def _order(inner: Json) -> Content | None:
    items = get(inner, "product_items")
    if not isinstance(items, list):
        return None
    lines, kept = [], []
    for item in items[:MAX_PARTS]:
        cut = {
            key: part(get(item, key), 100)
            for key in ("product_retailer_id", "quantity", "item_price", "currency")
        }
        kept.append(cut)
        price = f" at {cut['item_price']} {cut['currency']}".rstrip() if cut["item_price"] else ""
        lines.append(f"{cut['quantity'] or '?'} x {cut['product_retailer_id'] or 'unnamed'}{price}")
    if len(items) > MAX_PARTS:
        lines.append(f"and {len(items) - MAX_PARTS} more items")
    text = f"[order: {'; '.join(lines) or 'empty'}]"
    said = customers(get(inner, "text"))
    details = {"order": {"catalog_id": part(get(inner, "catalog_id")), "items": kept}}
    return Content(f"{text} {said}" if said else text, details=details)


def _unreadable(kind: str, raw: Json) -> Content | None:
    """A kind that Meta does not hand on or we do not know, or one without its body."""
    errors = get(raw, "errors")
    error = error_report(errors[0]) if isinstance(errors, list) and errors else None
    details: dict[str, Any] = {"error": error} if error else {}
    # As a text, so that whatever is in it can be stored.
    details["raw"] = whole = json.dumps(raw, separators=(",", ":"))
    if len(whole) > MAX_RAW_CHARS:
        return None
    if kind in MEDIA:
        return Content(f"[{MEDIA[kind]}: could not be received]", True, details)
    inner = get(raw, "unsupported")
    what = part(get(inner, "type") if kind == "unsupported" else kind, 40)
    named = f" ({what})" if what not in ("", "unsupported", "unknown", "none") else ""
    text = f"[a message of a kind that cannot be shown here{named}]"
    return Content(text, True, details)


def _context_notes(raw: Json) -> list[str]:
    context, referral = get(raw, "context"), get(raw, "referral")
    notes = []
    if get(context, "forwarded") is True or get(context, "frequently_forwarded") is True:
        notes.append("[forwarded]")
    product = part(get(get(context, "referred_product"), "product_retailer_id"), 100)
    if product:
        notes.append(f'[about the product "{product}" of the catalog]')
    if isinstance(referral, dict):
        kind = "post" if referral.get("source_type") == "post" else "ad"
        headline, body = _quoted(referral.get("headline")), part(referral.get("body"))
        notes.append(note(" ".join(p for p in (f"came from an {kind}", headline) if p), body))
    return notes


def referral_of(raw: Json) -> dict[str, Any]:
    """What is worth keeping of where a message came from."""
    referral = get(raw, "referral")
    product = get(get(raw, "context"), "referred_product")
    kept: dict[str, Any] = {}
    for name, source, keys in (
        ("referral", referral, ("source_type", "source_id", "source_url", "headline", "ctwa_clid")),
        ("product", product, ("catalog_id", "product_retailer_id")),
    ):
        if isinstance(source, dict):
            kept[name] = {k: part(source.get(k), 500) for k in keys if part(source.get(k))}
    return kept


def _quoted(value: Json) -> str:
    text = part(value)
    return f'"{text}"' if text else ""


def _plain(value: Json) -> str | int | float | bool | None:
    """A scalar as jsonb takes it."""
    if isinstance(value, str):
        return storable(value)[:MAX_TEXT_CHARS] or None
    if isinstance(value, float):
        return value if abs(value) < 1e300 else None  # NaN and Infinity are no JSON
    if isinstance(value, int):
        return value if abs(value) < 2**63 else None
    return None


READERS: dict[str, Callable[[Json], Content | None]] = {
    "text": _text,
    **{kind: _media(kind) for kind in MEDIA},
    "location": _location,
    "contacts": _contacts,
    "interactive": _interactive,
    "button": _button,
    "order": _order,
    # Of a back-fill: the media follow in another webhook.
    "media_placeholder": lambda _: Content("[media]", True),
}
