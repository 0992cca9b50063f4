"""A broker that holds the topology of an earlier release."""

import asyncio
import os
from collections.abc import AsyncIterator

import aio_pika
import pytest
from pamqp.common import FieldTable

from handlers.ingest_log.port import Entry, OldTopology
from handlers.ingest_log.rabbitmq.publisher import Publisher
from handlers.ingest_log.rabbitmq.topology import declare_topology
from local.servers.rabbitmq import RabbitMQ
from tests.rabbitmqctl import control

OLD: FieldTable = {
    "x-queue-type": "quorum",
    "x-delivery-limit": 100,
    "x-overflow": "reject-publish",
    "x-dead-letter-exchange": "wa.dlx",
    "x-dead-letter-routing-key": "status",
    "x-dead-letter-strategy": "at-least-once",
    "x-quorum-initial-group-size": 3,
    "x-queue-leader-locator": "balanced",
}


@pytest.fixture
async def old_broker(rabbitmq_server: RabbitMQ) -> AsyncIterator[str]:
    """A virtual host in which the statuses' queue has competing consumers, as it used to."""
    name = f"old-{os.urandom(4).hex()}"
    base, _, _ = rabbitmq_server.url.rpartition("/")
    user = base.partition("://")[2].partition(":")[0]
    await control(rabbitmq_server, "add_vhost", name)
    await control(rabbitmq_server, "set_permissions", "-p", name, user, ".*", ".*", ".*")
    url = f"{base}/{name}"
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("wa.in", durable=True)
        queue = await channel.declare_queue("wa.status", durable=True, arguments=OLD)
        await queue.bind(exchange, routing_key="status")
    yield url
    await control(rabbitmq_server, "delete_vhost", name)


async def publish_status(url: str) -> None:
    publisher = Publisher(url, "tests")
    running = asyncio.create_task(publisher.run())
    try:
        async with asyncio.timeout(10):
            while publisher.problem is not None:
                await asyncio.sleep(0.05)
        await publisher.publish([Entry("status", b"one")])
    finally:
        running.cancel()


async def test_the_old_queue_of_statuses_is_replaced_when_it_is_empty(old_broker: str) -> None:
    await asyncio.gather(*(declare_topology(old_broker) for _ in range(5)))
    await declare_topology(old_broker)
    await publish_status(old_broker)


async def test_what_is_in_it_is_not_lost(old_broker: str) -> None:
    connection = await aio_pika.connect(old_broker)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("wa.in", ensure=False)
        await exchange.publish(aio_pika.Message(b"first"), "status")
        with pytest.raises(OldTopology, match="holds 1 messages and has 0 consumers"):
            await declare_topology(old_broker)
        await exchange.publish(aio_pika.Message(b"second"), "status")  # it is bound as before
        queue = await channel.declare_queue("wa.status", passive=True)
        for wanted in (b"first", b"second"):
            got = await queue.get(timeout=5)
            assert got.body == wanted
            await got.ack()
    await declare_topology(old_broker)
