"""What may stand between the product and PostgreSQL, with the real server behind it: poolers
that drop what a connection asks for, or refuse it, and hosts that only hold the line."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from local.servers.postgres import Postgres

SSL_REQUEST = 80_877_103
KEPT = ("user", "database")  # of the start-up parameters, by a pooler that ignores the others


@dataclass(slots=True)
class Between:
    """Of a database; `url` leads through it."""

    server: Postgres
    drops: bool = False  # start-up parameters
    poses: bool = False  # as the server's process, as PgBouncer does: its pid is made up
    refuses: bool = False  # a start-up parameter that it does not know, as PgBouncer does
    silent: bool = False
    port: int = 0
    asked: list[dict[str, str]] = field(default_factory=list)
    lines: set["asyncio.Task[None]"] = field(default_factory=set)

    def url(self, of_server: str) -> str:
        head, _, tail = of_server.rpartition("@")
        return f"{head}@127.0.0.1:{self.port}/{tail.partition('/')[2]}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a server's callback is one"
        self.lines.add(task)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:  # the test is over; asyncio would log it
            pass
        finally:
            self.lines.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            size, code = struct.unpack("!II", await reader.readexactly(8))
            if self.silent:
                await reader.read()
                return
            if code == SSL_REQUEST:
                writer.write(b"N")
                size, code = struct.unpack("!II", await reader.readexactly(8))
            words = (await reader.readexactly(size - 8)).split(b"\0")
            asked = dict(zip(words[::2], words[1::2], strict=False))
            self.asked.append({k.decode(): v.decode() for k, v in asked.items() if k})
            unknown = [name for name in self.asked[-1] if name not in (*KEPT, "client_encoding")]
            if self.refuses and unknown:
                writer.write(_error("08P01", f"unsupported startup parameter: {unknown[0]}"))
                await writer.drain()
                return
            if self.drops:
                asked = {k: v for k, v in asked.items() if k.decode() in KEPT}
            body = b"".join(k + b"\0" + v + b"\0" for k, v in asked.items() if k) + b"\0"
            await self._forward(reader, writer, struct.pack("!II", len(body) + 8, code) + body)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes
    ) -> None:
        host, port = self.server.url.rpartition("@")[2].partition("/")[0].split(":")
        back, forth = await asyncio.open_connection(host, int(port))
        forth.write(first)
        ways = {
            asyncio.create_task(_copy(reader, forth)),
            asyncio.create_task(self._answers(back, writer)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            forth.close()

    async def _answers(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Message by message until the server is ready for queries; then as it comes."""
        kind = b""
        while kind != b"Z":
            head = await back.readexactly(5)
            kind, size = head[:1], struct.unpack("!I", head[1:])[0]
            body = await back.readexactly(size - 4)
            if kind == b"K" and self.poses:
                body = struct.pack("!I", 4_242_424) + body[4:]
            writer.write(head + body)
        await _copy(back, writer)


def _error(code: str, text: str) -> bytes:
    fields = b"".join(
        k.encode() + v.encode() + b"\0" for k, v in (("S", "FATAL"), ("C", code), ("M", text))
    )
    return b"E" + struct.pack("!I", len(fields) + 5) + fields + b"\0"


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)
        await writer.drain()


@asynccontextmanager
async def between(one: Between) -> AsyncIterator[Between]:
    listening = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = listening.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        listening.close()
        lines = list(one.lines)
        for line in lines:
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)


CONFIRMS = (b"\x00\x3c\x00\x50", b"\x00\x3c\x00\x78")  # Basic.Ack and Basic.Nack


@dataclass(slots=True)
class ToBroker:
    """Between the product and RabbitMQ: frame by frame, and confirms may stay away, as those of a
    queue do whose members are in the minority."""

    broker: str
    withholds: bool = False
    port: int = 0
    lines: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def url(self) -> str:
        head, _, _ = self.broker.rpartition("@")
        return f"{head}@127.0.0.1:{self.port}/"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a server's callback is one"
        self.lines.add(task)
        host, port = self.broker.rpartition("@")[2].partition("/")[0].split(":")
        back, forth = await asyncio.open_connection(host, int(port))
        ways = {
            asyncio.create_task(_copy(reader, forth)),
            asyncio.create_task(self._frames(back, writer)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:  # the line is cut; asyncio would log it
            pass
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            forth.close()
            writer.close()
            self.lines.discard(task)

    async def _frames(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await back.readexactly(7)
            rest = await back.readexactly(struct.unpack("!I", head[3:])[0] + 1)
            if not (self.withholds and head[0] == 1 and rest.startswith(CONFIRMS)):
                writer.write(head + rest)
                await writer.drain()

    async def cut(self) -> None:
        lines = list(self.lines)
        for line in lines:
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)


@asynccontextmanager
async def to_broker(one: ToBroker) -> AsyncIterator[asyncio.Server]:
    """Its end is that of the lines too; closing what it yields only keeps new ones from coming."""
    listening = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = listening.sockets[0].getsockname()[1]
    try:
        yield listening
    finally:
        listening.close()
        await one.cut()
