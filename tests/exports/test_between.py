"""An export is made while somebody is erased, the store fails, or its worker loses sight of it."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from db.exports import end_export
from db.pool import Conn, Pool, tenant
from handlers.erasure.begin import erase_contact
from handlers.erasure.work import erase_due, step
from handlers.exports.work import KEPT, Lost, make_export
from handlers.media_store.local import Directory
from handlers.media_store.port import StoreProblem
from handlers.process.sweeps import Sweep
from tests.e2e.conftest import until
from tests.erasure import MARKER, begin, due
from tests.erasure.person import ADA, BEN, lives
from tests.exports.test_exports import ask, claim, made, worker
from tests.factories import make_tenant
from tests.recording import plainly_logged


@pytest.fixture(autouse=True, scope="module")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


@pytest.fixture
def store(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "store")


def files(store: Directory) -> list[str]:
    return sorted(p.name for p in store._root.rglob("*") if p.is_file())


async def some(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def finish(pool: Pool, owner: Conn, store: Directory) -> None:
    while left := await due(owner):
        for one in left:
            await step(pool, MARKER, store, one)
        await owner.execute("UPDATE erasures SET created_at = created_at - interval '20 s'")
        await owner.execute("UPDATE erasures SET due_at = now()")


async def test_what_was_ready_at_the_same_moment_goes_too(
    pool: Pool, owner: Conn, store: Directory
) -> None:
    of = await make_tenant(owner)
    ada = await lives(pool, owner, of, ADA)
    export = await ask(pool, of, "contacts")
    job = await claim(pool, await worker(owner))
    assert job is not None
    size = await store.write("exports/1/1-1.zip", some(b"her name"))
    async with tenant(pool, of.user_id) as conn:
        assert await end_export(conn, job, export, "exports/1/1-1.zip", size, KEPT)
        erasing = asyncio.create_task(begin(pool, of, ada))
        while not await owner.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database())"
        ):
            await asyncio.sleep(0.01)
    await erasing
    assert await owner.fetchval("SELECT status FROM exports") == "erased"


async def test_what_is_made_before_the_erasure_is_committed_goes_too(
    pool: Pool, owner: Conn, store: Directory
) -> None:
    of = await make_tenant(owner)
    ada = await lives(pool, owner, of, ADA)
    async with tenant(pool, of.user_id) as conn:
        assert await erase_contact(conn, of.user_id, ada)
        await ask(pool, of, "contacts")
        assert ADA.name.encode() in (await made(pool, owner, store))["contacts.csv"]
    (one,) = await due(owner)
    await step(pool, MARKER, store, one)
    await step(pool, MARKER, store, one)
    assert await owner.fetchval("SELECT status FROM exports") == "erased"
    assert [f for f in files(store) if f.endswith(".zip")] == []


async def test_what_waits_is_not_begun_by_what_is_not_committed(pool: Pool, owner: Conn) -> None:
    of = await make_tenant(owner)
    ada = await lives(pool, owner, of, ADA)
    await ask(pool, of, "contacts")
    async with tenant(pool, of.user_id) as conn:
        assert await erase_contact(conn, of.user_id, ada)
        assert await claim(pool, await worker(owner)) is None
    assert await claim(pool, await worker(owner)) is not None


async def test_an_export_of_who_is_erased_ends_and_leaves_no_file(
    pool: Pool, owner: Conn, store: Directory
) -> None:
    of = await make_tenant(owner)
    ada = await lives(pool, owner, of, ADA)
    export = await ask(pool, of, "contact", ada)
    dead, alive = await worker(owner), await worker(owner)
    job = await claim(pool, dead)
    assert job is not None
    # It died when the file was there and nothing said so; and another in the middle of writing.
    await store.write(f"exports/{of.user_id}/{export}-{job.epoch}.zip", some(b"her words"))
    half = await half_written(store, f"exports/{of.user_id}/{export}-{job.epoch}.zip")
    await owner.execute("UPDATE workers SET beat_at = now() - interval '1 h' WHERE id = $1", dead)
    await begin(pool, of, ada)
    await finish(pool, owner, store)
    assert [f for f in files(store) if f != "store-id"] == []
    with pytest.raises(StoreProblem, match="No such file"):
        await half  # had it only been silent
    await ask(pool, of, "usage")
    for _ in range(3):
        if (job := await claim(pool, alive)) is None:
            break
        try:
            await make_export(pool, store, job)
        except Lost:
            continue
    assert (
        await owner.fetchval(
            "SELECT j.status FROM exports e JOIN jobs j ON j.id = e.job_id WHERE e.what = 'usage'"
        )
        == "done"
    )
    assert await owner.fetchval("SELECT count(*) FROM jobs WHERE settled_at IS NULL") == 0


async def half_written(store: Directory, key: str) -> asyncio.Task[int]:
    there, gone_on = asyncio.Event(), asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"half of "
        there.set()
        await gone_on.wait()

    task = asyncio.create_task(store.write(key, pieces()))
    await there.wait()
    asyncio.get_running_loop().call_later(3, gone_on.set)
    return task


async def test_what_a_worker_lost_sight_of_it_begins_anew(
    pool: Pool, owner: Conn, store: Directory
) -> None:
    """The answer to its claim was lost, or it could not put the job back while PostgreSQL was away:
    it lives, so nobody else takes it, and a tenant has one at a time."""
    of = await make_tenant(owner)
    await ask(pool, of, "usage")
    by = await worker(owner)
    first = await claim(pool, by)
    second = await claim(pool, by)
    assert first is not None
    assert second is not None
    assert (second.id, second.epoch) == (first.id, first.epoch + 1)
    await make_export(pool, store, second)
    assert await owner.fetchval("SELECT status FROM jobs") == "done"


async def test_a_file_that_cannot_be_removed_holds_up_nobody_else_s_erasure(
    pool: Pool, owner: Conn, store: Directory
) -> None:
    ours, theirs = await make_tenant(owner), await make_tenant(owner)
    ada = await lives(pool, owner, ours, ADA)
    ben = await lives(pool, owner, theirs, BEN)
    await ask(pool, ours, "contacts")
    await made(pool, owner, store)
    (file,) = (store._root / "exports").rglob("*.zip")
    file.unlink()
    file.mkdir()  # an unlink is refused, as where the store is mounted read-only
    await begin(pool, ours, ada)
    await begin(pool, theirs, ben)
    sweep: Sweep[Any] = Sweep("test")
    await erase_due(pool, sweep, MARKER, store)
    assert (
        await owner.fetchval("SELECT phase FROM erasures WHERE user_id = $1", theirs.user_id)
        == "traces"
    )


async def test_a_full_disk_leaves_no_connection_in_a_transaction(
    pool: Pool, owner: Conn, store: Directory
) -> None:
    of = await make_tenant(owner)
    await owner.execute(
        "INSERT INTO products (user_id, name) SELECT $1, md5(n::text) || md5((n + 1)::text)"
        " FROM generate_series(1, 20000) n",
        of.user_id,
    )
    await ask(pool, of, "tenant")
    job = await claim(pool, await worker(owner))
    assert job is not None

    class Full(Directory):
        async def write(self, key: str, pieces: AsyncIterator[bytes]) -> int:
            async def limited() -> AsyncIterator[bytes]:
                async for piece in pieces:
                    yield piece
                    raise OSError(28, "No space left on device")

            return await super().write(key, limited())

    with pytest.raises(Exception, match="No space left"):
        await make_export(pool, Full(store._root), job)

    async def open_still() -> int:
        gc.collect()  # what the error's traceback kept
        count: int = await owner.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state LIKE 'idle in transaction%'"
        )
        return count

    await until(open_still, lambda count: count == 0, 10.0)
