"""Calls of tenants' tools that a person has approved: a part of the role `webhooks`."""

import asyncio
from collections import Counter

import structlog

from db.ids import UserId
from db.pool import CONFLICT, UNAVAILABLE, Pool
from db.tool_calls import ToolCallOf, due_tool_calls
from handlers.outbound.guard import Outbound
from handlers.process.secrets import Vault
from handlers.tools.calling import CALL_S, Caller
from handlers.tools.ledger import call_approved
from worker.clock import pause
from worker.process import Worker

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LOOK_S = 0.3
CALLS_AT_ONCE = 32
OF_ONE_TENANT = 4
STOP_S = CALL_S + 2.0  # for what is under way when the worker ends


async def approved_calls(worker: Worker, pool: Pool, vault: Vault) -> None:
    """Until the worker stops; then what is under way is ended."""
    running: dict[ToolCallOf, asyncio.Task[None]] = {}
    async with Outbound(
        worker.settings.outbound_allow, connections=CALLS_AT_ONCE, seconds=CALL_S
    ) as outbound:
        caller = Caller(outbound, vault)
        try:
            while not worker.stop.is_set():
                try:
                    await _begin(worker, pool, caller, running)
                except (*UNAVAILABLE, *CONFLICT) as error:
                    log.warning("tools.interrupted", exc_info=error)
                await pause(worker.stop, None, LOOK_S)
            if running:
                await asyncio.wait(running.values(), timeout=STOP_S)
        finally:
            for task in running.values():
                task.cancel()


async def _begin(
    worker: Worker, pool: Pool, caller: Caller, running: dict[ToolCallOf, asyncio.Task[None]]
) -> None:
    for one in [one for one, task in running.items() if task.done()]:
        del running[one]
    if worker.liveness.worker_id is None or not worker.liveness.is_alive:
        return
    if len(running) >= CALLS_AT_ONCE:
        return
    async with pool.acquire() as conn:
        due = await due_tool_calls(conn, OF_ONE_TENANT, CALLS_AT_ONCE * 2)
    of_tenant: Counter[UserId] = Counter(one.user_id for one in running)
    for one in due:
        if len(running) >= CALLS_AT_ONCE:
            return
        if one in running or of_tenant[one.user_id] >= OF_ONE_TENANT:
            continue
        of_tenant[one.user_id] += 1
        running[one] = asyncio.create_task(_call(pool, caller, one))


async def _call(pool: Pool, caller: Caller, one: ToolCallOf) -> None:
    try:
        await call_approved(pool, caller, one)
    except (*UNAVAILABLE, *CONFLICT) as error:
        log.warning("tool.interrupted", call_id=one.id, exc_info=error)
    except Exception as error:  # a mistake of ours with one must not end the role
        log.error("tool.failed", call_id=one.id, exc_info=error)
