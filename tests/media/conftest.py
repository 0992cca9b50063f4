from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from db.pool import Conn, Pool
from handlers.media.fetching import media_session
from handlers.media_store.local import Directory
from simulator.client import Simulator
from tests.factories import Tenant, make_tenant
from tests.media import House, meta
from tests.recording import plainly_logged


@pytest.fixture(autouse=True, scope="session")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with meta() as simulator:
        yield simulator


@pytest.fixture
async def house(
    pool: Pool, owner: Conn, simulator: Simulator, tmp_path: Path
) -> AsyncIterator[House]:
    async with media_session(16) as session:
        yield House(pool, owner, simulator, session, Directory(tmp_path), tmp_path)


@pytest.fixture
async def of(owner: Conn) -> Tenant:
    return await make_tenant(owner)
