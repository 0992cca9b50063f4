"""WhatsApp Cloud API webhooks <-> our values. Pure, and nothing that arrives makes it raise.

A POST holds up to 1,000 updates: entry[] x changes[] x (messages[] | statuses[] | ...), of several
numbers and tenants. `split` takes it apart into updates that stand by themselves; `parse_status`
reads one that is a status, inbound.py reads the others. What they do not understand is
NotUnderstood with the reason, and the raw item stays beside it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from db.ids import Wamid
from handlers.rules.cutting import head
from handlers.rules.numbers import digits, normalised
from handlers.rules.texts import storable
from handlers.whatsapp.cloud_api.identity import contact_of, customer_of
from handlers.whatsapp.cloud_api.untrusted import Json, get, moment, string, wamid_of
from handlers.whatsapp.values import Customer

Kind: TypeAlias = Literal["message", "status", "other"]
STATUSES = ("sent", "delivered", "read", "played", "failed")
OUR_ID = re.compile(r"sr:(\d{1,18}):(\d{1,4})")  # see callback_data()
# The lists of a change's value that are taken apart, by field; anything else stays one update.
# Items that are neither messages to us nor statuses are wrapped in a key of their own: a worker of
# the release before, which takes every object in a message's lane for a message, parks them.
ECHOES = ("smb_message_echoes", "message_echoes")
_PARTS: dict[str, tuple[tuple[Kind, str, str | None], ...]] = {
    "messages": (("message", "messages", None), ("status", "statuses", None)),
    **dict.fromkeys(ECHOES, (("other", "message_echoes", "echo"),)),
    "history": (
        ("other", "history", "chunk"),
        ("other", "messages", "past"),
        ("other", "message_echoes", "past"),
    ),
    "user_preferences": (("other", "user_preferences", "preference"),),
    "user_id_update": (("other", "user_id_update", "moved"),),
}
WRAPPERS = ("echo", "past", "preference")  # of items that name a customer


@dataclass(frozen=True, slots=True)
class Update:
    """One item of a webhook, by itself."""

    kind: Kind
    field: str
    phone_number_id: str | None
    display_number: str | None  # Meta's spelling
    raw: Json
    contact: Json  # the element of contacts[] that names the same person, or None
    waba_id: str | None = None  # of the account whose webhook this was,
    entry_time: int | None = None  # and Meta's time of it: account fields have no other

    @property
    def is_echo(self) -> bool:
        """What a person of the business wrote to a customer, in the WhatsApp Business app."""
        return self.kind == "other" and self.field in ECHOES and get(self.raw, "echo") is not None

    @property
    def who(self) -> Customer:
        """The customer that it is from, or to. Whoever put the contact beside it (a process of the
        release before may have), it counts only if it names the same person."""
        wrapper, item = self._unwrapped()
        return customer_of(*_named(wrapper, item, self.display_number), self.contact)

    @property
    def customer(self) -> str:
        """By what this customer's messages are kept in order; '' when nothing names one."""
        wrapper, item = self._unwrapped()
        number, bsuid = _named(wrapper, item, self.display_number)
        named = string(get(item, "group_id")) or string(bsuid)
        if named is not None:
            return named
        who = customer_of(number, bsuid, self.contact)
        return who.bsuid or digits(who.phone_number) or digits(number)

    def _unwrapped(self) -> tuple[str | None, Json]:
        if self.kind == "other" and isinstance(self.raw, dict) and len(self.raw) == 1:
            (found,) = self.raw.items()
            if found[0] in WRAPPERS:
                return found
        return None, self.raw


@dataclass(frozen=True, slots=True)
class Status:
    wamid: Wamid
    status: str
    at: datetime
    our_id: int | None  # messages.id, when the status carries what we sent along,
    attempt: int | None  # and which send of it
    errors: tuple[dict[str, Json], ...]


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """Not understood, and why (a fixed word); the raw item is kept by whoever holds it."""

    reason: str


def split(payload: Json) -> list[Update]:
    """Every update of a POST, in the payload's order. Nothing is left out: a part that is not as
    documented comes back as one 'other' update."""
    entries = get(payload, "entry")
    if not isinstance(entries, list):
        return [_whole(payload)]
    updates: list[Update] = []
    for entry in entries:
        changes = get(entry, "changes")
        if not isinstance(changes, list):
            updates.append(_whole(entry))
            continue
        for change in changes:
            updates.extend(_of_change(change, entry))
    return updates


def parse_status(update: Update) -> Status | NotUnderstood:
    raw = update.raw
    if not isinstance(raw, dict):
        return NotUnderstood("status_not_an_object")
    wamid = wamid_of(raw.get("id"))
    if wamid is None:
        return NotUnderstood("status_without_id")
    status = raw.get("status")
    if status not in STATUSES:
        return NotUnderstood("status_of_unknown_kind")
    at = moment(raw.get("timestamp"))
    if at is None:
        return NotUnderstood("status_without_timestamp")
    errors = raw.get("errors")
    ours = OUR_ID.fullmatch(string(raw.get("biz_opaque_callback_data")) or "")
    return Status(
        wamid=wamid,
        status=status,
        at=at,
        our_id=int(ours[1]) if ours else None,
        attempt=int(ours[2]) if ours else None,
        errors=tuple(
            error_report(e) for e in (errors if isinstance(errors, list) else []) if e is not None
        ),
    )


def error_report(error: Json) -> dict[str, Json]:
    """Meta's error, cut to what is worth keeping: code, title, details."""
    details = get(get(error, "error_data"), "details") or get(error, "details")
    title = get(error, "title") or get(error, "message")
    code = get(error, "code")
    return {
        "code": code if isinstance(code, int) and abs(code) < 2**31 else None,
        "title": head(storable(title), 200) if isinstance(title, str) else None,
        "details": head(storable(details), 500) if isinstance(details, str) else None,
    }


def callback_data(message_id: int, attempt: int) -> str:
    """Our own id, which Meta echoes in every status; the attempt tells a repeated send apart."""
    return f"sr:{message_id}:{attempt}"


def _of_change(change: Json, entry: Json) -> Iterator[Update]:
    field = string(get(change, "field")) or ""
    value = get(change, "value")
    places = (
        get(value, "metadata"),
        get(value, "recipient"),  # messaging_handovers
        get(value, "phone_number_settings"),  # account_settings_update
        value,  # account fields: the number alone
    )
    phone_number_id = _first(string(get(place, "phone_number_id")) for place in places[:3])
    display = _first(string(get(place, "display_phone_number")) for place in places)
    at = get(entry, "time")
    time = at if isinstance(at, int) and not isinstance(at, bool) and 0 <= at < 2**63 else None
    # Of a partner's events the entry is the partner's own.
    waba_id = string(get(get(value, "waba_info"), "waba_id")) or string(get(entry, "id"))
    account = (waba_id, time)
    understood = odd = False
    for kind, key, wrapper in _PARTS.get(field, ()) if isinstance(value, dict) else ():
        items = value.get(key)
        if not isinstance(items, list):
            odd = odd or bool(items)
            continue
        for item in items:
            understood = True
            contact = None
            if kind != "status":
                contact = contact_of(*_named(wrapper, item, display), value.get("contacts"))
            raw = item if wrapper is None else {wrapper: item}
            yield Update(kind, field, phone_number_id, display, raw, contact, *account)
    if odd or not understood or value.get("errors"):
        yield Update("other", field, phone_number_id, display, change, None, *account)


def _named(wrapper: str | None, item: Json, business: Json) -> tuple[Json, Json]:
    """The fields in which the customer of an item stands: a number and a BSUID."""
    if wrapper == "preference":
        return get(item, "wa_id"), get(item, "user_id")
    if wrapper == "echo" or (wrapper == "past" and from_business(item, business)):
        return get(item, "to"), get(item, "to_user_id")
    return get(item, "from"), get(item, "from_user_id")


def from_business(item: Json, business: Json) -> bool:
    sender = normalised(string(get(item, "from")))
    return sender is not None and sender == normalised(string(business))


def _first(values: Iterable[str | None]) -> str | None:
    return next((v for v in values if v is not None), None)


def _whole(part: Json) -> Update:
    return Update("other", "", None, None, part, None)
