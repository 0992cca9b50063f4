from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from db.pool import Conn, Pool
from handlers.api_keys import PERMISSIONS
from tests.api import Client, make_key
from tests.conftest import Database
from tests.factories import Tenant, make_tenant
from tests.ingress import DEAD_BROKER, Door, door
from tests.plan import House

Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Door]:
    """Without a broker: the API needs none. What only a worker answers is not waited for long."""
    wait = timedelta(seconds=1)
    async with door(DEAD_BROKER, database.runtime_url, ask_wait=wait) as opened:
        yield opened


@pytest.fixture
async def ours(owner: Conn) -> Tenant:
    return await make_tenant(owner)


@pytest.fixture
async def theirs(owner: Conn) -> Tenant:
    return await make_tenant(owner)


@pytest.fixture
def connect(api: Door, pool: Pool) -> Connect:
    async def connected(of: Tenant, *permissions: str) -> Client:
        key, _ = await make_key(pool, of, permissions or PERMISSIONS)
        return Client(api.url, api.http, key)

    return connected


@pytest.fixture
async def client(connect: Connect, ours: Tenant) -> Client:
    return await connect(ours)


@pytest.fixture
def house(pool: Pool, owner: Conn) -> House:
    """What workers do, step by step."""
    return House(owner, pool)
