"""The ledger of tools: a call is committed before it leaves, and its outcome after.

    begin    one transaction: the lease is held, the row is there as `calling`
    call     no transaction, no connection
    settle   one transaction: done, failed, or unknown

Who dies in between leaves `calling`, which is as good as `unknown`: a turn that is repeated finds
the row by its inputs and the arguments, and calls again only what may be repeated, under the same
Idempotency-Key. What a person has to approve is proposed by the turn (handlers/actions.py), due
with the decision, and called by whichever worker takes it; the customer is told of the outcome as
of a decision.
"""

import asyncio
from datetime import timedelta
from functools import partial

import structlog

from db.actions import lock_action_conversation, read_action
from db.ids import ActionId, UserId
from db.pool import CONFLICT, UNAVAILABLE, Conn, Pool, tenant
from db.tool_calls import (
    CallEnd,
    Calling,
    NewCall,
    ToolCallOf,
    action_of_call,
    begin_call,
    call_again,
    forget_tool_calls,
    hold_lease,
    known_call,
    lose_call,
    lost_tool_calls,
    put_off_call,
    settle_call,
    take_call,
)
from db.tools import OwnTool, own_tool
from db.usage import Reserving
from handlers.actions import announce_call
from handlers.process.sweeps import Sweep
from handlers.rules.tools import wrong_arguments
from handlers.tools.calling import Caller

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TRIES = 3  # of a call that may be repeated
TRY_AGAIN = timedelta(seconds=5)  # after the first try, twice that after the second
LOST_AFTER = timedelta(seconds=30)  # no call takes so long: whoever made it is gone
LOST_AT_ONCE = 100  # in one look of the scheduler
SETTLE_TRIES = 4  # of writing an outcome down, while the database is away
KEPT = timedelta(days=30)
FORGET_BATCH = 1_000


class LostLease(Exception):
    """The turn is somebody else's: nothing was called."""


async def call_of_turn(
    pool: Pool, by: Reserving, caller: Caller, wanted: tuple[NewCall, OwnTool], seconds: float
) -> CallEnd:
    """Raises LostLease."""
    call, tool = wanted
    async with tenant(pool, by.user_id) as conn:
        if not await hold_lease(conn, by):
            raise LostLease
        calling = await begin_call(conn, by.user_id, by.conversation_id, call)
        if calling is None:
            known = await known_call(conn, by.user_id, by.conversation_id, call)
            is_settled = known.status == "done" or (
                known.status == "failed" and known.effect != "none"
            )
            if not is_settled:
                calling = await call_again(conn, by.user_id, known.id, TRIES)
            if calling is None:
                status = known.status if is_settled else "unknown"
                return CallEnd(status, None, known.error, known.result)
    end = await caller.call(calling, tool, seconds)
    if await _settled(pool, by.user_id, calling, end):
        return end
    return CallEnd("unknown", error="not_recorded")  # as the record has it


async def _settled(pool: Pool, user_id: UserId, calling: Calling, end: CallEnd) -> bool:
    """What an endpoint did is dear to lose: the database may come back in a moment."""
    for failures in range(SETTLE_TRIES):
        try:
            async with tenant(pool, user_id) as conn:
                await _settle(conn, user_id, calling, end)
            return True
        except (*UNAVAILABLE, *CONFLICT) as error:
            log.warning("tool.not_settled", call_id=calling.id, exc_info=error)
            await asyncio.sleep(0.2 * 2**failures)
    return False


async def _settle(conn: Conn, user_id: UserId, calling: Calling, end: CallEnd) -> None:
    if calling.action_id is None:
        await settle_call(conn, user_id, calling.id, end)
        return
    conversation_id = await lock_action_conversation(conn, user_id, calling.action_id)
    if end.status == "unknown" and await put_off_call(
        conn, user_id, calling.id, TRY_AGAIN, end.error, TRIES
    ):
        return
    if await settle_call(conn, user_id, calling.id, end):
        action = await read_action(conn, user_id, calling.action_id)
        if action is not None and conversation_id is not None:
            await announce_call(conn, conversation_id, action, (calling.tool_name, end))


# ---- approved ------------------------------------------------------------------------------------


async def call_approved(pool: Pool, caller: Caller, one: ToolCallOf) -> None:
    """Once: who takes it out of `due` calls."""
    async with tenant(pool, one.user_id) as conn:
        calling = await take_call(conn, one.user_id, one.id)
        if calling is None:
            return
        tool = None
        if calling.tool_id is not None:
            tool = await own_tool(conn, one.user_id, calling.tool_id)
    if tool is None or not tool.is_active:
        end = CallEnd("failed", error="tool_gone")
    elif wrong_arguments(tool.parameters, calling.arguments) is not None:
        end = CallEnd("failed", error="arguments")  # the tenant changed it meanwhile
    else:
        end = await caller.call(calling, tool)
    await _settled(pool, one.user_id, calling, end)


async def end_lost_calls(pool: Pool, sweep: Sweep[ToolCallOf]) -> None:
    """Of workers that are gone."""
    async with pool.acquire() as conn:
        lost = await lost_tool_calls(conn, LOST_AFTER, sweep.limit(LOST_AT_ONCE))
    await sweep.each(lost, partial(_end_lost, pool))


async def _end_lost(pool: Pool, one: ToolCallOf) -> None:
    async with tenant(pool, one.user_id) as conn:
        action_id: ActionId | None = await action_of_call(conn, one.user_id, one.id)
        conversation_id = None
        if action_id is not None:
            conversation_id = await lock_action_conversation(conn, one.user_id, action_id)
        lost = await lose_call(conn, one.user_id, one.id, LOST_AFTER, TRIES)
        if lost is None:
            return
        log.warning("tool.lost", user_id=one.user_id, call_id=one.id, status=lost.status)
        if action_id is None or conversation_id is None or lost.status == "due":
            return
        action = await read_action(conn, one.user_id, action_id)
        if action is not None:
            end = CallEnd(lost.status, error="worker_died")
            await announce_call(conn, conversation_id, action, (lost.tool_name, end))


async def forget_old_calls(pool: Pool) -> None:
    while True:
        async with pool.acquire() as conn:
            if await forget_tool_calls(conn, KEPT, FORGET_BATCH) < FORGET_BATCH:
                return
