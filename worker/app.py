"""The worker process, wired: its roles, what they share, and the order in which it all ends."""

import asyncio
import gc
import os
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiohttp import web

from db.migrate import pending
from db.pool import Pool, create_pool
from handlers.erasure.marks import Marker
from handlers.ingest_log.factory import adapter
from handlers.media_store.factory import store
from handlers.process import probes, telemetry
from handlers.process.http.bounds import Bounds
from handlers.process.http.gate import Gate
from handlers.process.http.server import Runner
from handlers.process.secrets import Vault
from handlers.process.starting import proved
from handlers.sends.sending import Sender
from handlers.sends.tokens import Tokens
from handlers.sends.uploading import Uploader
from worker import clock
from worker.intake import Intake
from worker.liveness import Liveness
from worker.process import Worker, graph_api
from worker.roles import ROLES, Role, Run
from worker.settings import Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

POOL_SIZE = 8
INTAKE_POOL_SIZE = 8
GRAPH_CONNECTIONS = 100
PROBE_CONNECTIONS = 64  # to /metrics, /healthz and /readyz


@dataclass(slots=True)
class Readiness:
    """What /readyz looks at."""

    liveness: Liveness
    intake: Intake | None  # None: this worker does not take in
    loading: set[str] = field(default_factory=set)  # roles

    def problems(self) -> Mapping[str, str]:
        found = dict.fromkeys(self.loading, "is loading its libraries")
        if not self.liveness.is_alive:
            found["postgresql"] = "this worker's beat does not arrive"
        if self.intake is not None:
            found |= self.intake.problems(time.monotonic())
        return found


async def run(settings: Settings, only: Collection[str], stop: asyncio.Event) -> None:
    roles = [ROLES[name] for name in only]
    name = f"worker@{socket.gethostname()}:{os.getpid()}"
    pool = await create_pool(settings.database_url, size=POOL_SIZE, name=f"swiftreplies {name}")
    telemetry.watch(pool, "worker")
    intake_pool = await create_pool(
        settings.database_url,
        size=INTAKE_POOL_SIZE,
        name=f"swiftreplies intake {name}",
        batches=True,
    )
    telemetry.watch(intake_pool, "intake")
    liveness = Liveness(settings.database_url, name)
    intake = Intake(adapter(settings.log_url).NAME)
    tokens = Tokens(Vault(settings.secrets_keys), settings.shared_token)
    takes_in = any("log" in role.needs for role in roles)
    slow = {role.name for role in roles if "model" in role.needs}
    readiness = Readiness(liveness, intake if takes_in else None, slow)
    runs = [role.load() for role in roles if role.name not in readiness.loading]
    # Seconds of importing, which neither what comes in nor the beat has to wait for.
    loading = {
        role.name: asyncio.create_task(asyncio.to_thread(_loaded, role))
        for role in roles
        if role.name in readiness.loading
    }
    try:
        async with graph_api(settings, GRAPH_CONNECTIONS) as meta:
            shared = _shared(settings)
            sender = Sender(pool, meta, tokens, Uploader(pool, meta.uploads, shared["store"]))
            worker = Worker(
                *(name, settings, pool, intake_pool, tokens, sender, liveness, intake, stop),
                **shared,
            )
            probe = await _probes(settings, readiness)
            await _fit(settings, name, pool, stop)
            liveness.start()
            try:
                log.info("worker.started", roles=sorted(only), model=settings.openai_model)
                await _run_roles(worker, runs, loading, readiness)
            finally:
                liveness.stop()
                if probe is not None:
                    await probe.cleanup()
    finally:
        for task in loading.values():
            task.cancel()
        pool.terminate()
        intake_pool.terminate()
        log.info("worker.stopped")


def _shared(settings: Settings) -> dict[str, Any]:
    """What roles of a worker share that needs no more than its settings."""
    return {
        "marker": Marker(settings.secrets_keys),
        "store": store(settings.media_store, settings.media_keys),
    }


def _loaded(role: Role) -> Run:
    """Its libraries make a million objects and hardly any garbage; looking for it meanwhile was a
    sixth of the CPU that a worker takes to start."""
    gc.disable()
    try:
        return role.load()
    finally:
        gc.enable()


async def _run_roles(
    worker: Worker,
    runs: Sequence[Run],
    loading: Mapping[str, asyncio.Task[Run]],
    readiness: Readiness,
) -> None:
    ended = asyncio.Event()

    async def when_loaded(role: str, loaded: asyncio.Task[Run]) -> None:
        run = await loaded
        _freeze()
        readiness.loading.discard(role)
        log.info("role.loaded", role=role)
        await run(worker)

    _freeze()
    async with asyncio.TaskGroup() as group:
        house = group.create_task(clock.keep_house(worker, ended))
        async with asyncio.TaskGroup() as working:
            for run in runs:
                working.create_task(run(worker))
            for role, loaded in loading.items():
                working.create_task(when_loaded(role, loaded))
        ended.set()
        await house


def _freeze() -> None:
    """What the libraries brought never becomes garbage; looking through it all pauses turns, and
    takes seconds when the process ends. Nor do turns leave cycles that outlive the youngest: with
    160 in flight eight passes over the oldest, of 70 to 120 ms each, found 1,164 of the
    million objects that they looked at. They come a hundred times more rarely now."""
    gc.freeze()
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, old * 100)


async def _fit(settings: Settings, name: str, pool: Pool, stop: asyncio.Event) -> None:
    """Waits for the database, and a moment for a migration that runs now; refuses to work on what
    is not this release's schema, or not as this process has to see it."""

    async def schema() -> Sequence[str]:
        async with pool.acquire() as conn:
            missing = await pending(conn)
        return [f"lacks {', '.join(missing)}: run `swiftreplies migrate`"] if missing else []

    async def ingest_log() -> Sequence[str]:
        await adapter(settings.log_url).prove(settings.log_url, name)
        return []

    looks = {"DATABASE_URL": schema, "INGEST_LOG_URL": ingest_log}
    await proved(looks, stop, refusals_end=True)


async def _probes(settings: Settings, readiness: Readiness) -> Runner | None:
    if settings.metrics_port is None:
        return None
    runner = probe_server(
        probes.routes(readiness.problems, dict), Bounds(connections=PROBE_CONNECTIONS)
    )
    await runner.setup()
    await runner.listen(settings.host, settings.metrics_port)
    return runner


def probe_server(routes: Sequence[web.RouteDef], bounds: Bounds) -> Runner:
    app = web.Application()
    app.add_routes(routes)
    return Runner(app, Gate(bounds))
