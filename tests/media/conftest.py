import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from db.pool import Conn, Pool
from handlers.media.fetching import media_session
from handlers.media_store.local import Directory
from handlers.media_store.port import Store
from simulator.client import Simulator
from tests.factories import Tenant, make_tenant
from tests.media import House, meta
from tests.recording import plainly_logged
from tests.s3 import S3

_prefixes = itertools.count(1)


@pytest.fixture(autouse=True, scope="session")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with meta() as simulator:
        yield simulator


@pytest.fixture
async def where(request: pytest.FixtureRequest, s3_server: S3) -> str:
    """A module that says so has its files in both."""
    return getattr(request, "param", "directory")


@pytest.fixture
async def house(
    pool: Pool, owner: Conn, simulator: Simulator, tmp_path: Path, where: str, s3_server: S3
) -> AsyncIterator[House]:
    prefix = f"media-{os.getpid()}-{next(_prefixes)}"
    bucket = s3_server.inside(prefix) if where == "bucket" else None
    store: Store = s3_server.bucket(prefix) if bucket else Directory(tmp_path)
    async with media_session(16) as session:
        yield House(pool, owner, simulator, session, store, tmp_path, bucket=bucket)
    await store.close()


@pytest.fixture
async def of(owner: Conn) -> Tenant:
    return await make_tenant(owner)
