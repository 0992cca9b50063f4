"""The role `ingest`: the log's lanes into the record, and sends whose outcome stayed unknown."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from db.conversations import Debounce
from db.plans import have_grown
from db.pool import UNAVAILABLE, Pool
from db.sends import SendClaim
from db.status_fence import fence_wanted, move_fence, overdue_sends, release_replayed
from db.stuck import DueStuck
from handlers.ingest.batch import Kept
from handlers.ingest.fence import mark, parted
from handlers.ingest.others import take_others
from handlers.ingest.recording import record_batch
from handlers.ingest.retry import PATIENCE, retry_stuck
from handlers.ingest.statuses import merge_batch, park_dead
from handlers.ingest_log.factory import adapter
from handlers.ingest_log.port import DEAD_LANES, LANES, Entry, Handler, IngestLog, Lane, NotNow
from handlers.process import telemetry
from handlers.process.sweeps import Sweep
from worker.clock import every
from worker.intake import SUBSCRIPTIONS, Intake, has_listened
from worker.process import Worker

log: structlog.stdlib.BoundLogger = structlog.get_logger()

UNKNOWN_POLL_S = 1.0
UNKNOWN_BATCH = 100
BATCH_LOOK_S = 5.0
PLANS_LOOK_S = 15.0
STUCK_LOOK_S = 1.0


async def ingest(worker: Worker) -> None:
    """Several subscriptions, so that statuses, three times as many, never delay messages."""
    settings, intake, stop = worker.settings, worker.intake, worker.stop
    ingest_log = adapter(settings.log_url)
    marks = ingest_log.Publisher(settings.log_url, f"marks {worker.name}")
    look_s = min(UNKNOWN_POLL_S, max(0.1, settings.send_unknown.total_seconds() / 4))
    async with asyncio.TaskGroup() as group:
        publishing = group.create_task(marks.run())
        async with asyncio.TaskGroup() as taking_in:
            for what, lanes, handler in _subscriptions(worker):
                taking_in.create_task(
                    ingest_log.consume(
                        settings.log_url,
                        f"{what} {worker.name}",
                        lanes,
                        _patient(handler, intake, what),
                        stop,
                        partial(_on_state, intake, what),
                    )
                )
            for seconds, role, work in (
                (look_s, "settle_unknown", partial(_settle_unknown, worker, marks, Sweep("send"))),
                (STUCK_LOOK_S, "retry_stuck", partial(_retry_stuck, worker, Sweep("stuck_item"))),
                (BATCH_LOOK_S, "watch_batches", partial(_watch_batches, intake)),
                (PLANS_LOOK_S, "fit_plans", Plans(worker.intake_pool).look),
            ):
                taking_in.create_task(every(seconds, role, work, stop))
        publishing.cancel()


def _subscriptions(worker: Worker) -> Sequence[tuple[str, Sequence[Lane], Handler]]:
    pool = worker.intake_pool
    debounce = Debounce(worker.settings.debounce, worker.settings.debounce_max)
    marker = worker.marker

    async def statuses(bodies: Sequence[bytes]) -> None:
        envelopes, merged_until = parted(bodies)
        if envelopes:
            await merge_batch(pool, envelopes, marker)
        if merged_until is not None:
            async with pool.acquire() as conn:
                await move_fence(conn, merged_until, PATIENCE)

    return (
        ("messages", LANES, partial(record_batch, pool, debounce=debounce, marker=marker)),
        ("statuses", ("status",), statuses),
        ("others", ("other",), partial(take_others, pool, marker=marker)),
        ("dead", DEAD_LANES, partial(park_dead, pool, marker=marker)),
    )


def _on_state(intake: Intake, what: str, subscribed: bool) -> None:
    telemetry.CONSUMING.labels(what).set(subscribed)
    if subscribed:
        intake.subscribed_since[what] = time.monotonic()
    else:
        intake.subscribed_since.pop(what, None)


async def _retry_stuck(worker: Worker, sweep: Sweep[DueStuck]) -> None:
    if worker.liveness.is_alive:
        debounce = Debounce(worker.settings.debounce, worker.settings.debounce_max)
        await retry_stuck(worker.intake_pool, debounce, sweep, worker.marker)


async def _settle_unknown(worker: Worker, marks: IngestLog, sweep: Sweep[SendClaim]) -> None:
    wait = worker.settings.send_unknown
    listening_since = worker.intake.subscribed_since.get("statuses")
    now, steady_since = time.monotonic(), worker.liveness.steady_since
    if not has_listened(listening_since, steady_since, now, wait.total_seconds()):
        return
    async with worker.intake_pool.acquire() as conn:
        overdue = await overdue_sends(conn, wait, sweep.limit(UNKNOWN_BATCH))
        await release_replayed(conn)
    await sweep.each(overdue, partial(worker.sender.settle_unknown, wait=wait))
    async with worker.intake_pool.acquire() as conn:
        until = await fence_wanted(conn, wait)
    if until is not None and marks.problem is None:
        await marks.publish([Entry("status", mark(until))])


@dataclass(slots=True)
class Plans:
    """Made for small tables, until those are no more (db/plans.py)."""

    pool: Pool
    fit: bool = False

    async def look(self) -> None:
        if self.fit:
            return
        async with self.pool.acquire() as conn:
            self.fit = await have_grown(conn)
        if self.fit:
            await self.pool.expire_connections()


async def _watch_batches(intake: Intake) -> None:
    now = time.monotonic()
    for what in SUBSCRIPTIONS:
        telemetry.BATCH_RUNNING_SECONDS.labels(what).set(intake.running_s(what, now))
    for what in intake.hanging(now):
        log.error("batch.hangs", role=what, seconds=round(intake.running_s(what, now)))


def _patient(handler: Handler, intake: Intake, what: str) -> Handler:
    """Keeps a batch that cannot be recorded: it is un-acknowledged, so it is safe, and nothing of
    its customers may overtake it."""

    async def handle(bodies: Sequence[bytes]) -> None:
        intake.trying_since[what] = started = time.monotonic()
        try:
            await handler(bodies)
        except UNAVAILABLE as error:
            log.warning("batch.waits_for_database", **telemetry.named(error))
            raise NotNow from error
        except Kept as kept:
            log.error("batch.kept", entries=len(bodies), exc_info=kept.__cause__)
            raise NotNow from kept
        except Exception as error:  # a mistake of ours must not end the subscription
            log.error("batch.failed", entries=len(bodies), exc_info=error)
            raise NotNow from error
        finally:
            del intake.trying_since[what]
        telemetry.BATCH_SECONDS.labels(what).observe(time.monotonic() - started)
        telemetry.BATCH_ENTRIES.labels(what).observe(len(bodies))

    return handle
