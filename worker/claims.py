"""Work that is claimed: turns, sends, webhooks. Each runs until `stop`, then finishes what it
holds."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias

import structlog

from db.conversations import Claim, claim_conversations
from db.ids import WorkerId
from db.pool import UNAVAILABLE, waiting
from db.sends import Pace, SendClaim, claim_sends
from handlers.process import telemetry
from handlers.sends.rules import MAX_AGE, PAIR_BURST, PAIR_EVERY
from worker.admission import Admission, watch
from worker.clock import pause
from worker.process import Worker

log: structlog.stdlib.BoundLogger = structlog.get_logger()

RunTurn: TypeAlias = Callable[[WorkerId, Claim], Awaitable[None]]
Work: TypeAlias = Coroutine[Any, Any, None]
# A turn waits for the model and a send for Meta: they hold memory (a turn about 110 KB), no
# database connection. One tenant gets half of a worker's at most, so that its slow model or
# endpoint leaves room. How many are begun at a time is worker/admission.py's.
TURN_SLOTS = 1_024
SEND_SLOTS = 128
CLAIM_MAX = 32  # sends
PAIR = Pace(every=PAIR_EVERY, burst=PAIR_BURST)
TURN_POLL_S = 0.1
TURN_BUSY_POLL_S = 0.01  # while turns run: half of it is what a due conversation waits,
CLAIM_REST = 5  # but at least so many times what a claim took, lest claims be what all wait for
SEND_POLL_S = 0.05
AWAY_S = 0.5  # between tries while the database is away
DRAIN_S = 60.0  # for turns and sends in flight at SIGTERM; a turn takes 45 s at most


@dataclass(frozen=True, slots=True)
class Claims:
    """How one role takes work."""

    role: str
    slots: int
    take: Callable[[int], Awaitable[list[Work]]]  # at most so much, claimed and not begun
    poll_s: Callable[[], float]
    room: Callable[[], int]  # of a claim
    rest_s: float = 0.0  # after a claim that found as much as it asked for
    wake: asyncio.Event | None = None  # there may be something: look before the poll is due


async def turns(worker: Worker, run_turn: RunTurn) -> None:
    holdings = worker.holdings
    admission = Admission()

    async def one(worker_id: WorkerId, claim: Claim) -> None:
        try:
            await run_turn(worker_id, claim)
        finally:
            holdings.conversations -= Counter([claim.conversation_id])
            telemetry.TURNS_RUNNING.set(holdings.conversations.total())
            worker.replied.set()

    async def take(free: int) -> list[Work]:
        worker_id = worker.liveness.worker_id
        if worker_id is None:
            return []
        async with holdings.lock, worker.pool.acquire() as conn:
            claims = await claim_conversations(conn, worker_id, free, TURN_SLOTS // 2)
            admission.began(len(claims), time.monotonic())
            holdings.conversations.update(c.conversation_id for c in claims)
        telemetry.TURNS_RUNNING.set(holdings.conversations.total())
        return [one(worker_id, c) for c in claims]

    def poll_s() -> float:
        return TURN_BUSY_POLL_S if holdings.conversations else TURN_POLL_S

    claims = Claims(
        role="turns",
        slots=TURN_SLOTS,
        take=take,
        poll_s=poll_s,
        room=lambda: admission.room(time.monotonic(), waiting(worker.pool)),
        rest_s=TURN_BUSY_POLL_S,
    )
    watching = asyncio.create_task(watch(admission))
    try:
        await work(worker, claims)
    finally:
        watching.cancel()


async def sends(worker: Worker) -> None:
    holdings = worker.holdings

    async def one(worker_id: WorkerId, claim: SendClaim) -> None:
        try:
            await worker.sender.send(worker_id, claim)
        except UNAVAILABLE as error:
            # The row says how far it came; sweep_unheld() takes it from there.
            log.warning("send.interrupted", message_id=claim.message_id, exc_info=error)
        except Exception as error:  # a mistake of ours with one message must not end the role
            log.error("send.failed", message_id=claim.message_id, exc_info=error)
        finally:
            holdings.messages -= Counter([claim.message_id])
            telemetry.SENDS_RUNNING.set(holdings.messages.total())

    async def take(free: int) -> list[Work]:
        worker_id = worker.liveness.worker_id
        if worker_id is None:
            return []
        async with holdings.lock, worker.pool.acquire() as conn:
            claims = await claim_sends(conn, worker_id, free, SEND_SLOTS // 2, PAIR, MAX_AGE)
            holdings.messages.update(c.message_id for c in claims)
        telemetry.SENDS_RUNNING.set(holdings.messages.total())
        return [one(worker_id, c) for c in claims]

    claims = Claims(
        role="sends",
        slots=SEND_SLOTS,
        take=take,
        poll_s=lambda: SEND_POLL_S,
        room=lambda: CLAIM_MAX,
        wake=worker.replied,
    )
    await work(worker, claims)


async def work(worker: Worker, claims: Claims) -> None:
    """Claims while there are free slots, and after `stop` waits for what runs."""
    stop = worker.stop
    running: set[asyncio.Task[None]] = set()
    try:
        while not stop.is_set():
            claimed = 0
            asked = time.monotonic()
            free = min(claims.slots - len(running), claims.room())
            if free > 0 and worker.liveness.is_alive:
                try:
                    for one in await claims.take(free):
                        claimed += 1
                        task = asyncio.create_task(one)
                        running.add(task)
                        task.add_done_callback(running.discard)
                except Exception as error:
                    log.warning("claim.failed", role=claims.role, exc_info=error)
                    await pause(stop, None, AWAY_S)
            took_s = time.monotonic() - asked
            rest_s = claims.rest_s
            if claimed < free or free <= 0:
                rest_s = max(claims.poll_s(), min(CLAIM_REST * took_s, TURN_POLL_S))
            if rest_s:
                await pause(stop, claims.wake, rest_s * (0.75 + random.random() / 2))
        if running:
            log.info("role.draining", role=claims.role, in_flight=len(running))
            await asyncio.wait(running, timeout=DRAIN_S)
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=5)
