"""What is old goes, in bounded transactions, by whichever worker comes to it."""

import asyncio
import time
from datetime import timedelta
from functools import partial

import structlog

from db.ids import UserId
from db.pool import Pool, tenant
from db.retention import (
    due_retentions,
    forget_history,
    forget_old,
    forget_told,
    lock_retention,
    note_retention,
)
from db.tool_calls import forget_calls_of
from handlers.process import telemetry
from handlers.process.sweeps import Sweep
from handlers.retention.pace import Pace
from handlers.retention.terms import TERMS, Term

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TENANTS_AT_ONCE = 50  # of a look
SLICE_S = 10.0  # of one tenant or one kind, then the next has its turn
AGAIN = timedelta(minutes=1)  # at the soonest, when nothing more is due
AT_LATEST = timedelta(hours=1)  # what was left (unanswered, locked) is looked at again


async def forget_what_is_old(pool: Pool, sweep: Sweep[Term]) -> None:
    """One term for all. What fails with one table keeps no other from being swept."""
    await sweep.each(TERMS, partial(_forget_term, pool))


async def _forget_term(pool: Pool, term: Term) -> None:
    until = time.monotonic() + SLICE_S
    pace, more = Pace(), True
    while more and time.monotonic() < until:
        began, rows = time.monotonic(), pace.rows
        async with pool.acquire() as conn:
            gone = await forget_old(conn, term.what, term.kept, rows)
        telemetry.FORGOTTEN.labels(term.what).inc(gone)
        more = gone == rows
        await asyncio.sleep(pace.after(time.monotonic() - began))


async def forget_histories(pool: Pool, sweep: Sweep[UserId]) -> None:
    """Messages, by each tenant's plan."""
    async with pool.acquire() as conn:
        due = await due_retentions(conn, sweep.limit(TENANTS_AT_ONCE))
    await sweep.each(due, partial(_forget, pool))


async def _forget(pool: Pool, user_id: UserId) -> None:
    until = time.monotonic() + SLICE_S
    pace, more = Pace(), True
    while more and time.monotonic() < until:
        began = time.monotonic()
        more = await history_step(pool, user_id, pace.rows)
        await asyncio.sleep(pace.after(time.monotonic() - began))


async def history_step(pool: Pool, user_id: UserId, rows: int) -> bool:
    """One transaction. Whether there is more to do now. A round ends at the first message that is
    too young; the next begins at the beginning, with what was left."""
    async with tenant(pool, user_id) as conn:
        this = await lock_retention(conn, user_id)
        if this is None:  # another worker is at it
            return False
        if this.days is None:
            at = this.lower_from or this.now + AT_LATEST * 24
            await note_retention(conn, user_id, 0, max(at, this.now + AGAIN))
            return False
        page = await forget_history(conn, user_id, this.days, this.swept_upto, rows)
        told = await forget_told(conn, user_id, this.days, rows)
        called = await forget_calls_of(conn, user_id, this.days, rows)
        ended = (page.upto is None or page.young_since is not None) and max(told, called) < rows
        if ended:
            due = this.now + AT_LATEST
            if page.young_since is not None:
                due = min(due, page.young_since + timedelta(days=this.days))
            if this.lower_from is not None and this.lower_from > this.now:
                due = min(due, this.lower_from)
            await note_retention(conn, user_id, 0, max(due, this.now + AGAIN))
        else:
            await note_retention(conn, user_id, page.upto or this.swept_upto, this.now)
    telemetry.FORGOTTEN.labels("messages").inc(page.gone)
    telemetry.FORGOTTEN.labels("webhook_events").inc(told)
    if page.gone:
        log.info("history.forgotten", user_id=user_id, messages=page.gone)
    return not ended
