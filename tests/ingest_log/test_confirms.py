"""Frames made beforehand are what RabbitMQ and other clients understand; no confirm is lost."""

import asyncio
from collections.abc import AsyncIterator

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import DeliveryError, PublishError

from handlers.ingest_log.port import LANES, Entry
from handlers.ingest_log.rabbitmq.confirms import Confirms
from local.servers.rabbitmq import RabbitMQ

EXCHANGE = "tests.confirms"
USED = (LANES[0], LANES[1], LANES[3])


@pytest.fixture
async def channel(rabbitmq_server: RabbitMQ) -> AsyncIterator[AbstractChannel]:
    """With an exchange and queues of its own, which are gone with it."""
    connection = await aio_pika.connect(rabbitmq_server.url)
    async with connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        exchange = await channel.declare_exchange(EXCHANGE, "direct", auto_delete=True)
        for lane in USED:
            queue = await channel.declare_queue(f"{EXCHANGE}.{lane}", exclusive=True)
            await queue.bind(exchange, routing_key=lane)
        yield channel


@pytest.fixture
async def confirms(channel: AbstractChannel) -> AsyncIterator[Confirms]:
    confirms = Confirms.on(await channel.get_underlay_channel(), EXCHANGE)
    running = asyncio.create_task(confirms.run())
    yield confirms
    running.cancel()


async def taken(channel: AbstractChannel, lane: str) -> aio_pika.abc.AbstractIncomingMessage:
    queue = await channel.get_queue(f"{EXCHANGE}.{lane}", ensure=False)
    message = await queue.get(timeout=5)
    await message.ack()
    return message


@pytest.mark.parametrize(
    "size", [0, 1, 8_191, 131_063, 131_064, 131_065, 131_072, 300_000, 4 * 1024 * 1024]
)
async def test_a_body_of_any_size_arrives_whole(
    channel: AbstractChannel, confirms: Confirms, size: int
) -> None:
    """RabbitMQ's frames hold 131,072 bytes, of which a body's has eight for itself."""
    body = bytes(n % 251 for n in range(min(size, 1_000))) * (size // 1_000 + 1)
    await confirms.publish([Entry(LANES[3], body[:size])])[0]
    message = await taken(channel, LANES[3])
    assert message.body == body[:size]
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert (message.content_type, message.type) == ("application/json", "wa.updates.v1")


async def test_what_is_published_at_once_arrives_in_order_and_is_confirmed_each(
    channel: AbstractChannel, confirms: Confirms
) -> None:
    entries = [Entry(LANES[n % 2], str(n).encode()) for n in range(400)]
    futures = [f for n in range(0, 400, 10) for f in confirms.publish(entries[n : n + 10])]
    await asyncio.gather(*futures)
    for lane in (0, 1):
        got = [int((await taken(channel, LANES[lane])).body) for _ in range(200)]
        assert got == list(range(lane, 400, 2))
    assert not confirms.channel.confirmations
    assert not confirms.channel.message_id_delivery_tag


async def test_only_the_entry_that_no_queue_takes_is_returned(
    channel: AbstractChannel, confirms: Confirms
) -> None:
    entries = [Entry(LANES[3], b"one"), Entry("nowhere", b"two"), Entry(LANES[3], b"three")]
    first, second, third = await asyncio.gather(*confirms.publish(entries), return_exceptions=True)
    assert isinstance(second, PublishError | DeliveryError)
    assert not isinstance(first, BaseException)
    assert not isinstance(third, BaseException)
    assert [(await taken(channel, LANES[3])).body for _ in range(2)] == [b"one", b"three"]
    assert not confirms.channel.message_id_delivery_tag


async def test_what_nobody_waits_for_any_more_is_not_sent(
    channel: AbstractChannel, confirms: Confirms
) -> None:
    given_up, kept = confirms.publish([Entry(LANES[3], b"given up"), Entry(LANES[3], b"kept")])
    given_up.cancel()
    await kept
    assert (await taken(channel, LANES[3])).body == b"kept"


async def test_what_is_unconfirmed_at_the_end_has_failed(channel: AbstractChannel) -> None:
    confirms = Confirms.on(await channel.get_underlay_channel(), EXCHANGE)
    (never_written,) = confirms.publish([Entry(LANES[0], b"lost")])
    confirms.close()
    with pytest.raises(ConnectionResetError):
        await never_written


async def test_a_channel_without_confirms_is_refused(rabbitmq_server: RabbitMQ) -> None:
    connection = await aio_pika.connect(rabbitmq_server.url)
    async with connection:
        plain = await connection.channel(publisher_confirms=False)
        with pytest.raises(TypeError):
            Confirms.on(await plain.get_underlay_channel(), EXCHANGE)
