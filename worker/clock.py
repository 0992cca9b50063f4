"""The role `scheduler`, and what every worker does as time passes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from db.pool import Pool
from db.workers import Freed, forget_broken, sweep_dead_workers, sweep_unheld
from handlers.actions import expire_overdue, raise_passed_events
from handlers.ingest.statuses import forget_old_orphans, match_orphans
from handlers.process import telemetry
from handlers.process.sweeps import Sweep
from worker.liveness import TERM
from worker.process import Worker

log: structlog.stdlib.BoundLogger = structlog.get_logger()

SWEEP_S = 0.5
HOUSE_S = 1.0
ORPHAN_S = 1.0
FORGET_S = 60.0
EXPIRY_S = 5.0
PASSED_S = 5.0


def swept(
    work: Callable[[Pool, Sweep[Any]], Awaitable[None]], what: str
) -> Callable[[Pool], Awaitable[None]]:
    """With a memory of the rows that failed."""
    sweep: Sweep[Any] = Sweep(what)
    return lambda pool: work(pool, sweep)


async def scheduler(worker: Worker) -> None:
    """What time does by itself."""
    liveness, stop = worker.liveness, worker.stop
    broken: set[int] = set()  # locks of others
    somebody_died = asyncio.Event()

    def found(locks: Sequence[int]) -> None:
        broken.update(locks)
        somebody_died.set()

    async def sweep_dead() -> None:
        # Seen before an outage they say nothing after it; a look that may judge finds them again.
        locks = list(broken)
        broken.clear()
        if liveness.may_judge:
            async with worker.pool.acquire() as conn:
                if locks:
                    for died in await forget_broken(conn, locks):
                        log.warning("worker.died", worker_id=died.id, name=died.name)
                _tell_freed(await sweep_dead_workers(conn, TERM))

    def while_alive(work: Callable[[Pool], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
        async def look() -> None:
            if liveness.is_alive:
                await work(worker.pool)

        return look

    loop = asyncio.get_running_loop()
    liveness.watch(lambda locks: loop.call_soon_threadsafe(found, locks))
    async with asyncio.TaskGroup() as group:
        group.create_task(every(SWEEP_S, "sweep_dead", sweep_dead, stop, somebody_died))
        for seconds, what, work in (
            (EXPIRY_S, "expire_actions", while_alive(swept(expire_overdue, "overdue_action"))),
            (PASSED_S, "raise_passed", while_alive(swept(raise_passed_events, "passed_event"))),
            (ORPHAN_S, "match_orphans", while_alive(swept(match_orphans, "orphan"))),
            (FORGET_S, "forget_orphans", while_alive(forget_old_orphans)),
        ):
            group.create_task(every(seconds, what, work, stop))


async def keep_house(worker: Worker, ended: asyncio.Event) -> None:
    """In every worker, whatever its roles and until they have ended: shows that the loop runs, and
    lets go of what it claimed and lost sight of."""
    liveness, holdings = worker.liveness, worker.holdings

    async def show_life() -> None:
        liveness.main_loop_runs()

    async def let_go() -> None:
        if liveness.worker_id is None or not liveness.is_alive:
            return
        async with holdings.lock, worker.pool.acquire() as conn:
            _tell_freed(
                await sweep_unheld(
                    conn,
                    liveness.worker_id,
                    list(holdings.conversations),
                    list(holdings.messages),
                )
            )

    async with asyncio.TaskGroup() as group:
        group.create_task(every(HOUSE_S, "show_life", show_life, ended))
        group.create_task(every(HOUSE_S, "let_go", let_go, ended))


def _tell_freed(freed: Sequence[Freed]) -> None:
    for one in freed:
        telemetry.TAKEOVERS.labels(one.what).inc()
        log.warning("lease.swept", what=one.what, id=one.id, user_id=one.user_id)


async def every(
    seconds: float,
    what: str,
    work: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
    wake: asyncio.Event | None = None,
) -> None:
    """Whatever goes wrong with it once, it is done again: what nobody sweeps, nobody answers."""
    while not stop.is_set():
        try:
            await work()
        except Exception as error:
            log.warning("house.failed", what=what, exc_info=error)
        await pause(stop, wake, seconds)


async def pause(stop: asyncio.Event, wake: asyncio.Event | None, seconds: float) -> None:
    """Until it is time, or there is reason to look at once."""
    waits = [asyncio.create_task(e.wait()) for e in (stop, wake) if e is not None]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    if wake is not None:
        wake.clear()
