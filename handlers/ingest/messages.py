"""Ingest: a batch of the log into the record. Once, in order, one transaction a tenant.

Whatever the batch holds, each item ends recorded, known as a duplicate, or parked with a reason;
one bad item never takes its neighbours along. When the database is away the caller hears
Unavailable and keeps the batch.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, TypeGuard

import structlog

from db.changes import (
    hand_to_human,
    quoted_texts,
    record_past,
)
from db.contacts import choose_marketing
from db.conversations import lock_conversations, mark_ready, open_conversations
from db.ids import ChatbotId, ContactId, ConversationId, UserId
from db.messages import record_inbound
from db.parked import ParkedItem
from db.pool import Conn, Pool, tenant
from db.usage import count_received
from handlers.ingest.accounts import keep_happening, learn_accounts_once
from handlers.ingest.batch import (
    Arrived,
    Item,
    by_tenant,
    delay_s,
    each_or_park,
    opened,
    park,
    side_by_side,
)
from handlers.ingest.changes import apply_change, with_targets
from handlers.ingest.people import contacts_of, learn, move
from handlers.process import telemetry
from handlers.whatsapp.cloud_api.inbound import parse_message
from handlers.whatsapp.cloud_api.notes import note, part
from handlers.whatsapp.cloud_api.wire import NotUnderstood
from handlers.whatsapp.values import Change, Happening, Inbound, Moved, Parsed, Past, Preference

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# How long the bot is silent after a person wrote to the customer on the phone: as long as people
# leave a chat and come back to it. It ends by itself, because the phone has no button for it.
ECHO_SILENCE = timedelta(minutes=60)
QUOTED_CHARS = 120


@dataclass(frozen=True, slots=True)
class Debounce:
    quiet: timedelta
    longest: timedelta


async def record_batch(pool: Pool, bodies: Sequence[bytes], debounce: Debounce) -> None:
    """What came in customers' lanes. Raises one of db.pool.UNAVAILABLE when it is away."""
    arrived, parked = opened(bodies)
    understood: list[tuple[Arrived, Parsed]] = []
    for one in arrived:
        parsed = parse_message(one.update)
        if isinstance(parsed, NotUnderstood):
            parked.append(one.parked("not_understood", parsed.reason))
        else:
            understood.append((one, parsed))
    tenants: dict[UserId, list[Item[Parsed]]] = {}
    if understood:
        async with pool.acquire() as conn:
            tenants, nobodys = await by_tenant(conn, understood, bind=True)
        parked += nobodys
    recorded, poison = await record_tenants(pool, tenants, debounce)
    parked += poison
    await park(pool, parked)
    telemetry.RECORDED.inc(recorded)
    messages = sum(isinstance(i.value, Inbound) for items in tenants.values() for i in items)
    telemetry.DUPLICATES.inc(max(0, messages - recorded))
    now = datetime.now(UTC)
    for one, _ in understood:
        if (took := delay_s(one.received_at, now)) is not None:
            telemetry.INGEST_SECONDS.observe(took)
    log.info(
        "batch.recorded",
        entries=len(bodies),
        messages=messages,
        others=len(understood) - messages,
        recorded=recorded,
        duplicates=max(0, messages - recorded),
        parked=len(parked),
        tenants=len(tenants),
        trace_ids=sorted({a.trace_id for a in arrived})[:20],
    )


async def record_tenants(
    pool: Pool, tenants: dict[UserId, list[Item[Parsed]]], debounce: Debounce
) -> tuple[int, list[ParkedItem]]:
    """How many inbound messages were new, and what could not be recorded."""
    lost: list[ParkedItem] = []

    async def write(user_id: UserId, items: Sequence[Item[Parsed]]) -> int:
        async with tenant(pool, user_id) as conn:
            new, without_target = await _record(conn, user_id, items, debounce)
        lost.extend(without_target)  # committed; a repeated write parks the same items again
        return new

    async def one(user_id: UserId, items: Sequence[Item[Parsed]]) -> tuple[int, list[ParkedItem]]:
        written = await each_or_park(user_id, items, write)
        await learn_accounts_once(pool, user_id, items)
        return written

    recorded = 0
    parked: list[ParkedItem] = []
    for written, poison in await side_by_side(tenants, one):
        recorded += written
        parked += poison
    values = (item.value for items in tenants.values() for item in items)
    for what, count in Counter(type(value).__name__.lower() for value in values).items():
        telemetry.UNDERSTOOD.labels(what).inc(count)
    return recorded, parked + lost


async def _record(
    conn: Conn, user_id: UserId, items: Sequence[Item[Parsed]], debounce: Debounce
) -> tuple[int, list[ParkedItem]]:
    """One transaction of one tenant: contacts, conversations, messages, counters last. How many
    inbound messages were new, and what speaks of nothing that we know."""
    new = 0
    lost: list[ParkedItem] = []
    # Who wrote before a move was somebody else by number or BSUID than who writes after it.
    for is_move, run in groupby(items, lambda i: isinstance(i.value, Moved)):
        group = list(run)
        if is_move:
            for item in group:
                assert isinstance(item.value, Moved)
                if not await move(conn, user_id, item.value):
                    lost.append(item.arrived.parked("unknown_contact"))
            continue
        group = await with_targets(conn, user_id, group)
        new += await _record_messages(conn, user_id, group, debounce)
        for item in group:
            if isinstance(item.value, Change):
                if not await apply_change(conn, user_id, item.chatbot_id, item.value):
                    lost.append(item.arrived.parked("unknown_message"))
            elif isinstance(item.value, Happening):
                await keep_happening(conn, user_id, item.arrived, item.chatbot_id, item.value)
    if new:
        await count_received(conn, user_id, new)
    return new, lost


async def _record_messages(
    conn: Conn, user_id: UserId, items: Sequence[Item[Parsed]], debounce: Debounce
) -> int:
    """How many inbound messages were new."""
    people = [i for i in items if _has_contact(i)]
    ids = await contacts_of(conn, user_id, [(i.chatbot_id, i.value.who) for i in people])
    contact_ids = dict(zip(map(id, people), ids, strict=True))
    for item in people:
        if isinstance(item.value, Preference):
            contact_id = contact_ids[id(item)]
            await choose_marketing(conn, user_id, contact_id, item.value.choice, item.value.at)
    spoken = [i for i in people if not isinstance(i.value, Preference)]
    if not spoken:
        return 0
    written = [i for i in items if _is_inbound(i)]
    if written:
        await learn(
            conn,
            user_id,
            [contact_ids[id(i)] for i in written],
            [i.value.who for i in written],
            [i.value.sent_at for i in written],
        )
    keys = sorted({(i.chatbot_id, contact_ids[id(i)]) for i in spoken})
    bots, contacts = [k[0] for k in keys], [k[1] for k in keys]
    locked = await lock_conversations(conn, user_id, bots, contacts)
    if len(locked) < len(keys):
        await open_conversations(conn, user_id, bots, contacts)
        locked = await lock_conversations(conn, user_id, bots, contacts)
    conversations: dict[tuple[ChatbotId, ContactId], ConversationId] = {
        (row.chatbot_id, row.contact_id): row.id for row in locked
    }
    places = {
        id(i): (contact_ids[id(i)], conversations[i.chatbot_id, contact_ids[id(i)]]) for i in spoken
    }
    await _record_past(conn, user_id, [i for i in items if _is_past(i)], places)
    if not written:
        return 0
    quoted = await _quoted(conn, user_id, written)
    recorded = await record_inbound(
        conn,
        user_id,
        [i.chatbot_id for i in written],
        [places[id(i)][0] for i in written],
        [places[id(i)][1] for i in written],
        [i.value.wamid for i in written],
        [i.value.kind for i in written],
        [quoted.get(id(i), "") + i.value.text for i in written],
        [i.value.sent_at for i in written],
        [_metadata(i) for i in written],
    )
    newest: dict[ConversationId, tuple[int, datetime]] = {}
    for row in recorded:
        seq, at = newest.get(row.conversation_id, (row.input_seq, row.sent_at))
        newest[row.conversation_id] = (max(seq, row.input_seq), max(at, row.sent_at))
    ready = sorted(newest)
    if ready:
        await mark_ready(
            conn,
            user_id,
            ready,
            [newest[v][0] for v in ready],
            [newest[v][1] for v in ready],
            debounce.quiet,
            debounce.longest,
        )
    return len(recorded)


async def _quoted(conn: Conn, user_id: UserId, items: Sequence[Item[Inbound]]) -> dict[int, str]:
    """By item, the note of what the customer quotes."""
    quoting = [i for i in items if i.value.replies_to]
    if not quoting:
        return {}
    wamids = [i.value.replies_to or "" for i in quoting]
    rows = await quoted_texts(conn, user_id, [i.chatbot_id for i in quoting], wamids)
    texts = {row.place: part(row.content_text or "", QUOTED_CHARS) for row in rows}
    notes = {}
    for place, item in enumerate(quoting, start=1):
        text = texts.get(place)
        said = f'in reply to "{text}"' if text else "in reply to an earlier message"
        notes[id(item)] = note(said) + "\n"
    return notes


async def _record_past(
    conn: Conn,
    user_id: UserId,
    items: Sequence[Item[Past]],
    places: dict[int, tuple[ContactId, ConversationId]],
) -> None:
    once: dict[tuple[ChatbotId, str], Item[Past]] = {}
    for item in items:
        key = (item.chatbot_id, item.value.wamid)
        if key not in once or once[key].value.kind == "media_placeholder":
            once[key] = item
    for source, run in groupby(once.values(), lambda i: i.value.source):
        group = list(run)
        said = await record_past(
            conn,
            user_id,
            [i.chatbot_id for i in group],
            [places[id(i)][0] for i in group],
            [places[id(i)][1] for i in group],
            [i.value.wamid for i in group],
            [i.value.direction for i in group],
            [i.value.kind for i in group],
            [i.value.text for i in group],
            [i.value.status for i in group],
            [i.value.sent_at for i in group],
            [_past_metadata(i) for i in group],
        )
        if source == "echo" and said:
            now = datetime.now(UTC)
            until = [min(row.sent_at, now) + ECHO_SILENCE for row in said]
            await hand_to_human(conn, user_id, [row.conversation_id for row in said], until)


def _metadata(item: Item[Inbound]) -> dict[str, Any]:
    value = item.value
    metadata: dict[str, Any] = {"trace_id": item.arrived.trace_id}
    if value.replies_to:
        metadata["replies_to"] = value.replies_to
    if value.opaque:
        metadata["opaque"] = True
    if value.details:
        metadata["details"] = value.details
    return metadata


def _past_metadata(item: Item[Past]) -> dict[str, Any]:
    value = item.value
    metadata = {"trace_id": item.arrived.trace_id, "source": value.source}
    if value.source == "revoke":
        return metadata | value.details
    return metadata | ({"details": value.details} if value.details else {})


def _has_contact(item: Item[Any]) -> TypeGuard[Item[Inbound | Past | Preference]]:
    return isinstance(item.value, Inbound | Past | Preference)


def _is_inbound(item: Item[Any]) -> TypeGuard[Item[Inbound]]:
    return isinstance(item.value, Inbound)


def _is_past(item: Item[Any]) -> TypeGuard[Item[Past]]:
    return isinstance(item.value, Past)
