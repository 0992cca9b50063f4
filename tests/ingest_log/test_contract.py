"""What both adapters promise: order, batches, hand-backs, stops and crashes, on real servers."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handlers.ingest_log.port import (
    BATCH_MAX,
    DELIVERY_LIMIT,
    LANES,
    Entry,
    HandBack,
    NotDurable,
    NotNow,
)
from tests.e2e.conftest import until
from tests.ingest_log import (
    Consumer,
    Recorder,
    by_lane,
    entries,
    once_in_order,
    publish_patiently,
    publishing,
    repeated,
)
from tests.ingest_log.logs import Log, emptied


async def _length(found: list[list[tuple[str, int]]]) -> int:
    return len(found)


# ---- order ---------------------------------------------------------------------------------------


async def test_each_lane_is_in_order_with_two_consumers_on_all(log: Log) -> None:
    total = 4_000
    done: list[tuple[str, int]] = []
    recorders = [Recorder(name, log=done) for name in ("one", "two")]
    consumers = [Consumer(log.url, r, name=r.name) for r in recorders]
    for consumer in consumers:
        await consumer.is_connected()
    async with publishing(log.url) as publisher:
        for start in range(0, total, 200):
            await publisher.publish(entries(range(start, start + 200)))

    async def seen() -> int:
        return sum(len(r.numbers) for r in recorders)

    await until(seen, lambda n: n >= total, 30)
    assert sorted(n for r in recorders for n in r.numbers) == list(range(total))
    for number, lane in enumerate(LANES):
        assert by_lane(done)[lane] == list(range(number, total, len(LANES)))
    assert max(len(b) for r in recorders for b in r.batches) <= BATCH_MAX
    for consumer in consumers:
        await consumer.stop()
    await emptied(log)


async def test_a_consumer_that_dies_is_followed_in_order(log: Log) -> None:
    total = 1_600
    done: list[tuple[str, int]] = []
    first, second = Recorder("first", seconds=0.01, log=done), Recorder("second", log=done)
    dying = Consumer(log.url, first, name="first")
    await dying.is_connected()
    heir = Consumer(log.url, second, name="second")
    await heir.is_connected()
    async with publishing(log.url) as publisher:
        for start in range(0, total, 160):
            await publisher.publish(entries(range(start, start + 160)))
            if start == total // 2:
                await first.has(100)
                await dying.kill()

    async def seen() -> int:
        return len({*first.numbers, *second.numbers})

    await until(seen, lambda n: n >= total)
    for number, lane in enumerate(LANES):
        assert once_in_order(by_lane(done)[lane]) == list(range(number, total, len(LANES)))
    await heir.stop()
    await emptied(log)


# ---- batches -------------------------------------------------------------------------------------


async def test_a_batch_is_forgotten_when_its_handler_returns(log: Log) -> None:
    gate = asyncio.Event()
    recorder = Recorder(gate=gate)
    consumer = Consumer(log.url, recorder, ["p00"])
    await consumer.is_connected()
    async with publishing(log.url) as publisher:
        await publisher.publish(entries(range(50), ["p00"]))
    await until(lambda: _length(recorder.begun), lambda n: n == 1)
    await consumer.kill()  # while it is handled
    assert recorder.batches == []
    await until(lambda: log.waiting("p00"), lambda n: n == 50)
    gate.set()
    consumer = Consumer(log.url, recorder, ["p00"])
    await recorder.has(50)
    await emptied(log, "p00")  # acknowledged, while the consumer stays
    await consumer.kill()
    assert recorder.numbers == list(range(50))
    again = Recorder()
    last = Consumer(log.url, again, ["p00"])
    await last.is_connected()
    async with publishing(log.url) as publisher:
        await publisher.publish([Entry("p00", b"p00:50")])
    await again.has(1)
    assert again.numbers == [50]
    await last.stop()


async def test_what_is_handed_back_comes_again_in_order(log: Log) -> None:
    recorder = Recorder(failures=[HandBack(), HandBack(), HandBack()])
    consumer = Consumer(log.url, recorder, ["p03"])
    await consumer.is_connected()
    async with publishing(log.url) as publisher:
        for n in range(0, 300, 30):
            await publisher.publish(entries(range(n, n + 30), ["p03"]))
    await recorder.has(300)
    assert recorder.numbers == list(range(300))
    assert [batch[0] for batch in recorder.begun[:4]] == [("p03", 0)] * 4
    await consumer.stop()
    await emptied(log, "p03")


async def test_what_cannot_be_recorded_now_is_tried_with_what_came_meanwhile(log: Log) -> None:
    recorder = Recorder(failures=[NotNow() for _ in range(6)])
    consumer = Consumer(log.url, recorder, ["p05"])
    await consumer.is_connected()
    async with publishing(log.url) as publisher:
        await publisher.publish([Entry("p05", b"p05:0")])
        await until(lambda: _length(recorder.begun), lambda n: n >= 2)
        await publisher.publish(entries(range(1, 40), ["p05"]))
        await recorder.has(40)
    assert recorder.numbers == list(range(40))
    assert all(batch[0] == ("p05", 0) for batch in recorder.begun[:7])
    assert max(map(len, recorder.begun[:7])) == 40, "it came beside the others"
    await consumer.stop()
    await emptied(log, "p05")


async def test_a_stop_does_not_wait_for_what_cannot_be_recorded_now(log: Log) -> None:
    recorder = Recorder(failures=[NotNow() for _ in range(1_000)])
    consumer = Consumer(log.url, recorder, ["p06"])
    await consumer.is_connected()
    async with publishing(log.url) as publisher:
        await publisher.publish(entries(range(3), ["p06"]))
    await until(lambda: _length(recorder.begun), lambda n: n >= 2)
    await consumer.stop()
    again = Recorder()
    after = Consumer(log.url, again, ["p06"])
    await again.has(3)
    assert again.numbers == [0, 1, 2]
    await after.stop()


async def test_trying_for_long_does_not_make_an_entry_dead(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database may be away for hours: the entries that wait for it are not to blame."""
    monkeypatch.setattr("handlers.ingest_log.port.RETRY_MAX_S", 0.0)
    monkeypatch.setattr("handlers.ingest_log.port.RETRY_MIN_S", 0.0)
    tries = DELIVERY_LIMIT + 20
    recorder = Recorder(failures=[NotNow() for _ in range(tries)])
    consumer = Consumer(log.url, recorder, ["p08"])
    async with publishing(log.url) as publisher:
        await publisher.publish(entries(range(2), ["p08"]))
    await recorder.has(2, patience_s=60)
    assert len(recorder.begun) > tries
    assert recorder.numbers == [0, 1]
    await consumer.stop()


@pytest.mark.parametrize("error", [ValueError("a mistake"), KeyError("another")])
async def test_a_mistake_of_the_handler_is_told_and_loses_nothing(
    log: Log, error: Exception
) -> None:
    recorder = Recorder(failures=[error])
    consumer = Consumer(log.url, recorder, ["p04"])
    await consumer.is_connected()
    async with publishing(log.url) as publisher:
        await publisher.publish(entries(range(20), ["p04"]))
    with pytest.raises(type(error)):
        await consumer.task
    assert not consumer.connected
    after = Consumer(log.url, recorder, ["p04"])
    await recorder.has(20)
    assert recorder.numbers == list(range(20))
    await after.stop()
    await emptied(log, "p04")


@pytest.mark.parametrize("error", [OSError("away"), TimeoutError()])
async def test_a_handlers_lost_connection_is_survived(log: Log, error: Exception) -> None:
    recorder = Recorder(failures=[error])
    consumer = Consumer(log.url, recorder, ["p04"])
    async with publishing(log.url) as publisher:
        await publisher.publish(entries(range(20), ["p04"]))
    await recorder.has(20)
    assert recorder.numbers == list(range(20))
    await consumer.stop()
    await emptied(log, "p04")


# ---- stopping ------------------------------------------------------------------------------------


async def test_a_stop_finishes_the_batch_that_runs(log: Log) -> None:
    gate = asyncio.Event()
    recorder = Recorder(gate=gate)
    consumer = Consumer(log.url, recorder, ["p07"])
    await consumer.is_connected()
    async with publishing(log.url) as publisher:
        await publisher.publish(entries(range(5), ["p07"]))
        await until(lambda: _length(recorder.begun), lambda n: n == 1)
        await publisher.publish(entries(range(5, 30), ["p07"]))
        consumer.stopping.set()
        await asyncio.sleep(0.2)  # nothing to see: it must wait for the gate
        assert not consumer.task.done()
        gate.set()
        assert await consumer.stop() < 2
    done = len(recorder.numbers)
    assert recorder.numbers == list(range(done))
    assert len(recorder.batches) == 1
    follower = Recorder()
    following = Consumer(log.url, follower, ["p07"])
    await follower.has(30 - done)
    assert follower.numbers == list(range(done, 30))
    await following.stop()
    await emptied(log, "p07")


async def test_rolling_restarts_double_and_reorder_nothing(log: Log) -> None:
    total = 3_200
    done: list[tuple[str, int]] = []
    recorders = [Recorder(str(n), seconds=0.002, log=done) for n in range(6)]
    async with publishing(log.url) as publisher:

        async def produce() -> None:
            for start in range(0, total, 64):
                await publisher.publish(entries(range(start, start + 64)))
                await asyncio.sleep(0.02)

        producing = asyncio.create_task(produce())
        current = Consumer(log.url, recorders[0], name="0")
        await current.is_connected()
        for recorder in recorders[1:]:
            following = Consumer(log.url, recorder, name=recorder.name)
            await following.is_connected()
            await asyncio.sleep(0.1)
            await current.stop()
            current = following
        await producing

    async def seen() -> int:
        return sum(len(r.numbers) for r in recorders)

    await until(seen, lambda n: n >= total)
    assert repeated([n for r in recorders for n in r.numbers]) == 0
    for number, lane in enumerate(LANES):
        assert by_lane(done)[lane] == list(range(number, total, len(LANES)))
    await current.stop()


async def test_an_idle_consumer_stops_at_once(log: Log) -> None:
    consumer = Consumer(log.url, Recorder())
    await consumer.is_connected()
    assert await consumer.stop() < 1
    assert not consumer.connected


async def test_a_stop_does_not_wait_for_a_server_that_is_away(log: Log) -> None:
    consumer = Consumer(log.away, Recorder())
    await asyncio.sleep(0.3)
    assert not consumer.connected
    assert await consumer.stop() < 2


async def test_a_stop_does_not_wait_for_a_server_that_hangs(node: Log) -> None:
    consumer = Consumer(node.url, Recorder())
    await consumer.is_connected()
    node.hang(True)
    try:
        assert await consumer.stop() < 5
    finally:
        node.hang(False)


# ---- the door's side -----------------------------------------------------------------------------


async def test_a_dead_server_is_told_at_once(log: Log) -> None:
    loop = asyncio.get_running_loop()
    async with publishing(log.away, wait=False) as publisher:
        for _ in range(3):
            started = loop.time()
            with pytest.raises(NotDurable, match="not connected"):
                await publisher.publish(entries(range(3)))
            assert loop.time() - started < 0.1
            await asyncio.sleep(0.1)
        assert publisher.problem == f"not connected to {log.server_name}"


async def test_nothing_is_published_at_once(log: Log) -> None:
    async with publishing(log.url) as publisher:
        await publisher.publish([])


async def test_a_lane_that_does_not_exist_is_not_durable(log: Log) -> None:
    async with publishing(log.url) as publisher:
        with pytest.raises(NotDurable, match="refused"):
            await publisher.publish([Entry("p00", b"p00:1"), Entry("p99", b"p99:2")])
        await publisher.publish([Entry("p00", b"p00:3")])


async def test_a_full_log_is_not_durable(log: Log) -> None:
    async with publishing(log.url) as publisher, log.nearly_full() as small:

        async def fits() -> bool:
            try:
                await publisher.publish([Entry(small.lane, b"p13:1")] * 3)
            except NotDurable:
                return False
            return True

        await until(fits, lambda fitted: not fitted)
        await small.empty()
        await until(fits, bool)


async def test_a_server_that_hangs_costs_two_seconds(node: Log) -> None:
    loop = asyncio.get_running_loop()
    async with publishing(node.url) as publisher:
        node.hang(True)
        try:
            started = loop.time()
            with pytest.raises(NotDurable, match="not confirmed"):
                await publisher.publish(entries(range(16)))
            assert 1.5 < loop.time() - started < 3
        finally:
            node.hang(False)
        await publish_patiently(publisher, entries(range(16)))
    recorder = Recorder()
    consumer = Consumer(node.url, recorder)
    await recorder.has(16)
    await consumer.stop()


# ---- crashes -------------------------------------------------------------------------------------


async def test_crashes_lose_and_reorder_nothing(node: Log) -> None:
    """The server is killed twice while entries come in and batches are handled."""
    lanes = LANES[8:12]
    total = 1_200
    recorder = Recorder(seconds=0.02)
    consumer = Consumer(node.url, recorder, lanes)
    await consumer.is_connected()
    async with publishing(node.url) as publisher:

        async def produce(lane_number: int) -> None:
            for n in range(lane_number, total, len(lanes)):
                await publish_patiently(publisher, entries([n], lanes))

        producing = [asyncio.create_task(produce(n)) for n in range(len(lanes))]
        for share in (3, 2):
            await recorder.has(total // (share * 2))
            await node.crash()
            await node.start()
        await asyncio.gather(*producing)
    await recorder.has(total, 30)
    for number, lane in enumerate(lanes):
        got = once_in_order(recorder.by_lane()[lane])
        assert got == list(range(number, total, len(lanes)))
    assert await consumer.stop() < 3
    await emptied(node, *lanes)


async def test_a_consumer_that_came_before_the_server_is_served(node: Log) -> None:
    await node.stop()
    recorder = Recorder()
    consumer = Consumer(node.url, recorder, ["p15"])
    async with publishing(node.url, wait=False) as publisher:
        with pytest.raises(NotDurable):
            await publisher.publish(entries(range(5), ["p15"]))
        await node.start()
        await publish_patiently(publisher, entries(range(5), ["p15"]))
        await recorder.has(5)
    await consumer.stop()


# ---- several processes -------------------------------------------------------------------------


class Processes:
    """Consumers that are processes, and the file in which they write down what they do."""

    def __init__(self, url: str, file: Path, lanes: tuple[str, ...]) -> None:
        self._command = [sys.executable, "-m", "tests.ingest_log.consumer", url, str(file), *lanes]
        self._file = file
        self._file.touch()
        self.alive: list[asyncio.subprocess.Process] = []

    async def start(self, *options: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(*self._command, *options)
        self.alive.append(process)
        return process

    def lines(self) -> list[tuple[str, int, str, int]]:
        """(begun or done, the process, lane, number), as they happened."""
        found = []
        for line in self._file.read_text().splitlines():
            what, pid, entry = line.split()
            lane, _, number = entry.partition(":")
            found.append((what, int(pid), lane, int(number)))
        return found

    async def done(self) -> int:
        return len({(lane, n) for what, _, lane, n in self.lines() if what == "done"})

    async def begun(self) -> int:
        return len(self.lines())


@pytest.fixture
async def processes(log: Log, tmp_path: Path) -> AsyncIterator[Processes]:
    made = Processes(log.url, tmp_path / "done", LANES[:4])
    yield made
    for process in made.alive:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_process_killed_in_mid_batch_is_followed(log: Log, processes: Processes) -> None:
    hanging = await processes.start("--hang")
    async with publishing(log.url) as publisher:
        await publisher.publish(entries(range(40), LANES[:4]))
        await until(processes.begun, lambda n: n > 0)
        hanging.kill()
        recorder = Recorder()
        consumer = Consumer(log.url, recorder, LANES[:4])
        await recorder.has(40)
    for number, lane in enumerate(LANES[:4]):
        assert once_in_order(recorder.by_lane()[lane]) == list(range(number, 40, 4))
    await consumer.stop()


async def test_processes_that_come_and_are_killed_keep_the_order(
    log: Log, processes: Processes
) -> None:
    total = 1_200
    first, _ = await processes.start(), await processes.start()
    async with publishing(log.url) as publisher:
        for start in range(0, total, 40):
            await publisher.publish(entries(range(start, start + 40), LANES[:4]))
            if start == 400:
                await until(processes.done, lambda n: n > 40)
                first.kill()
                await processes.start()
    await until(processes.done, lambda n: n == total)
    lines = processes.lines()
    for number, lane in enumerate(LANES[:4]):
        done = [n for what, _, at, n in lines if what == "done" and at == lane]
        assert once_in_order(done) == list(range(number, total, 4))
        # One at a time: whoever begins a batch of the lane does so after the last one ended.
        holder: int | None = None
        for what, pid, at, _ in lines:
            if at == lane:
                assert holder in (None, pid, first.pid)
                holder = pid if what == "begun" else None
    await emptied(log, *LANES[:4])
