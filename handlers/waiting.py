"""What waited for a plan, a tenant, a chatbot or for room is answered when it need not wait.

A turn that may not answer settles its inputs with the reason and notes that the conversation
waits. Whatever changes (a plan by command, a contract by its days, a row by hand), a look finds it.
"""

from functools import partial

import structlog

from db.ids import UserId
from db.pool import Pool, tenant
from db.waits import (
    Entered,
    Wait,
    admit_contacts,
    contacts_entered,
    contacts_may_enter,
    end_wait,
    forget_waits,
    lock_entered,
    waiting_of,
    waits_over,
)
from handlers.process.sweeps import Sweep
from handlers.rules.window import STALE_AFTER

log: structlog.stdlib.BoundLogger = structlog.get_logger()

SWEEP_BATCH = 100
FORGET_BATCH = 1_000


async def end_waits(pool: Pool, sweep: Sweep[Wait]) -> None:
    async with pool.acquire() as conn:
        over = await waits_over(conn, sweep.limit(SWEEP_BATCH))
    await sweep.each(over, partial(_end, pool))


async def _end(pool: Pool, one: Wait) -> None:
    async with tenant(pool, one.user_id) as conn:
        inputs = await end_wait(conn, one.user_id, one.conversation_id, STALE_AFTER)
    log.info("wait.over", user_id=one.user_id, conversation_id=one.conversation_id, inputs=inputs)


async def let_in(pool: Pool, sweep: Sweep[UserId]) -> None:
    """Contacts for whom there is room by now: a bigger plan, or one contact less."""
    async with pool.acquire() as conn:
        tenants = await contacts_may_enter(conn, sweep.limit(SWEEP_BATCH))
    await sweep.each(tenants, partial(_let_in, pool))


async def _let_in(pool: Pool, user_id: UserId) -> None:
    async with tenant(pool, user_id) as conn:
        entered = await admit_contacts(conn, user_id)
    log.info("contacts.entered", user_id=user_id, contacts=entered)


async def answer_entered(pool: Pool, sweep: Sweep[Entered]) -> None:
    async with pool.acquire() as conn:
        entered = await contacts_entered(conn, sweep.limit(SWEEP_BATCH))
    await sweep.each(entered, partial(_answer, pool))


async def _answer(pool: Pool, one: Entered) -> None:
    async with tenant(pool, one.user_id) as conn:
        if await lock_entered(conn, one.user_id, one.contact_id) is None:
            return
        for conversation_id in await waiting_of(conn, one.user_id, one.contact_id):
            await end_wait(conn, one.user_id, conversation_id, STALE_AFTER)


async def forget_old_waits(pool: Pool) -> None:
    async with pool.acquire() as conn:
        while await forget_waits(conn, STALE_AFTER, FORGET_BATCH) == FORGET_BATCH:
            pass
