"""The worker process, wired: roles, what they share, and the order in which it all ends."""

import asyncio
import gc
import os
import socket
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import structlog
from aiohttp import web

from db.migrate import pending
from db.pool import REFUSED, UNAVAILABLE, Pool, create_pool
from handlers.ingest_log.factory import adapter
from handlers.process import probes, telemetry
from handlers.process.secrets import Vault
from handlers.sends.sending import Sender
from handlers.sends.tokens import Tokens
from handlers.turns.presence import AT_ONCE, Presence
from handlers.whatsapp.cloud_api.graph_api import GraphApi
from worker import claims, clock
from worker.claims import RunTurn
from worker.holdings import Holdings
from worker.ingest import ingest
from worker.intake import Intake
from worker.liveness import Liveness
from worker.settings import Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

ROLES = ("ingest", "turns", "sends", "scheduler")
POOL_SIZE = 16
GRAPH_CONNECTIONS = 100
WAIT_S = 1.0
MIGRATION_PATIENCE_S = 10.0  # a deploy starts processes and `migrate` at the same moment


class NotMigrated(Exception):
    """The message says what to run."""


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
    name = f"worker@{socket.gethostname()}:{os.getpid()}"
    pool = await create_pool(settings.database_url, size=POOL_SIZE, name=f"swiftreplies {name}")
    telemetry.watch(pool, "worker")
    liveness = Liveness(settings.database_url, name)
    readiness = Readiness(
        liveness,
        Intake(adapter(settings.log_url).NAME) if "ingest" in only else None,
        {"turns"} if "turns" in only else set(),
    )
    tokens = Tokens(Vault(settings.secrets_keys), settings.shared_token)
    answering: asyncio.Task[RunTurn] | None = None
    try:
        # Typing indicators have connections of their own: no reply waits behind one.
        async with (
            _graph_api(settings, GRAPH_CONNECTIONS) as graph_api,
            _graph_api(settings, AT_ONCE) as showing,
            _model_session() as model,
        ):
            sender = Sender(pool, graph_api, tokens)
            # Seconds of importing, which neither what comes in nor the beat has to wait for.
            if "turns" in only:
                presence = Presence(showing, tokens)
                answering = asyncio.create_task(
                    asyncio.to_thread(_load_answering, pool, settings, presence, model)
                )
            probe = await _probes(settings, readiness)
            await _migrated(pool, stop)
            liveness.start()
            try:
                await _run_roles(settings, only, stop, name, pool, readiness, sender, answering)
            finally:
                liveness.stop()
                if probe is not None:
                    await probe.cleanup()
    finally:
        if answering is not None:
            answering.cancel()
        pool.terminate()
        log.info("worker.stopped")


async def _run_roles(
    settings: Settings,
    only: Collection[str],
    stop: asyncio.Event,
    name: str,
    pool: Pool,
    readiness: Readiness,
    sender: Sender,
    answering: asyncio.Task[RunTurn] | None,
) -> None:
    liveness = readiness.liveness
    holdings = Holdings()
    replied = asyncio.Event()
    ended = asyncio.Event()

    async def turns(answering: asyncio.Task[RunTurn]) -> None:
        run_turn = await answering
        _freeze()
        readiness.loading.discard("turns")
        log.info("role.loaded", role="turns")
        await claims.turns(pool, run_turn, liveness, holdings, replied, stop)

    _freeze()
    log.info("worker.started", roles=sorted(only), model=settings.openai_model)
    async with asyncio.TaskGroup() as group:
        house = group.create_task(clock.keep_house(pool, liveness, holdings, ended))
        async with asyncio.TaskGroup() as working:
            if readiness.intake is not None:
                intake = readiness.intake
                working.create_task(ingest(pool, sender, settings, liveness, intake, name, stop))
            if answering is not None:
                working.create_task(turns(answering))
            if "sends" in only:
                working.create_task(claims.sends(pool, sender, liveness, holdings, replied, stop))
            if "scheduler" in only:
                working.create_task(clock.scheduler(pool, liveness, stop))
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


@asynccontextmanager
async def _graph_api(settings: Settings, connections: int) -> AsyncIterator[GraphApi]:
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        yield GraphApi(session, settings.graph_url, settings.graph_version)


def _model_session() -> aiohttp.ClientSession:
    """A connection for each turn that waits; compressed answers are for the model's client."""
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False)


def _load_answering(
    pool: Pool, settings: Settings, presence: Presence, model: aiohttp.ClientSession
) -> RunTurn:
    from worker.answering import answering  # LangGraph and the model's client: seconds, 100 MB

    return answering(pool, settings, presence, model)


async def _migrated(pool: Pool, stop: asyncio.Event) -> None:
    """Waits for the database, and a moment for a migration that runs now; refuses to work on a
    schema that is not this release's."""
    deadline = asyncio.get_running_loop().time() + MIGRATION_PATIENCE_S
    while not stop.is_set():
        refusal: Exception | None = None
        missing: list[str] = []
        try:
            async with pool.acquire() as conn:
                missing = await pending(conn)
        except UNAVAILABLE as error:
            log.warning("worker.waits_for_database", error=type(error).__name__)
            await asyncio.sleep(WAIT_S)
            continue
        except REFUSED as error:
            refusal = error
        if refusal is None and not missing:
            return
        if asyncio.get_running_loop().time() < deadline:
            log.warning("worker.waits_for_migration", lacks=missing or ["the database role"])
            await asyncio.sleep(WAIT_S / 4)
        elif refusal is not None:
            raise NotMigrated(
                f"the database refuses this login: {refusal}. Check DATABASE_URL, and that"
                " `swiftreplies migrate` was run for it"
            ) from refusal
        else:
            raise NotMigrated(
                f"the database lacks {', '.join(missing)}: run `swiftreplies migrate`"
            )


async def _probes(settings: Settings, readiness: Readiness) -> web.AppRunner | None:
    if settings.metrics_port is None:
        return None
    app = web.Application()
    app.add_routes(probes.routes(readiness.problems, dict))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, settings.host, settings.metrics_port).start()
    return runner
