"""Publishing by frames that are made beforehand.

aio-pika's own `publish` costs 100 us of CPU for each message and sends one after the other; here
one costs a tenth of that, and what comes up while the last were written is written together. It
stands on what aiormq's channel keeps in the open: its write queue, its tags and its confirmations.
"""

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pamqp.frame
from aiormq.abc import AbstractChannel, ChannelFrame
from aiormq.channel import Channel
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from handlers.ingest_log.port import Entry

_FRAME_HEAD = struct.Struct(">BHI")  # type, channel, size; AMQP 0-9-1, 2.3.5
_BODY, _END = 3, b"\xce"
_SIZE = struct.Struct(">Q")
_SIZE_AT = _FRAME_HEAD.size + 4  # in a content header: after its class and weight
_ID = "%032x"  # a message's id, by which a return is matched to its publish: never the wamid,
# because Meta repeats webhooks at the same moment
_ID_SIZE = 32


# Entries that were given up and that the broker may confirm all the same. A queue whose members are
# in the minority takes entries and confirms none, for hours, and each is remembered until its
# confirm comes: it cannot be forgotten alone, because aiormq finds those before it by it. So beyond
# this the channel is left, and with it all of them.
UNCONFIRMED_MAX = 1_000


@dataclass(slots=True)
class Confirms:
    """One channel's publishing; the channel is nobody else's. `run` for as long as it is open and
    not `stalled`, then `close`."""

    channel: Channel
    exchange: str
    _waiting: list[tuple[Entry, "asyncio.Future[Any]"]] = field(default_factory=list)
    _something: asyncio.Event = field(default_factory=asyncio.Event)
    stalled: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def on(cls, channel: AbstractChannel, exchange: str) -> "Confirms":
        if not isinstance(channel, Channel) or not channel.publisher_confirms:
            raise TypeError("this is no channel with confirms")
        return cls(channel, exchange)

    def publish(self, entries: Sequence[Entry]) -> "list[asyncio.Future[Any]]":
        """Each is done when the broker has confirmed its entry, and failed when it was refused,
        returned or could no longer be confirmed."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Any]] = [loop.create_future() for _ in entries]
        self._waiting += zip(entries, futures, strict=True)
        self._something.set()
        return futures

    async def run(self) -> None:
        channel = self.channel
        while True:
            await self._something.wait()
            self._something.clear()
            waiting, self._waiting = self._waiting, []
            written = asyncio.get_running_loop().create_future()
            payload = b"".join(
                [part for entry, future in waiting for part in self._frames(entry, future)]
            )
            await channel.write_queue.put(ChannelFrame(payload, False, written))
            await written

    def give_up(self, futures: "Sequence[asyncio.Future[Any]]") -> None:
        for future in futures:
            if not future.done():
                future.set_exception(TimeoutError())
        if not self.stalled.is_set() and self._unconfirmed() > UNCONFIRMED_MAX:
            self.stalled.set()

    def _unconfirmed(self) -> int:
        """Of those that nobody waits for any more; counted when there may be too many."""
        remembered = self.channel.confirmations
        if len(remembered) <= UNCONFIRMED_MAX:
            return 0
        return sum(future.done() for future in remembered.values())

    def close(self) -> None:
        """For whoever ends `run`: what is not confirmed yet will not be any more."""
        lost = ConnectionResetError("the channel is closed")
        for future in (*self.channel.confirmations.values(), *(f for _, f in self._waiting)):
            if not future.done():
                future.set_exception(lost)

    def _frames(self, entry: Entry, future: "asyncio.Future[Any]") -> Sequence[bytes]:
        channel = self.channel
        if future.done():  # nobody waits for it any more
            return ()
        channel.delivery_tag += 1
        tag = channel.delivery_tag
        message_id = _ID % tag
        channel.confirmations[tag] = future
        channel.message_id_delivery_tag[message_id] = tag
        future.add_done_callback(lambda _: channel.message_id_delivery_tag.pop(message_id, None))
        publish, head, tail = _template(self.exchange, entry.lane, channel.number)
        body, number, most = entry.body, channel.number, channel.max_content_size
        size = len(body)
        frames = [publish, head, _SIZE.pack(size), tail.replace(_NO_ID, message_id.encode(), 1)]
        for at in range(0, size, most):
            part = body if size <= most else body[at : at + most]
            frames += (_FRAME_HEAD.pack(_BODY, number, len(part)), part, _END)
        return frames


_NO_ID = b"#" * _ID_SIZE


@lru_cache(maxsize=256)
def _template(exchange: str, lane: str, channel: int) -> tuple[bytes, bytes, bytes]:
    """The publish frame and the content header, around the body's size; with no id as yet."""
    publish = Basic.Publish(exchange=exchange, routing_key=lane, mandatory=True)
    properties = Basic.Properties(
        content_type="application/json",
        delivery_mode=2,
        message_type="wa.updates.v1",
        message_id=_NO_ID.decode(),
    )
    header = pamqp.frame.marshal(ContentHeader(body_size=0, properties=properties), channel)
    return (
        pamqp.frame.marshal(publish, channel),
        header[:_SIZE_AT],
        header[_SIZE_AT + _SIZE.size :],
    )
