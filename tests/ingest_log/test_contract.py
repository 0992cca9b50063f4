"""Order, batches, hand-backs, stops and crashes, on a real broker."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import aio_pika
import pytest

from cli.servers import RabbitMQ, rabbitmq
from handlers.ingest_log.port import LANES, Entry, HandBack, NotDurable
from handlers.ingest_log.rabbitmq import (
    BATCH_MAX,
    ORDERED_QUEUES,
    PREFETCH,
    Publisher,
    Standstill,
    declare_topology,
    standstill,
)
from tests.e2e.conftest import until
from tests.ingest_log import (
    Consumer,
    Recorder,
    entries,
    once_in_order,
    publish_patiently,
    publishing,
    repeated,
)
from tests.ingress import messages
from tests.rabbitmqctl import control

DEAD_BROKER = "amqp://guest:guest@127.0.0.1:1/"
YOUNG_QUEUES_S = 2.0  # RabbitMQ 3.10 loses queues that are younger than that in a crash


@pytest.fixture(scope="module")
async def node() -> AsyncIterator[RabbitMQ]:
    """One that may be killed."""
    async with rabbitmq(in_memory=True) as server:
        await declare_topology(server.url)  # waits until RabbitMQ has registered the new queues
        yield server


@pytest.fixture
async def broker(broker: RabbitMQ) -> RabbitMQ:
    """The session's, without what other suites may have left in it."""
    await messages(broker.url)
    return broker


@pytest.fixture(autouse=True)
async def nobody_stays() -> AsyncIterator[None]:
    """What a failed test leaves running would take the entries of the next."""
    yield
    for consumer in list(Consumer.alive):
        await consumer.kill()


async def waiting(url: str, lane: str) -> int:
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        queue = await channel.declare_queue(ORDERED_QUEUES[lane], passive=True)
        return queue.declaration_result.message_count or 0


async def consumers(url: str, lane: str) -> int:
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        queue = await channel.declare_queue(ORDERED_QUEUES[lane], passive=True)
        return queue.declaration_result.consumer_count or 0


async def emptied(url: str, *lanes: str) -> None:
    for lane in lanes or LANES:
        await until(lambda lane=lane: waiting(url, lane), lambda n: n == 0)  # type: ignore[misc]


# ---- order -------------------------------------------------------------------------------------


async def test_each_lane_is_in_order_with_two_consumers_on_all(broker: RabbitMQ) -> None:
    total = 4_000
    recorders = [Recorder("one"), Recorder("two")]
    consumers = [Consumer(broker.url, r, name=r.name) for r in recorders]
    for consumer in consumers:
        await consumer.is_connected()
    async with publishing(broker.url) as publisher:
        for start in range(0, total, 200):
            await publisher.publish(entries(range(start, start + 200)))

    async def seen() -> int:
        return sum(len(r.numbers) for r in recorders)

    await until(seen, lambda n: n >= total, 30)
    assert sorted(n for r in recorders for n in r.numbers) == list(range(total))
    for lane_number, lane in enumerate(LANES):
        # Who reads a lane reads all of it.
        (numbers,) = [r.by_lane()[lane] for r in recorders if lane in r.by_lane()]
        assert numbers == list(range(lane_number, total, len(LANES)))
    assert max(len(b) for r in recorders for b in r.batches) <= BATCH_MAX
    for consumer in consumers:
        await consumer.stop()
    await emptied(broker.url)


async def test_a_consumer_that_dies_is_followed_in_order(broker: RabbitMQ) -> None:
    total = 1_600
    first, second = Recorder("first", seconds=0.01), Recorder("second")
    dying = Consumer(broker.url, first, name="first")
    await dying.is_connected()
    heir = Consumer(broker.url, second, name="second")
    await heir.is_connected()
    async with publishing(broker.url) as publisher:
        for start in range(0, total, 160):
            await publisher.publish(entries(range(start, start + 160)))
            if start == total // 2:
                await first.has(100)
                await dying.kill()

    async def seen() -> int:
        return len({*first.numbers, *second.numbers})

    await until(seen, lambda n: n >= total)
    for number, lane in enumerate(LANES):
        numbers = first.by_lane().get(lane, []) + second.by_lane().get(lane, [])
        assert once_in_order(numbers) == list(range(number, total, len(LANES)))
    await heir.stop()
    await emptied(broker.url)


# ---- batches -----------------------------------------------------------------------------------


async def test_a_batch_is_forgotten_when_its_handler_returns(broker: RabbitMQ) -> None:
    gate = asyncio.Event()
    recorder = Recorder(gate=gate)
    consumer = Consumer(broker.url, recorder, ["p00"])
    await consumer.is_connected()
    async with publishing(broker.url) as publisher:
        await publisher.publish(entries(range(50), ["p00"]))
    await until(lambda: _length(recorder.begun), lambda n: n == 1)
    await consumer.kill()  # while it is handled
    assert recorder.batches == []
    await until(lambda: waiting(broker.url, "p00"), lambda n: n == 50)
    gate.set()
    consumer = Consumer(broker.url, recorder, ["p00"])
    await recorder.has(50)
    await emptied(broker.url, "p00")  # acknowledged, while the consumer stays
    await consumer.kill()
    assert recorder.numbers == list(range(50))
    again = Recorder()
    last = Consumer(broker.url, again, ["p00"])
    await last.is_connected()
    async with publishing(broker.url) as publisher:
        await publisher.publish([Entry("p00", b"p00:50")])
    await again.has(1)
    assert again.numbers == [50]
    await last.stop()


async def _is_connected(consumer: Consumer) -> bool:
    return consumer.connected


async def _length(found: list[list[tuple[str, int]]]) -> int:
    return len(found)


async def test_what_is_handed_back_comes_again_in_order(broker: RabbitMQ) -> None:
    recorder = Recorder(failures=[HandBack(), HandBack(), HandBack()])
    consumer = Consumer(broker.url, recorder, ["p03"])
    await consumer.is_connected()
    async with publishing(broker.url) as publisher:
        for n in range(0, 300, 30):
            await publisher.publish(entries(range(n, n + 30), ["p03"]))
    await recorder.has(300)
    assert recorder.numbers == list(range(300))
    assert [batch[0] for batch in recorder.begun[:4]] == [("p03", 0)] * 4
    await consumer.stop()
    await emptied(broker.url, "p03")


@pytest.mark.parametrize("error", [ValueError("a mistake"), KeyError("another")])
async def test_a_mistake_of_the_handler_is_told_and_loses_nothing(
    broker: RabbitMQ, error: Exception
) -> None:
    recorder = Recorder(failures=[error])
    consumer = Consumer(broker.url, recorder, ["p04"])
    await consumer.is_connected()
    async with publishing(broker.url) as publisher:
        await publisher.publish(entries(range(20), ["p04"]))
    with pytest.raises(type(error)):
        await consumer.task
    assert not consumer.connected
    after = Consumer(broker.url, recorder, ["p04"])
    await recorder.has(20)
    assert recorder.numbers == list(range(20))
    await after.stop()
    await emptied(broker.url, "p04")


@pytest.mark.parametrize("error", [OSError("away"), TimeoutError()])
async def test_a_handlers_lost_connection_is_survived(broker: RabbitMQ, error: Exception) -> None:
    recorder = Recorder(failures=[error])
    consumer = Consumer(broker.url, recorder, ["p04"])
    async with publishing(broker.url) as publisher:
        await publisher.publish(entries(range(20), ["p04"]))
    await recorder.has(20)
    assert recorder.numbers == list(range(20))
    await consumer.stop()
    await emptied(broker.url, "p04")


async def test_a_queue_that_is_deleted_and_made_again_is_read_again(node: RabbitMQ) -> None:
    recorder = Recorder()
    consumer = Consumer(node.url, recorder, ["p05", "p06"])
    await consumer.is_connected()
    connection = await aio_pika.connect(node.url)
    async with connection, connection.channel() as channel:
        await channel.queue_delete(ORDERED_QUEUES["p05"])
        # Made again within milliseconds, RabbitMQ 3.10 may forget to tell the consumer.
        await until(lambda: _is_connected(consumer), lambda connected: not connected)
        await consumer.is_connected()
    async with publishing(node.url) as publisher:
        for n in range(20):
            await publish_patiently(publisher, entries([n], ["p05"]))
        await recorder.has(20)
    assert recorder.by_lane() == {"p05": list(range(20))}
    await consumer.stop()
    await asyncio.sleep(YOUNG_QUEUES_S)  # the new queue, for the crashes of others


async def test_a_subscription_that_only_the_broker_forgot_is_made_anew(node: RabbitMQ) -> None:
    """The queue drops the consumer; nobody is told, and the channel stays open."""
    recorder = Recorder()
    consumer = Consumer(node.url, recorder, ["p05"])
    await consumer.is_connected()
    await control(node, "eval", FORGET_CONSUMERS.replace("QUEUE", ORDERED_QUEUES["p05"]))
    assert await consumers(node.url, "p05") == 0
    await until(lambda: consumers(node.url, "p05"), lambda n: n == 1)  # with nothing in the queue
    async with publishing(node.url) as publisher:
        await publisher.publish(entries(range(20), ["p05"]))
        await recorder.has(20)
    await consumer.stop()
    await emptied(node.url, "p05")


async def test_a_subscription_that_stands_still_is_made_anew(node: RabbitMQ) -> None:
    """The broker counts the consumer, and its channel hangs: nothing comes out of it any more."""
    total = PREFETCH * 2
    recorder = Recorder()
    consumer = Consumer(node.url, recorder, ["p06"])
    await consumer.is_connected()
    await control(node, "eval", SUSPEND_CHANNELS)
    async with publishing(node.url) as publisher:
        await publisher.publish(entries(range(total), ["p06"]))
        await until(lambda: waiting(node.url, "p06"), lambda n: n == total - PREFETCH)
        assert await consumers(node.url, "p06") == 1
        await recorder.has(total, 60)
    assert recorder.numbers == list(range(total))
    await consumer.stop()
    await emptied(node.url, "p06")


FORGET_CONSUMERS = """
    {ok, Queue} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"QUEUE">>)),
    Server = amqqueue:get_pid(Queue),
    [{ok, _, _} = ra:process_command(Server, {checkout, Id, cancel, #{}})
     || {Id, _} <- maps:to_list(element(2, element(2, ra:local_query(Server,
            fun rabbit_fifo:query_consumers/1))))].
"""
SUSPEND_CHANNELS = """
    [sys:suspend(Channel) || Channel <- rabbit_channel:list(),
     proplists:get_value(consumer_count, rabbit_channel:info(Channel, [consumer_count])) > 0].
"""


# ---- stopping ----------------------------------------------------------------------------------


async def test_a_stop_finishes_the_batch_that_runs(broker: RabbitMQ) -> None:
    gate = asyncio.Event()
    recorder = Recorder(gate=gate)
    consumer = Consumer(broker.url, recorder, ["p07"])
    await consumer.is_connected()
    async with publishing(broker.url) as publisher:
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
    following = Consumer(broker.url, follower, ["p07"])
    await follower.has(30 - done)
    assert follower.numbers == list(range(done, 30))
    await following.stop()
    await emptied(broker.url, "p07")


async def test_rolling_restarts_double_and_reorder_nothing(broker: RabbitMQ) -> None:
    total = 3_200
    recorders = [Recorder(str(n), seconds=0.002) for n in range(6)]
    async with publishing(broker.url) as publisher:

        async def produce() -> None:
            for start in range(0, total, 64):
                await publisher.publish(entries(range(start, start + 64)))
                await asyncio.sleep(0.02)

        producing = asyncio.create_task(produce())
        current = Consumer(broker.url, recorders[0], name="0")
        await current.is_connected()
        for recorder in recorders[1:]:
            following = Consumer(broker.url, recorder, name=recorder.name)
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
        numbers = [n for r in recorders for n in r.by_lane().get(lane, [])]
        assert numbers == list(range(number, total, len(LANES)))
    await current.stop()


async def test_an_idle_consumer_stops_at_once(broker: RabbitMQ) -> None:
    consumer = Consumer(broker.url, Recorder())
    await consumer.is_connected()
    assert await consumer.stop() < 1
    assert not consumer.connected


async def test_a_stop_does_not_wait_for_a_broker_that_is_away() -> None:
    consumer = Consumer(DEAD_BROKER, Recorder())
    await asyncio.sleep(0.3)
    assert not consumer.connected
    assert await consumer.stop() < 2


async def test_a_stop_does_not_wait_for_a_broker_that_hangs(node: RabbitMQ) -> None:
    consumer = Consumer(node.url, Recorder())
    await consumer.is_connected()
    os.kill(node.pid, signal.SIGSTOP)
    try:
        assert await consumer.stop() < 5
    finally:
        os.kill(node.pid, signal.SIGCONT)


# ---- the door's side ---------------------------------------------------------------------------


async def test_a_publisher_told_to_end_while_the_broker_is_away_ends() -> None:
    # At whatever step of an attempt; at steps 6 to 8 it once went on for ever.
    for steps in range(40):
        running = asyncio.create_task(Publisher(DEAD_BROKER, "tests").run())
        for _ in range(steps):
            await asyncio.sleep(0)
        running.cancel()
        done, _ = await asyncio.wait({running}, timeout=10)
        running.cancel()
        assert done, steps


async def test_a_dead_broker_is_told_at_once() -> None:
    loop = asyncio.get_running_loop()
    async with publishing(DEAD_BROKER, wait=False) as publisher:
        for _ in range(3):
            started = loop.time()
            with pytest.raises(NotDurable, match="not connected"):
                await publisher.publish(entries(range(3)))
            assert loop.time() - started < 0.1
            await asyncio.sleep(0.1)
        assert publisher.problem == "not connected to RabbitMQ"


async def test_nothing_is_published_at_once(broker: RabbitMQ) -> None:
    async with publishing(broker.url) as publisher:
        await publisher.publish([])


async def test_a_lane_that_does_not_exist_is_not_durable(broker: RabbitMQ) -> None:
    async with publishing(broker.url) as publisher:
        with pytest.raises(NotDurable, match="returned"):
            await publisher.publish([Entry("p00", b"p00:1"), Entry("p99", b"p99:2")])
        await publisher.publish([Entry("p00", b"p00:3")])


async def test_a_full_queue_is_not_durable(node: RabbitMQ) -> None:
    connection = await aio_pika.connect(node.url)
    async with connection, connection.channel() as channel:
        exchange = await channel.get_exchange("wa.in", ensure=False)
        small = await channel.declare_queue(
            "small",
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-overflow": "reject-publish",
                "x-max-length": 3,
            },
        )
        await small.bind(exchange, routing_key="small")
        async with publishing(node.url) as publisher:
            taken = 0

            async def fits() -> bool:
                nonlocal taken
                try:
                    await publisher.publish([Entry("small", b"small:1")])
                except NotDurable:
                    return False
                taken += 1
                return True

            await until(fits, lambda fitted: not fitted)
            assert 3 <= taken < 50
            await small.purge()
            await until(fits, bool)
        await channel.queue_delete("small")


async def test_a_broker_that_hangs_costs_two_seconds(node: RabbitMQ) -> None:
    loop = asyncio.get_running_loop()
    async with publishing(node.url) as publisher:
        os.kill(node.pid, signal.SIGSTOP)
        try:
            started = loop.time()
            with pytest.raises(NotDurable, match="not confirmed"):
                await publisher.publish(entries(range(16)))
            assert 1.5 < loop.time() - started < 3
        finally:
            os.kill(node.pid, signal.SIGCONT)
        await publish_patiently(publisher, entries(range(16)))
    recorder = Recorder()
    consumer = Consumer(node.url, recorder)
    await recorder.has(16)
    await consumer.stop()


# ---- crashes -----------------------------------------------------------------------------------


async def test_crashes_lose_and_reorder_nothing(node: RabbitMQ) -> None:
    """The node is killed twice while entries come in and batches are handled."""
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
    await emptied(node.url, *lanes)


async def test_a_consumer_that_came_before_the_broker_is_served(node: RabbitMQ) -> None:
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


# ---- the watch ---------------------------------------------------------------------------------


def test_a_standstill_begins_with_the_first_look_that_shows_one() -> None:
    first = standstill(None, 10.0, 5, 100)
    assert first == Standstill(since=10.0, waiting=5, got=100)
    second = standstill(first, 15.0, 7, 100)
    assert second == Standstill(since=10.0, waiting=7, got=100)


@pytest.mark.parametrize(
    ("waiting", "got", "expected"),
    [
        (0, 100, None),  # nothing waits
        (9, None, None),  # a batch is in hand: what waits, waits for us
        (4, 100, Standstill(20.0, 4, 100)),  # somebody takes them
        (9, 101, Standstill(20.0, 9, 101)),  # we do
    ],
)
def test_what_moves_is_no_standstill(
    waiting: int, got: int | None, expected: Standstill | None
) -> None:
    assert standstill(Standstill(10.0, 5, 100), 20.0, waiting, got) == expected
