"""/readyz of a worker says what is away, while servers are killed under it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
import pytest

from db.migrate import migrate
from handlers.ingest_log.rabbitmq.topology import declare_topology
from handlers.process import starting
from local.servers.daemon import free_ports
from local.servers.postgres import Postgres, postgres
from local.servers.rabbitmq import RabbitMQ, rabbitmq
from tests.conftest import with_database
from tests.e2e.conftest import until
from tests.recording import plainly_logged
from worker import app
from worker.intake import STUCK_S, SUBSCRIPTIONS, Intake
from worker.roles import ROLES
from worker.settings import read

NO_BEAT = {"postgresql": "this worker's beat does not arrive"}
NO_BROKER = {"rabbitmq": "not subscribed to: messages, statuses, others, dead"}


@pytest.fixture(autouse=True, scope="module")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


@dataclass(frozen=True, slots=True)
class Servers:
    database: Postgres
    broker: RabbitMQ


@pytest.fixture(scope="module")
async def servers() -> AsyncIterator[Servers]:
    """They may be killed."""
    async with postgres(in_memory=True) as database, rabbitmq(in_memory=True) as broker:
        await migrate(database.url, database.url, lambda line: None)
        await declare_topology(broker.url)
        yield Servers(database, broker)


@asynccontextmanager
async def worker(
    servers: Servers, *roles: str, database_url: str | None = None
) -> AsyncIterator[str]:
    """Its /readyz."""
    (port,) = free_ports(1)
    settings = read(
        {
            "DATABASE_URL": database_url or servers.database.url,
            "AMQP_URL": servers.broker.url,
            "OPENAI_MODEL": "offline",
            "SECRETS_KEY": "a key of the tests: long enough",
            "METRICS_PORT": str(port),
        }
    )
    stop = asyncio.Event()
    running = asyncio.create_task(app.run(settings, roles, stop))
    try:
        yield f"http://127.0.0.1:{port}/readyz"
    finally:
        stop.set()
        await running


async def readiness(url: str) -> tuple[int, dict[str, str]]:
    async with aiohttp.ClientSession() as http:
        try:
            async with http.get(url) as response:
                body: Any = json.loads(await response.text())
                return response.status, body["reasons"]
        except aiohttp.ClientConnectionError:
            return 0, {}


async def becomes(url: str, *expected: object, patience_s: float = 20.0) -> None:
    await until(lambda: readiness(url), lambda seen: seen == expected, patience_s)


async def test_a_worker_says_which_server_is_away(servers: Servers) -> None:
    async with worker(servers, *ROLES) as url:
        await becomes(url, 200, {})
        await servers.broker.crash()
        await becomes(url, 503, NO_BROKER)
        await servers.database.crash()
        await becomes(url, 503, NO_BROKER | NO_BEAT)
        await servers.broker.start()
        await becomes(url, 503, NO_BEAT)
        await servers.database.start()
        await becomes(url, 200, {})


async def test_a_worker_that_does_not_take_in_needs_no_broker(servers: Servers) -> None:
    await servers.broker.crash()
    try:
        async with worker(servers, "sends", "scheduler") as url:
            await becomes(url, 200, {})
    finally:
        await servers.broker.start()


async def test_a_migration_is_waited_for_however_long_the_database_was_away(
    servers: Servers,
) -> None:
    """Both come back with the machine: the worker must not end because it was there first."""
    admin = await asyncpg.connect(servers.database.url)
    await admin.execute("CREATE DATABASE empty")
    await admin.close()
    empty = with_database(servers.database.url, "empty")
    await servers.database.crash()
    async with worker(servers, "sends", database_url=empty) as url:
        await asyncio.sleep(starting.PATIENCE_S + 1)
        await servers.database.start()
        await asyncio.sleep(3 * starting.WAIT_S)
        assert await readiness(url) == (503, NO_BEAT)
        await migrate(empty, empty, lambda line: None)
        await becomes(url, 200, {})


def test_a_batch_that_hangs_is_told_and_one_that_waits_for_the_database_is_not() -> None:
    now = 1_000.0
    intake = Intake("rabbitmq", subscribed_since=dict.fromkeys(SUBSCRIPTIONS, now))
    assert intake.problems(now) == {}
    intake.trying_since["statuses"] = now
    assert intake.problems(now + STUCK_S) == {}
    assert intake.problems(now + STUCK_S + 1) == {"ingest": "a batch hangs: statuses"}
    assert intake.running_s("statuses", now + 7) == 7
    assert intake.running_s("messages", now + 7) == 0
    del intake.trying_since["statuses"]
    del intake.subscribed_since["others"]
    assert intake.problems(now + STUCK_S + 1) == {"rabbitmq": "not subscribed to: others"}


async def test_only_who_answers_loads_the_model_stack() -> None:
    """It takes seconds and 100 MB."""
    code = (
        "import sys, worker.app\n"
        "from worker.roles import ROLES\n"
        "turns = ROLES.pop('turns')\n"
        "for role in ROLES.values(): role.load()\n"
        "print(sorted({'langgraph', 'langchain_core', 'openai'} & set(sys.modules)))\n"
        "turns.load()\n"
        "print(sorted({'langgraph', 'langchain_core', 'openai'} & set(sys.modules)))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output.decode().splitlines() == ["[]", "['langchain_core', 'langgraph', 'openai']"]
