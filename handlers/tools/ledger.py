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

from db.actions import read_action
from db.ids import UserId
from db.pool import CONFLICT, UNAVAILABLE, Conn, Pool, tenant
from db.tool_calls import (
    CallEnd,
    Calling,
    LostCall,
    NewCall,
    ToolCallOf,
    begin_call,
    call_again,
    call_end,
    forget_tool_calls,
    hold_lease,
    known_call,
    lock_call_conversation,
    lose_call,
    lost_tool_calls,
    put_off_call,
    settle_call,
    take_call,
)
from db.tools import OwnTool, own_tool
from db.usage import Reserving
from handlers.actions import announce_call
from handlers.deliveries.catalogue import ToolCallUnknown
from handlers.deliveries.outbox import tell
from handlers.process.sweeps import Sweep
from handlers.rules.tools import wrong_arguments
from handlers.tools.calling import Caller, call_name

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
    return await _settled(pool, by.user_id, calling, await caller.call(calling, tool, seconds))


async def _settled(pool: Pool, user_id: UserId, calling: Calling, end: CallEnd) -> CallEnd:
    """As the record has it. What an endpoint did is dear to lose: the database may come back in a
    moment."""
    for failures in range(SETTLE_TRIES):
        try:
            async with tenant(pool, user_id) as conn:
                return await _settle(conn, user_id, calling, end)
        except (*UNAVAILABLE, *CONFLICT) as error:
            log.warning("tool.not_settled", call_id=calling.id, exc_info=error)
            await asyncio.sleep(0.2 * 2**failures)
    return CallEnd("unknown", error="not_recorded")


async def _settle(conn: Conn, user_id: UserId, calling: Calling, end: CallEnd) -> CallEnd:
    """A try that took too long may have met another, which is the one that counts."""
    if calling.action_id is not None or end.status == "unknown":  # somebody is told
        await lock_call_conversation(conn, user_id, calling.id)
    if end.status == "unknown" and await put_off_call(
        conn, user_id, calling, TRY_AGAIN, end.error, TRIES
    ):
        return end
    if not await settle_call(conn, user_id, calling.id, calling.tries, end):
        return await call_end(conn, user_id, calling.id) or end
    await _told(conn, user_id, calling, end)
    return end


async def _told(conn: Conn, user_id: UserId, call: Calling | LostCall, end: CallEnd) -> None:
    """To the customer, where a person approved it, and what is not known to the tenant, who alone
    can find out. The conversation is locked."""
    if call.action_id is not None:
        action = await read_action(conn, user_id, call.action_id)
        if action is not None:
            await announce_call(conn, call.conversation_id, action, (call.tool_name, end))
    if end.status == "unknown":
        unknown = ToolCallUnknown(
            chatbot_id=call.chatbot_id,
            contact_id=call.contact_id,
            tool_call_id=call.id,
            idempotency_key=call_name(call.id),
            tool_name=call.tool_name,
            conversation_id=call.conversation_id,
            action_id=call.action_id,
            reason=end.error,
        )
        await tell(conn, user_id, unknown)


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
        await lock_call_conversation(conn, one.user_id, one.id)
        lost = await lose_call(conn, one.user_id, one.id, LOST_AFTER, TRIES)
        if lost is None:
            return
        log.warning("tool.lost", user_id=one.user_id, call_id=one.id, status=lost.status)
        if lost.status != "due":
            await _told(conn, one.user_id, lost, CallEnd(lost.status, error="worker_died"))


async def forget_old_calls(pool: Pool) -> None:
    while True:
        async with pool.acquire() as conn:
            if await forget_tool_calls(conn, KEPT, FORGET_BATCH) < FORGET_BATCH:
                return
