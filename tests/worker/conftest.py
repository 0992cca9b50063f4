"""A worker with the role `ingest` alone, as its own process would have it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
import pytest

from db.pool import Conn, Pool
from handlers.ingest_log.port import IngestLog
from handlers.process.secrets import Vault
from handlers.sends.sending import Sender
from handlers.sends.tokens import Tokens
from handlers.whatsapp.cloud_api.graph_api import GraphApi
from local.servers.rabbitmq import RabbitMQ
from tests.conftest import Database
from tests.e2e.conftest import until
from tests.factories import Tenant, make_tenant
from tests.ingest_log import publishing
from tests.recording import plainly_logged
from worker.clock import keep_house
from worker.ingest import ingest
from worker.intake import Intake
from worker.liveness import Liveness
from worker.process import Worker
from worker.settings import Settings, read

WAIT = timedelta(seconds=2)


@pytest.fixture(autouse=True, scope="module")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


@pytest.fixture
def settings(database: Database, broker: RabbitMQ) -> Settings:
    return read(
        {
            "DATABASE_URL": database.runtime_url,
            "AMQP_URL": broker.url,
            "OPENAI_MODEL": "offline",
            "SECRETS_KEY": "a key of the tests: long enough",
            "SEND_UNKNOWN_MS": str(round(WAIT.total_seconds() * 1000)),
        }
    )


class Ingesting:
    """A worker with the role `ingest` alone: what is to be repeated stays `queued`."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        http: aiohttp.ClientSession,
        name: str,
        others: Pool | None = None,  # what turns and sends would have
    ) -> None:
        self.intake = Intake("rabbitmq")
        self.liveness = Liveness(settings.database_url, name)
        tokens = Tokens(Vault(settings.secrets_keys), None)
        worker = Worker(
            name=name,
            settings=settings,
            pool=others or pool,
            intake_pool=pool,
            tokens=tokens,
            sender=Sender(pool, GraphApi(http, "http://127.0.0.1:1", "v25.0"), tokens),
            liveness=self.liveness,
            intake=self.intake,
            stop=asyncio.Event(),
        )
        self.liveness.start()
        house = keep_house(worker, worker.stop)
        self._tasks = {asyncio.create_task(ingest(worker)), asyncio.create_task(house)}

    async def listens(self) -> None:
        async def look() -> bool:
            return self.liveness.is_alive and not self.intake.problems(time.monotonic())

        await until(look, bool)

    async def has_in_hand(self, what: str = "statuses") -> bool:
        return what in self.intake.trying_since

    async def kill(self) -> None:
        """As kill -9 would: nothing is finished, nothing acknowledged."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await asyncio.to_thread(self.liveness.stop)


@asynccontextmanager
async def working(settings: Settings, pool: Pool, *names: str) -> AsyncIterator[list[Ingesting]]:
    async with aiohttp.ClientSession() as http:
        workers = [Ingesting(settings, pool, http, name) for name in names]
        try:
            for worker in workers:
                await worker.listens()
            yield workers
        finally:
            for worker in workers:
                await worker.kill()


@pytest.fixture
async def publisher(broker: RabbitMQ) -> AsyncIterator[IngestLog]:
    async with publishing(broker.url) as publisher:
        yield publisher


@pytest.fixture
async def bot(owner: Conn) -> Tenant:
    return await make_tenant(owner)
