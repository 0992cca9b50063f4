"""The index of a big knowledge base is built once by some worker, and whoever dies over it is
followed by another."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from db.pool import Conn, Pool
from handlers.process import telemetry
from handlers.process.secrets import Vault
from handlers.sends.sending import Sender
from handlers.sends.tokens import Tokens
from handlers.whatsapp.cloud_api.graph_api import GraphApi
from tests.conftest import Database
from tests.e2e.conftest import until
from tests.factories import make_tenant
from tests.recording import plainly_logged
from tests.turn.test_big_knowledge import fill
from worker.clock import keep_house
from worker.indexing import build_indexes
from worker.intake import Intake
from worker.liveness import Liveness
from worker.process import Worker
from worker.settings import read


@pytest.fixture(autouse=True, scope="module")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


class Indexing:
    """A worker that does nothing else."""

    def __init__(self, database: Database, pool: Pool, http: aiohttp.ClientSession, name: str):
        environment = {
            "DATABASE_URL": database.runtime_url,
            "INGEST_LOG": "postgres",
            "OPENAI_MODEL": "offline",
            "SECRETS_KEY": "a key of the tests: long enough",
        }
        settings = read(environment)
        self.liveness = Liveness(settings.database_url, name)
        tokens = Tokens(Vault(settings.secrets_keys), None)
        self.worker = Worker(
            name=name,
            settings=settings,
            pool=pool,
            intake_pool=pool,
            tokens=tokens,
            sender=Sender(pool, GraphApi(http, "http://127.0.0.1:1", "v25.0"), tokens),
            liveness=self.liveness,
            intake=Intake("postgres"),
            stop=asyncio.Event(),
        )
        self.liveness.start()
        self.ended = asyncio.Event()
        self.house = asyncio.create_task(keep_house(self.worker, self.ended))
        self.building = asyncio.create_task(build_indexes(self.worker))

    async def alive(self) -> bool:
        return self.liveness.is_alive

    async def stop(self) -> None:
        self.worker.stop.set()
        await self.building
        self.ended.set()
        await self.house
        await asyncio.to_thread(self.liveness.stop)


@asynccontextmanager
async def working(database: Database, pool: Pool, *names: str) -> AsyncIterator[list[Indexing]]:
    async with aiohttp.ClientSession() as http:
        workers = [Indexing(database, pool, http, name) for name in names]
        try:
            for worker in workers:
                await until(worker.alive, bool)
            yield workers
        finally:
            for worker in workers:
                await worker.stop()


async def builders() -> list[int]:
    """The processes of ours that build."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            ours = int((file.parent / "stat").read_text().rpartition(")")[2].split()[1])
            if ours == os.getpid() and b"index_build" in file.read_bytes():
                found.append(int(file.parent.name))
        except OSError:  # ended meanwhile
            continue
    return found


def counted() -> dict[str, float]:
    return {
        outcome: telemetry.KNOWLEDGE_BUILDS.labels(outcome)._value.get()
        for outcome in ("built", "failed", "interrupted")
    }


def more(before: dict[str, float]) -> dict[str, float]:
    return {what: n - before[what] for what, n in counted().items() if n != before[what]}


async def told(before: dict[str, float]) -> bool:
    """The process that built has ended, too."""
    return "built" in more(before)


async def is_built(owner: Conn) -> bool:
    row = await owner.fetchrow(
        "SELECT n.built_version = n.version AND n.builder IS NULL AS built, sum(length(i.data)) > 0"
        " FROM knowledge_bases n JOIN knowledge_indexes i ON i.version = n.built_version"
        " GROUP BY n.user_id, n.chatbot_id"
    )
    return row is not None and row["built"]


async def test_two_workers_build_it_once(database: Database, pool: Pool, owner: Conn) -> None:
    before = counted()
    async with working(database, pool, "one", "two"):
        await fill(owner, await make_tenant(owner))
        await until(lambda: is_built(owner), bool)
        await until(lambda: told(before), bool)
        await asyncio.sleep(2.5)  # both look again, twice
    assert more(before) == {"built": 1}


@pytest.mark.parametrize("end", ["the builder is killed", "its worker stops"])
async def test_another_takes_over(database: Database, pool: Pool, owner: Conn, end: str) -> None:
    before = counted()
    async with working(database, pool, "one", "two") as workers:
        await fill(owner, await make_tenant(owner), rows=6_000)
        (builder,) = await until(builders, bool)
        if end == "the builder is killed":
            os.kill(builder, signal.SIGKILL)
            expected = {"failed": 1, "built": 1}
        else:
            claimed = await owner.fetchval("SELECT builder FROM knowledge_bases")
            ending = [w for w in workers if w.liveness.worker_id == claimed]
            await ending[0].stop()
            assert builder not in await builders()
            expected = {"interrupted": 1, "built": 1}
            workers.remove(ending[0])
        await until(lambda: is_built(owner), bool)
        await until(lambda: told(before), bool)
    assert more(before) == expected


async def test_what_builds_ends_with_its_worker(database: Database, owner: Conn) -> None:
    """Also with one that is killed: the end of its standard input tells."""
    user = await make_tenant(owner)
    await fill(owner, user)
    async with owner.transaction():  # where it stores, it waits for this one
        await owner.execute("SELECT FROM knowledge_bases FOR NO KEY UPDATE")
        builder = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "handlers.agent.index_build"),
            *(str(user.user_id), str(user.chatbot_id), "1", "100000000"),
            stdin=asyncio.subprocess.PIPE,
            env=os.environ | {"DATABASE_URL": database.runtime_url},
        )

        async def waits() -> int:
            return int(await owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await until(waits, bool)
        assert builder.stdin is not None
        builder.stdin.close()
        assert await asyncio.wait_for(builder.wait(), 10) == 1
    assert await owner.fetchval("SELECT count(*) FROM knowledge_indexes") == 0
