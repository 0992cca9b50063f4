"""The role `jobs`: what takes longer than a request, one at a time in a worker; beside it runs of
suites, which wait for tenants' models, and vectors and media."""

import asyncio
import importlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import structlog

from db.evals import LostEval, fail_eval
from db.exports import OldExport, fail_export
from db.imports import OldImport, note_failed
from db.jobs import JobClaim, claim_job, fail_job, job_kind
from db.pool import UNAVAILABLE, tenant
from handlers.bulk.nouns import NOUNS
from handlers.bulk.work import KIND, clear_old_imports, do_import
from handlers.evals.house import clear_evals
from handlers.exports.work import Lost, clear_old_exports, make_export
from handlers.process import telemetry
from handlers.process.sweeps import Sweep
from worker.clock import every
from worker.embedding import embed_bases
from worker.liveness import TERM
from worker.media import media
from worker.process import Worker

log: structlog.stdlib.BoundLogger = structlog.get_logger()

EVAL = "eval"
EVAL_CONNECTIONS = 16  # to one tenant's model, of the cases of one run
LOOK_S = 1.0
CLEAR_S = 5.0
TRIES = 5  # that failed, or died with their worker
# Of a worker of another release a job may be one that this one does not know: it leaves that alone.
FILES = ("export", *(f"{KIND}{what}" for what in NOUNS))
KINDS = (*FILES, EVAL)
FAILED = f"it failed {TRIES} times: send the file again, what is imported stays as it is"
STOP_S = 5.0  # for a job to notice that the worker ends; another begins it anew


@dataclass(slots=True)
class Evals:
    """What runs of suites need: it takes seconds and 100 MB to load, so only whom one comes to has
    it, and keeps it."""

    worker: Worker
    stack: AsyncExitStack
    _run: Any = None
    _agent: Any = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, job: JobClaim) -> None:
        async with self._lock:
            if self._agent is None:
                thinking = await asyncio.to_thread(importlib.import_module, "worker.thinking")
                work = await asyncio.to_thread(importlib.import_module, "handlers.evals.work")
                settings, vault = self.worker.settings, self.worker.tokens.vault
                made = thinking.agent_of(settings, vault, EVAL_CONNECTIONS)
                self._agent = await self.stack.enter_async_context(made)
                self._run = work.do_eval
        await self._run(self.worker.pool, self._agent, job)


async def jobs(worker: Worker) -> None:
    sweep: Sweep[OldExport] = Sweep("old_export")
    imports: Sweep[OldImport] = Sweep("old_import")
    lost: Sweep[LostEval] = Sweep("lost_eval")

    async def clear() -> None:
        if worker.liveness.is_alive:
            await clear_old_exports(worker.pool, worker.store, sweep)
            await clear_old_imports(worker.pool, worker.store, imports)
            await clear_evals(worker.pool, lost)

    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        evals = Evals(worker, stack)
        group.create_task(every(LOOK_S, "jobs", lambda: _one(evals, FILES), worker.stop))
        # By themselves: a model may take minutes for a case, and nobody's export waits for it.
        group.create_task(every(LOOK_S, "evals", lambda: _one(evals, (EVAL,)), worker.stop))
        group.create_task(embed_bases(worker))
        group.create_task(media(worker))
        group.create_task(every(CLEAR_S, "clear_exports", clear, worker.stop))


async def _one(evals: Evals, kinds: Sequence[str]) -> None:
    worker = evals.worker
    worker_id = worker.liveness.worker_id
    if worker_id is None or not worker.liveness.is_alive:
        return
    async with worker.pool.acquire() as conn:
        job = await claim_job(conn, worker_id, TERM, kinds)
    if job is None:
        return
    working = asyncio.create_task(_work(evals, job))
    stopping = asyncio.create_task(worker.stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({working}, timeout=STOP_S)
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.wait({working, stopping})


async def _work(evals: Evals, job: JobClaim) -> None:
    """Raises nothing but what ends the worker: a job that fails is tried again, then has failed."""
    worker = evals.worker
    try:
        async with tenant(worker.pool, job.user_id) as conn:
            kind = await job_kind(conn, job, TRIES)
        if kind is None:
            await _put_back(worker, job)
            return
        if kind == EVAL:
            await evals.run(job)
        elif kind == "export":
            await make_export(worker.pool, worker.store, job)
        elif kind.startswith(KIND):
            await do_import(worker.pool, worker.store, job)
        telemetry.JOBS.labels("done").inc()
    except Lost:
        telemetry.JOBS.labels("lost").inc()
        log.info("job.lost", user_id=job.user_id, job_id=job.id, epoch=job.epoch)
    except Exception as error:  # also an outage: the job is tried again when it is over
        log.error("job.failed", user_id=job.user_id, job_id=job.id, exc_info=error)
        await _put_back(worker, job)


async def _put_back(worker: Worker, job: JobClaim) -> None:
    telemetry.JOBS.labels("failed").inc()
    try:
        async with tenant(worker.pool, job.user_id) as conn:
            if await fail_job(conn, job, TRIES) == "failed":
                await fail_export(conn, job.user_id, job.id)
                await note_failed(conn, job.user_id, job.id, FAILED)
                await fail_eval(conn, job.user_id, job.id, "failed")
    except UNAVAILABLE as away:
        log.warning("job.not_put_back", user_id=job.user_id, job_id=job.id, exc_info=away)
