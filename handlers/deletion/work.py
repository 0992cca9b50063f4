"""A deletion is done, in bounded transactions that may be repeated: what waits to be sent is
cancelled and given back, then rows go table by table. Any worker goes on where another died.

What was begun before the chatbot was hidden may be committed after that, and is swept too: the last
look is taken when nobody holds the chatbot's key any more, and finds nothing.
"""

import time
from datetime import timedelta
from functools import partial

import structlog

from db.deletions import (
    Deletion,
    DueDeletion,
    cancel_queued_of_chatbot,
    delete_rows_of_chatbot,
    due_deletions,
    end_deletion,
    let_campaigns_go,
    let_contacts_go,
    lock_deletion,
    move_deletion,
    nobody_refers,
    queued_left,
    see_deleted,
    silence_conversations_of_chatbot,
)
from db.ids import UserId
from db.pool import Conn, Pool, tenant
from handlers.deletion.begin import give_back
from handlers.process.sweeps import Sweep

log: structlog.stdlib.BoundLogger = structlog.get_logger()

DELETIONS_AT_ONCE = 20  # of a look
BATCH = 1_000  # rows of a transaction
SLICE_S = 1.0  # of one deletion, before others have their turn
LAST_AFTER = timedelta(seconds=15)  # what began before has ended, or holds the chatbot's key
AGAIN_AFTER = timedelta(seconds=1)  # while somebody holds it


async def delete_due(pool: Pool, sweep: Sweep[DueDeletion]) -> None:
    async with pool.acquire() as conn:
        due = await due_deletions(conn, sweep.limit(DELETIONS_AT_ONCE))
    await sweep.each(due, partial(_delete, pool))


async def _delete(pool: Pool, due: DueDeletion) -> None:
    until = time.monotonic() + SLICE_S
    while await step(pool, due) and time.monotonic() < until:
        pass


async def step(pool: Pool, due: DueDeletion) -> bool:
    """One transaction. Whether there is more to do now."""
    async with tenant(pool, due.user_id) as conn:
        this = await lock_deletion(conn, due)
        if this is None:
            return False
        await see_deleted(conn)
        if await _silenced(conn, due.user_id, this):
            return True
        rows = await delete_rows_of_chatbot(
            conn, due.user_id, this.chatbot_id, this.at_table, BATCH
        )
        if rows.gone >= BATCH:
            await move_deletion(conn, due, rows.at_table, this.now)
            return True
        if rows.gone or this.at_table is not None:  # from the first table on, once more
            await move_deletion(conn, due, None, this.now)
            return True
        return await _last_look(conn, due, this)


async def _silenced(conn: Conn, user_id: UserId, this: Deletion) -> bool:
    """Whether there was something: it may not be all."""
    cancelled = await cancel_queued_of_chatbot(conn, user_id, this.chatbot_id, BATCH)
    give_back(conn, user_id, cancelled)
    if cancelled or await queued_left(conn, user_id, this.chatbot_id):
        return True
    return await silence_conversations_of_chatbot(conn, user_id, this.chatbot_id, BATCH) > 0


async def _last_look(conn: Conn, due: DueDeletion, this: Deletion) -> bool:
    if await let_contacts_go(conn, due.user_id, this.chatbot_id, BATCH):
        return True
    await let_campaigns_go(conn, due.user_id, this.chatbot_id)
    at = this.created_at + LAST_AFTER
    if this.now < at:
        await move_deletion(conn, due, None, at)
        return False
    if not await nobody_refers(conn, due.user_id, this.chatbot_id):
        await move_deletion(conn, due, None, this.now + AGAIN_AFTER)
        return False
    if await _silenced(conn, due.user_id, this):
        return True
    if (await delete_rows_of_chatbot(conn, due.user_id, this.chatbot_id, None, BATCH)).gone:
        return True
    await end_deletion(conn, due)
    took = round((this.now - this.created_at).total_seconds(), 1)
    log.info("chatbot.gone", user_id=due.user_id, chatbot_id=this.chatbot_id, seconds=took)
    return False
