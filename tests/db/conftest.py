"""One database for all tests of a module: they keep apart by tenant, and a clone costs 0.3 s."""

import os
from collections.abc import AsyncIterator

import asyncpg
import pytest

from cli.servers import Postgres
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
