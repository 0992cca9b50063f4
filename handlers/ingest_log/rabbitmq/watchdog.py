"""A subscription that is one in name only, found out."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import (
    ChannelNotFoundEntity,
)

from handlers.ingest_log.rabbitmq.connection import UNREACHABLE
from handlers.process import telemetry

log: structlog.stdlib.BoundLogger = structlog.get_logger()

WATCH_S = 5.0
STANDSTILL_S = 15.0  # with entries waiting and none coming, before a subscription is made anew


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


async def silent(
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
