"""The worker process, wired: roles, what they share, and the order in which it all ends."""

import asyncio
import gc
import os
import socket
from collections.abc import Collection, Mapping

import aiohttp
import structlog
from aiohttp import web

from db.migrate import pending
from db.pool import REFUSED, UNAVAILABLE, Pool, create_pool
from handlers import probes
from handlers.agent.answerer import Answerer, Model, Offline
from handlers.agent.graph import Agent
from handlers.secrets import Vault
from handlers.sending import Sender
from handlers.whatsapp.graph_api import GraphApi
from worker import roles
from worker.holdings import Holdings
from worker.liveness import Liveness
from worker.settings import OFFLINE_MODEL, Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

ROLES = ("ingest", "turns", "sends", "scheduler")
POOL_SIZE = 16
GRAPH_CONNECTIONS = 100
WAIT_S = 1.0
MIGRATION_PATIENCE_S = 10.0  # a deploy starts processes and `migrate` at the same moment


class NotMigrated(Exception):
    """The message says what to run."""


async def run(settings: Settings, only: Collection[str], stop: asyncio.Event) -> None:
    name = f"worker@{socket.gethostname()}:{os.getpid()}"
    pool = await create_pool(settings.database_url, size=POOL_SIZE, name=f"swiftreplies {name}")
    liveness = Liveness(settings.database_url, name)
    connector = aiohttp.TCPConnector(limit=GRAPH_CONNECTIONS)
    try:
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
            probe = await _probes(settings, liveness)
            await _migrated(pool, stop)
            liveness.start()
            try:
                await _run_roles(settings, only, stop, name, pool, liveness, session)
            finally:
                liveness.stop()
                if probe is not None:
                    await probe.cleanup()
    finally:
        pool.terminate()
        log.info("worker.stopped")


async def _run_roles(
    settings: Settings,
    only: Collection[str],
    stop: asyncio.Event,
    name: str,
    pool: Pool,
    liveness: Liveness,
    session: aiohttp.ClientSession,
) -> None:
    holdings = Holdings()
    replied = asyncio.Event()
    sender = Sender(
        pool,
        GraphApi(session, settings.graph_url, settings.graph_version),
        Vault(settings.secrets_keys),
        settings.shared_token,
    )
    ended = asyncio.Event()
    # What the libraries brought never becomes garbage; looking through it all pauses turns, and
    # takes seconds when the process ends.
    gc.freeze()
    log.info("worker.started", roles=sorted(only), model=settings.openai_model)
    async with asyncio.TaskGroup() as group:
        house = group.create_task(roles.keep_house(pool, liveness, holdings, ended))
        async with asyncio.TaskGroup() as working:
            if "ingest" in only:
                working.create_task(roles.ingest(pool, sender, settings, liveness, name, stop))
            if "turns" in only:
                agent = Agent(_answerer(settings))
                working.create_task(roles.turns(pool, agent, liveness, holdings, replied, stop))
            if "sends" in only:
                working.create_task(roles.sends(pool, sender, liveness, holdings, replied, stop))
            if "scheduler" in only:
                working.create_task(roles.scheduler(pool, liveness, stop))
        ended.set()
        await house


def _answerer(settings: Settings) -> Answerer:
    if settings.openai_model == OFFLINE_MODEL:
        return Offline()
    assert settings.openai_key is not None, "settings.read() refuses to go on without"
    return Model.create(settings.openai_model, settings.openai_key, settings.openai_url)


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


async def _probes(settings: Settings, liveness: Liveness) -> web.AppRunner | None:
    if settings.metrics_port is None:
        return None

    def blocking() -> Mapping[str, str]:
        return {} if liveness.is_alive else {"postgresql": "this worker's beat does not arrive"}

    app = web.Application()
    app.add_routes(probes.routes(blocking, dict))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, settings.host, settings.metrics_port).start()
    return runner
