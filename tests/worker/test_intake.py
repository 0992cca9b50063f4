"""What arrives is recorded, whatever waits to be answered."""

import asyncio
from contextlib import AsyncExitStack

import aiohttp

from db.pool import Conn, Pool, create_pool
from handlers.ingest_log.port import Entry
from local.servers.rabbitmq import RabbitMQ
from tests.conftest import Database
from tests.e2e.conftest import until
from tests.factories import make_tenant
from tests.ingest_log import publishing
from tests.recording import received, to, wrote
from tests.worker.conftest import Ingesting
from worker.settings import Settings


async def test_intake_has_connections_of_its_own(
    settings: Settings,
    database: Database,
    broker: RabbitMQ,
    pool: Pool,
    owner: Conn,
) -> None:
    bot = await make_tenant(owner)
    busy = await create_pool(database.runtime_url, size=2, name="busy")
    async with AsyncExitStack() as held:
        http = await held.enter_async_context(aiohttp.ClientSession())
        worker = Ingesting(settings, pool, http, "intake", busy)
        try:
            await worker.listens()
            for _ in range(2):  # turns have them all, and more wait
                await held.enter_async_context(busy.acquire())
            waits = asyncio.create_task(busy.fetchval("SELECT 1"))
            async with publishing(broker.url) as publisher:
                await publisher.publish([Entry("p00", to(bot, wrote("w.1")))])
            await until(lambda: received(owner, bot), lambda n: n == 1)
            assert not waits.done()
            waits.cancel()
        finally:
            await worker.kill()
            busy.terminate()
