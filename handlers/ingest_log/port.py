"""The ingest log: durable at the door, ordered on the way to the record.

It promises: `publish` returns when every entry is durable; entries of one lane reach one consumer
at a time, in order, in batches; a batch is forgotten when its handler returns, and comes again,
perhaps elsewhere, when the process dies before that.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

PARTITIONS = 16  # lanes for messages; fixed, because another number re-shuffles customers

Lane: TypeAlias = str
LANES: tuple[Lane, ...] = tuple(f"p{n:02d}" for n in range(PARTITIONS))
# Only read: entries that were delivered again and again and never done with.
DEAD_LANES: tuple[Lane, ...] = ("dead-inbound", "dead-status", "dead-other")

Handler: TypeAlias = Callable[[Sequence[bytes]], Awaitable[None]]


class NotDurable(Exception):
    """Some entry is not known to be durable: tell the sender to come again."""


class HandBack(Exception):
    """Raised by a handler that cannot record its batch now: it comes again, here or elsewhere."""


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
