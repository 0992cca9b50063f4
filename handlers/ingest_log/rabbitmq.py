"""The ingest log on RabbitMQ.

One direct exchange; 16 quorum queues with a single active consumer each carry messages in order
(competing consumers on one queue swap a customer's messages with no fault at all), another one the
statuses (merging needs no order; knowing up to when they are merged does), one more the rest.
Connections are plain ones under our own loop: whatever ends a connection or a channel, the loop
makes all of it again, so nothing can stay silently unsubscribed.
"""

import asyncio
import contextlib
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import (
    AMQPError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
)
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelInvalidStateError, ChannelLockedResource
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from handlers.ingest_log.confirms import Confirms
from handlers.ingest_log.port import (
    BATCH_BYTES,
    BATCH_MAX,
    DEAD_LANES,
    DELIVERY_LIMIT,
    LANES,
    PUBLISH_TIMEOUT_S,
    RECONNECT_MAX_S,
    RECONNECT_MIN_S,
    Entry,
    HandBack,
    Handler,
    Lane,
    NotDurable,
    OldTopology,
    until_stopped,
)
from handlers.process import telemetry

NAME = "rabbitmq"
EXCHANGE = "wa.in"
DEAD_EXCHANGE = "wa.dlx"
ORDERED_QUEUES: dict[Lane, str] = {lane: f"wa.in.{lane[1:]}" for lane in LANES}
OTHER_QUEUES: dict[Lane, str] = {"status": "wa.status", "other": "wa.other"}
DEAD_QUEUES: dict[Lane, str] = dict(
    zip(DEAD_LANES, ("wa.in.dlq", "wa.status.dlq", "wa.other.dlq"), strict=True)
)
QUEUES = ORDERED_QUEUES | OTHER_QUEUES | DEAD_QUEUES

CONNECT_TIMEOUT_S = 5.0
ALARM_POLL_S = 0.5
ALARM_GRACE_S = 0.05  # an open connection that is not ready for so long is blocked by an alarm
HEARTBEAT_S = 10  # a machine that vanished is noticed after two of them
CLOSE_TIMEOUT_S = 1.0
WATCH_S = 5.0
STANDSTILL_S = 15.0  # with entries waiting and none coming, before a subscription is made anew
PREFETCH = 200  # a lane,
IN_HAND_MAX = 800  # and all lanes of a subscription together
# RabbitMQ 3.10 loses a quorum queue, confirmed messages and all, that it is killed within about a
# second of declaring (lost at 0.8 s, kept at 1.5 s).
REGISTRATION_S = 2.0
MIGRATION_MAX_S = 60.0  # that one waits for another


UNREACHABLE = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError)

log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def declare(channel: AbstractChannel) -> None:
    """The topology, the same from whoever declares it. What operators tune is set by policy."""
    dead = await channel.declare_exchange(DEAD_EXCHANGE, aio_pika.ExchangeType.DIRECT, durable=True)
    for lane, name in DEAD_QUEUES.items():
        # The limit is explicit: without it RabbitMQ 4 drops a message that was looked at 21 times.
        queue = await channel.declare_queue(
            name,
            durable=True,
            arguments={"x-queue-type": "quorum", "x-delivery-limit": 100_000},
        )
        await queue.bind(dead, routing_key=lane.removeprefix("dead-"))
    exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.DIRECT, durable=True)
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
        )
        await queue.bind(exchange, routing_key=lane)


class _Connection(aio_pika.Connection):
    """One that could not be opened is closed at once. aio_pika does that when it is collected as
    garbage, which may be in a thread whose loop is another one, or that has none."""

    async def connect(self, timeout: float | None = None) -> None:
        try:
            await super().connect(timeout)
        except BaseException:
            await self.close()
            raise


async def connect(url: str, name: str) -> AbstractConnection:
    # aio_pika's own timeout is asyncio.wait_for(), which up to Python 3.11 forgets that it was
    # cancelled when the attempt fails at that moment: a process told to stop while the broker was
    # away then tried for ever (seen once in some eighty stops on a loaded machine).
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        return await aio_pika.connect(
            url,
            client_properties={"connection_name": name},
            heartbeat=HEARTBEAT_S,
            connection_class=_Connection,
        )


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


@asynccontextmanager
async def publishing(url: str) -> AsyncIterator[Callable[[Entry], Awaitable[None]]]:
    """For a command that publishes now or fails; the entry is durable when the call returns."""
    connection = await connect(url, "swiftreplies command")
    async with connection:
        confirms = await _confirms(await _publishing_channel(connection))
        running = asyncio.create_task(confirms.run())

        async def publish(entry: Entry) -> None:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await confirms.publish([entry])[0]

        try:
            yield publish
        finally:
            running.cancel()
            confirms.close()


async def _publishing_channel(connection: AbstractConnection) -> AbstractChannel:
    # Returned messages raise; only Basic.Ack is success.
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    await declare(channel)
    return channel


async def _confirms(channel: AbstractChannel) -> Confirms:
    return Confirms.on(await channel.get_underlay_channel(), EXCHANGE)


class Publisher:
    """The door's side. `run` keeps a channel open; `publish` uses it or says why it cannot."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._confirms: Confirms | None = None
        self._blocked = False

    @property
    def problem(self) -> str | None:
        if self._confirms is None:
            return "not connected to RabbitMQ"
        return "RabbitMQ blocks publishers (memory or disk alarm)" if self._blocked else None

    async def run(self) -> None:
        await _serve(self._url, self._name, self._session, lambda: False)

    async def _session(self, connection: AbstractConnection) -> None:
        channel = await _publishing_channel(connection)
        self._confirms = confirms = await _confirms(channel)
        log.info("ingest_log.connected", connection=self._name)
        watching = asyncio.create_task(self._watch_alarms(connection))
        writing = asyncio.create_task(confirms.run())
        try:
            await _first_closed(connection, channel)
        finally:
            self._confirms = None
            self._blocked = False
            watching.cancel()
            writing.cancel()
            confirms.close()

    async def _watch_alarms(self, connection: AbstractConnection) -> None:
        while True:
            try:
                async with asyncio.timeout(ALARM_GRACE_S):
                    transport = connection.transport
                    await (transport.connection if transport else connection).ready()
                self._blocked = False
                await asyncio.sleep(ALARM_POLL_S)
            except TimeoutError:
                self._blocked = True

    async def publish(self, entries: Sequence[Entry]) -> None:
        confirms = self._confirms
        if confirms is None or self.problem is not None:
            raise NotDurable(self.problem or "not connected to RabbitMQ")
        futures = confirms.publish(entries)
        timer = asyncio.get_running_loop().call_later(PUBLISH_TIMEOUT_S, _give_up, futures)
        try:
            ended = await asyncio.gather(*futures, return_exceptions=True)
        finally:
            timer.cancel()
        failed = next((end for end in ended if isinstance(end, BaseException)), None)
        if failed is not None:
            why = "refused or returned" if isinstance(failed, DeliveryError) else "not confirmed"
            raise NotDurable(f"{why}: {type(failed).__name__}") from failed


def _give_up(futures: Sequence[asyncio.Future[Any]]) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(TimeoutError())


async def consume(
    url: str,
    name: str,
    lanes: Sequence[Lane],
    handler: Handler,
    stop: asyncio.Event,
    on_state: Callable[[bool], None] = lambda _: None,
) -> None:
    """Feeds the lanes' entries to the handler, batch by batch, until `stop`.

    The handler returns when the batch is recorded, or raises HandBack: the connection ends, and
    the batch comes again.
    """

    async def session(connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=min(PREFETCH, IN_HAND_MAX // len(lanes)))
        await declare(channel)
        # The broker ends a subscription, and nothing else, when its queue is deleted or loses its
        # leader.
        cancelled = asyncio.Event()
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: cancelled.set())
        buffer: asyncio.Queue[DeliveredMessage] = asyncio.Queue()  # bounded by IN_HAND_MAX
        got = 0

        async def take(message: DeliveredMessage) -> None:
            nonlocal got
            got += 1
            buffer.put_nowait(message)

        for lane in lanes:
            # Spreads the active consumers over the workers from RabbitMQ 4 on.
            rank = zlib.crc32(f"{name}:{lane}".encode()) % 10
            # Below aio_pika, which takes a second task and an object of forty fields a delivery.
            await underlay.basic_consume(QUEUES[lane], take, arguments={"x-priority": rank})
        on_state(True)
        log.info("ingest_log.connected", connection=name, lanes=len(lanes))
        pump = asyncio.create_task(_pump(buffer, observed, stop))
        silent = _silent(
            connection,
            [QUEUES[lane] for lane in lanes],
            lambda: None if handling or not buffer.empty() else got,
        )
        closed = asyncio.create_task(_first_closed(connection, channel, cancelled.wait(), silent))
        try:
            # After `stop` the pump ends by itself, when the running batch is recorded and
            # acknowledged. The channel is then closed, never cancelled: a cancel hands later
            # deliveries to the next consumer while earlier ones are still ours.
            await asyncio.wait({pump, closed}, return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
        finally:
            on_state(False)
            for task in (pump, closed):
                task.cancel()
            await asyncio.wait({pump, closed})
        async with asyncio.timeout(CLOSE_TIMEOUT_S):  # the reason to leave it may be that it hangs
            await channel.close()

    handling = False  # between two batches there is nothing to finish

    async def observed(bodies: Sequence[bytes]) -> None:
        nonlocal handling
        handling = True
        try:
            await handler(bodies)
        finally:
            handling = False

    await until_stopped(_serve(url, name, session, stop.is_set), stop, lambda: handling)


async def _pump(
    buffer: asyncio.Queue[DeliveredMessage], handler: Handler, stop: asyncio.Event
) -> None:
    """No waiting for a batch to fill: while one is handled, the next one gathers."""
    stopping = asyncio.create_task(stop.wait())
    first: asyncio.Task[DeliveredMessage] | None = None
    try:
        while not stop.is_set():
            first = asyncio.create_task(buffer.get())
            await asyncio.wait({first, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():  # what was taken is un-acknowledged, and comes again
                return
            batch = [first.result()]
            size = len(batch[0].body)
            while len(batch) < BATCH_MAX and size < BATCH_BYTES and not buffer.empty():
                batch.append(buffer.get_nowait())
                size += len(batch[-1].body)
            await handler([message.body for message in batch])
            # A batch is a contiguous piece of the channel's deliveries, so one frame answers it.
            # Lost when the connection is: then the batch comes again and changes nothing.
            with contextlib.suppress(*UNREACHABLE):
                last = batch[-1]
                await last.channel.basic_ack(last.delivery_tag or 0, multiple=True)
    finally:
        stopping.cancel()
        if first is not None:
            first.cancel()


@dataclass(frozen=True, slots=True)
class Standstill:
    """Since when entries wait in a queue, none leaves it, and this consumer gets none."""

    since: float
    waiting: int
    got: int


def standstill(
    before: Standstill | None, now: float, waiting: int, got: int | None
) -> Standstill | None:
    """After another look. `got`: deliveries so far; None while some are in hand."""
    if not waiting or got is None:
        return None
    if before is None or waiting < before.waiting or got > before.got:
        return Standstill(now, waiting, got)
    return Standstill(before.since, waiting, got)


async def _silent(
    connection: AbstractConnection, queues: Sequence[str], got: Callable[[], int | None]
) -> None:
    """Returns when this subscription is one in name only, so that it is made anew.

    Deserted: a queue is gone or has no consumer, though we subscribed to it. The broker should
    have told us; once, with a queue deleted and made again right after we had subscribed, it did
    not, and a consumer that waits in silence looks like a quiet night.
    Standstill: the broker counts a consumer, and what waits in the queue does not come. When
    another consumer is the active one and is slow, subscribing again does no harm.
    """
    stands: dict[str, Standstill | None] = {}
    try:
        async with connection.channel() as channel:
            while True:
                await asyncio.sleep(WATCH_S)
                for name in queues:
                    found = (await channel.declare_queue(name, passive=True)).declaration_result
                    now = time.monotonic()
                    stand = standstill(stands.get(name), now, found.message_count or 0, got())
                    stands[name] = stand
                    if not found.consumer_count:
                        return _tell_silent("deserted", name)
                    if stand is not None and now - stand.since >= STANDSTILL_S:
                        return _tell_silent("standstill", name)
    except ChannelNotFoundEntity:
        _tell_silent("deserted", None)
    except UNREACHABLE as error:
        log.warning("ingest_log.unwatched", error=type(error).__name__)


def _tell_silent(why: str, queue: str | None) -> None:
    telemetry.RESUBSCRIBED.labels(why).inc()
    log.warning("ingest_log.silent", why=why, queue=queue)


async def _first_closed(
    connection: AbstractConnection, channel: AbstractChannel, *others: Awaitable[Any]
) -> None:
    waits = [asyncio.ensure_future(w) for w in (connection.closed(), channel.closed(), *others)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _serve(
    url: str,
    name: str,
    session: Callable[[AbstractConnection], Awaitable[None]],
    is_over: Callable[[], bool],
) -> None:
    """One connection after the other, and on each a session, until it is over."""
    while not is_over():
        connection = await _connect_patiently(url, name)
        try:
            await session(connection)
        except HandBack:
            log.warning("ingest_log.handed_back", connection=name)
        except UNREACHABLE as error:
            log.warning("ingest_log.lost", connection=name, error=str(error) or repr(error))
        finally:
            with contextlib.suppress(*UNREACHABLE):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await connection.close()
        if not is_over():
            await asyncio.sleep(RECONNECT_MIN_S)


async def _connect_patiently(url: str, name: str) -> AbstractConnection:
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(UNREACHABLE),
        wait=wait_random_exponential(multiplier=RECONNECT_MIN_S, max=RECONNECT_MAX_S),
        before_sleep=lambda state: log.warning(
            "ingest_log.unreachable",
            connection=name,
            attempt=state.attempt_number,
            error=type(state.outcome.exception()).__name__ if state.outcome else None,
        ),
    ):
        with attempt:
            return await connect(url, name)
    raise AssertionError("unreachable: it tries for ever")
