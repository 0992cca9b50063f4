"""An erasure is done, phase by phase, each in bounded transactions that may be repeated:

    begun    the person is marked, so that what comes again is known
    rows     what belongs to them goes, table by table
    traces   what was kept as it came (parked, stuck, orphaned) goes, once what was in flight when
             they were hidden has landed; then the row that all hung on, and what they were found by

Any worker goes on where another died.
"""

import time
from datetime import timedelta
from functools import partial

import structlog

from db.deletions import see_deleted
from db.erasures import (
    DueErasure,
    Erasure,
    Scan,
    drop_contact,
    due_erasures,
    end_erasure,
    erase_parked,
    erase_rows,
    erase_traces,
    lock_erasure,
    mark_people,
    move_erasure,
    note_parked,
    numbers_of_tenant,
)
from db.exports import void_exports
from db.given_media import hasten_unfinished
from db.ids import UserId
from db.pool import Conn, Pool, tenant
from handlers.erasure.files import remove_files
from handlers.erasure.marks import Marker, needles
from handlers.media_store.port import Store
from handlers.process.sweeps import Sweep

log: structlog.stdlib.BoundLogger = structlog.get_logger()

AT_ONCE = 20  # erasures of a look
BATCH = 1_000  # rows of a transaction
SLICE_S = 1.0  # of one erasure: twenty tenants' leave a person's two thirds of their minute
TRACES_AFTER = timedelta(seconds=15)  # a batch that began before waits 3 s for a lock at most
IN_FLIGHT = timedelta(seconds=5)  # after the beginning: whatever was kept as it came until then


async def erase_due(pool: Pool, sweep: Sweep[DueErasure], marker: Marker, store: Store) -> None:
    async with pool.acquire() as conn:
        due = await due_erasures(conn, sweep.limit(AT_ONCE))
    await sweep.each(due, partial(_erase, pool, marker, store))


async def _erase(pool: Pool, marker: Marker, store: Store, due: DueErasure) -> None:
    until = time.monotonic() + SLICE_S
    while await step(pool, marker, store, due) and time.monotonic() < until:
        pass


async def step(pool: Pool, marker: Marker, store: Store, due: DueErasure) -> bool:
    """One transaction, and before it the files. Whether there is more to do now."""
    await remove_files(pool, store, due.user_id)
    async with tenant(pool, due.user_id) as conn:
        this = await lock_erasure(conn, due.user_id, due.id)
        if this is None:
            return False
        await see_deleted(conn)  # of a chatbot that goes meanwhile, too
        match this.phase:
            case "begun":
                await _mark(conn, due, this, marker)
                return True
            case "rows":
                return await _rows(conn, due, this)
            case _:
                return await _traces(conn, due, this)


async def _mark(conn: Conn, due: DueErasure, this: Erasure, marker: Marker) -> None:
    if this.contact_id is not None:
        marks = [marker.mark(due.user_id, "number", n) for n in this.numbers]
        marks += [marker.mark(due.user_id, "bsuid", b) for b in this.bsuids]
        await mark_people(
            *(conn, due.user_id, marks, marker.key_names[0]), this.created_at, this.stopped_at
        )
    else:  # a file that is coming in at this moment, too
        await hasten_unfinished(conn, due.user_id)
    # Also what was asked for and made before this erasure was committed.
    await void_exports(conn, due.user_id)
    await move_erasure(conn, due.user_id, due.id, "rows", this.now)


async def _rows(conn: Conn, due: DueErasure, this: Erasure) -> bool:
    if await erase_rows(conn, due.user_id, this.contact_id, BATCH):
        return True
    at = max(this.now, this.created_at + TRACES_AFTER)
    await move_erasure(conn, due.user_id, due.id, "traces", at)
    return at <= this.now


async def _traces(conn: Conn, due: DueErasure, this: Erasure) -> bool:
    scan = await _scan(conn, due.user_id, this)
    last = await erase_parked(conn, scan, this.parked_upto, BATCH)
    if last:
        await note_parked(conn, due.user_id, due.id, last)
        return True
    if scan.needles is not None:
        await erase_traces(conn, due.user_id, scan.needles, scan.before)
    if await erase_rows(conn, due.user_id, this.contact_id, BATCH):  # what came in between
        return True
    if this.contact_id is not None:
        await drop_contact(conn, due.user_id, this.contact_id)
    await end_erasure(conn, due.user_id, due.id)
    took = round((this.now - this.created_at).total_seconds(), 1)
    log.info("erasure.done", user_id=due.user_id, contact_id=this.contact_id, seconds=took)
    return False


async def _scan(conn: Conn, user_id: UserId, this: Erasure) -> Scan:
    before = this.created_at + IN_FLIGHT
    if this.contact_id is None:
        return Scan(this.phone_number_ids, this.numbers, None, before)
    rows = await numbers_of_tenant(conn, user_id)
    return Scan(
        [row.phone_number_id for row in rows if row.phone_number_id],
        [row.number for row in rows if row.number],
        needles(this.numbers, this.bsuids),
        before,
    )
