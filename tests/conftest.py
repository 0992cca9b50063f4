"""Real servers for the whole session, and a database of its own for each test."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import aio_pika
import asyncpg
import pytest
from hypothesis import settings

from cli.servers import Postgres, RabbitMQ, postgres, rabbitmq
from db.migrate import migrate
from db.pool import Conn, Pool, create_pool
from handlers.ingest_log.rabbitmq import QUEUES, declare_topology

# The same examples in every run, whatever the machine's speed, and none kept in the checkout.
settings.register_profile("suite", derandomize=True, database=None, deadline=None)
settings.load_profile("suite")

RUNTIME_LOGIN = "runtime"  # neither superuser nor owner, as in production
RUNTIME_PASSWORD = "runtime"
TEMPLATE = "template_migrated"


@dataclass(frozen=True, slots=True)
class Database:
    """One test's own. The owner is a superuser, whom row-level security does not bind."""

    name: str
    owner_url: str
    runtime_url: str


def with_database(url: str, database: str, login: str | None = None) -> str:
    parts = urlsplit(url)
    netloc = parts.netloc if login is None else f"{login}@{parts.netloc.rpartition('@')[2]}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{database}"))


@pytest.fixture(scope="session")
async def postgres_server() -> AsyncIterator[Postgres]:
    async with postgres() as server:
        admin = await asyncpg.connect(server.url)
        await admin.execute(f"CREATE ROLE {RUNTIME_LOGIN} LOGIN PASSWORD '{RUNTIME_PASSWORD}'")
        await admin.execute(f"CREATE DATABASE {TEMPLATE}")
        await admin.close()
        owner = with_database(server.url, TEMPLATE)
        await migrate(owner, runtime_url(server.url, TEMPLATE), lambda line: None)
        yield server


def runtime_url(url: str, database: str) -> str:
    return with_database(url, database, f"{RUNTIME_LOGIN}:{RUNTIME_PASSWORD}")


@pytest.fixture
async def database(postgres_server: Postgres) -> AsyncIterator[Database]:
    """A clone of the migrated template: 30 ms."""
    name = f"test_{os.urandom(6).hex()}"
    admin = await asyncpg.connect(postgres_server.url)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        yield Database(
            name, with_database(postgres_server.url, name), runtime_url(postgres_server.url, name)
        )
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


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
    async with rabbitmq() as server:
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
