"""What a message says, as one text that people and the model can read. Pure.

What is not the customer's own text stands in square brackets, in front of it: "[photo] Like this
one?". Square brackets that a customer writes become round ones, so whatever is in square brackets
is ours; the message keeps the customer's own characters in its details (details.py), with all else
that was sent. The customer's own text is whole; of what is in notes, long parts lose their middle.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from handlers.rules.cutting import both_ends
from handlers.rules.texts import storable
from handlers.whatsapp.cloud_api.details import beside, parsed, plain
from handlers.whatsapp.cloud_api.untrusted import Json, get, string
from handlers.whatsapp.cloud_api.wire import error_report

MAX_PART_UNITS = 300  # of a name, an address, a field within a note
MAX_PARTS = 30  # items of a cart, cards, fields of a form
MAX_DEPTH = 6  # of a form's fields; what is deeper is shown as JSON
MAX_KIND_CHARS = 50  # messages.message_type
_ROUND = str.maketrans("[]", "()")

MEDIA = {
    "image": "photo",
    "video": "video",
    "audio": "audio file",
    "document": "document",
    "sticker": "sticker",
}
UNREADABLE = "[a message of a kind that cannot be shown here{which}]"
# Of a kind that nobody told us of: what says nothing to anybody who reads it.
_NOT_SHOWN = ("id", "sha256", "mime_type", "url", "hash", "flow_token")


@dataclass(frozen=True, slots=True)
class Content:
    text: str
    opaque: bool = False  # nothing in it that a model could read
    details: dict[str, Any] = field(default_factory=dict)  # for messages.metadata


def content_of(kind: str, raw: Json) -> Content:
    read = READERS.get(kind)
    content = read(get(raw, kind)) if read is not None else None
    if content is None:
        content = _of_unknown_kind(kind, raw)
    else:
        content = replace(content, details=content.details | beside(kind, raw))
    words = customers(get(get(raw, "text"), "body")) if kind != "text" else ""
    lines = [*_context_notes(raw), content.text, *([words] if words else [])]
    return Content("\n".join(lines), content.opaque and not words, content.details)


def customers(text: Json) -> str:
    """A customer's own text, in which nothing looks like one of our notes."""
    return storable(text).translate(_ROUND) if isinstance(text, str) else ""


def part(value: Json, longest: int = MAX_PART_UNITS) -> str:
    """A piece of a note: one line, without brackets."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = str(value) if not isinstance(value, int) or abs(value) < 10**30 else ""
    if len(text) > 8 * longest:  # so much that no cut falls on the seam
        text = text[: 4 * longest] + text[-4 * longest :]
    return both_ends(" ".join(storable(text).split()), longest).translate(_ROUND)


def note(*parts: str) -> str:
    return f"[{', '.join(p for p in parts if p)}]"


def _text(inner: Json) -> Content | None:
    body = get(inner, "body")
    if not isinstance(body, str):
        return None
    said, written = customers(body), storable(body)
    # What the customer wrote, where the readable text differs from it.
    return Content(said, details={"as_written": written} if written != said else {})


def _media(kind: str) -> Callable[[Json], Content | None]:
    def read(inner: Json) -> Content | None:
        if not isinstance(inner, dict):
            return None
        name = "voice message" if kind == "audio" and inner.get("voice") is True else MEDIA[kind]
        if kind == "document":
            name = " ".join(p for p in (name, _quoted(inner.get("filename"))) if p)
        caption, kept = string(inner.get("caption")), {"media": plain(inner)}
        if caption is None:
            return Content(f"[{name}: cannot be opened]", True, kept)
        return Content(f"[{name}] {customers(caption)}", details=kept)

    return read


def _location(inner: Json) -> Content | None:
    if not isinstance(inner, dict):
        return None
    at = [part(inner.get(k), 20) for k in ("latitude", "longitude")]
    where = ", ".join(at) if all(at) else ""
    text = ", ".join(p for p in (part(inner.get("name")), part(inner.get("address")), where) if p)
    return Content(f"[location: {text or 'unknown'}]", details={"location": plain(inner)})


def _contacts(inner: Json) -> Content | None:
    if not isinstance(inner, list):
        return None
    lines = [note("contact card: " + _name(card), *_of_card(card)) for card in inner[:MAX_PARTS]]
    if len(inner) > MAX_PARTS:
        lines.append(f"[and {len(inner) - MAX_PARTS} more contact cards]")
    return Content("\n".join(lines) or "[contact card: empty]", details={"contacts": plain(inner)})


def _name(card: Json) -> str:
    name = get(card, "name")
    parts = ("prefix", "first_name", "middle_name", "last_name", "suffix")
    spelled = " ".join(p for key in parts if (p := part(get(name, key))))
    return part(get(name, "formatted_name")) or spelled or "without a name"


def _of_card(card: Json) -> list[str]:
    """Whatever a contact card has besides a name."""
    org = get(card, "org")
    address = ("street", "city", "state", "zip", "country")
    return [
        *(part(get(org, key)) for key in ("title", "department", "company")),
        *(part(get(p, "phone") or get(p, "wa_id"), 40) for p in _each(get(card, "phones"))),
        *(part(get(e, "email")) for e in _each(get(card, "emails"))),
        *(
            " ".join(p for key in address if (p := part(get(a, key))))
            for a in _each(get(card, "addresses"))
        ),
        *(part(get(u, "url")) for u in _each(get(card, "urls"))),
        f"born {birthday}" if (birthday := part(get(card, "birthday"), 40)) else "",
    ]


def _each(value: Json) -> list[Json]:
    return value[:10] if isinstance(value, list) else []


def _interactive(inner: Json) -> Content | None:
    kind = string(get(inner, "type"))
    reply = get(inner, kind) if kind else None
    if not isinstance(reply, dict):
        return None
    match kind:
        case "button_reply" | "list_reply":
            said = note(
                f"chose {_quoted(reply.get('title')) or _quoted(reply.get('id'))}",
                part(reply.get("description")),
            )
            return Content(said, details={"reply": plain(reply)})
        case "nfm_reply":
            return _form(reply)
        case "call_permission_reply":
            answer = "allows calls" if reply.get("response") == "accept" else "does not allow calls"
            return Content(f"[{answer}]", details={"call_permission": plain(reply)})
        case _:
            said = _shown(_fields(reply)) or "nothing that can be shown"
            return Content(
                f"[answered with {part(kind, 40)}: {said}]", details={"interactive": plain(inner)}
            )


def _form(reply: dict[str, Json]) -> Content:
    """Of a Flow, or an address: what the customer typed, and anybody could have sent it."""
    answer = parsed(reply.get("response_json"))
    rest = {k: v for k, v in reply.items() if answer is None or k != "response_json"}
    kept = {"form": plain(answer or {}), "flow": plain(rest)}
    if reply.get("name") == "address_message":
        values = get(answer, "values")
        said = _shown(_fields(values if isinstance(values, dict) else answer or {}))
        return Content(f"[sent an address: {said or part(reply.get('body'))}]", details=kept)
    said = _shown(_fields(answer or {}))
    return Content(f"[filled in a form: {said or 'no fields'}]", details=kept)


def _button(inner: Json) -> Content | None:
    text, payload = string(get(inner, "text")), string(get(inner, "payload"))
    if not text and not payload:
        return None
    # Of a template's quick reply: what stands on it is the customer's message, and its payload is
    # looked up as the id of a button of ours is (handlers/turns/presses.py).
    kept = plain(inner) | {"id": plain(payload), "title": plain(text)}
    return Content(customers(text or payload), details={"reply": kept})


def _order(inner: Json) -> Content | None:
    items = get(inner, "product_items")
    if not isinstance(items, list):
        return None
    lines = [_item(item) for item in items[:MAX_PARTS]]
    if len(items) > MAX_PARTS:
        lines.append(f"and {len(items) - MAX_PARTS} more items")
    text = f"[order: {'; '.join(lines) or 'empty'}]"
    said = customers(get(inner, "text"))
    return Content(f"{text} {said}" if said else text, details={"order": plain(inner)})


def _item(item: Json) -> str:
    keys = ("product_retailer_id", "quantity", "item_price", "currency")
    product, quantity, price, currency = (part(get(item, key), 100) for key in keys)
    at = f" at {price} {currency}".rstrip() if price else ""
    return f"{quantity or '?'} x {product or 'unnamed'}{at}"


def _of_unknown_kind(kind: str, raw: Json) -> Content:
    """A kind that Meta does not hand on or we do not know, or one without its body."""
    errors = get(raw, "errors")
    error = error_report(errors[0]) if isinstance(errors, list) and errors else None
    details: dict[str, Any] = {"error": error} if error else {}
    # As a text, so that whatever is in it can be stored.
    details["raw"] = json.dumps(raw, separators=(",", ":"))
    if kind in MEDIA:
        return Content(f"[{MEDIA[kind]}: could not be received]", True, details)
    inner = get(raw, kind)
    what = part(get(inner, "type") if kind == "unsupported" else kind, 40)
    if kind not in ("unsupported", "unknown") and (said := _shown(_fields(inner))):
        return Content(f"[a message of the kind {what}: {said}]", details=details)
    named = f" ({what})" if what not in ("", "unsupported", "unknown", "none") else ""
    return Content(UNREADABLE.format(which=named), True, details)


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


def _quoted(value: Json) -> str:
    text = part(value)
    return f'"{text}"' if text else ""


def _shown(fields: Iterator[str]) -> str:
    """The first of them, and whether there are more."""
    some = [*islice(fields, MAX_PARTS + 1)]
    return "; ".join(some[:MAX_PARTS] + ["and more"] * (len(some) > MAX_PARTS))


def _fields(value: Json, name: str = "", depth: int = MAX_DEPTH) -> Iterator[str]:
    """Everything in a JSON value that can be read, one after the other: "guests: 4"."""
    if isinstance(value, dict | list) and depth == 0:
        value = json.dumps(value)
    match value:
        case dict():
            for key, inner in value.items():
                if key not in _NOT_SHOWN:
                    yield from _fields(inner, f"{name} {part(key, 60)}".strip(), depth - 1)
        case list() if all(not isinstance(inner, dict | list) for inner in value):
            if said := ", ".join(p for v in value[:MAX_PARTS] if (p := _scalar(v))):
                yield _field(name, said)
        case list():
            for n, inner in enumerate(value, start=1):
                yield from _fields(inner, f"{name} {n}".strip(), depth - 1)
        case _:
            if said := _scalar(value):
                yield _field(name, said)


def _field(name: str, said: str) -> str:
    return f"{name}: {said}" if name else said


def _scalar(value: Json) -> str:
    return part(str(value).lower() if isinstance(value, bool) else value)


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
