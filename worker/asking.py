"""Asks of tenants to their own chatbots, which the role `turns` answers beside what customers
wrote: a few at a time, and only while turns run on time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from db.asks import AskClaim, Taking, claim_asks
from db.pool import waiting
from worker.admission import AT_ONCE, Admission, watch
from worker.claims import Claims, Work, work
from worker.liveness import TERM
from worker.process import Worker

RunAsk: TypeAlias = Callable[[AskClaim], Awaitable[None]]

ASK_SLOTS = 16  # of a worker
TENANT_SLOTS = 4  # of one tenant, in all workers
POLL_S = 0.1
# Of what turns may begin at this moment, asks leave three quarters.
SHARE = 4
LATEST_S = 5.0  # one begins after so long, however late turns are: or a busy day would have none


async def asks(worker: Worker, run_ask: RunAsk) -> None:
    admission = Admission()
    held: set[int] = set()

    async def one(claim: AskClaim) -> None:
        try:
            await run_ask(claim)
        finally:
            held.discard(claim.id)

    async def take(free: int) -> list[Work]:
        worker_id = worker.liveness.worker_id
        if worker_id is None:
            return []
        async with worker.pool.acquire() as conn:
            taking = Taking(free, TENANT_SLOTS, TERM)
            claims = await claim_asks(conn, worker_id, list(held), taking)
        admission.began(len(claims), time.monotonic())
        held.update(claim.id for claim in claims)
        return [one(claim) for claim in claims]

    claims = Claims(
        role="asks",
        slots=ASK_SLOTS,
        take=take,
        poll_s=lambda: POLL_S,
        room=lambda: room(admission, time.monotonic(), waiting(worker.pool)),
    )
    watching = asyncio.create_task(watch(admission))
    try:
        await work(worker, claims)
    finally:
        watching.cancel()


def room(admission: Admission, now: float, waiting: int) -> int:
    """How many may be begun."""
    if now - admission.began_at >= LATEST_S:
        return max(1, admission.room(now, waiting) // SHARE)
    return min(admission.room(now, waiting), AT_ONCE) // SHARE
