"""One database, and its connections, for all tests of a module: they keep apart by tenant."""

import os
from collections.abc import AsyncIterator

import asyncpg
import pytest

from cli.servers import Postgres
from db.pool import Conn, Pool, create_pool
from tests.conftest import TEMPLATE, Database, runtime_url, with_database


@pytest.fixture(scope="module")
async def database(postgres_server: Postgres) -> AsyncIterator[Database]:
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


@pytest.fixture(scope="module")
async def pool(database: Database) -> AsyncIterator[Pool]:
    pool = await create_pool(database.runtime_url, size=10, name="tests")
    yield pool
    pool.terminate()


@pytest.fixture(scope="module")
async def owner(database: Database) -> AsyncIterator[Conn]:
    conn = await asyncpg.connect(database.owner_url)
    yield conn
    conn.terminate()
