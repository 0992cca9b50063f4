"""Exchanges and queues: declared the same by whoever comes first, replaced only by `migrate`."""

import asyncio
from dataclasses import dataclass

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import (
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)
from aiormq.exceptions import ChannelLockedResource
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from handlers.ingest_log.port import (
    DEAD_LANES,
    DELIVERY_LIMIT,
    LANES,
    RECONNECT_MAX_S,
    Lane,
    OldTopology,
)
from handlers.ingest_log.rabbitmq.connection import ANSWER_TIMEOUT_S, connect

log: structlog.stdlib.BoundLogger = structlog.get_logger()

EXCHANGE = "wa.in"
DEAD_EXCHANGE = "wa.dlx"
ORDERED_QUEUES: dict[Lane, str] = {lane: f"wa.in.{lane[1:]}" for lane in LANES}
OTHER_QUEUES: dict[Lane, str] = {"status": "wa.status", "other": "wa.other"}
DEAD_QUEUES: dict[Lane, str] = dict(
    zip(DEAD_LANES, ("wa.in.dlq", "wa.status.dlq", "wa.other.dlq"), strict=True)
)
QUEUES = ORDERED_QUEUES | OTHER_QUEUES | DEAD_QUEUES

# RabbitMQ 3.10 loses a quorum queue, confirmed messages and all, that it is killed within about a
# second of declaring (lost at 0.8 s, kept at 1.5 s).
REGISTRATION_S = 2.0
MIGRATION_MAX_S = 60.0  # that one waits for another


async def declare(channel: AbstractChannel) -> None:
    """The topology, the same from whoever declares it. What operators tune is set by policy."""
    dead = await channel.declare_exchange(
        DEAD_EXCHANGE, aio_pika.ExchangeType.DIRECT, durable=True, timeout=ANSWER_TIMEOUT_S
    )
    for lane, name in DEAD_QUEUES.items():
        # The limit is explicit: without it RabbitMQ 4 drops a message that was looked at 21 times.
        queue = await channel.declare_queue(
            name,
            durable=True,
            arguments={"x-queue-type": "quorum", "x-delivery-limit": 100_000},
            timeout=ANSWER_TIMEOUT_S,
        )
        await queue.bind(dead, routing_key=lane.removeprefix("dead-"), timeout=ANSWER_TIMEOUT_S)
    exchange = await channel.declare_exchange(
        EXCHANGE, aio_pika.ExchangeType.DIRECT, durable=True, timeout=ANSWER_TIMEOUT_S
    )
    for lane, name in (ORDERED_QUEUES | OTHER_QUEUES).items():
        ordered = lane != "other"
        queue = await channel.declare_queue(
            name,
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                **({"x-single-active-consumer": True} if ordered else {}),
                "x-delivery-limit": DELIVERY_LIMIT,
                "x-overflow": "reject-publish",  # full: the confirm is a nack, Meta gets a 503
                "x-dead-letter-exchange": DEAD_EXCHANGE,
                "x-dead-letter-routing-key": "inbound" if lane in ORDERED_QUEUES else lane,
                "x-dead-letter-strategy": "at-least-once",
                "x-quorum-initial-group-size": 3,
                "x-queue-leader-locator": "balanced",
            },
            timeout=ANSWER_TIMEOUT_S,
        )
        await queue.bind(exchange, routing_key=lane, timeout=ANSWER_TIMEOUT_S)


async def prepare(url: str) -> str:
    await declare_topology(url)
    return "broker topology is current"


async def declare_topology(url: str) -> None:
    """Once, for `migrate`. New queues are given the time that RabbitMQ needs to register them."""
    connection = await connect(url, "swiftreplies migrate")
    async with connection:
        await _let_no_other_migrate(connection)
        probe = await connection.channel()
        try:
            for name in QUEUES.values():
                await probe.declare_queue(name, passive=True)
            new = False
        except ChannelNotFoundEntity:
            new = True
        try:
            async with connection.channel() as channel:
                await declare(channel)
        except ChannelPreconditionFailed:
            await _replace_old_status_queue(connection)
            new = True
        if new:
            await asyncio.sleep(REGISTRATION_S)


async def _let_no_other_migrate(connection: AbstractConnection) -> None:
    """While the connection lasts. Of two at once the later would find the old queue gone, or take
    the new one for it."""
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(ChannelLockedResource),
        wait=wait_random_exponential(0.05, RECONNECT_MAX_S),
        stop=stop_after_delay(MIGRATION_MAX_S),
        reraise=True,
    ):
        with attempt:
            async with connection.channel() as channel:
                await channel.declare_queue("wa.migrate", exclusive=True)


async def _replace_old_status_queue(connection: AbstractConnection) -> None:
    """Releases before the marks declared it with competing consumers, and no argument of a queue
    can be changed. Raises OldTopology while it is in use."""
    name = OTHER_QUEUES["status"]
    async with connection.channel() as channel:
        queue = await channel.declare_queue(name, passive=True)
        exchange = await channel.get_exchange(EXCHANGE, ensure=False)
        # From here on nothing new gets in: the ingress answers 503, and Meta repeats.
        await queue.unbind(exchange, routing_key="status")
        found = (await channel.declare_queue(name, passive=True)).declaration_result
        if found.message_count or found.consumer_count:
            await queue.bind(exchange, routing_key="status")
            raise OldTopology(
                f"the queue {name} is that of an earlier release, holds {found.message_count}"
                f" messages and has {found.consumer_count} consumers. Let its workers empty it,"
                " stop them, and run migrate again; it is then replaced"
            )
        await queue.delete(if_unused=False, if_empty=False)
        log.warning("ingest_log.queue_replaced", queue=name)
        await declare(channel)


@dataclass(frozen=True, slots=True)
class QueueState:
    messages: int
    consumers: int


async def queue_state(connection: AbstractConnection, name: str) -> QueueState | None:
    """None: there is no such queue. On a channel of its own, which a missing queue closes."""
    try:
        async with connection.channel() as channel:
            found = (await channel.declare_queue(name, passive=True)).declaration_result
    except ChannelNotFoundEntity:
        return None
    return QueueState(found.message_count or 0, found.consumer_count or 0)
