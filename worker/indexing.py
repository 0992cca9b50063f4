"""Builds the indexes of big knowledge bases: each once, by one worker for all, beside its own work.

What is due is in the database, and who builds it; what a worker that dies leaves unfinished is due
again when its beat has stopped.
"""

import asyncio
import os
import sys
import time

import structlog

from db.ids import WorkerId
from db.knowledge import Build, claim_build, give_up_build
from db.pool import UNAVAILABLE, tenant
from handlers.agent.index_build import STORED, TOO_BIG
from handlers.process import telemetry
from worker.clock import every
from worker.liveness import TERM
from worker.process import Worker

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LOOK_S = 1.0
BUILD_TIMEOUT_S = 1_800.0
END_S = 5.0  # for the process that builds, once it was told to end


async def build_indexes(worker: Worker) -> None:
    """Until the worker's `stop`; what is being built then is left to another."""

    async def look() -> None:
        worker_id = worker.liveness.worker_id
        if worker_id is None or not worker.liveness.is_alive:
            return
        async with worker.pool.acquire() as conn:
            build = await claim_build(conn, worker_id, TERM)
        if build is not None:
            await _build(worker, worker_id, build)

    await every(LOOK_S, "build_index", look, worker.stop)


async def _build(worker: Worker, worker_id: WorkerId, build: Build) -> None:
    began = time.monotonic()
    code = await _run(worker, worker_id, build)
    outcome = "built" if code == STORED else "interrupted" if code is None else "failed"
    telemetry.KNOWLEDGE_BUILDS.labels(outcome).inc()
    fields = {
        "user_id": build.user_id,
        "chatbot_id": build.chatbot_id,
        "duration_ms": round((time.monotonic() - began) * 1000),
    }
    if code == STORED:
        log.info("knowledge.indexed", **fields)
        return
    if code == TOO_BIG:
        log.error("knowledge.too_big", **fields)
    else:
        log.warning("knowledge.not_indexed", exit_code=code, **fields)
    try:
        async with tenant(worker.pool, build.user_id) as conn:
            await give_up_build(
                conn, build.user_id, build.chatbot_id, worker_id, failed=code is not None
            )
    except UNAVAILABLE as error:  # this worker's next claim has it again
        log.warning("knowledge.not_given_up", error=type(error).__name__)


async def _run(worker: Worker, worker_id: WorkerId, build: Build) -> int | None:
    """The exit code; None: interrupted, because the worker ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "handlers.agent.index_build"),
        *(str(build.user_id), str(build.chatbot_id), str(worker_id)),
        str(worker.settings.knowledge_bytes),
        stdin=asyncio.subprocess.PIPE,  # never written to: its end is ours
        stdout=asyncio.subprocess.DEVNULL,
        env=os.environ
        | {
            "DATABASE_URL": worker.settings.database_url,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            # One process of several threads would be as many times in the others' way.
            "OPENBLAS_NUM_THREADS": "1",
        },
    )
    ended = asyncio.create_task(process.wait())
    stopped = asyncio.create_task(worker.stop.wait())
    try:
        await asyncio.wait(
            (ended, stopped), timeout=BUILD_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
        )
        if ended.done():
            return ended.result()
        return None if stopped.done() else -1
    finally:
        stopped.cancel()
        if not ended.done():
            process.kill()
            await asyncio.wait((ended,), timeout=END_S)
