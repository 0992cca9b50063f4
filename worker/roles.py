"""What a worker does, role by role. Each runs until `stop`, then finishes what it holds."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import structlog

from db.conversations import Claim, claim_conversations
from db.ids import WorkerId
from db.messages import SendClaim, claim_sends, unknown_sends
from db.pool import UNAVAILABLE, Pool
from db.workers import Freed, sweep_dead_workers, sweep_unheld
from handlers import telemetry
from handlers.agent.graph import Agent
from handlers.delivery_status import merge_batch, park_batch
from handlers.ingest_log.port import LANES, HandBack, Handler
from handlers.ingest_log.rabbitmq import consume
from handlers.recording import Debounce, record_batch
from handlers.rules.backoff import backoff
from handlers.sending import Sender
from handlers.turn import run_turn
from worker.holdings import Holdings
from worker.liveness import TERM, Liveness
from worker.settings import Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# A turn waits for the model and a send for Meta: they hold memory, no database connection. One
# tenant gets half of a worker's at most, so that its slow model or endpoint leaves room.
TURN_SLOTS = 512
SEND_SLOTS = 128
CLAIM_MAX = 32
TURN_POLL_S = 0.1
SEND_POLL_S = 0.05
SWEEP_S = 0.5
HOUSE_S = 1.0
UNKNOWN_POLL_S = 1.0
UNKNOWN_BATCH = 100
AWAY_S = 0.5  # between tries while the database is away
DRAIN_S = 60.0  # for turns and sends in flight at SIGTERM; a turn takes 45 s at most


async def ingest(
    pool: Pool,
    sender: Sender,
    settings: Settings,
    liveness: Liveness,
    name: str,
    stop: asyncio.Event,
) -> None:
    """Three subscriptions, so that statuses, three times as many, never delay messages."""
    debounce = Debounce(settings.debounce, settings.debounce_max)
    listening_since: float | None = None  # to the statuses

    async def messages(bodies: Sequence[bytes]) -> None:
        await record_batch(pool, bodies, debounce)

    async def statuses(bodies: Sequence[bytes]) -> None:
        await merge_batch(pool, bodies)

    async def others(bodies: Sequence[bytes]) -> None:
        await park_batch(pool, bodies)

    def on_state(what: str, subscribed: bool) -> None:
        nonlocal listening_since
        telemetry.CONSUMING.labels(what).set(subscribed)
        if what == "statuses":
            listening_since = time.monotonic() if subscribed else None

    async def settle_unknown() -> None:
        """That no status came says something only of a time in which one could be heard: after an
        outage of the broker or the database those that came meanwhile are still on their way."""
        wait = settings.send_unknown
        if listening_since is None or liveness.steady_since is None:
            return
        if time.monotonic() - max(listening_since, liveness.steady_since) < wait.total_seconds():
            return
        async with pool.acquire() as conn:
            due = await unknown_sends(conn, wait, UNKNOWN_BATCH)
        for claim in due:
            await sender.settle_unknown(claim)

    look_s = min(UNKNOWN_POLL_S, max(0.1, settings.send_unknown.total_seconds() / 4))
    subscriptions: list[tuple[str, tuple[str, ...], Handler]] = [
        ("messages", LANES, messages),
        ("statuses", ("status",), statuses),
        ("others", ("other",), others),
    ]
    async with asyncio.TaskGroup() as group:
        for what, lanes, handler in subscriptions:
            group.create_task(
                consume(
                    settings.amqp_url,
                    f"{what} {name}",
                    lanes,
                    _patient(handler, stop),
                    stop,
                    partial(on_state, what),
                )
            )
        group.create_task(_every(look_s, "settle_unknown", settle_unknown, stop))


def _patient(handler: Handler, stop: asyncio.Event) -> Handler:
    """Keeps a batch while the database is away: it is un-acknowledged, so it is safe, and nothing
    behind it may overtake it."""

    async def handle(bodies: Sequence[bytes]) -> None:
        for failures in range(1_000_000):
            try:
                return await handler(bodies)
            except UNAVAILABLE as error:
                log.warning("batch.waits_for_database", error=type(error).__name__)
            except Exception as error:  # a mistake of ours must not end the subscription
                log.error("batch.failed", entries=len(bodies), exc_info=error)
            if stop.is_set():
                break
            wait = backoff(failures, base_s=0.1, cap_s=2.0, dice=random.random())
            await asyncio.sleep(wait.total_seconds())
        raise HandBack

    return handle


async def turns(
    pool: Pool,
    agent: Agent,
    liveness: Liveness,
    holdings: Holdings,
    replied: asyncio.Event,
    stop: asyncio.Event,
) -> None:
    async def one(worker_id: WorkerId, claim: Claim) -> None:
        try:
            await run_turn(pool, agent, worker_id, claim)
        finally:
            holdings.conversations -= Counter([claim.conversation_id])
            telemetry.TURNS_RUNNING.set(holdings.conversations.total())
            replied.set()

    async def claim(free: int) -> list[Coroutine[Any, Any, None]]:
        worker_id = liveness.worker_id
        if worker_id is None:
            return []
        async with holdings.lock, pool.acquire() as conn:
            claims = await claim_conversations(conn, worker_id, free, TURN_SLOTS // 2)
            holdings.conversations.update(c.conversation_id for c in claims)
        telemetry.TURNS_RUNNING.set(holdings.conversations.total())
        return [one(worker_id, c) for c in claims]

    await _work("turns", claim, TURN_SLOTS, TURN_POLL_S, liveness, None, stop)


async def sends(
    pool: Pool,
    sender: Sender,
    liveness: Liveness,
    holdings: Holdings,
    replied: asyncio.Event,
    stop: asyncio.Event,
) -> None:
    async def one(worker_id: WorkerId, claim: SendClaim) -> None:
        try:
            await sender.send(worker_id, claim)
        except UNAVAILABLE as error:
            # The row says how far it came; sweep_unheld() takes it from there.
            log.warning("send.interrupted", message_id=claim.message_id, exc_info=error)
        except Exception as error:  # a mistake of ours with one message must not end the role
            log.error("send.failed", message_id=claim.message_id, exc_info=error)
        finally:
            holdings.messages -= Counter([claim.message_id])

    async def claim(free: int) -> list[Coroutine[Any, Any, None]]:
        worker_id = liveness.worker_id
        if worker_id is None:
            return []
        async with holdings.lock, pool.acquire() as conn:
            claims = await claim_sends(conn, worker_id, free, SEND_SLOTS // 2)
            holdings.messages.update(c.message_id for c in claims)
        return [one(worker_id, c) for c in claims]

    await _work("sends", claim, SEND_SLOTS, SEND_POLL_S, liveness, replied, stop)


async def _work(
    role: str,
    claim: Callable[[int], Awaitable[list[Coroutine[Any, Any, None]]]],
    slots: int,
    poll_s: float,
    liveness: Liveness,
    wake: asyncio.Event | None,
    stop: asyncio.Event,
) -> None:
    """Claims while there are free slots, and after `stop` waits for what runs."""
    running: set[asyncio.Task[None]] = set()
    try:
        while not stop.is_set():
            claimed = 0
            free = min(slots - len(running), CLAIM_MAX)
            if free > 0 and liveness.is_alive:
                try:
                    for work in await claim(free):
                        claimed += 1
                        task = asyncio.create_task(work)
                        running.add(task)
                        task.add_done_callback(running.discard)
                except Exception as error:
                    log.warning("claim.failed", role=role, exc_info=error)
                    await _pause(stop, None, AWAY_S)
            if claimed < free or not free:
                await _pause(stop, wake, poll_s * (0.75 + random.random() / 2))
        if running:
            log.info("role.draining", role=role, in_flight=len(running))
            await asyncio.wait(running, timeout=DRAIN_S)
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=5)


async def scheduler(pool: Pool, liveness: Liveness, stop: asyncio.Event) -> None:
    """What time does by itself."""

    async def sweep_dead() -> None:
        if liveness.may_judge:
            async with pool.acquire() as conn:
                _tell_freed(await sweep_dead_workers(conn, TERM))

    await _every(SWEEP_S, "sweep_dead", sweep_dead, stop)


async def keep_house(
    pool: Pool, liveness: Liveness, holdings: Holdings, stop: asyncio.Event
) -> None:
    """In every worker, whatever its roles: shows that the loop runs, and lets go of what it claimed
    and lost sight of."""

    async def show_life() -> None:
        liveness.main_loop_runs()

    async def let_go() -> None:
        if liveness.worker_id is None or not liveness.is_alive:
            return
        async with holdings.lock, pool.acquire() as conn:
            _tell_freed(
                await sweep_unheld(
                    conn,
                    liveness.worker_id,
                    list(holdings.conversations),
                    list(holdings.messages),
                )
            )

    async with asyncio.TaskGroup() as group:
        group.create_task(_every(HOUSE_S, "show_life", show_life, stop))
        group.create_task(_every(HOUSE_S, "let_go", let_go, stop))


def _tell_freed(freed: Sequence[Freed]) -> None:
    for one in freed:
        telemetry.TAKEOVERS.labels(one.what).inc()
        log.warning("lease.swept", what=one.what, id=one.id, user_id=one.user_id)


async def _every(
    seconds: float, what: str, work: Callable[[], Awaitable[None]], stop: asyncio.Event
) -> None:
    """Whatever goes wrong with it once, it is done again: what nobody sweeps, nobody answers."""
    while not stop.is_set():
        try:
            await work()
        except Exception as error:
            log.warning("house.failed", what=what, exc_info=error)
        await _pause(stop, None, seconds)


async def _pause(stop: asyncio.Event, wake: asyncio.Event | None, seconds: float) -> None:
    """Until it is time, or there is reason to look at once."""
    waits = [asyncio.create_task(e.wait()) for e in (stop, wake) if e is not None]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    if wake is not None:
        wake.clear()
