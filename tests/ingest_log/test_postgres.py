"""What the table does by its own means: late commits, locks, the limit of deliveries."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from db.ingest_log import Size, Waiting, connect_publishing
from db.pool import Conn
from handlers.ingest_log.port import BATCH_BYTES, DEAD_LANES, DELIVERY_LIMIT, Entry, HandBack
from handlers.ingest_log.postgres import (
    BYTES_MAX,
    ENTRIES_MAX,
    SUSPECT,
    chosen,
    consume,
    dead_lane_of,
    full,
    prepare,
)
from tests.conftest import Database
from tests.e2e.conftest import until
from tests.ingest_log import Consumer, Recorder, entries, publishing
from tests.ingest_log.logs import PostgresLog, emptied

INSERT = "INSERT INTO ingest_entries (lane, body) VALUES ($1, $2)"


@pytest.fixture
async def late(database: Database) -> AsyncIterator[Conn]:
    """A publisher whose commit takes long."""
    conn = await connect_publishing(database.log_url, "late")
    yield conn
    conn.terminate()


# ---- what is committed late ----------------------------------------------------------------------


async def test_an_entry_with_a_smaller_id_that_is_committed_later_is_not_passed_over(
    postgres_log: PostgresLog, late: Conn
) -> None:
    recorder = Recorder()
    consumer = Consumer(postgres_log.url, recorder, ["p00"])
    await late.execute("BEGIN")
    await late.execute(INSERT, "p00", b"p00:0")
    async with publishing(postgres_log.url) as publisher:
        await publisher.publish(entries([1, 2], ["p00"]))
        await recorder.has(2)
        await emptied(postgres_log, "p00")
    await late.execute("COMMIT")
    await recorder.has(3)
    assert recorder.numbers == [1, 2, 0]
    await consumer.stop()
    await emptied(postgres_log, "p00")


async def test_what_is_committed_while_a_batch_is_handled_is_not_deleted_with_it(
    postgres_log: PostgresLog, late: Conn
) -> None:
    gate = asyncio.Event()
    recorder = Recorder(gate=gate)
    consumer = Consumer(postgres_log.url, recorder, ["p00"])
    await late.execute("BEGIN")
    await late.execute(INSERT, "p00", b"p00:0")
    async with publishing(postgres_log.url) as publisher:
        await publisher.publish(entries([1], ["p00"]))

    async def begun() -> int:
        return len(recorder.begun)

    await until(begun, lambda n: n == 1)
    await late.execute("COMMIT")
    gate.set()
    await recorder.has(2)
    assert recorder.numbers == [1, 0]
    await consumer.stop()


# ---- who holds a lane ----------------------------------------------------------------------------


async def test_one_slow_batch_leaves_the_other_lanes_to_others(postgres_log: PostgresLog) -> None:
    gate = asyncio.Event()
    slow, quick = Recorder(gate=gate), Recorder()
    first = Consumer(postgres_log.url, slow)
    async with publishing(postgres_log.url) as publisher:
        await publisher.publish(entries(range(16)))

        async def begun() -> int:
            return len(slow.begun)

        await until(begun, lambda n: n == 1)
        second = Consumer(postgres_log.url, quick)
        await quick.has(12)
        assert {*range(16)} - {*quick.numbers} == {n for _, n in slow.begun[0]}
    gate.set()
    await slow.has(4)
    await first.stop()
    await second.stop()


async def test_a_lane_whose_lock_was_lost_is_read_by_another(
    postgres_log: PostgresLog, owner: Conn
) -> None:
    """The first one's handler goes on; what it did is not lost, and it deletes nothing."""
    gate = asyncio.Event()
    slow = Recorder(gate=gate)
    first = Consumer(postgres_log.url, slow, ["p00"])
    async with publishing(postgres_log.url) as publisher:
        await publisher.publish(entries(range(3), ["p00"]))

        async def begun() -> int:
            return len(slow.begun)

        await until(begun, lambda n: n == 1)
        cut = await owner.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert len(cut) == 1
        follower = Recorder()
        second = Consumer(postgres_log.url, follower, ["p00"])
        await follower.has(3)
        await emptied(postgres_log, "p00")
        await publisher.publish(entries([3], ["p00"]))
        await follower.has(4)
    gate.set()
    await first.stop()
    await second.stop()
    assert follower.numbers == [0, 1, 2, 3]


# ---- delivered too often -------------------------------------------------------------------------


async def test_an_entry_that_is_never_done_with_goes_to_the_dead_lane_alone(
    postgres_log: PostgresLog, owner: Conn
) -> None:
    class Poisoned(Recorder):
        async def __call__(self, bodies: Sequence[bytes]) -> None:
            self.begun.append([("status", int(b.partition(b":")[2])) for b in bodies])
            if b"status:1" in bodies:
                raise HandBack
            self.batches.append(self.begun[-1])

    reading, dead = Poisoned(), Recorder()
    async with publishing(postgres_log.url) as publisher:
        await publisher.publish(entries(range(3), ["status"]))
        consumer = Consumer(postgres_log.url, reading, ["status"])
        await until(
            lambda: owner.fetchval("SELECT times FROM ingest_deliveries WHERE first_id = 2"),
            lambda times: times is not None,
        )
        # As if it had been delivered as often as it may but once.
        await owner.execute("UPDATE ingest_deliveries SET times = $1", DELIVERY_LIMIT - 1)
        burying = Consumer(postgres_log.url, dead, DEAD_LANES)
        await reading.has(2)
        await emptied(postgres_log, "status", *DEAD_LANES)
    assert reading.numbers == [0, 2]
    assert dead.numbers == [1]
    begun = [[n for _, n in batch] for batch in reading.begun]
    assert begun[: SUSPECT + 1] == [[0, 1, 2]] * SUSPECT + [[0]]
    assert begun[-2:] == [[1], [2]]
    await consumer.stop()
    await burying.stop()


async def test_a_delivery_is_counted_before_the_handler_begins(
    postgres_log: PostgresLog, owner: Conn
) -> None:
    recorder = Recorder(gate=asyncio.Event())
    consumer = Consumer(postgres_log.url, recorder, ["p00"])
    async with publishing(postgres_log.url) as publisher:
        await publisher.publish(entries(range(3), ["p00"]))

    async def begun() -> int:
        return len(recorder.begun)

    await until(begun, lambda n: n == 1)
    await consumer.kill()
    assert await owner.fetchval("SELECT times FROM ingest_deliveries WHERE lane = 'p00'") == 1


def test_a_suspected_entry_is_chosen_alone() -> None:
    trusted = [Waiting(n, "p00", b"", 0) for n in range(3)]
    suspected = Waiting(9, "p01", b"", SUSPECT)
    assert chosen(trusted) == trusted
    assert chosen([*trusted, suspected]) == [suspected]


def test_every_lane_has_its_dead_lane() -> None:
    assert [dead_lane_of(lane) for lane in ("p07", "status", "other")] == list(DEAD_LANES)
    assert {dead_lane_of(lane) for lane in DEAD_LANES} == {None}


# ---- bounds --------------------------------------------------------------------------------------


async def test_a_batch_is_bounded_in_bytes(postgres_log: PostgresLog) -> None:
    sizes: list[int] = []

    async def measure(bodies: Sequence[bytes]) -> None:
        sizes.append(sum(map(len, bodies)))

    big = bytes(400_000)
    async with publishing(postgres_log.url) as publisher:
        for _ in range(3):
            await publisher.publish([Entry("p00", big)] * 3)
    stop = asyncio.Event()
    reading = asyncio.create_task(consume(postgres_log.url, "sizes", ["p00"], measure, stop))
    await emptied(postgres_log, "p00")
    stop.set()
    await reading
    assert sum(sizes) == 9 * len(big)
    assert max(sizes) < BATCH_BYTES + len(big)


@pytest.mark.parametrize(
    ("size", "is_full"),
    [
        (Size(ENTRIES_MAX - 1, BYTES_MAX - 1), False),
        (Size(ENTRIES_MAX, 0), True),
        (Size(1, BYTES_MAX), True),
    ],
)
def test_the_log_is_full_by_number_or_by_bytes(size: Size, is_full: bool) -> None:
    assert (full(size) is not None) == is_full


# ---- who may -------------------------------------------------------------------------------------


async def test_the_log_can_be_read_by_its_own_connections_only(
    postgres_log: PostgresLog, database: Database, late: Conn
) -> None:
    assert "table" in await prepare(database.log_url)
    assert await late.fetchval("SELECT count(*) FROM ingest_entries") == 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await late.fetch("SELECT id FROM messages")
    app = await asyncpg.connect(database.runtime_url, server_settings={"role": "swiftreplies_app"})
    for forbidden in ("SELECT id FROM ingest_entries", "DELETE FROM ingest_entries"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(forbidden)
    await app.close()
