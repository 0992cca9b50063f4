from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from db.pool import Conn, Pool
from handlers.api_keys import PERMISSIONS
from tests.api import Client, make_key
from tests.campaigns.stage import Stage, make_template
from tests.conftest import Database
from tests.factories import Tenant, make_tenant
from tests.ingress import DEAD_BROKER, Door, door


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Door]:
    async with door(DEAD_BROKER, database.runtime_url, ask_wait=timedelta(seconds=1)) as opened:
        yield opened


@pytest.fixture
async def ours(owner: Conn) -> Tenant:
    return await make_tenant(owner, daily=1_000)


@pytest.fixture
async def client(api: Door, pool: Pool, ours: Tenant) -> Client:
    key, _ = await make_key(pool, ours, PERMISSIONS)
    return Client(api.url, api.http, key)


@pytest.fixture
async def stage(owner: Conn, pool: Pool, client: Client, ours: Tenant) -> Stage:
    return Stage(owner, pool, client, ours, await make_template(owner, ours))
