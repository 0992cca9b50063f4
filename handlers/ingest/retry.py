"""What was set aside is tried again, until it is written. After PATIENCE an item is stuck: somebody
is told, and it is tried all the same, at longer and longer pauses."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from db.conversations import Debounce
from db.pool import Pool, tenant
from db.stuck import DueStuck, TakenStuck, due_stuck_items, forget_stuck, take_stuck
from handlers.erasure.marks import UNMARKED, Marker
from handlers.ingest.batch import Kept
from handlers.ingest.others import take_others
from handlers.ingest.parking import entry_of
from handlers.ingest.recording import record_batch
from handlers.ingest.statuses import merge_batch
from handlers.process import telemetry
from handlers.process.sweeps import Sweep

log: structlog.stdlib.BoundLogger = structlog.get_logger()

PATIENCE = timedelta(minutes=5)
RETRY_BATCH = 50


async def retry_stuck(
    pool: Pool, debounce: Debounce, sweep: Sweep[DueStuck], marker: Marker = UNMARKED
) -> None:
    async with pool.acquire() as conn:
        due = await due_stuck_items(conn, sweep.limit(RETRY_BATCH))

    async def one(due: DueStuck) -> None:
        await _retry(pool, debounce, due, marker)

    await sweep.each(due, one)


async def _retry(pool: Pool, debounce: Debounce, due: DueStuck, marker: Marker) -> None:
    async with tenant(pool, due.user_id) as conn:
        taken = await take_stuck(conn, due.user_id, due.id, PATIENCE)
    if taken is None:
        return
    if taken.stuck_now:
        telemetry.FAILING.labels("stuck").inc()
        log.error("item.stuck", user_id=due.user_id, stuck_id=due.id, tries=taken.tries)
    try:
        await _handle(pool, debounce, taken, marker)
    except Kept as kept:
        log.warning(
            "item.still_failing",
            user_id=due.user_id,
            stuck_id=due.id,
            tries=taken.tries,
            exc_info=kept.__cause__,
        )
        return
    # Written, or parked for a reason of its own.
    async with tenant(pool, due.user_id) as conn:
        await forget_stuck(conn, due.user_id, due.id)
    log.info("item.unstuck", user_id=due.user_id, stuck_id=due.id, tries=taken.tries)


async def _handle(pool: Pool, debounce: Debounce, taken: TakenStuck, marker: Marker) -> None:
    entry = entry_of(
        kind=taken.kind,
        phone_number_id=taken.phone_number_id,
        display_number=taken.display_number,
        trace_id=taken.trace_id,
        raw=taken.raw,
        now=datetime.now(UTC),
    )
    bodies: Sequence[bytes] = [entry.body]
    match entry.lane:
        case "status":
            await merge_batch(pool, bodies, marker)
        case "other":
            await take_others(pool, bodies, marker)
        case _:
            await record_batch(pool, bodies, debounce, marker)
