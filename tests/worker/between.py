"""What may stand between a worker and PostgreSQL: a line that is cut, and a pooler that lends its
connections for a transaction."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def through(url: str, port: int) -> str:
    parts = urlsplit(url)
    login = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}"))


@dataclass(slots=True)
class Line:
    url: str  # of the database, by this line
    is_up: bool = True
    is_deaf: bool = False  # what clients say is lost
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """All connections end. Nobody gets a new one until `is_up`."""
        self.is_up = False
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, back: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(65_536):
                if back or not self.is_deaf:
                    target.write(chunk)
                    await target.drain()
        target.close()


@asynccontextmanager
async def line(url: str) -> AsyncIterator[Line]:
    address = urlsplit(url)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not built.is_up:
            writer.transport.abort()
            return
        back, forth = await asyncio.open_connection(address.hostname, address.port)
        built._writers |= {writer, forth}
        await asyncio.gather(built.carry(reader, forth), built.carry(back, writer, back=True))

    async with await asyncio.start_server(carry, "127.0.0.1", 0) as server:
        built = Line(through(url, server.sockets[0].getsockname()[1]))
        try:
            yield built
        finally:
            built.cut()


@dataclass(slots=True)
class _Backend:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    borrower: "_Client | None" = None
    statements: set[bytes] = field(default_factory=set)
    unasked: int = 0  # ParseComplete that no client waits for


@dataclass(slots=True)
class _Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    mark: bytes  # of its prepared statements, whose names it shares with the others
    backend: _Backend | None = None
    parsed: dict[bytes, bytes] = field(default_factory=dict)


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    return head[:1], await reader.readexactly(int.from_bytes(head[1:], "big") - 4)


def _framed(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


class Pooler:
    """Lends a backend for a transaction, as PgBouncer does with `pool_mode = transaction` and
    prepared statements. It logs each client in at a backend of its own, which then is everybody's.
    """

    def __init__(self, host: str, port: int, *, last_first: bool) -> None:
        self._address = (host, port)
        self._last_first = last_first
        self._idle: list[_Backend] = []
        self._returned = asyncio.Condition()
        self._clients = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        client = _Client(reader, writer, b"%d_" % self._clients)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._log_in(client)
            while True:
                await self._forward(client, *await _message(reader))
        writer.close()

    async def _log_in(self, client: _Client) -> None:
        size = await client.reader.readexactly(4)
        start = size + await client.reader.readexactly(int.from_bytes(size, "big") - 4)
        if start[4:8] == (80877103).to_bytes(4, "big"):  # whether there is TLS
            client.writer.write(b"N")
            await self._log_in(client)
            return
        backend = _Backend(*await asyncio.open_connection(*self._address))
        backend.writer.write(start)
        kind = b""
        while kind != b"Z":
            kind, body = await _message(backend.reader)
            client.writer.write(_framed(kind, body))
            if kind == b"R" and int.from_bytes(body[:4], "big") not in (0, 12):
                backend.writer.write(_framed(*await _message(client.reader)))
        task = asyncio.create_task(self._bring_back(backend))
        self._tasks.add(task)
        async with self._returned:
            self._idle.append(backend)
            self._returned.notify()

    async def _forward(self, client: _Client, kind: bytes, body: bytes) -> None:
        if kind == b"X":
            raise ConnectionResetError
        if client.backend is None:
            async with self._returned:
                await self._returned.wait_for(lambda: self._idle)
                client.backend = self._idle.pop(-1 if self._last_first else 0)
            client.backend.borrower = client
        backend = client.backend
        if kind == b"P" and body[0]:
            body = client.mark + body
            name = body.partition(b"\0")[0]
            client.parsed[name] = body
            backend.statements.add(name)
        elif kind in b"DC" and body[:1] == b"S" and body[1]:
            body = b"S" + client.mark + body[1:]
            self._prepare(client, backend, body[1:].partition(b"\0")[0])
        elif kind == b"B":
            portal, _, rest = body.partition(b"\0")
            if rest[0]:
                self._prepare(client, backend, client.mark + rest.partition(b"\0")[0])
                body = portal + b"\0" + client.mark + rest
        backend.writer.write(_framed(kind, body))

    def _prepare(self, client: _Client, backend: _Backend, name: bytes) -> None:
        if name not in backend.statements:
            backend.statements.add(name)
            backend.unasked += 1
            backend.writer.write(_framed(b"P", client.parsed[name]))

    async def _bring_back(self, backend: _Backend) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                kind, body = await _message(backend.reader)
                if kind == b"1" and backend.unasked:
                    backend.unasked -= 1
                    continue
                client = backend.borrower
                if kind == b"Z" and body == b"I":
                    backend.borrower = None
                    if client is not None:
                        client.backend = None
                    async with self._returned:
                        self._idle.append(backend)
                        self._returned.notify()
                if client is not None:
                    client.writer.write(_framed(kind, body))

    def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        for backend in self._idle:
            backend.writer.transport.abort()


@asynccontextmanager
async def transaction_pooler(url: str, *, last_first: bool) -> AsyncIterator[str]:
    """The URL by which it is reached. `last_first`: the backend that came back last is lent next;
    so a client that is alone gets the same one for ever."""
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    pooler = Pooler(address.hostname, address.port, last_first=last_first)
    async with await asyncio.start_server(pooler.serve, "127.0.0.1", 0) as server:
        try:
            yield through(url, server.sockets[0].getsockname()[1])
        finally:
            pooler.end()
