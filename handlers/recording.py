"""Ingest: a batch of the log into the record. Once, in order, one transaction a tenant.

Whatever the batch holds, each item ends recorded, known as a duplicate, or parked with a reason;
one bad item never takes its neighbours along. When the database is away the caller hears
Unavailable and keeps the batch.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import structlog

from db.chatbots import resolve_numbers
from db.contacts import (
    Contact,
    add_contacts,
    find_contacts,
    release_numbers,
    touch_contacts,
)
from db.conversations import lock_conversations, mark_ready, open_conversations
from db.ids import ChatbotId, ContactId, ConversationId, UserId
from db.messages import record_inbound
from db.parked import ParkedItem, park_items
from db.pool import CONFLICT, REFUSED, UNAVAILABLE, Conn, Pool, tenant
from db.usage import count_received
from handlers import telemetry
from handlers.envelope import Envelope, Malformed, decode
from handlers.parking import parked_raw
from handlers.whatsapp.wire import (
    TextMessage,
    Unknown,
    Update,
    normalised,
    parse_message,
    storable,
)

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# What one item can do to its batch: data that the database refuses, or that cannot be encoded.
_POISON = (*REFUSED, ValueError, LookupError, TypeError)

MAX_NUMBER_CHARS = 255  # an id that no index takes would stop the batch it is in
TRIES_ON_CONFLICT = 5  # deadlock, or a row that another worker made between our look and our write


@dataclass(frozen=True, slots=True)
class Arrived:
    """One update, and where it came from."""

    update: Update
    trace_id: str

    def parked(self, reason: str, detail: str | None = None) -> ParkedItem:
        return ParkedItem(
            reason=reason,
            detail=_column(detail),
            kind=self.update.kind,
            phone_number_id=_column(self.update.phone_number_id, MAX_NUMBER_CHARS),
            display_number=_column(self.update.display_number, MAX_NUMBER_CHARS),
            trace_id=self.trace_id,
            raw=parked_raw(self.update),
        )


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """What was understood of it (a TextMessage, a Status), and whose it is."""

    arrived: Arrived
    value: T
    chatbot_id: ChatbotId


@dataclass(frozen=True, slots=True)
class Debounce:
    quiet: timedelta
    longest: timedelta


def opened(bodies: Sequence[bytes]) -> tuple[list[Arrived], list[ParkedItem]]:
    """The updates of a batch in order, and what is no envelope."""
    arrived: list[Arrived] = []
    parked: list[ParkedItem] = []
    for body in bodies:
        try:
            envelope: Envelope = decode(body)
        except Malformed as error:
            parked.append(
                ParkedItem(
                    reason="undecodable",
                    detail=str(error),
                    kind="envelope",
                    phone_number_id=None,
                    display_number=None,
                    trace_id=None,
                    raw=body,
                )
            )
            continue
        arrived += [Arrived(update, envelope.trace_id) for update in envelope.updates]
    return arrived, parked


async def by_tenant(
    conn: Conn, arrived: Sequence[tuple[Arrived, T]], *, bind: bool
) -> tuple[dict[UserId, list[Item[T]]], list[ParkedItem]]:
    """Asks the database whose each item is; what is nobody's is parked."""
    numbers = sorted({_number(a) for a, _ in arrived}, key=lambda n: (n[0] or "", n[1] or ""))
    ids, display = [n[0] for n in numbers], [n[1] for n in numbers]
    found = await resolve_numbers(conn, ids, display, bind)
    for row in found:
        if row.outcome == "bound":
            log.info("chatbot.number_bound", chatbot_id=row.chatbot_id, user_id=row.user_id)
    if any(row.outcome == "phone_number_id_of_another" for row in found):
        # So it looks, too, when another worker binds it to the very same id at this moment; a
        # second look tells.
        found = await resolve_numbers(conn, ids, display, bind)
    owners = {numbers[row.place - 1]: row for row in found}
    tenants: dict[UserId, list[Item[T]]] = defaultdict(list)
    parked: list[ParkedItem] = []
    for one, value in arrived:
        owner = owners[_number(one)]
        if owner.user_id is None or owner.chatbot_id is None or owner.outcome == "bindable":
            parked.append(one.parked(owner.outcome))
        else:
            tenants[owner.user_id].append(Item(one, value, owner.chatbot_id))
    return dict(sorted(tenants.items())), parked


async def record_batch(pool: Pool, bodies: Sequence[bytes], debounce: Debounce) -> None:
    """Messages. Raises one of db.pool.UNAVAILABLE when the database is away."""
    arrived, parked = opened(bodies)
    messages: list[tuple[Arrived, TextMessage]] = []
    for one in arrived:
        parsed = parse_message(one.update)
        if isinstance(parsed, Unknown):
            parked.append(one.parked("not_understood", parsed.reason))
        else:
            messages.append((one, parsed))
    tenants: dict[UserId, list[Item[TextMessage]]] = {}
    if messages:
        async with pool.acquire() as conn:
            tenants, nobodys = await by_tenant(conn, messages, bind=True)
        parked += nobodys

    async def write(user_id: UserId, items: Sequence[Item[TextMessage]]) -> int:
        return await _record_tenant(pool, user_id, items, debounce)

    recorded = 0
    for user_id, items in tenants.items():
        written, poison = await each_or_park(user_id, items, write)
        recorded += written
        parked += poison
    await park(pool, parked)
    telemetry.RECORDED.inc(recorded)
    duplicates = sum(len(items) for items in tenants.values()) - recorded
    telemetry.DUPLICATES.inc(max(0, duplicates))
    log.info(
        "batch.recorded",
        entries=len(bodies),
        messages=len(messages),
        recorded=recorded,
        duplicates=duplicates,
        parked=len(parked),
        tenants=len(tenants),
        trace_ids=sorted({a.trace_id for a in arrived})[:20],
    )


async def each_or_park(
    user_id: UserId,
    items: Sequence[Item[T]],
    write: Callable[[UserId, Sequence[Item[T]]], Awaitable[int]],
) -> tuple[int, list[ParkedItem]]:
    """All of a tenant's items at once; if that fails, one by one, and only the poison is parked."""
    try:
        return await _patiently(write, user_id, items), []
    except UNAVAILABLE:
        raise
    except _POISON as error:
        log.warning("batch.split", user_id=user_id, items=len(items), exc_info=error)
    done = 0
    poison: list[ParkedItem] = []
    for item in items:
        try:
            done += await _patiently(write, user_id, [item])
        except UNAVAILABLE:
            raise
        except _POISON as error:
            log.error("item.poisonous", user_id=user_id, exc_info=error)
            poison.append(item.arrived.parked("poison", type(error).__name__))
    return done, poison


async def park(pool: Pool, parked: Sequence[ParkedItem]) -> None:
    if not parked:
        return
    async with pool.acquire() as conn:
        await park_items(conn, parked)
    for item in parked:
        telemetry.PARKED.labels(item.reason).inc()


async def _patiently(
    write: Callable[[UserId, Sequence[Item[T]]], Awaitable[int]],
    user_id: UserId,
    items: Sequence[Item[T]],
) -> int:
    for tries_left in reversed(range(TRIES_ON_CONFLICT)):
        try:
            return await write(user_id, items)
        except CONFLICT:
            if not tries_left:
                raise
            await asyncio.sleep(0.05)
    raise AssertionError("unreachable: the last try returns or raises")


async def _record_tenant(
    pool: Pool, user_id: UserId, items: Sequence[Item[TextMessage]], debounce: Debounce
) -> int:
    """How many were new. One transaction: contacts, conversations, messages, counters last."""
    async with tenant(pool, user_id) as conn:
        contact_ids = await _contacts(conn, user_id, items)
        keys = sorted({(i.chatbot_id, c) for i, c in zip(items, contact_ids, strict=True)})
        bots, contacts = [k[0] for k in keys], [k[1] for k in keys]
        locked = await lock_conversations(conn, user_id, bots, contacts)
        if len(locked) < len(keys):
            await open_conversations(conn, user_id, bots, contacts)
            locked = await lock_conversations(conn, user_id, bots, contacts)
        conversations: dict[tuple[ChatbotId, ContactId], ConversationId] = {
            (row.chatbot_id, row.contact_id): row.id for row in locked
        }
        recorded = await record_inbound(
            conn,
            user_id,
            [i.chatbot_id for i in items],
            contact_ids,
            [conversations[i.chatbot_id, c] for i, c in zip(items, contact_ids, strict=True)],
            [i.value.wamid for i in items],
            ["text"] * len(items),
            [i.value.text for i in items],
            [i.value.sent_at for i in items],
            [_metadata(i) for i in items],
        )
        if not recorded:
            return 0
        newest: dict[ConversationId, tuple[int, datetime]] = {}
        for row in recorded:
            seq, at = newest.get(row.conversation_id, (row.input_seq, row.sent_at))
            newest[row.conversation_id] = (max(seq, row.input_seq), max(at, row.sent_at))
        ready = sorted(newest)
        await mark_ready(
            conn,
            user_id,
            ready,
            [newest[v][0] for v in ready],
            [newest[v][1] for v in ready],
            debounce.quiet,
            debounce.longest,
        )
        await count_received(conn, user_id, len(recorded))
    return len(recorded)


def _metadata(item: Item[TextMessage]) -> dict[str, str]:
    metadata = {"trace_id": item.arrived.trace_id}
    if item.value.replies_to:
        metadata["replies_to"] = item.value.replies_to
    return metadata


async def _contacts(
    conn: Conn, user_id: UserId, items: Sequence[Item[TextMessage]]
) -> list[ContactId]:
    """Each item's contact, made where it is new, and what the messages tell of it."""
    phones = sorted({i.value.phone_number for i in items if i.value.phone_number})
    bsuids = sorted({i.value.bsuid for i in items if i.value.bsuid})
    known = await find_contacts(conn, user_id, phones, bsuids)
    found = [contact_of(i.value, known) for i in items]
    new = _first_of_each([i for i, c in zip(items, found, strict=True) if c is None])
    if new:
        # A number that went to another person leaves the contact who had it: a new person must not
        # get the old one's conversation, nor the old one's pending replies.
        held = {c.phone_number: c.id for c in known if c.phone_number is not None}
        taken = sorted({held[p] for i in new if (p := i.value.phone_number) in held})
        await release_numbers(conn, user_id, taken)
        await add_contacts(
            conn,
            user_id,
            [i.chatbot_id for i in new],
            [i.value.phone_number for i in new],
            [i.value.bsuid for i in new],
            [i.value.wa_id for i in new],
            [i.value.name for i in new],
        )
        known = await find_contacts(conn, user_id, phones, bsuids)
        found = [contact_of(i.value, known) for i in items]
    ids = [c for c in found if c is not None]
    if len(ids) < len(items):
        raise LookupError("a contact that was just added is not there")
    latest = dict(zip(ids, items, strict=True))  # of several messages of one contact, the last
    touched = sorted(latest)
    await touch_contacts(
        conn,
        user_id,
        touched,
        [latest[c].value.name for c in touched],
        [latest[c].value.wa_id for c in touched],
        [latest[c].value.bsuid for c in touched],
        [latest[c].value.sent_at for c in touched],
    )
    return ids


def contact_of(message: TextMessage, known: Iterable[Contact]) -> ContactId | None:
    """By BSUID first: numbers are given to other people after a while, BSUIDs are not. Then by the
    number, unless its contact is known to be somebody else."""
    by_phone: ContactId | None = None
    for contact in known:
        if message.bsuid is not None and contact.bsuid == message.bsuid:
            return contact.id
        if message.phone_number is not None and contact.phone_number == message.phone_number:
            same = message.bsuid is None or contact.bsuid is None
            by_phone = contact.id if same else None
    return by_phone


def _first_of_each(items: Iterable[Item[TextMessage]]) -> list[Item[TextMessage]]:
    first: dict[tuple[str | None, str | None], Item[TextMessage]] = {}
    for item in items:
        first.setdefault((item.value.phone_number, item.value.bsuid), item)
    return list(first.values())


def _number(arrived: Arrived) -> tuple[str | None, str | None]:
    """phone_number_id, and the business's number in the form it is stored in."""
    update = arrived.update
    return _column(update.phone_number_id, MAX_NUMBER_CHARS), normalised(update.display_number)


def _column(value: str | None, longest: int | None = None) -> str | None:
    """As a text column takes it."""
    return storable(value)[:longest] if value else None
