"""The role `scheduler`, and what every worker does as time passes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from db.pool import Pool
from db.workers import Freed, forget_broken, sweep_dead_workers, sweep_unheld
from handlers.actions import expire_overdue, raise_passed_events
from handlers.asks.forgetting import forget_old_asks
from handlers.campaigns.stepping import step_campaigns
from handlers.claims import prove_due
from handlers.contracts import keep_contracts
from handlers.deletion.work import delete_due
from handlers.deliveries.forgetting import forget_old_deliveries
from handlers.deliveries.webhooks import go_on_recovering
from handlers.erasure.work import erase_due
from handlers.evals.house import forget_old_evals
from handlers.figures import forget_old_model_calls, make_due_figures
from handlers.handovers import end_overdue_handovers
from handlers.ingest.statuses import forget_old_orphans, match_orphans
from handlers.media_store.sighting import EVERY_S, Sight
from handlers.process import telemetry
from handlers.process.sweeps import Sweep
from handlers.quotes import forget_old_quotes
from handlers.retention.contact_days import forget_old_contact_days
from handlers.retention.sweep import forget_histories, forget_what_is_old
from handlers.templates.account import Meta
from handlers.templates.sync import forget_old_templates, sync_due
from handlers.tools.ledger import end_lost_calls, forget_old_calls
from handlers.unanswered import forget_old_unanswered
from handlers.waiting import answer_entered, end_waits, forget_old_waits, let_in
from worker.liveness import TERM
from worker.process import Worker

log: structlog.stdlib.BoundLogger = structlog.get_logger()

SWEEP_S = 0.5
HOUSE_S = 1.0
ORPHAN_S = 1.0
FORGET_S = 60.0
EXPIRY_S = 5.0
PASSED_S = 5.0
FORGET_DELIVERIES_S = 2.0
RECOVER_S = 0.5
FIGURES_S = 10.0
FORGET_CALLS_S = 600.0
FORGET_ASKS_S = 15.0
FORGET_EVALS_S = 600.0
CAMPAIGN_S = 0.5
CONTRACT_S = 5.0
WAIT_S = 1.0
ERASE_S = 1.0
DELETE_S = 1.0
HISTORY_S = 5.0
OLD_S = 20.0
PROVE_S = 1.0
SYNC_S = 5.0


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
        for seconds, what, work in _chores(worker):
            group.create_task(every(seconds, what, while_alive(work), stop))


def _chores(worker: Worker) -> Sequence[tuple[float, str, Callable[[Pool], Awaitable[object]]]]:
    """Each every so many seconds, while the worker is alive."""

    async def erasing(pool: Pool, sweep: Sweep[Any]) -> None:
        await erase_due(pool, sweep, worker.marker, worker.store)

    async def proving(pool: Pool, sweep: Sweep[Any]) -> None:
        await prove_due(pool, worker.sender.graph_api, worker.tokens.vault, sweep)

    async def syncing(pool: Pool, sweep: Sweep[Any]) -> None:
        await sync_due(pool, Meta(worker.sender.graph_api, worker.tokens), sweep)

    return (
        (EXPIRY_S, "expire_actions", swept(expire_overdue, "overdue_action")),
        (EXPIRY_S, "end_handovers", swept(end_overdue_handovers, "handover")),
        (PASSED_S, "raise_passed", swept(raise_passed_events, "passed_event")),
        (CONTRACT_S, "contracts", swept(keep_contracts, "contract")),
        (CAMPAIGN_S, "campaigns", swept(step_campaigns, "campaign")),
        (WAIT_S, "end_waits", swept(end_waits, "wait")),
        (WAIT_S, "let_in", swept(let_in, "contacts")),
        (WAIT_S, "answer_entered", swept(answer_entered, "entered")),
        (FORGET_S, "forget_waits", forget_old_waits),
        (ORPHAN_S, "match_orphans", swept(match_orphans, "orphan")),
        (PROVE_S, "prove_claims", swept(proving, "claim")),
        (SYNC_S, "sync_templates", swept(syncing, "template_sync")),
        (FORGET_CALLS_S, "forget_templates", forget_old_templates),
        (ERASE_S, "erase", swept(erasing, "erasure")),
        (DELETE_S, "delete_chatbots", swept(delete_due, "deletion")),
        (HISTORY_S, "forget_histories", swept(forget_histories, "retention")),
        (OLD_S, "forget_old", swept(forget_what_is_old, "term")),
        (FORGET_S, "forget_orphans", forget_old_orphans),
        (RECOVER_S, "recover_deliveries", swept(go_on_recovering, "recovery")),
        (FORGET_DELIVERIES_S, "forget_deliveries", forget_old_deliveries),
        (FIGURES_S, "make_figures", swept(make_due_figures, "figures")),
        (FORGET_CALLS_S, "forget_calls", forget_old_model_calls),
        (FORGET_S, "forget_unanswered", forget_old_unanswered),
        (FORGET_ASKS_S, "forget_asks", forget_old_asks),
        (FORGET_EVALS_S, "forget_evals", forget_old_evals),
        (FORGET_CALLS_S, "forget_contact_days", forget_old_contact_days),
        (FORGET_CALLS_S, "forget_quotes", forget_old_quotes),
        (EXPIRY_S, "end_lost_calls", swept(end_lost_calls, "tool_call")),
        (FORGET_CALLS_S, "forget_tool_calls", forget_old_calls),
    )


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

    sight = Sight(worker.pool, worker.store, worker.name)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(every(HOUSE_S, "show_life", show_life, ended))
            group.create_task(every(HOUSE_S, "let_go", let_go, ended))
            group.create_task(every(EVERY_S, "see_store", sight.look, ended))
    finally:
        await worker.store.close()


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
