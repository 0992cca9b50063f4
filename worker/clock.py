"""The role `scheduler`, and what every worker does as time passes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from db.pool import Pool
from db.workers import Freed, sweep_dead_workers, sweep_unheld
from handlers.actions import expire_overdue, raise_passed_events
from handlers.ingest.statuses import forget_old_orphans, match_orphans
from handlers.process import telemetry
from worker.holdings import Holdings
from worker.liveness import TERM, Liveness

log: structlog.stdlib.BoundLogger = structlog.get_logger()

SWEEP_S = 0.5
HOUSE_S = 1.0
ORPHAN_S = 1.0
FORGET_S = 60.0
EXPIRY_S = 5.0
PASSED_S = 5.0


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
        group.create_task(every(SWEEP_S, "sweep_dead", sweep_dead, stop))
        group.create_task(every(EXPIRY_S, "expire_actions", expire, stop))
        group.create_task(every(PASSED_S, "raise_passed_events", raise_passed, stop))
        group.create_task(every(ORPHAN_S, "match_orphans", match, stop))
        group.create_task(every(FORGET_S, "forget_orphans", forget, stop))


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
        group.create_task(every(HOUSE_S, "show_life", show_life, stop))
        group.create_task(every(HOUSE_S, "let_go", let_go, stop))


def _tell_freed(freed: Sequence[Freed]) -> None:
    for one in freed:
        telemetry.TAKEOVERS.labels(one.what).inc()
        log.warning("lease.swept", what=one.what, id=one.id, user_id=one.user_id)


async def every(
    seconds: float, what: str, work: Callable[[], Awaitable[None]], stop: asyncio.Event
) -> None:
    """Whatever goes wrong with it once, it is done again: what nobody sweeps, nobody answers."""
    while not stop.is_set():
        try:
            await work()
        except Exception as error:
            log.warning("house.failed", what=what, exc_info=error)
        await pause(stop, None, seconds)


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
