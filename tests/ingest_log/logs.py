"""The two adapters, each with a server that may be looked into, filled and killed."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aio_pika
import asyncpg

from db.migrate import migrate
from handlers.ingest_log.port import LANES
from handlers.ingest_log.postgres import ENTRIES_MAX
from handlers.ingest_log.rabbitmq.topology import QUEUES, declare_topology
from local.servers.postgres import Postgres, postgres
from local.servers.rabbitmq import RabbitMQ, rabbitmq
from tests.e2e.conftest import until

YOUNG_QUEUES_S = 2.0  # RabbitMQ 3.10 loses queues that are younger than that in a crash


@dataclass(frozen=True, slots=True)
class Small:
    """A lane that takes some entries more, and what empties it."""

    lane: str
    empty: Callable[[], Awaitable[object]]


class Log(Protocol):
    url: str
    away: str  # a URL of this kind where nothing answers
    server_name: str

    async def waiting(self, lane: str) -> int: ...

    def nearly_full(self) -> AbstractAsyncContextManager["Small"]: ...

    async def crash(self) -> None: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def hang(self, on: bool) -> None: ...


async def emptied(log: Log, *lanes: str) -> None:
    for lane in lanes or LANES:
        await until(lambda lane=lane: log.waiting(lane), lambda n: n == 0)  # type: ignore[misc]


class RabbitLog:
    away = "amqp://guest:guest@127.0.0.1:1/"
    server_name = "RabbitMQ"

    def __init__(self, server: RabbitMQ) -> None:
        self.server = server
        self.url = server.url

    async def waiting(self, lane: str) -> int:
        connection = await aio_pika.connect(self.url)
        async with connection, connection.channel() as channel:
            queue = await channel.declare_queue(QUEUES[lane], passive=True)
            return queue.declaration_result.message_count or 0

    @asynccontextmanager
    async def nearly_full(self) -> AsyncIterator[Small]:
        """A queue of its own: those of the product are bounded by policies."""
        connection = await aio_pika.connect(self.url)
        async with connection, connection.channel() as channel:
            exchange = await channel.get_exchange("wa.in", ensure=False)
            small = await channel.declare_queue(
                "small",
                durable=True,
                arguments={
                    "x-queue-type": "quorum",
                    "x-overflow": "reject-publish",
                    "x-max-length": 3,
                },
            )
            await small.bind(exchange, routing_key="small")
            yield Small("small", small.purge)
            await channel.queue_delete("small")

    async def crash(self) -> None:
        await self.server.crash()

    async def start(self) -> None:
        await self.server.start()

    async def stop(self) -> None:
        await self.server.stop()

    def hang(self, on: bool) -> None:
        os.kill(self.server.pid, signal.SIGSTOP if on else signal.SIGCONT)


class PostgresLog:
    away = "postgresql://nobody@127.0.0.1:1/nothing"
    server_name = "PostgreSQL"

    def __init__(self, server: Postgres, url: str, owner_url: str) -> None:
        self.server = server
        self.url = url
        self.owner_url = owner_url

    async def waiting(self, lane: str) -> int:
        conn = await asyncpg.connect(self.owner_url)
        try:
            found: int = await conn.fetchval(
                "SELECT count(*) FROM ingest_entries WHERE lane = $1", lane
            )
            return found
        finally:
            await conn.close()

    @asynccontextmanager
    async def nearly_full(self) -> AsyncIterator[Small]:
        conn = await asyncpg.connect(self.owner_url)
        await conn.execute(
            "INSERT INTO ingest_entries (lane, body) SELECT 'p00', 'x' FROM generate_series(1, $1)",
            ENTRIES_MAX - 3,
        )
        yield Small("p13", lambda: conn.execute("TRUNCATE ingest_entries"))
        await conn.close()

    async def crash(self) -> None:
        await self.server.crash()

    async def start(self) -> None:
        await self.server.start()

    async def stop(self) -> None:
        await self.server.stop()

    def hang(self, on: bool) -> None:
        pid = self.server.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in (pid, *map(int, children)):
            os.kill(process, signal.SIGSTOP if on else signal.SIGCONT)


@asynccontextmanager
async def killable(kind: str) -> AsyncIterator[Log]:
    if kind == "rabbitmq":
        async with rabbitmq(in_memory=True) as broker:
            await declare_topology(broker.url)  # waits until RabbitMQ has registered the new queues
            yield RabbitLog(broker)
    else:
        async with postgres(in_memory=True) as server:
            await migrate(server.url, server.url, lambda line: None)
            yield PostgresLog(server, server.url, server.url)
