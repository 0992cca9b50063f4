"""Statuses: how far each of our messages got, whatever order Meta tells it in."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from db.ids import ChatbotId, MessageId, UserId
from db.orphans import (
    FoundOrphan,
    Orphan,
    TakenOrphan,
    forget_orphans,
    found_orphans,
    park_orphans,
    take_orphans,
)
from db.parked import ParkedItem
from db.pool import Conn, Pool, tenant
from db.statuses import Merged, StatusReport, merge_statuses
from db.telling import tell_messages
from handlers.deliveries.catalogue import MESSAGE_SENT, MOVES
from handlers.erasure.marks import UNMARKED, Marker
from handlers.erasure.traces import people_in
from handlers.ingest.batch import (
    Arrived,
    Done,
    Item,
    by_tenant,
    column_text,
    opened,
    write_all,
    writing,
)
from handlers.ingest.erased import erased_of, park, status_is_gone
from handlers.ingest.parking import parked_app, parked_update
from handlers.ingest.stuck import put_aside
from handlers.process import telemetry
from handlers.process.sweeps import Sweep
from handlers.sends.ending import ArrivedAfterAll, Ended, settle_ends
from handlers.sends.rules import WINDOW_CLOSED
from handlers.whatsapp.cloud_api.errors import class_of
from handlers.whatsapp.cloud_api.wire import NotUnderstood, Status, parse_status

log: structlog.stdlib.BoundLogger = structlog.get_logger()

NOT_DELIVERED = "not_delivered"
ORPHAN_HOPE = timedelta(minutes=10)  # later than that, somebody else sent the message
ORPHAN_LIFE = timedelta(hours=24)
ORPHAN_BATCH = 500

# Upwards only. 'failed' stands above 'sent' (Meta gave up) and below 'delivered' (it arrived all
# the same); merge_statuses in db/statuses.sql has the same order.
RANK = {"sent": 1, "failed": 2, "delivered": 3, "read": 4, "played": 5}


async def merge_batch(pool: Pool, bodies: Sequence[bytes], marker: Marker = UNMARKED) -> None:
    """Raises one of db.pool.UNAVAILABLE when the database is away."""
    arrived, parked = opened(bodies)
    statuses: list[tuple[Arrived, Status]] = []
    for one in arrived:
        parsed = parse_status(one.update)
        if isinstance(parsed, NotUnderstood):
            parked.append(one.parked("not_understood", parsed.reason))
        else:
            statuses.append((one, parsed))

    async def resolve(
        found: Sequence[tuple[Arrived, Status]],
    ) -> tuple[dict[UserId, list[Item[Status]]], list[ParkedItem]]:
        # A status binds no number: it speaks of a message that we sent from a bound one.
        async with pool.acquire() as conn:
            return await by_tenant(conn, found, bind=False)

    async def write(user_id: UserId, items: Sequence[Item[Status]]) -> int:
        async with writing(pool, user_id) as conn:
            return await _merge_tenant(conn, user_id, items, marker)

    done: Done[Status] = await write_all(statuses, resolve, write) if statuses else Done()
    merged, orphaned = done.written, done.items - done.written
    parked += done.parked
    await put_aside(pool, done.failing)
    await park(pool, parked, marker)
    telemetry.STATUSES.labels("merged").inc(merged)
    telemetry.STATUSES.labels("orphan").inc(orphaned)
    telemetry.STATUSES.labels("parked").inc(len(parked))
    log.info(
        "statuses.merged",
        statuses=len(statuses),
        merged=merged,
        orphans=orphaned,
        parked=len(parked),
    )


async def match_orphans(pool: Pool, sweep: Sweep[FoundOrphan]) -> None:
    """Statuses that came before their message was known by its wamid: Meta may report what it has
    not answered yet, without our id."""
    async with pool.acquire() as conn:
        found = await found_orphans(conn, ORPHAN_HOPE, sweep.limit(ORPHAN_BATCH))
    await sweep.each(found, partial(_match, pool))


async def _match(pool: Pool, one: FoundOrphan) -> None:
    async with tenant(pool, one.user_id) as conn:
        taken = await take_orphans(conn, one.user_id, [one.id])
        items = [item for orphan in taken if (item := _reread(orphan)) is not None]
        merged = await _merge_tenant(conn, one.user_id, items, UNMARKED)
    telemetry.STATUSES.labels("matched").inc(merged)
    log.info("orphan.matched", user_id=one.user_id, orphan_id=one.id, merged=merged)


async def forget_old_orphans(pool: Pool) -> None:
    async with pool.acquire() as conn:
        forgotten = await forget_orphans(conn, ORPHAN_LIFE, ORPHAN_BATCH)
    if forgotten:
        log.info("orphans.forgotten", statuses=forgotten)


def _reread(orphan: TakenOrphan) -> Item[Status] | None:
    update = parked_update("status", orphan.phone_number_id, orphan.display_number, orphan.raw)
    status = parse_status(update)
    if isinstance(
        status, NotUnderstood
    ):  # this release understands less than the one that parked it
        return None
    arrived = Arrived(update, orphan.trace_id or "", app_id=parked_app(orphan.raw))
    return Item(arrived, status, orphan.chatbot_id)


async def park_dead(pool: Pool, bodies: Sequence[bytes], marker: Marker = UNMARKED) -> None:
    """Entries that no worker could ever finish: each took its process down, or its batch."""
    parked = []
    for body in bodies:
        arrived, _ = opened([body])
        update = arrived[0].update if arrived else None
        parked.append(
            ParkedItem(
                reason="delivered_too_often",
                detail=None,
                kind="envelope",
                phone_number_id=column_text(update.phone_number_id) if update else None,
                display_number=column_text(update.display_number) if update else None,
                trace_id=arrived[0].trace_id if arrived else None,
                raw=body,
            )
        )
    await park(pool, parked, marker)
    log.error("entries.dead", parked=len(parked))


def furthest(items: Iterable[Item[Status]]) -> dict[tuple[ChatbotId, str], list[Item[Status]]]:
    """By chatbot and wamid, the highest-ranked status first."""
    by_message: dict[tuple[ChatbotId, str], list[Item[Status]]] = {}
    for item in items:
        by_message.setdefault((item.chatbot_id, item.value.wamid), []).append(item)
    for group in by_message.values():
        group.sort(key=lambda i: -RANK[i.value.status])
    return by_message


def report(group: Sequence[Item[Status]]) -> dict[str, Any]:
    """What a message's row keeps: each status's first time, and Meta's errors."""
    times: dict[str, str] = {}
    for item in sorted(group, key=lambda i: i.value.at):
        times.setdefault(item.value.status, item.value.at.isoformat())
    kept: dict[str, Any] = {"statuses": times}
    errors = [error for item in group for error in item.value.errors]
    if errors:
        kept["errors"] = errors[:5]
    return kept


async def _merge_tenant(
    conn: Conn, user_id: UserId, items: Sequence[Item[Status]], marker: Marker
) -> int:
    """How many found their message; the others wait for it. Counters last."""
    found = 0
    orphans: list[Item[Status]] = []
    ended: list[Ended] = []
    arrived: list[ArrivedAfterAll] = []
    told: list[tuple[str, MessageId]] = []
    by_chatbot: dict[ChatbotId, list[list[Item[Status]]]] = defaultdict(list)
    for (chatbot_id, _), group in furthest(items).items():
        by_chatbot[chatbot_id].append(group)
    for chatbot_id, groups in sorted(by_chatbot.items()):
        merged = await merge_statuses(conn, user_id, chatbot_id, [_reported(g) for g in groups])
        hit = {row.place for row in merged}
        for place, group in enumerate(groups, start=1):
            if place in hit:
                found += len(group)
            else:
                orphans += group
        for row in merged:
            if row.failed_now:
                ended.append(_ended(chatbot_id, row, groups[row.place - 1][0].value))
            elif row.arrived_after_all:
                arrived.append(
                    ArrivedAfterAll(message_id=row.id, conversation_id=row.conversation_id)
                )
            told += [(event, row.id) for event in _events(row) if event in row.told]
    if orphans:
        await _park_orphans(conn, user_id, orphans, marker)
    await settle_ends(conn, user_id, ended, arrived)
    if told:
        await tell_messages(conn, user_id, [event for event, _ in told], [id for _, id in told])
    return found


def _events(row: Merged) -> list[str]:
    events = [MESSAGE_SENT] if row.sent_now else []
    return [*events, MOVES[row.status]] if row.moved and row.status in MOVES else events


async def _park_orphans(
    conn: Conn, user_id: UserId, items: Sequence[Item[Status]], marker: Marker
) -> None:
    """Of a person who is erased no message will come to be known."""
    people = [who for item in items for who in people_in(item.arrived.update)]
    erased = await erased_of(conn, user_id, marker, people)
    left = [
        item
        for item in items
        if not status_is_gone(erased, item.arrived.update, item.value.at, item.value.our_id)
    ]
    telemetry.ERASED.labels("status").inc(len(items) - len(left))
    await park_orphans(conn, user_id, [_orphan(item) for item in left])


def _reported(group: Sequence[Item[Status]]) -> StatusReport:
    our_id, attempt = _ours(group)
    furthest_one = group[0].value
    return StatusReport(
        wamid=furthest_one.wamid,
        our_id=our_id,
        attempt=attempt,
        status=furthest_one.status,
        report=report(group),
    )


def _ended(chatbot_id: ChatbotId, row: Merged, status: Status) -> Ended:
    """Meta took the message, and reports that it did not reach the customer."""
    return Ended(
        message_id=row.id,
        conversation_id=row.conversation_id,
        chatbot_id=chatbot_id,
        contact_id=row.contact_id,
        trace_id=row.trace_id,
        usage_day=row.give_back_day,
        overage=row.overage,
        bulk=row.bulk,
        reason=_reason(status),
        error=status.errors[0] if status.errors else None,
    )


def _reason(status: Status) -> str:
    """Of a status 'failed'. Meta often tells only here that the window was closed."""
    code = status.errors[0]["code"] if status.errors else None
    return WINDOW_CLOSED if class_of(code, 200) == "window" else NOT_DELIVERED


def _orphan(item: Item[Status]) -> Orphan:
    parked = item.arrived.parked("orphan_status")
    return Orphan(
        chatbot_id=item.chatbot_id,
        wamid=item.value.wamid,
        status=item.value.status,
        phone_number_id=parked.phone_number_id,
        display_number=parked.display_number,
        trace_id=parked.trace_id,
        raw=parked.raw,
    )


def _ours(group: Sequence[Item[Status]]) -> tuple[MessageId | None, int | None]:
    """Our id, and which send of the message it was."""
    for item in group:
        if item.value.our_id is not None:
            return MessageId(item.value.our_id), item.value.attempt
    return None, None
