"""What a worker has in hand is not acknowledged before it is written, in whichever lane it came."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import asyncpg
import pytest

from db.pool import Conn, Pool
from handlers.ingest_log.port import Lane
from handlers.ingest_log.rabbitmq.topology import QUEUES
from local.servers.rabbitmq import RabbitMQ
from tests.conftest import Database
from tests.e2e.conftest import until
from tests.factories import Tenant
from tests.recording import body, statuses_for, to, wrote
from tests.unit.payloads import change, status
from tests.worker.conftest import Ingesting, working
from worker.settings import Settings

NOBODYS = body(change({}, "account_update"))


@asynccontextmanager
async def locked(database: Database, table: str) -> AsyncIterator[None]:
    """Whoever writes to it waits."""
    conn = await asyncpg.connect(database.owner_url)
    try:
        async with conn.transaction():
            await conn.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
            yield
    finally:
        await conn.close()


async def put(url: str, lane: Lane, entry: bytes) -> None:
    """Into the lane's queue, also where only RabbitMQ itself puts something."""
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        await channel.default_exchange.publish(aio_pika.Message(entry), QUEUES[lane])


@pytest.mark.parametrize(
    ("what", "lane", "table"),
    [
        ("messages", "p00", "contacts"),
        ("statuses", "status", "orphan_statuses"),
        ("others", "other", "parked_items"),
        ("dead", "dead-inbound", "parked_items"),
    ],
)
async def test_it_is_another_s_when_its_worker_dies(
    settings: Settings,
    database: Database,
    pool: Pool,
    owner: Conn,
    bot: Tenant,
    broker: RabbitMQ,
    what: str,
    lane: Lane,
    table: str,
) -> None:
    written = {"messages": to(bot, wrote("w1")), "statuses": statuses_for(bot, status("sent", 1))}
    rows = f"SELECT count(*) FROM {table}"

    async def holder(of: list[Ingesting]) -> Ingesting | None:
        return next(iter([w for w in of if await w.has_in_hand(what)]), None)

    async with working(settings, pool, "one", "two") as workers:
        async with locked(database, table):
            await put(broker.url, lane, written.get(what, NOBODYS))
            died = await until(lambda: holder(workers), bool)
            assert died is not None
            await died.kill()
            heirs = [w for w in workers if w is not died]
            await until(lambda: holder(heirs), bool)
            assert await owner.fetchval(rows) == 0
        await until(lambda: holder(heirs), lambda found: found is None)
    assert await owner.fetchval(rows) == 1
