"""The door's side: entries that are durable when `publish` returns."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import (
    DeliveryError,
)

from handlers.ingest_log.port import (
    PUBLISH_TIMEOUT_S,
    Entry,
    NotDurable,
)
from handlers.ingest_log.rabbitmq.confirms import Confirms
from handlers.ingest_log.rabbitmq.connection import ANSWER_TIMEOUT_S, connect, first_closed, serve
from handlers.ingest_log.rabbitmq.topology import EXCHANGE, declare

log: structlog.stdlib.BoundLogger = structlog.get_logger()

ALARM_POLL_S = 0.5
ALARM_GRACE_S = 0.05  # an open connection that is not ready for so long is blocked by an alarm


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
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
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
        await serve(self._url, self._name, self._session, lambda: False)

    async def _session(self, connection: AbstractConnection) -> None:
        channel = await _publishing_channel(connection)
        self._confirms = confirms = await _confirms(channel)
        log.info("ingest_log.connected", connection=self._name)
        watching = asyncio.create_task(self._watch_alarms(connection))
        writing = asyncio.create_task(confirms.run())
        try:
            await first_closed(connection, channel, confirms.stalled.wait())
            if confirms.stalled.is_set():
                log.warning("ingest_log.unconfirmed", connection=self._name)
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
        timer = asyncio.get_running_loop().call_later(PUBLISH_TIMEOUT_S, confirms.give_up, futures)
        try:
            ended = await asyncio.gather(*futures, return_exceptions=True)
        finally:
            timer.cancel()
        failed = next((end for end in ended if isinstance(end, BaseException)), None)
        if failed is not None:
            why = "refused or returned" if isinstance(failed, DeliveryError) else "not confirmed"
            raise NotDurable(f"{why}: {type(failed).__name__}") from failed
