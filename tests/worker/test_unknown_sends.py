"""A send of unknown outcome is repeated only when every status that came in time is merged."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from db.pool import Conn, Pool
from handlers.ingest.fence import mark
from handlers.ingest_log.port import Entry, IngestLog
from handlers.ingest_log.rabbitmq.consumer import PREFETCH
from handlers.whatsapp.cloud_api.wire import callback_data
from tests.conftest import Database
from tests.e2e.conftest import until
from tests.factories import Tenant, make_conversation, make_message
from tests.recording import statuses_for
from tests.unit.payloads import status
from tests.worker.conftest import WAIT, Ingesting, working
from worker.settings import Settings

LATE_S = 3.0  # at most so long after WAIT a send goes again


async def outbound(owner: Conn, bot: Tenant, status: str, wamid: str | None = None) -> int:
    return await make_message(
        owner, bot, *await make_conversation(owner, bot), status=status, wamid=wamid
    )


async def unknown(owner: Conn, bot: Tenant, since: timedelta = timedelta(0)) -> int:
    message_id = await outbound(owner, bot, "unknown")
    await owner.execute(
        "UPDATE messages SET unknown_at = clock_timestamp() - $2::interval, unknown_count = 1,"
        " send_attempts = 1 WHERE id = $1",
        message_id,
        since,
    )
    return message_id


def of(message_id: int, n: int) -> Any:
    """A status of our message, with our id and a wamid that nobody has seen."""
    return status("sent", n, biz_opaque_callback_data=callback_data(message_id, 1))


async def state(owner: Conn, message_id: int) -> str:
    found: str = await owner.fetchval("SELECT status FROM messages WHERE id = $1", message_id)
    return found


async def fence(owner: Conn) -> datetime | None:
    found: datetime | None = await owner.fetchval(
        "SELECT nullif(merged_until, '-infinity') FROM status_fence"
    )
    return found


async def settled_as(owner: Conn, message_id: int, patience_s: float = 20.0) -> str:
    return await until(lambda: state(owner, message_id), lambda s: s != "unknown", patience_s)


async def repeated(owner: Conn, message_id: int) -> float:
    """Seconds until it goes again."""
    began = time.monotonic()
    assert await settled_as(owner, message_id) == "queued"
    return time.monotonic() - began


@asynccontextmanager
async def held(database: Database, message_id: int) -> AsyncIterator[None]:
    """Somebody has the row: whoever merges a status of it waits."""
    conn = await asyncpg.connect(database.owner_url)
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute("SELECT FROM messages WHERE id = $1 FOR UPDATE", message_id)
    try:
        yield
    finally:
        await transaction.rollback()
        await conn.close()


async def test_a_send_of_which_nothing_is_heard_goes_again_in_time(
    settings: Settings, pool: Pool, owner: Conn, bot: Tenant
) -> None:
    async with working(settings, pool, "one"):
        await asyncio.sleep(WAIT.total_seconds())  # it has listened for long enough
        silent = await unknown(owner, bot)
        took = await repeated(owner, silent)
    assert WAIT.total_seconds() - 0.2 < took < WAIT.total_seconds() + LATE_S


async def test_it_goes_again_in_time_in_a_stream_of_other_statuses(
    settings: Settings, pool: Pool, owner: Conn, bot: Tenant, publisher: IngestLog
) -> None:
    others = [await outbound(owner, bot, "accepted", f"wamid.OURS{n}") for n in range(20)]
    sent = 0

    async def stream() -> None:
        nonlocal sent
        while True:
            await publisher.publish(
                [
                    Entry("status", statuses_for(bot, status("delivered", n)))
                    for n in range(len(others))
                ]
            )
            sent += len(others)
            await asyncio.sleep(0.01)

    async with working(settings, pool, "one", "two"):
        streaming = asyncio.create_task(stream())
        await asyncio.sleep(WAIT.total_seconds())
        before = sent
        silent = await unknown(owner, bot)
        took = await repeated(owner, silent)
        assert sent - before > 100
        streaming.cancel()
    assert WAIT.total_seconds() - 0.2 < took < WAIT.total_seconds() + LATE_S


@pytest.mark.parametrize("workers", [("one",), ("one", "two")])
async def test_a_status_behind_a_batch_that_takes_long_settles_its_send(
    settings: Settings,
    database: Database,
    pool: Pool,
    owner: Conn,
    bot: Tenant,
    publisher: IngestLog,
    workers: tuple[str, ...],
) -> None:
    slow = await outbound(owner, bot, "accepted", "wamid.OURS1")
    async with working(settings, pool, *workers) as running:
        await asyncio.sleep(WAIT.total_seconds())
        async with held(database, slow):
            await publisher.publish([Entry("status", statuses_for(bot, status("sent", 1)))])
            await until(lambda: in_hand(running), bool)
            waits = await unknown(owner, bot)
            await publisher.publish([Entry("status", statuses_for(bot, of(waits, 2)))])
            # So long, without statuses in the log, it would have gone again.
            await asyncio.sleep(WAIT.total_seconds() + LATE_S)
            assert await state(owner, waits) == "unknown"
            assert await fence(owner) is None
        assert await settled_as(owner, waits) == "sent"


async def test_a_mark_waits_for_the_statuses_of_its_own_batch(
    settings: Settings,
    database: Database,
    pool: Pool,
    owner: Conn,
    bot: Tenant,
    publisher: IngestLog,
) -> None:
    first, second = [await outbound(owner, bot, "accepted", f"wamid.OURS{n}") for n in (1, 2)]
    async with working(settings, pool, "one") as running:
        async with held(database, second):
            async with held(database, first):
                await publisher.publish([Entry("status", statuses_for(bot, status("sent", 1)))])
                await until(lambda: in_hand(running), bool)
                at = await owner.fetchval("SELECT clock_timestamp()")
                behind = [statuses_for(bot, status("sent", 2)), mark(at)]  # gathered meanwhile
                await publisher.publish([Entry("status", entry) for entry in behind])
                await asyncio.sleep(0.5)
            await until(lambda: state(owner, first), lambda now: now == "sent")
            await asyncio.sleep(1)
            assert await in_hand(running)
            assert await fence(owner) is None
        assert await until(lambda: fence(owner), bool) == at
        assert await state(owner, second) == "sent"


async def in_hand(workers: list[Ingesting]) -> bool:
    return any([await worker.has_in_hand() for worker in workers])


async def test_a_status_in_the_hand_of_a_worker_that_dies_settles_its_send(
    settings: Settings,
    database: Database,
    pool: Pool,
    owner: Conn,
    bot: Tenant,
    publisher: IngestLog,
) -> None:
    slow = await outbound(owner, bot, "accepted", "wamid.OURS1")
    await outbound(owner, bot, "accepted", "wamid.OURS3")
    async with working(settings, pool, "one", "two") as running:
        await asyncio.sleep(WAIT.total_seconds())
        async with held(database, slow):
            waits = await unknown(owner, bot)
            await publisher.publish(
                [
                    Entry("status", statuses_for(bot, status("sent", 1))),
                    Entry("status", statuses_for(bot, of(waits, 2))),
                    # As many as a consumer is given: were there a second one, it would get marks.
                    *[Entry("status", statuses_for(bot, status("sent", 3)))] * PREFETCH,
                ]
            )
            await until(lambda: in_hand(running), bool)
            (holder,) = [w for w in running if await w.has_in_hand()]
            (heir,) = [w for w in running if w is not holder]
            await asyncio.sleep(WAIT.total_seconds() + LATE_S)
            assert await state(owner, waits) == "unknown"
            await holder.kill()
            await until(heir.has_in_hand, bool)
            await asyncio.sleep(LATE_S)
            assert await state(owner, waits) == "unknown"
        assert await settled_as(owner, waits) == "sent"


async def test_a_worker_listens_for_a_while_before_it_judges(
    settings: Settings, pool: Pool, owner: Conn, bot: Tenant, publisher: IngestLog
) -> None:
    """Nobody took statuses in for an hour. Meta repeats what it could not deliver, but not at
    once."""
    silent, heard = [await unknown(owner, bot, timedelta(hours=1)) for _ in range(2)]
    async with working(settings, pool, "one"):
        began = time.monotonic()
        await asyncio.sleep(WAIT.total_seconds() * 0.6)
        await publisher.publish([Entry("status", statuses_for(bot, of(heard, 2)))])
        assert await settled_as(owner, heard) == "sent"
        assert await state(owner, silent) == "unknown"
        assert await settled_as(owner, silent) == "queued"
        took = time.monotonic() - began
    assert WAIT.total_seconds() - 0.2 < took < WAIT.total_seconds() + LATE_S
