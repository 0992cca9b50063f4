"""Real servers for the whole session, and a database of its own for each test."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aio_pika
import asyncpg
import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from db.migrate import migrate
from db.pool import Conn, Pool, create_pool
from handlers.ingest_log.rabbitmq.topology import QUEUES, declare_topology
from local.servers.postgres import Postgres, postgres
from local.servers.rabbitmq import RabbitMQ, rabbitmq
from tests.s3 import S3, s3

# The same examples in every run, whatever the machine's speed, and none kept in the checkout.
settings.register_profile("suite", derandomize=True, database=None, deadline=None)
settings.load_profile("suite")

RUNTIME_LOGIN = "runtime"  # neither superuser nor owner, as in production
RUNTIME_PASSWORD = "runtime"
LOG_LOGIN = "ingest"  # of the log in PostgreSQL, and of nothing else
TEMPLATE = "template_migrated"


# What one set of the product's processes serves, by how modules begin. Those of e2e are two halves:
# as one they took a pytest process longer than all else takes the others.
STACKS = (
    *((f"tests/e2e/test_{name}", "killing") for name in ("actions", "faults", "killed", "limits")),
    *((f"tests/e2e/test_{name}", "apart") for name in ("pgbouncer", "taken_over")),
    ("tests/e2e/", "e2e"),
    ("tests/phone/", "phone"),
)
# Begun first, or one pytest process would still be at them when the others have ended.
LONGEST = (
    *("tests/e2e/test_actions", "tests/e2e/", "tests/ingest_log/", "tests/model/", "tests/worker/"),
    *(
        "tests/redteam/",
        "tests/ingress/",
        "tests/phone/",
        "tests/test_servers",
        "tests/packaging/test_policies",
    ),
)


class ByModule(LoadScopeScheduling):  # type: ignore[misc]
    """With `-n`: a module is one process's, and so are those with one stack. Each process has
    servers of its own."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return next((stack for begins, stack in STACKS if module.startswith(begins)), module)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByModule:
    config.option.loadscopereorder = False  # the order below, not that of the numbers of tests
    return ByModule(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # set by xdist
        items.sort(key=lambda item: [not item.nodeid.startswith(part) for part in LONGEST])


@dataclass(frozen=True, slots=True)
class Database:
    """One test's own. The owner is a superuser, whom row-level security does not bind."""

    name: str
    owner_url: str
    runtime_url: str
    log_url: str


def with_database(url: str, database: str, login: str | None = None) -> str:
    parts = urlsplit(url)
    netloc = parts.netloc if login is None else f"{login}@{parts.netloc.rpartition('@')[2]}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{database}"))


@pytest.fixture(scope="session")
async def postgres_server() -> AsyncIterator[Postgres]:
    async with postgres(in_memory=True) as server:
        admin = await asyncpg.connect(server.url)
        for login in (RUNTIME_LOGIN, LOG_LOGIN):
            await admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{RUNTIME_PASSWORD}'")
        await admin.execute(f"CREATE DATABASE {TEMPLATE}")
        await admin.close()
        owner = with_database(server.url, TEMPLATE)
        urls = (runtime_url(server.url, TEMPLATE), log_url(server.url, TEMPLATE))
        await migrate(owner, urls[0], lambda line: None, urls[1])
        yield server


def runtime_url(url: str, database: str) -> str:
    return with_database(url, database, f"{RUNTIME_LOGIN}:{RUNTIME_PASSWORD}")


def log_url(url: str, database: str) -> str:
    return with_database(url, database, f"{LOG_LOGIN}:{RUNTIME_PASSWORD}")


@asynccontextmanager
async def cloned(server: Postgres) -> AsyncIterator[Database]:
    """A clone of the migrated template: 20 ms."""
    name = f"test_{os.urandom(6).hex()}"
    admin = await asyncpg.connect(server.url)
    try:
        # Its files are copied; the default writes all of them to the WAL as well: 200 ms of CPU.
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
        yield Database(
            name,
            with_database(server.url, name),
            runtime_url(server.url, name),
            log_url(server.url, name),
        )
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
async def database(postgres_server: Postgres) -> AsyncIterator[Database]:
    async with cloned(postgres_server) as database:
        yield database


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """As the product's processes have it."""
    pool = await create_pool(database.runtime_url, size=10, name="tests")
    yield pool
    pool.terminate()


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[Conn]:
    """Sees every row of every tenant: for arranging and for looking."""
    conn = await asyncpg.connect(database.owner_url)
    yield conn
    conn.terminate()


@pytest.fixture(scope="session")
async def rabbitmq_server() -> AsyncIterator[RabbitMQ]:
    async with rabbitmq(in_memory=True) as server:
        await declare_topology(server.url)
        yield server


@pytest.fixture
async def broker(rabbitmq_server: RabbitMQ) -> AsyncIterator[RabbitMQ]:
    """The session's node with empty queues."""
    yield rabbitmq_server
    connection = await aio_pika.connect(rabbitmq_server.url)
    async with connection, connection.channel() as channel:
        names = list(QUEUES.values())
        for name in names:
            await (await channel.get_queue(name, ensure=False)).purge()


@pytest.fixture(scope="session")
async def s3_server() -> AsyncIterator[S3]:
    async with s3() as server:
        yield server
