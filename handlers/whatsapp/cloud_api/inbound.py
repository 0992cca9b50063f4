"""What the items of a webhook mean, but for statuses: one value each. Pure.

`parse_message` reads what comes for a number in a customer's lane, `parse_other` the rest. Only an
Inbound starts a turn. docs/messages.md says what becomes of each.
"""

from dataclasses import replace
from datetime import datetime
from typing import Literal

from db.ids import Wamid
from handlers.rules.cutting import head
from handlers.rules.numbers import normalised
from handlers.rules.texts import storable
from handlers.whatsapp.cloud_api.identity import customer_of
from handlers.whatsapp.cloud_api.notes import MAX_KIND_CHARS, READERS, content_of, part
from handlers.whatsapp.cloud_api.templates import template_news
from handlers.whatsapp.cloud_api.untrusted import Json, get, moment, string, wamid_of
from handlers.whatsapp.cloud_api.wire import STATUSES, NotUnderstood, Update, from_business
from handlers.whatsapp.values import (
    Change,
    Customer,
    Happening,
    Inbound,
    Moved,
    Parsed,
    Past,
    Preference,
)

MAX_EMOJI_UNITS = 50  # a family with skin tones has 26, a flag of letters 14
CHANGES = ("reaction", "edit", "revoke")
MOVES = ("user_changed_number", "customer_changed_number", "user_changed_user_id")
KEPT_TYPES = ("system", "request_welcome")
# Whatever is in none of these is a type that Meta has not told of, and an honest note.
MESSAGE_TYPES = (*READERS, *CHANGES, *KEPT_TYPES, "unsupported", "unknown")
ACCOUNT_FIELDS = (
    *("account_alerts", "account_review_update", "account_update", "automatic_events"),
    *("business_capability_update", "business_status_update", "business_username_updates"),
    *("flows", "message_template_components_update", "message_template_quality_update"),
    *("message_template_status_update", "partner_solutions", "payment_configuration_update"),
    *("phone_number_name_update", "phone_number_quality_update", "security"),
    "template_category_update",
)
KEPT_FIELDS = (
    *("account_settings_update", "calls", "group_lifecycle_update", "group_participants_update"),
    *("group_settings_update", "group_status_update", "messaging_handovers", "smb_app_state_sync"),
    "standby",
)


def parse_message(update: Update) -> Inbound | Past | Change | Moved | Happening | NotUnderstood:
    if update.is_echo:
        return _echo(update)
    raw = update.raw
    if not isinstance(raw, dict):
        return NotUnderstood("message_not_an_object")
    wamid, at = wamid_of(raw.get("id")), moment(raw.get("timestamp"))
    if wamid is None:
        return NotUnderstood("message_without_id")
    if at is None:
        return NotUnderstood("message_without_timestamp")
    kind = string(raw.get("type")) or "none"
    if string(raw.get("group_id")) is not None:
        return Happening("messages", "group_message")
    if kind == "request_welcome":
        return Happening("messages", kind)
    if kind == "system":
        return _system(raw, at)
    who = update.who
    if not who.is_named:
        return NotUnderstood("message_without_sender")
    if kind in CHANGES:
        return _change(kind, "customer", wamid, at, who, raw)
    return _inbound(wamid, at, who, kind, raw)


def parse_other(update: Update) -> list[Parsed | NotUnderstood]:
    """More than one only for a chunk of a back-fill."""
    raw = update.raw
    if isinstance(raw, dict):
        if "chunk" in raw and update.field == "history":
            return _chunk(raw["chunk"], update.display_number)
        if "past" in raw and update.field == "history":
            sent = from_business(raw["past"], update.display_number)
            return [_past(raw["past"], update.who, sent=sent)]
        if "preference" in raw and update.field == "user_preferences":
            return [_preference(raw["preference"], update.who)]
        if "moved" in raw and update.field == "user_id_update":
            return [_moved(raw["moved"])]
    return [_happening(update)]


def _inbound(wamid: Wamid, at: datetime, who: Customer, kind: str, raw: Json) -> Inbound:
    content = content_of(kind, raw)
    return Inbound(
        wamid=wamid,
        sent_at=at,
        who=who,
        kind=head(storable(kind), MAX_KIND_CHARS),
        text=content.text,
        replies_to=wamid_of(get(get(raw, "context"), "id")),
        opaque=content.opaque,
        details=content.details,
    )


def _change(
    kind: str,
    by: Literal["customer", "business"],
    wamid: Wamid,
    at: datetime,
    who: Customer,
    raw: Json,
) -> Change | NotUnderstood:
    inner = get(raw, kind)
    target = wamid_of(get(inner, "message_id" if kind == "reaction" else "original_message_id"))
    if target is None:
        return NotUnderstood(f"{kind}_without_target")
    match kind:
        case "reaction":
            emoji = string(get(inner, "emoji"))
            shown = head(storable(emoji), MAX_EMOJI_UNITS) if emoji else None
            return Change("reaction", by, wamid, at, who, target, emoji=shown)
        case "revoke":
            return Change("revoke", by, wamid, at, who, target)
        case _:
            message = get(inner, "message")
            new = _inbound(target, at, who, string(get(message, "type")) or "none", message)
            # The context of an edit names no message ("M0"), and quotes nothing.
            return Change("edit", by, wamid, at, who, target, new=replace(new, replies_to=None))


def _echo(update: Update) -> Past | Change | NotUnderstood:
    raw = get(update.raw, "echo")
    wamid, at = wamid_of(get(raw, "id")), moment(get(raw, "timestamp"))
    if wamid is None:
        return NotUnderstood("message_without_id")
    if at is None:
        return NotUnderstood("message_without_timestamp")
    who = update.who
    if not who.is_named:
        return NotUnderstood("message_without_recipient")
    kind = string(get(raw, "type")) or "none"
    if kind in CHANGES:
        return _change(kind, "business", wamid, at, who, raw)
    return _said("echo", raw, who, "outbound", "sent")


def _chunk(chunk: Json, business: str | None) -> list[Parsed | NotUnderstood]:
    """Of a back-fill: threads with their messages, or why there are none."""
    threads = get(chunk, "threads")
    if not isinstance(threads, list):
        return [Happening("history", "errors" if get(chunk, "errors") else None)]
    found: list[Parsed | NotUnderstood] = []
    for thread in threads:
        messages = get(thread, "messages")
        if not isinstance(messages, list):
            found.append(NotUnderstood("history_without_messages"))
            continue
        context = get(thread, "context")
        who = customer_of(get(thread, "id"), get(context, "user_id"), context)
        found += [_past(raw, who, sent=_sent_in_thread(raw, who, business)) for raw in messages]
    return found


def _sent_in_thread(raw: Json, who: Customer, business: str | None) -> bool:
    """Whether the business wrote it. Where its number is not known, by who else was meant."""
    if from_business(raw, business):
        return True
    sender = customer_of(get(raw, "from"), get(raw, "from_user_id"), None)
    recipient = customer_of(get(raw, "to"), get(raw, "to_user_id"), None)
    if not sender.is_named or _same(sender, who):
        return False
    return _same(recipient, who) or normalised(business) is None


def _same(one: Customer, other: Customer) -> bool:
    return (one.bsuid is not None and one.bsuid == other.bsuid) or (
        one.phone_number is not None and one.phone_number == other.phone_number
    )


def _past(raw: Json, who: Customer, *, sent: bool) -> Past | NotUnderstood:
    """`who` is the customer; `sent`: the business wrote it."""
    if not who.is_named:
        return NotUnderstood("message_without_sender")
    if not sent:
        return _said("history", raw, who, "inbound", "received")
    status = (string(get(get(raw, "history_context"), "status")) or "").lower()
    known = {"error": "failed", "pending": "accepted"} | {s: s for s in STATUSES}
    return _said("history", raw, who, "outbound", known.get(status, "sent"))


def _said(
    source: Literal["echo", "history"],
    raw: Json,
    who: Customer,
    direction: Literal["inbound", "outbound"],
    status: str,
) -> Past | NotUnderstood:
    wamid, at = wamid_of(get(raw, "id")), moment(get(raw, "timestamp"))
    if wamid is None:
        return NotUnderstood("message_without_id")
    if at is None:
        return NotUnderstood("message_without_timestamp")
    read = _inbound(wamid, at, who, string(get(raw, "type")) or "none", raw)
    return Past(source, read.wamid, at, who, direction, status, read.kind, read.text, read.details)


def _system(raw: Json, at: datetime) -> Moved | Happening:
    system = get(raw, "system")
    event = string(get(system, "type"))
    before = customer_of(
        get(raw, "from"), get(system, "previous_user_id") or get(raw, "from_user_id"), None
    )
    number = get(system, "wa_id") or get(system, "new_wa_id")
    after = customer_of(number, get(system, "user_id"), None)
    if event not in MOVES or not before.is_named or not after.is_named:
        return Happening("messages", f"system:{part(event, 40) or 'none'}")
    return Moved(at, before, after)


def _moved(raw: Json) -> Moved | NotUnderstood:
    at, ids = moment(get(raw, "timestamp")), get(raw, "user_id")
    before = customer_of(None, get(ids, "previous"), None)
    after = customer_of(get(raw, "wa_id"), get(ids, "current"), None)
    if at is None or not before.is_named or not after.is_named:
        return NotUnderstood("user_id_update")
    return Moved(at, before, after)


def _preference(raw: Json, who: Customer) -> Preference | Happening | NotUnderstood:
    at = moment(get(raw, "timestamp"))
    choice = get(raw, "value")
    if at is None or not who.is_named:
        return NotUnderstood("user_preference")
    match choice:
        case "stop" | "resume" | "signup" if get(raw, "category") == "marketing_messages":
            return Preference(at, who, choice)
        case _:
            return Happening("user_preferences", part(choice, 40) or None)


def _happening(update: Update) -> Happening | NotUnderstood:
    value, field_ = get(update.raw, "value"), update.field
    event = _event(value)
    if field_ in ACCOUNT_FIELDS:
        upgrade = field_ == "phone_number_quality_update" and event == "THROUGHPUT_UPGRADE"
        news = template_news(value)
        return Happening(field_, event, told=True, throughput=upgrade, template=news)
    if field_ in KEPT_FIELDS:
        return Happening(field_, event)
    lists = [get(value, key) for key in ("messages", "statuses")]
    whole = all(items is None or isinstance(items, list) for items in lists)
    if field_ == "messages" and get(value, "errors") and whole:
        return Happening(field_, "errors", told=True)
    return NotUnderstood(f"field:{field_[:40]}")


def _event(value: Json) -> str | None:
    """The one word that says what happened, where the field has one."""
    places = [value, get(value, "alert_info"), *_first_items(value)]
    keys = (
        "event",
        "decision",
        "type",
        "alert_type",
        "new_quality_score",
        "new_category",
        "status",
    )
    for place in places:
        for key in keys:
            word = part(get(place, key), 100)
            if word:
                return word
    return None


def _first_items(value: Json) -> list[Json]:
    lists = (get(value, key) for key in ("groups", "calls", "statuses", "state_sync"))
    return [items[0] for items in lists if isinstance(items, list) and items]
