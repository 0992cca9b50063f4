"""What only RabbitMQ does, and what only it gets wrong."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import aio_pika
import pytest

from handlers.ingest_log.port import LANES
from handlers.ingest_log.rabbitmq.connection import UNREACHABLE, connect
from handlers.ingest_log.rabbitmq.consumer import PREFETCH
from handlers.ingest_log.rabbitmq.publisher import Publisher
from handlers.ingest_log.rabbitmq.topology import ORDERED_QUEUES
from handlers.ingest_log.rabbitmq.watchdog import Standstill, standstill
from tests.e2e.conftest import until
from tests.ingest_log import Consumer, Recorder, entries, publish_patiently, publishing
from tests.ingest_log.logs import YOUNG_QUEUES_S, RabbitLog, emptied, killable
from tests.rabbitmqctl import control

DEAD_BROKER = "amqp://guest:guest@127.0.0.1:1/"


@pytest.fixture(scope="module")
async def node() -> AsyncIterator[RabbitLog]:
    """One that may be killed."""
    async with killable("rabbitmq") as log:
        assert isinstance(log, RabbitLog)
        yield log


async def consumers(url: str, lane: str) -> int:
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        queue = await channel.declare_queue(ORDERED_QUEUES[lane], passive=True)
        return queue.declaration_result.consumer_count or 0


async def _is_connected(consumer: Consumer) -> bool:
    return consumer.connected


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


async def test_a_connection_that_failed_is_closed_before_it_is_collected() -> None:
    """Any thread may collect it, and closing it needs its own loop."""
    with pytest.raises(UNREACHABLE):
        await connect(DEAD_BROKER, "tests")
    made = [one for one in gc.get_objects() if isinstance(one, aio_pika.Connection)]
    failed = [one for one in made if str(one.url).startswith(DEAD_BROKER)]
    assert failed
    assert all(one.is_closed for one in failed)


@asynccontextmanager
async def falls_silent(url: str, times: int) -> AsyncIterator[str]:
    """By this URL the first connections open, beat and answer nothing else: a node that is just
    back and has no leader for its queues yet."""
    parts = urlsplit(url)
    left = times

    async def up(reader: asyncio.StreamReader, node: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65_536):
                node.write(chunk)
        node.close()

    async def down(node: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        left -= 1
        is_silent, is_open = left >= 0, False
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await node.readexactly(7)
                frame += await node.readexactly(int.from_bytes(frame[3:], "big") + 1)
                if not is_open or not is_silent or frame[0] == 8:
                    writer.write(frame)
                is_open |= frame[7:11] == b"\x00\x0a\x00\x29"  # Connection.OpenOk
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(up(reader, forth), down(back, writer))

    async with await asyncio.start_server(carry, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        login = parts.netloc.rpartition("@")[0]
        yield urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}"))


async def test_a_broker_that_beats_and_does_not_answer_is_left(node: RabbitLog) -> None:
    """The beats of such a connection go on, so that nothing else would ever end the wait."""
    async with falls_silent(node.url, times=2) as url:
        recorder = Recorder("patient")
        consumer = Consumer(url, recorder)
        async with publishing(url, wait=False) as publisher:
            async with asyncio.timeout(40):
                await publish_patiently(publisher, entries(range(1)))
                await recorder.has(1)
        await consumer.stop()


async def test_who_reads_a_lane_reads_all_of_it(node: RabbitLog) -> None:
    total = 1_600
    recorders = [Recorder("one"), Recorder("two")]
    reading = [Consumer(node.url, r, name=r.name) for r in recorders]
    for consumer in reading:
        await consumer.is_connected()
    async with publishing(node.url) as publisher:
        for start in range(0, total, 200):
            await publisher.publish(entries(range(start, start + 200)))

    async def seen() -> int:
        return sum(len(r.numbers) for r in recorders)

    await until(seen, lambda n: n >= total)
    for number, lane in enumerate(LANES):
        (numbers,) = [r.by_lane()[lane] for r in recorders if lane in r.by_lane()]
        assert numbers == list(range(number, total, len(LANES)))
    for consumer in reading:
        await consumer.stop()


async def test_a_queue_that_is_deleted_and_made_again_is_read_again(node: RabbitLog) -> None:
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


async def test_a_subscription_that_only_the_broker_forgot_is_made_anew(node: RabbitLog) -> None:
    """The queue drops the consumer; nobody is told, and the channel stays open."""
    recorder = Recorder()
    consumer = Consumer(node.url, recorder, ["p05"])
    await consumer.is_connected()
    await control(node.server, "eval", FORGET_CONSUMERS.replace("QUEUE", ORDERED_QUEUES["p05"]))
    assert await consumers(node.url, "p05") == 0
    await until(lambda: consumers(node.url, "p05"), lambda n: n == 1)  # with nothing in the queue
    async with publishing(node.url) as publisher:
        await publisher.publish(entries(range(20), ["p05"]))
        await recorder.has(20)
    await consumer.stop()
    await emptied(node, "p05")


async def test_a_subscription_that_stands_still_is_made_anew(node: RabbitLog) -> None:
    """The broker counts the consumer, and its channel hangs: nothing comes out of it any more."""
    total = PREFETCH * 2
    recorder = Recorder()
    consumer = Consumer(node.url, recorder, ["p06"])
    await consumer.is_connected()
    await control(node.server, "eval", SUSPEND_CHANNELS)
    async with publishing(node.url) as publisher:
        await publisher.publish(entries(range(total), ["p06"]))
        await until(lambda: node.waiting("p06"), lambda n: n == total - PREFETCH)
        assert await consumers(node.url, "p06") == 1
        await recorder.has(total, 60)
    assert recorder.numbers == list(range(total))
    await consumer.stop()
    await emptied(node, "p06")


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


# ---- the watch ----------------------------------------------------------------------------------


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
