"""Who is known dead when, by beats and by the lock of the session that beats."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import pytest

from db.pool import UNAVAILABLE, Conn, Pool, connect_runtime, create_pool
from db.workers import register_worker
from handlers.process.secrets import Vault
from handlers.sends.sending import Sender
from handlers.sends.tokens import Tokens
from handlers.whatsapp.cloud_api.graph_api import GraphApi
from tests.conftest import Database
from tests.e2e.conftest import until
from tests.factories import make_conversation, make_tenant
from tests.recording import plainly_logged
from tests.worker.between import line, transaction_pooler
from worker.clock import keep_house, scheduler
from worker.intake import Intake
from worker.liveness import BEAT_S, TERM, Liveness
from worker.process import Worker
from worker.session_lock import SURE_S, SessionLock
from worker.settings import read

GONE = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"


@pytest.fixture(autouse=True, scope="module")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


@asynccontextmanager
async def watching(url: str, name: str = "watcher") -> AsyncIterator[Liveness]:
    """A worker with the role `scheduler` alone, in this process."""
    liveness = Liveness(url, name)
    pool = await create_pool(url, size=3, name=name)
    async with aiohttp.ClientSession() as http:
        worker = _worker(url, name, pool, liveness, http)
        liveness.start()
        tasks = {
            asyncio.create_task(scheduler(worker)),
            asyncio.create_task(keep_house(worker, worker.stop)),
        }
        try:
            yield liveness
        finally:
            worker.stop.set()
            await asyncio.wait(tasks)
            await asyncio.to_thread(liveness.stop)
            pool.terminate()


def _worker(
    url: str, name: str, pool: Pool, liveness: Liveness, http: aiohttp.ClientSession
) -> Worker:
    settings = read(
        {
            "DATABASE_URL": url,
            "AMQP_URL": "amqp://127.0.0.1:1/",
            "OPENAI_MODEL": "offline",
            "SECRETS_KEY": "a key of the tests: long enough",
        }
    )
    tokens = Tokens(Vault(settings.secrets_keys), None)
    sender = Sender(pool, GraphApi(http, "http://127.0.0.1:1", "v25.0"), tokens)
    stop = asyncio.Event()
    return Worker(
        name=name,
        settings=settings,
        pool=pool,
        intake_pool=pool,
        tokens=tokens,
        sender=sender,
        liveness=liveness,
        intake=Intake("none"),
        stop=stop,
    )


@asynccontextmanager
async def beating(url: str, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.worker.beating", url, name, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        _, log = await process.communicate()
        print(log.decode())  # shown when the test fails


async def row_of(owner: Conn, name: str) -> Any:
    return await owner.fetchrow("SELECT * FROM workers WHERE name = $1", name)


async def locked(owner: Conn, name: str) -> Any:
    return await until(
        lambda: row_of(owner, name), lambda row: row is not None and row["session_lock"] is not None
    )


async def may_judge(*workers: Liveness) -> None:
    async def look() -> bool:
        return all(worker.may_judge for worker in workers)

    await until(look, bool)
    await asyncio.sleep(BEAT_S)  # the lock was taken a moment after the first beat


async def lease(owner: Conn, worker_id: int) -> int:
    _, conversation_id = await make_conversation(owner, await make_tenant(owner))
    await owner.execute(
        "UPDATE conversations SET lease_owner = $2, epoch = 1 WHERE id = $1",
        conversation_id,
        worker_id,
    )
    return conversation_id


async def holder(owner: Conn, conversation_id: int) -> int | None:
    found: int | None = await owner.fetchval(
        "SELECT lease_owner FROM conversations WHERE id = $1", conversation_id
    )
    return found


async def test_what_a_killed_worker_held_is_free_long_before_its_beat_is_old(
    database: Database, owner: Conn
) -> None:
    url = database.runtime_url
    took = []
    async with watching(url) as watcher, beating(url, "lives"):
        lives = await locked(owner, "lives")
        kept = await lease(owner, lives["id"])
        await may_judge(watcher)
        for attempt in range(3):  # the second and third for a machine that had no time
            async with beating(url, f"victim {attempt}") as victim:
                row = await locked(owner, f"victim {attempt}")
                held = await lease(owner, row["id"])
                victim.kill()
                killed = time.monotonic()
                await until(partial(holder, owner, held), lambda who: who is None)
                took.append(time.monotonic() - killed)
                assert await row_of(owner, f"victim {attempt}") is None
            if took[-1] < 1.0:
                break
        assert min(took) < 1.0, took
        assert await holder(owner, kept) == lives["id"]
        assert (await row_of(owner, "lives"))["session_lock"] == lives["session_lock"]


async def test_after_an_outage_the_locks_of_those_who_are_not_back_yet_say_nothing(
    database: Database, owner: Conn
) -> None:
    """All sessions end at once. One worker is back at once, the other a little before it would be
    dead by its beat."""
    url = database.runtime_url
    async with (
        line(url) as here,
        line(url) as there,
        beating(there.url, "late"),
        watching(here.url) as watcher,
    ):
        late = await locked(owner, "late")
        held = await lease(owner, late["id"])
        await may_judge(watcher)
        beat = (await row_of(owner, "late"))["beat_at"]
        there.cut()
        here.cut()
        here.is_up = True
        back = await until(lambda: locked(owner, "watcher"), lambda row: row["locked_at"] > beat)
        seen = []
        while (now := await owner.fetchval("SELECT clock_timestamp()")) < beat + TERM * 0.6:
            seen.append((await row_of(owner, "late"), await holder(owner, held)))
            await asyncio.sleep(0.1)
        assert seen
        assert now > back["locked_at"]
        there.is_up = True
        again = await until(
            lambda: locked(owner, "late"), lambda row: row["locked_at"] > back["locked_at"]
        )
        assert again["id"] == late["id"]
        assert again["session_lock"] != late["session_lock"]
        assert {(row["id"], who) for row, who in seen} == {(late["id"], late["id"])}
        assert await holder(owner, held) == late["id"]


async def test_who_goes_last_does_not_take_the_others_for_dead(
    database: Database, owner: Conn
) -> None:
    """A server that shuts down ends its sessions one after the other."""
    url = database.runtime_url
    watcher, other = [await connect_runtime(url, name) for name in ("watcher", "other")]
    locks = {}
    for conn in (watcher, other):
        worker_id = await register_worker(conn, "shut down")
        lock = SessionLock(partial(connect_runtime, url, "probe"))
        await lock.take(conn, worker_id)
        locks[conn] = (lock, worker_id)
    await owner.execute("UPDATE workers SET locked_at = locked_at - $1::interval", 2 * TERM)
    lock, worker_id = locks[watcher]
    assert await lock.broken(watcher, worker_id, TERM) == []
    left = other.get_server_pid()
    other.terminate()
    await until(partial(owner.fetchval, GONE, left), lambda n: n == 0)
    looking = asyncio.create_task(lock.broken(watcher, worker_id, TERM))
    await asyncio.sleep(SURE_S / 2)
    await owner.execute("SELECT pg_terminate_backend($1)", watcher.get_server_pid())
    with pytest.raises(UNAVAILABLE):
        await looking


async def test_a_worker_that_lost_its_session_alone_has_another_lock_at_once(
    database: Database, owner: Conn
) -> None:
    url = database.runtime_url
    async with watching(url) as watcher, beating(url, "cut off"):
        await may_judge(watcher)
        before = await locked(owner, "cut off")
        cut = await owner.fetchval("SELECT clock_timestamp()")
        await owner.execute("SELECT pg_terminate_backend($1)", before["session_pid"])
        after = await until(lambda: locked(owner, "cut off"), lambda row: row["locked_at"] > cut)
        assert after["session_lock"] != before["session_lock"]
        await asyncio.sleep(BEAT_S)
        assert (await row_of(owner, "cut off"))["id"] == after["id"]


async def test_a_session_that_gives_no_answer_is_no_death(database: Database, owner: Conn) -> None:
    """It is given up after two seconds, and another one has to begin. What it held others may not
    see broken before the worker's row names the next one's lock."""
    url = database.runtime_url
    async with watching(url) as watcher, line(url) as there, beating(there.url, "slow"):
        await may_judge(watcher)
        before = await locked(owner, "slow")
        there.is_deaf = True
        await asyncio.sleep(BEAT_S + 2 * BEAT_S + 1)
        assert (await row_of(owner, "slow"))["id"] == before["id"]
        there.is_deaf = False
        after = await until(
            lambda: locked(owner, "slow"), lambda row: row["locked_at"] > before["locked_at"]
        )
        assert after["id"] == before["id"]
        assert after["session_pid"] != before["session_pid"]


@pytest.mark.parametrize("last_first", [True, False])
async def test_behind_a_transaction_pooler_beats_alone_count(
    database: Database, owner: Conn, last_first: bool
) -> None:
    url = database.runtime_url
    async with (
        watching(url) as watcher,
        transaction_pooler(url, last_first=last_first) as pooled,
        beating(pooled, "pooled") as victim,
    ):
        await until(lambda: row_of(owner, "pooled"), lambda row: row is not None)
        await may_judge(watcher)
        row = await row_of(owner, "pooled")
        assert (row["session_lock"], row["session_pid"], row["locked_at"]) == (None, None, None)
        held = await lease(owner, row["id"])
        victim.kill()
        beat = (await row_of(owner, "pooled"))["beat_at"]
        await until(lambda: holder(owner, held), lambda who: who is None)
        assert await owner.fetchval("SELECT clock_timestamp()") > beat + TERM
        _, log = await victim.communicate()
        assert log.decode().count("worker.behind_pooler") == 1
