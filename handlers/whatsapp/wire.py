"""WhatsApp Cloud API webhooks <-> our values. Pure, and nothing that arrives makes it raise.

A POST holds up to 1,000 updates: entry[] x changes[] x (messages[] | statuses[] | ...), of several
numbers and tenants. `split` takes it apart into updates that stand by themselves; `parse_message`
and `parse_status` read one. What they do not understand becomes Unknown with the reason, and the
raw item stays beside it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

Json: TypeAlias = Any
Kind: TypeAlias = Literal["message", "status", "other"]

STATUSES = ("sent", "delivered", "read", "played", "failed")
MAX_TEXT_CHARS = 4096  # of a text body, by WhatsApp's own limit
MAX_NAME_CHARS = 255
OUR_ID = re.compile(r"sr:(\d{1,18}):(\d{1,4})")  # see callback_data()
_TIMESTAMP = re.compile(r"\d{1,11}")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # neither fits into PostgreSQL's text


@dataclass(frozen=True, slots=True)
class Update:
    """One item of a webhook, by itself."""

    kind: Kind
    field: str
    phone_number_id: str | None
    display_number: str | None  # Meta's spelling
    raw: Json
    contact: Json  # the element of contacts[] that belongs to it, or None

    @property
    def customer(self) -> str:
        """By what this customer's messages are kept in order; '' when nothing names one."""
        raw = self.raw if isinstance(self.raw, dict) else {}
        contact = self.contact if isinstance(self.contact, dict) else {}
        return (
            _string(raw.get("group_id"))
            or _string(raw.get("from_user_id"))
            or _string(contact.get("user_id"))
            or digits(contact.get("wa_id"))
            or digits(raw.get("from"))
            or ""
        )


@dataclass(frozen=True, slots=True)
class TextMessage:
    wamid: str
    sent_at: datetime
    phone_number: str | None  # + and digits
    wa_id: str | None  # Meta's spelling
    bsuid: str | None
    name: str | None
    text: str
    replies_to: str | None  # the wamid that the customer quoted


@dataclass(frozen=True, slots=True)
class Status:
    wamid: str
    status: str
    at: datetime
    our_id: int | None  # messages.id, when the status carries what we sent along
    errors: tuple[dict[str, Json], ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Not understood, and why (a fixed word); the raw item is kept by whoever holds it."""

    reason: str


def split(payload: Json) -> list[Update]:
    """Every update of a POST, in the payload's order. Nothing is left out: a part that is not as
    documented comes back as one 'other' update."""
    entries = _get(payload, "entry")
    if not isinstance(entries, list):
        return [_whole(payload)]
    updates: list[Update] = []
    for entry in entries:
        changes = _get(entry, "changes")
        if not isinstance(changes, list):
            updates.append(_whole(entry))
            continue
        for change in changes:
            updates.extend(_of_change(change))
    return updates


def parse_message(update: Update) -> TextMessage | Unknown:
    raw = update.raw
    if not isinstance(raw, dict):
        return Unknown("message_not_an_object")
    wamid = _string(raw.get("id"))
    if wamid is None:
        return Unknown("message_without_id")
    sent_at = _time(raw.get("timestamp"))
    if sent_at is None:
        return Unknown("message_without_timestamp")
    kind = _string(raw.get("type")) or "none"
    if kind != "text":
        return Unknown(f"message_type:{kind[:40]}")
    if _string(raw.get("group_id")) is not None:
        return Unknown("group_message")
    body = _get(raw.get("text"), "body")
    if not isinstance(body, str):
        return Unknown("text_without_body")
    wa_id = _string(_get(update.contact, "wa_id"))
    sender = _string(raw.get("from")) or wa_id
    phone_number = normalised(sender)
    bsuid = _string(raw.get("from_user_id")) or _string(_get(update.contact, "user_id"))
    if phone_number is None and bsuid is None:
        return Unknown("message_without_sender")
    name = _get(_get(update.contact, "profile"), "name")
    quoted = _string(_get(raw.get("context"), "id"))
    return TextMessage(
        wamid=storable(wamid),
        sent_at=sent_at,
        phone_number=phone_number,
        wa_id=storable(sender) if sender else None,
        bsuid=storable(bsuid) if bsuid else None,
        name=storable(name)[:MAX_NAME_CHARS] if isinstance(name, str) and name else None,
        text=storable(body)[:MAX_TEXT_CHARS],
        replies_to=storable(quoted) if quoted else None,
    )


def parse_status(update: Update) -> Status | Unknown:
    raw = update.raw
    if not isinstance(raw, dict):
        return Unknown("status_not_an_object")
    wamid = _string(raw.get("id"))
    if wamid is None:
        return Unknown("status_without_id")
    status = raw.get("status")
    if status not in STATUSES:
        return Unknown("status_of_unknown_kind")
    at = _time(raw.get("timestamp"))
    if at is None:
        return Unknown("status_without_timestamp")
    errors = raw.get("errors")
    ours = OUR_ID.fullmatch(_string(raw.get("biz_opaque_callback_data")) or "")
    return Status(
        wamid=storable(wamid),
        status=status,
        at=at,
        our_id=int(ours[1]) if ours else None,
        errors=tuple(
            error_report(e) for e in (errors if isinstance(errors, list) else []) if e is not None
        ),
    )


def error_report(error: Json) -> dict[str, Json]:
    """Meta's error, cut to what is worth keeping: code, title, details."""
    details = _get(_get(error, "error_data"), "details") or _get(error, "details")
    title = _get(error, "title") or _get(error, "message")
    code = _get(error, "code")
    return {
        "code": code if isinstance(code, int) and abs(code) < 2**31 else None,
        "title": storable(title)[:200] if isinstance(title, str) else None,
        "details": storable(details)[:500] if isinstance(details, str) else None,
    }


def callback_data(message_id: int, attempt: int) -> str:
    """Our own id, which Meta echoes in every status; the attempt tells a repeated send apart."""
    return f"sr:{message_id}:{attempt}"


def digits(value: Json) -> str:
    return re.sub(r"\D", "", value) if isinstance(value, str) and value.isascii() else ""


def normalised(number: str | None) -> str | None:
    """'+' and digits, the form in which numbers are stored; None when it is no number."""
    only_digits = digits(number)
    return f"+{only_digits}" if 5 <= len(only_digits) <= 20 else None


def storable(text: str) -> str:
    """NUL and lone surrogates are legal in JSON and in no text column."""
    return _UNSTORABLE.sub("\ufffd", text)


def _of_change(change: Json) -> Iterator[Update]:
    field = _string(_get(change, "field")) or ""
    value = _get(change, "value")
    phone_number_id = _string(_get(_get(value, "metadata"), "phone_number_id"))
    display = _string(_get(_get(value, "metadata"), "display_phone_number"))
    if field != "messages" or not isinstance(value, dict):
        yield Update("other", field, phone_number_id, display, change, None)
        return
    understood = odd = False
    kinds: tuple[tuple[Kind, str], ...] = (("message", "messages"), ("status", "statuses"))
    for kind, key in kinds:
        items = value.get(key)
        if not isinstance(items, list):
            odd = odd or bool(items)
            continue
        for item in items:
            understood = True
            contact = _contact_of(item, value.get("contacts")) if kind == "message" else None
            yield Update(kind, field, phone_number_id, display, item, contact)
    if odd or not understood or value.get("errors"):
        yield Update("other", field, phone_number_id, display, change, None)


def _contact_of(message: Json, contacts: Json) -> Json:
    """By user_id, then by wa_id; by place only when there is nothing to choose."""
    if not isinstance(contacts, list):
        return None
    for theirs, ours in (("user_id", "from_user_id"), ("wa_id", "from")):
        wanted = _string(_get(message, ours))
        for contact in contacts:
            if wanted is not None and _string(_get(contact, theirs)) == wanted:
                return contact
    return contacts[0] if len(contacts) == 1 else None


def _whole(part: Json) -> Update:
    return Update("other", "", None, None, part, None)


def _get(value: Json, key: str) -> Json:
    return value.get(key) if isinstance(value, dict) else None


def _string(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None


def _time(value: Json) -> datetime | None:
    """Seconds since 1970, as a string or (in old payloads) a number."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.isascii() or not _TIMESTAMP.fullmatch(text):
        return None
    return datetime.fromtimestamp(int(text), UTC)
