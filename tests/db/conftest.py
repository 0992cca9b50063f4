"""One database, and its connections, for all tests of a module: they keep apart by tenant."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from db.pool import Conn, Pool, create_pool
from local.servers.postgres import Postgres
from tests.conftest import Database, cloned


@pytest.fixture(scope="module")
async def database(postgres_server: Postgres) -> AsyncIterator[Database]:
    async with cloned(postgres_server) as database:
        yield database


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
