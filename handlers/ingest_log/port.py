"""The ingest log: durable at the door, ordered on the way to the record.

It promises: `publish` returns when every entry is durable; entries of one lane reach one consumer
at a time, in order, in batches; a batch is forgotten when its handler returns, and comes again,
perhaps elsewhere, when the process dies before that. The order is that of publishing: an entry
comes after those whose `publish` had returned when its own was called.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from handlers.rules.backoff import backoff

PARTITIONS = 16  # lanes for messages; fixed, because another number re-shuffles customers

Lane: TypeAlias = str
LANES: tuple[Lane, ...] = tuple(f"p{n:02d}" for n in range(PARTITIONS))
# Only read: entries that were delivered again and again and never done with.
DEAD_LANES: tuple[Lane, ...] = ("dead-inbound", "dead-status", "dead-other")

PUBLISH_TIMEOUT_S = 2.0  # then the outcome is unknown, and Meta is told to come again
# Entries handled together: half of those that RabbitMQ's adapter has in hand, so that others come
# meanwhile; and since one holds up to 1,000 updates of a POST, so many bytes, so that a transaction
# stays a matter of seconds. What a batch costs is its transactions, so the bigger ones of a backlog
# clear it sooner.
BATCH_MAX = 400
BATCH_BYTES = 1024 * 1024
DELIVERY_LIMIT = 100  # a backstop: poison is taken out by its handler, not by counting crashes
STOP_TIMEOUT_S = 10.0  # for the batch that is being recorded
STOP_IDLE_TIMEOUT_S = 1.0  # when there is none: to take leave of the server, if it is there
RECONNECT_MIN_S = 0.2
RECONNECT_MAX_S = 1.0
RETRY_MIN_S, RETRY_MAX_S = 0.1, 1.0  # between tries of a batch that cannot be recorded now

Handler: TypeAlias = Callable[[Sequence[bytes]], Awaitable[None]]


class NotDurable(Exception):
    """Some entry is not known to be durable: tell the sender to come again."""


class NotNow(Exception):
    """Raised by a handler that cannot record its batch now: it is called again after a pause, with
    the same entries and what came behind them meanwhile. So one entry that keeps failing is soon
    seen beside others that do not."""


class HandBack(Exception):
    """The batch is left un-acknowledged: it comes again, here or elsewhere."""


class OldTopology(Exception):
    """The message says what is in the way and what to do about it."""


@dataclass(frozen=True, slots=True)
class Entry:
    lane: Lane
    body: bytes


class IngestLog(Protocol):
    """The publishing side."""

    @property
    def problem(self) -> str | None:
        """Why nothing could be published now; None when it could."""

    async def publish(self, entries: Sequence[Entry]) -> None:
        """Raises NotDurable."""

    async def run(self) -> None:
        """Keeps what `publish` needs; for as long as anything is published."""


class Adapter(Protocol):
    """A module that keeps the promises."""

    @property
    def NAME(self) -> str:  # noqa: N802 - a constant
        """As /readyz calls the server."""

    @property
    def UNREACHABLE(self) -> tuple[type[Exception], ...]:  # noqa: N802 - a constant
        """What `prepare` and `publishing` raise when the server is away or refuses."""

    def Publisher(self, url: str, name: str) -> IngestLog: ...  # noqa: N802 - a class

    async def prove(self, url: str, name: str) -> None:
        """Before anything is promised. Raises CannotConnect; nothing where a connection needs no
        more than to be one."""

    async def prepare(self, url: str) -> str:
        """For `migrate`, after the schema; says what is current now. Raises OldTopology."""

    def publishing(
        self, url: str
    ) -> AbstractAsyncContextManager[Callable[[Entry], Awaitable[None]]]:
        """For a command that publishes now or fails; durable when the call returns."""

    async def consume(
        self,
        url: str,
        name: str,
        lanes: Sequence[Lane],
        handler: Handler,
        stop: asyncio.Event,
        on_state: Callable[[bool], None] = ...,
    ) -> None:
        """Feeds the lanes' entries to the handler, batch by batch, until `stop`. The handler
        returns when the batch is recorded, or raises NotNow."""


async def pause_before_retry(failures: int, stop: asyncio.Event) -> None:
    """Raises HandBack when there is no time for another try."""
    wait = backoff(failures, base_s=RETRY_MIN_S, cap_s=RETRY_MAX_S, dice=random.random())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait.total_seconds()):
            await stop.wait()
    if stop.is_set():
        raise HandBack


async def until_stopped(
    serving: Coroutine[Any, Any, None], stop: asyncio.Event, is_handling: Callable[[], bool]
) -> None:
    """Runs a consumer. After `stop` it has time for the batch in hand, and else for a farewell."""
    running = asyncio.create_task(serving)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        patience_s = STOP_TIMEOUT_S if is_handling() else STOP_IDLE_TIMEOUT_S
        await asyncio.wait({running}, timeout=patience_s)
        if running.done():
            running.result()
    finally:
        for task in (running, stopping):
            task.cancel()
        await asyncio.wait({running, stopping})
