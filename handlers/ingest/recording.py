"""Ingest: a batch of the log into the record. Once, in order, one transaction a tenant.

Whatever the batch holds, each item ends recorded, known as a duplicate, or parked with a reason;
one bad item never takes its neighbours along. When the database is away the caller hears
Unavailable and keeps the batch.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from itertools import groupby

import structlog

from db.conversations import Debounce
from db.ids import UserId
from db.parked import ParkedItem
from db.pool import Conn, Pool
from db.usage import count_received
from handlers.erasure.marks import UNMARKED, Marker
from handlers.ingest.accounts import keep_happening, learn_accounts_once
from handlers.ingest.batch import (
    Arrived,
    Done,
    Item,
    by_tenant,
    delay_s,
    opened,
    write_all,
    writing,
)
from handlers.ingest.changes import apply_change, stopped_by_edits, with_targets
from handlers.ingest.erased import park, without_erased
from handlers.ingest.messages import record_messages
from handlers.ingest.people import move
from handlers.ingest.stuck import put_aside
from handlers.process import telemetry
from handlers.whatsapp.cloud_api.inbound import parse_message
from handlers.whatsapp.cloud_api.wire import NotUnderstood
from handlers.whatsapp.values import Change, Happening, Inbound, Moved, Parsed

log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def record_batch(
    pool: Pool, bodies: Sequence[bytes], debounce: Debounce, marker: Marker = UNMARKED
) -> None:
    """What came in customers' lanes. Raises one of db.pool.UNAVAILABLE when it is away."""
    arrived, parked = opened(bodies)
    understood: list[tuple[Arrived, Parsed]] = []
    for one in arrived:
        parsed = parse_message(one.update)
        if isinstance(parsed, NotUnderstood):
            parked.append(one.parked("not_understood", parsed.reason))
        else:
            understood.append((one, parsed))
    done = await record_all(pool, understood, debounce, marker, bind=True)
    parked += done.parked
    await park(pool, parked, marker)
    telemetry.RECORDED.inc(done.written)
    messages = sum(isinstance(value, Inbound) for _, value in understood)
    duplicates = max(0, messages - done.written - len(done.parked) - done.erased)
    telemetry.DUPLICATES.inc(duplicates)
    now = datetime.now(UTC)
    for one, _ in understood:
        if (took := delay_s(one.received_at, now)) is not None:
            telemetry.INGEST_SECONDS.observe(took)
    log.info(
        "batch.recorded",
        entries=len(bodies),
        messages=messages,
        others=len(understood) - messages,
        recorded=done.written,
        duplicates=duplicates,
        parked=len(parked),
        trace_ids=sorted({a.trace_id for a in arrived})[:20],
    )


async def record_all(
    pool: Pool,
    understood: Sequence[tuple[Arrived, Parsed]],
    debounce: Debounce,
    marker: Marker,
    *,
    bind: bool,
) -> Done[Parsed]:
    """Written counts the inbound messages that were new."""
    lost: list[ParkedItem] = []
    erased = 0

    async def resolve(
        found: Sequence[tuple[Arrived, Parsed]],
    ) -> tuple[dict[UserId, list[Item[Parsed]]], list[ParkedItem]]:
        async with pool.acquire() as conn:
            return await by_tenant(conn, found, bind=bind)

    async def write(user_id: UserId, items: Sequence[Item[Parsed]]) -> int:
        nonlocal erased
        async with writing(pool, user_id) as conn:
            new, without_target, gone = await _record(conn, user_id, items, debounce, marker)
        lost.extend(without_target)  # committed; a repeated write parks the same items again
        erased += gone
        await learn_accounts_once(pool, user_id, items)
        return new

    if not understood:
        return Done()
    done = await write_all(understood, resolve, write)
    done.parked += lost
    done.erased = erased
    telemetry.ERASED.labels("message").inc(erased)
    await put_aside(pool, done.failing)
    for what, count in Counter(type(value).__name__.lower() for _, value in understood).items():
        telemetry.UNDERSTOOD.labels(what).inc(count)
    return done


async def _record(
    conn: Conn,
    user_id: UserId,
    items: Sequence[Item[Parsed]],
    debounce: Debounce,
    marker: Marker,
) -> tuple[int, list[ParkedItem], int]:
    """One transaction of one tenant: contacts, conversations, messages, counters last. How many
    inbound messages were new, what speaks of nothing that we know, and how many messages were of
    people who are erased."""
    new: Counter[date] = Counter()
    erased = 0
    lost: list[ParkedItem] = []
    # Who wrote before a move was somebody else by number or BSUID than who writes after it.
    left = await without_erased(conn, user_id, items, marker)
    for is_move, run in groupby(left, lambda i: isinstance(i.value, Moved)):
        if is_move:
            lost += await _record_moves(conn, user_id, list(run))
            continue
        group = await with_targets(conn, user_id, list(run))
        stopped = await stopped_by_edits(conn, user_id, group)
        recorded = await record_messages(conn, user_id, group, debounce, marker)
        await stopped_by_edits(conn, user_id, group, stopped)
        new += recorded.new
        erased += recorded.erased
        lost += await _record_changes(conn, user_id, group)
    for day in sorted(new):
        count_received(conn, user_id, day, new[day])
    return new.total(), lost, erased


async def _record_moves(
    conn: Conn, user_id: UserId, items: Sequence[Item[Parsed]]
) -> list[ParkedItem]:
    return [
        item.arrived.parked("unknown_contact")
        for item in items
        if isinstance(item.value, Moved) and not await move(conn, user_id, item.value)
    ]


async def _record_changes(
    conn: Conn, user_id: UserId, items: Sequence[Item[Parsed]]
) -> list[ParkedItem]:
    """After the messages of the batch, which they may be about."""
    lost = []
    for item in items:
        if isinstance(item.value, Change):
            if not await apply_change(conn, user_id, item.chatbot_id, item.value):
                lost.append(item.arrived.parked("unknown_message"))
        elif isinstance(item.value, Happening):
            await keep_happening(conn, user_id, item.arrived, item.chatbot_id, item.value)
    return lost
