"""The worker's side: a lane's entries in order, batch by batch."""

import asyncio
import contextlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import DeliveredMessage

from handlers.ingest_log.port import (
    BATCH_BYTES,
    BATCH_MAX,
    Handler,
    Lane,
    NotNow,
    pause_before_retry,
    until_stopped,
)
from handlers.ingest_log.rabbitmq.connection import (
    ANSWER_TIMEOUT_S,
    CLOSE_TIMEOUT_S,
    UNREACHABLE,
    first_closed,
    serve,
)
from handlers.ingest_log.rabbitmq.topology import QUEUES, declare
from handlers.ingest_log.rabbitmq.watchdog import silent

log: structlog.stdlib.BoundLogger = structlog.get_logger()

PREFETCH = 200  # a lane,
IN_HAND_MAX = 800  # and all lanes of a subscription together


async def consume(
    url: str,
    name: str,
    lanes: Sequence[Lane],
    handler: Handler,
    stop: asyncio.Event,
    on_state: Callable[[bool], None] = lambda _: None,
) -> None:
    """Feeds the lanes' entries to the handler, batch by batch, until `stop`.

    The handler returns when the batch is recorded, or raises NotNow.
    """
    subscription = Subscription(name, lanes, handler, stop, on_state)
    serving = serve(url, name, subscription.session, stop.is_set)
    await until_stopped(serving, stop, lambda: subscription.handling)


@dataclass(slots=True)
class Subscription:
    """To some lanes, over one connection after the other."""

    name: str
    lanes: Sequence[Lane]
    handler: Handler
    stop: asyncio.Event
    on_state: Callable[[bool], None]
    handling: bool = False  # between two batches there is nothing to finish

    async def session(self, connection: AbstractConnection) -> None:
        arrivals = Arrivals()
        # The broker ends a subscription, and nothing else, when its queue is deleted or loses its
        # leader.
        cancelled = asyncio.Event()
        channel = await self._subscribe(connection, arrivals, cancelled)
        self.on_state(True)
        log.info("ingest_log.connected", connection=self.name, lanes=len(self.lanes))
        watching = silent(
            connection,
            [QUEUES[lane] for lane in self.lanes],
            lambda: None if arrivals.in_hand or not arrivals.waiting.empty() else arrivals.got,
        )
        pump = asyncio.create_task(_pump(arrivals, self._handle, self.stop))
        closed = asyncio.create_task(first_closed(connection, channel, cancelled.wait(), watching))
        try:
            # After `stop` the pump ends by itself, when the running batch is recorded and
            # acknowledged. The channel is then closed, never cancelled: a cancel hands later
            # deliveries to the next consumer while earlier ones are still ours.
            await asyncio.wait({pump, closed}, return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
        finally:
            self.on_state(False)
            for task in (pump, closed):
                task.cancel()
            await asyncio.wait({pump, closed})
        async with asyncio.timeout(CLOSE_TIMEOUT_S):  # the reason to leave it may be that it hangs
            await channel.close()

    async def _subscribe(
        self, connection: AbstractConnection, arrivals: "Arrivals", cancelled: asyncio.Event
    ) -> AbstractChannel:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(
            prefetch_count=min(PREFETCH, IN_HAND_MAX // len(self.lanes)), timeout=ANSWER_TIMEOUT_S
        )
        await declare(channel)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: cancelled.set())
        for lane in self.lanes:
            # Spreads the active consumers over the workers from RabbitMQ 4 on.
            rank = zlib.crc32(f"{self.name}:{lane}".encode()) % 10
            # Below aio_pika, which takes a second task and an object of forty fields a delivery.
            await underlay.basic_consume(
                QUEUES[lane],
                arrivals.take,
                arguments={"x-priority": rank},
                timeout=ANSWER_TIMEOUT_S,
            )
        return channel

    async def _handle(self, bodies: Sequence[bytes]) -> None:
        self.handling = True
        try:
            await self.handler(bodies)
        finally:
            self.handling = False


@dataclass(slots=True)
class Arrivals:
    """What one channel brought; at most IN_HAND_MAX of it waits."""

    waiting: asyncio.Queue[DeliveredMessage] = field(default_factory=asyncio.Queue)
    got: int = 0
    in_hand: bool = False  # a batch that is not acknowledged yet

    async def take(self, message: DeliveredMessage) -> None:
        self.got += 1
        self.waiting.put_nowait(message)


async def _pump(arrivals: Arrivals, handler: Handler, stop: asyncio.Event) -> None:
    """No waiting for a batch to fill: while one is handled, the next one gathers."""
    buffer = arrivals.waiting
    batch: list[DeliveredMessage] = []
    failures = 0
    while True:
        if not batch:
            first = await _next(buffer, stop)
            if first is None:
                return
            batch = [first]
        arrivals.in_hand = True
        size = sum(len(message.body) for message in batch)
        while len(batch) < BATCH_MAX and size < BATCH_BYTES and not buffer.empty():
            batch.append(buffer.get_nowait())
            size += len(batch[-1].body)
        try:
            await handler([message.body for message in batch])
        except NotNow:
            await pause_before_retry(failures, stop)
            failures += 1
            continue
        # A batch is a contiguous piece of the channel's deliveries, so one frame answers it.
        # Lost when the connection is: then the batch comes again and changes nothing.
        with contextlib.suppress(*UNREACHABLE):
            last = batch[-1]
            await last.channel.basic_ack(last.delivery_tag or 0, multiple=True)
        batch, failures, arrivals.in_hand = [], 0, False


async def _next(
    buffer: asyncio.Queue[DeliveredMessage], stop: asyncio.Event
) -> DeliveredMessage | None:
    """None after `stop`: what was taken then is un-acknowledged, and comes again."""
    if stop.is_set():
        return None
    taking, stopping = asyncio.create_task(buffer.get()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return None if stop.is_set() else taking.result()
    finally:
        taking.cancel()
        stopping.cancel()
