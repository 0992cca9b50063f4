"""What a worker does, role by role. Each runs until `stop`, then finishes what it holds."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeAlias

import structlog

from db.conversations import Claim, claim_conversations
from db.ids import WorkerId
from db.messages import Pace, SendClaim, claim_sends
from db.pool import UNAVAILABLE, Pool
from db.status_fence import fence_wanted, move_fence, overdue_sends
from db.workers import Freed, sweep_dead_workers, sweep_unheld
from handlers import telemetry
from handlers.actions import expire_overdue, raise_passed_events
from handlers.delivery_status import (
    forget_old_orphans,
    match_orphans,
    merge_batch,
    park_dead,
)
from handlers.ingest_log.factory import adapter
from handlers.ingest_log.port import DEAD_LANES, LANES, Entry, HandBack, Handler
from handlers.others import take_others
from handlers.recording import Debounce, record_batch
from handlers.rules.backoff import backoff
from handlers.rules.sends import MAX_AGE, PAIR_BURST, PAIR_EVERY
from handlers.sending import Sender
from handlers.status_fence import mark, parted
from worker.holdings import Holdings
from worker.intake import SUBSCRIPTIONS, Intake, has_listened
from worker.liveness import TERM, Liveness
from worker.settings import Settings

RunTurn: TypeAlias = Callable[[WorkerId, Claim], Awaitable[None]]

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# A turn waits for the model and a send for Meta: they hold memory (a turn about 110 KB), no
# database connection. One tenant gets half of a worker's at most, so that its slow model or
# endpoint leaves room.
TURN_SLOTS = 1_024
SEND_SLOTS = 128
CLAIM_MAX = 32
PAIR = Pace(every=PAIR_EVERY, burst=PAIR_BURST)
TURN_POLL_S = 0.1
TURN_BUSY_POLL_S = 0.01  # while turns run: half of it is what a due conversation waits,
CLAIM_REST = 5  # but at least so many times what a claim took, lest claims be what all wait for
SEND_POLL_S = 0.05
SWEEP_S = 0.5
HOUSE_S = 1.0
ORPHAN_S = 1.0
FORGET_S = 60.0
EXPIRY_S = 5.0
PASSED_S = 5.0
UNKNOWN_POLL_S = 1.0
UNKNOWN_BATCH = 100
BATCH_LOOK_S = 5.0
BATCH_WAIT_MAX_S = 1.0  # between tries while the database is away
AWAY_S = 0.5  # between tries while the database is away
DRAIN_S = 60.0  # for turns and sends in flight at SIGTERM; a turn takes 45 s at most


async def ingest(
    pool: Pool,
    sender: Sender,
    settings: Settings,
    liveness: Liveness,
    intake: Intake,
    name: str,
    stop: asyncio.Event,
) -> None:
    """Several subscriptions, so that statuses, three times as many, never delay messages."""
    debounce = Debounce(settings.debounce, settings.debounce_max)
    ingest_log = adapter(settings.log_url)
    marks = ingest_log.Publisher(settings.log_url, f"marks {name}")

    async def messages(bodies: Sequence[bytes]) -> None:
        await record_batch(pool, bodies, debounce)

    async def statuses(bodies: Sequence[bytes]) -> None:
        envelopes, merged_until = parted(bodies)
        if envelopes:
            await merge_batch(pool, envelopes)
        if merged_until is not None:
            async with pool.acquire() as conn:
                await move_fence(conn, merged_until)

    async def others(bodies: Sequence[bytes]) -> None:
        await take_others(pool, bodies)

    async def dead(bodies: Sequence[bytes]) -> None:
        await park_dead(pool, bodies)

    def on_state(what: str, subscribed: bool) -> None:
        telemetry.CONSUMING.labels(what).set(subscribed)
        if subscribed:
            intake.subscribed_since[what] = time.monotonic()
        else:
            intake.subscribed_since.pop(what, None)

    async def settle_unknown() -> None:
        wait = settings.send_unknown
        listening_since = intake.subscribed_since.get("statuses")
        now, steady_since = time.monotonic(), liveness.steady_since
        if not has_listened(listening_since, steady_since, now, wait.total_seconds()):
            return
        async with pool.acquire() as conn:
            overdue = await overdue_sends(conn, wait, UNKNOWN_BATCH)
        for claim in overdue:
            await sender.settle_unknown(claim, wait)
        async with pool.acquire() as conn:
            until = await fence_wanted(conn, wait)
        if until is not None and marks.problem is None:
            await marks.publish([Entry("status", mark(until))])

    async def watch_batches() -> None:
        now = time.monotonic()
        for what in SUBSCRIPTIONS:
            telemetry.BATCH_RUNNING_SECONDS.labels(what).set(intake.running_s(what, now))
        for what in intake.hanging(now):
            log.error("batch.hangs", role=what, seconds=round(intake.running_s(what, now)))

    look_s = min(UNKNOWN_POLL_S, max(0.1, settings.send_unknown.total_seconds() / 4))
    subscriptions: list[tuple[str, tuple[str, ...], Handler]] = [
        ("messages", LANES, messages),
        ("statuses", ("status",), statuses),
        ("others", ("other",), others),
        ("dead", DEAD_LANES, dead),
    ]
    async with asyncio.TaskGroup() as group:
        publishing = group.create_task(marks.run())
        async with asyncio.TaskGroup() as taking_in:
            for what, lanes, handler in subscriptions:
                taking_in.create_task(
                    ingest_log.consume(
                        settings.log_url,
                        f"{what} {name}",
                        lanes,
                        _patient(handler, intake, what, stop),
                        stop,
                        partial(on_state, what),
                    )
                )
            taking_in.create_task(_every(look_s, "settle_unknown", settle_unknown, stop))
            taking_in.create_task(_every(BATCH_LOOK_S, "watch_batches", watch_batches, stop))
        publishing.cancel()


def _patient(handler: Handler, intake: Intake, what: str, stop: asyncio.Event) -> Handler:
    """Keeps a batch while the database is away: it is un-acknowledged, so it is safe, and nothing
    behind it may overtake it."""

    async def handle(bodies: Sequence[bytes]) -> None:
        for failures in range(1_000_000):
            intake.trying_since[what] = started = time.monotonic()
            try:
                await handler(bodies)
                telemetry.BATCH_SECONDS.labels(what).observe(time.monotonic() - started)
                telemetry.BATCH_ENTRIES.labels(what).observe(len(bodies))
                return
            except UNAVAILABLE as error:
                log.warning("batch.waits_for_database", error=type(error).__name__)
            except Exception as error:  # a mistake of ours must not end the subscription
                log.error("batch.failed", entries=len(bodies), exc_info=error)
            finally:
                del intake.trying_since[what]
            if stop.is_set():
                break
            wait = backoff(failures, base_s=0.1, cap_s=BATCH_WAIT_MAX_S, dice=random.random())
            await asyncio.sleep(wait.total_seconds())
        raise HandBack

    return handle


async def turns(
    pool: Pool,
    run_turn: RunTurn,
    liveness: Liveness,
    holdings: Holdings,
    replied: asyncio.Event,
    stop: asyncio.Event,
) -> None:
    async def one(worker_id: WorkerId, claim: Claim) -> None:
        try:
            await run_turn(worker_id, claim)
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

    def poll_s() -> float:
        return TURN_BUSY_POLL_S if holdings.conversations else TURN_POLL_S

    await _work("turns", claim, TURN_SLOTS, poll_s, liveness, None, stop)


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
            telemetry.SENDS_RUNNING.set(holdings.messages.total())

    async def claim(free: int) -> list[Coroutine[Any, Any, None]]:
        worker_id = liveness.worker_id
        if worker_id is None:
            return []
        async with holdings.lock, pool.acquire() as conn:
            claims = await claim_sends(conn, worker_id, free, SEND_SLOTS // 2, PAIR, MAX_AGE)
            holdings.messages.update(c.message_id for c in claims)
        telemetry.SENDS_RUNNING.set(holdings.messages.total())
        return [one(worker_id, c) for c in claims]

    await _work("sends", claim, SEND_SLOTS, lambda: SEND_POLL_S, liveness, replied, stop)


async def _work(
    role: str,
    claim: Callable[[int], Awaitable[list[Coroutine[Any, Any, None]]]],
    slots: int,
    poll_s: Callable[[], float],
    liveness: Liveness,
    wake: asyncio.Event | None,
    stop: asyncio.Event,
) -> None:
    """Claims while there are free slots, and after `stop` waits for what runs."""
    running: set[asyncio.Task[None]] = set()
    try:
        while not stop.is_set():
            claimed = 0
            asked = time.monotonic()
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
            took_s = time.monotonic() - asked
            if claimed < free or not free:
                rest_s = max(poll_s(), min(CLAIM_REST * took_s, TURN_POLL_S))
                await _pause(stop, wake, rest_s * (0.75 + random.random() / 2))
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

    async def match() -> None:
        if liveness.is_alive:
            await match_orphans(pool)

    async def forget() -> None:
        if liveness.is_alive:
            await forget_old_orphans(pool)

    async def expire() -> None:
        if liveness.is_alive:
            await expire_overdue(pool)

    async def raise_passed() -> None:
        if liveness.is_alive:
            await raise_passed_events(pool)

    async with asyncio.TaskGroup() as group:
        group.create_task(_every(SWEEP_S, "sweep_dead", sweep_dead, stop))
        group.create_task(_every(EXPIRY_S, "expire_actions", expire, stop))
        group.create_task(_every(PASSED_S, "raise_passed_events", raise_passed, stop))
        group.create_task(_every(ORPHAN_S, "match_orphans", match, stop))
        group.create_task(_every(FORGET_S, "forget_orphans", forget, stop))


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
