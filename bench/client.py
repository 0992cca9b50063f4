"""An HTTP client that costs next to nothing: it shares a core with the servers, and what it burns
there they lack. Requests are whole bytes made beforehand; one at a time on each connection."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Refused(Exception):
    """An answer other than 200 and 201."""


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[None] | None = None
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, request: bytes) -> asyncio.Future[None]:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("closed by the server while idle")
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answered

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(body) < int(length or b"0"):
            return
        answered, self._answered, self._got = self._answered, None, b""
        assert answered is not None
        if b" 20" in head[:11]:
            answered.set_result(None)
        else:
            answered.set_exception(Refused((head[:64] + b" " + body[:200]).decode()))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionResetError("closed in mid-request"))


class Client:
    """Its connections are made anew for each measurement: servers close those that are idle."""

    def __init__(self, url: str, connections: int) -> None:
        self._address = urlsplit(url)
        self._count = connections

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[list[Connection]]:
        loop = asyncio.get_running_loop()
        host, port = self._address.hostname, self._address.port
        made = [await loop.create_connection(Connection, host, port) for _ in range(self._count)]
        yield [connection for _, connection in made]
        for transport, _ in made:
            transport.close()

    async def as_fast_as_it_goes(self, requests: Sequence[bytes]) -> float:
        """Seconds that all took, with one request in flight on each connection."""
        left = iter(requests)

        async def keep_asking(connection: Connection) -> None:
            for request in left:
                await connection.ask(request)

        async with self.connected() as connections:
            started = time.perf_counter()
            await asyncio.gather(*(keep_asking(c) for c in connections))
            return time.perf_counter() - started

    async def at_rate(self, requests: Sequence[bytes], per_s: float) -> list[float]:
        """Milliseconds from when each was due, not from when a connection was free for it: a server
        that stands still makes all wait who come meanwhile. Sorted."""
        free: asyncio.Queue[Connection] = asyncio.Queue()
        took: list[float] = []

        async def ask(request: bytes, due: float) -> None:
            connection = await free.get()
            await connection.ask(request)
            took.append((time.perf_counter() - due) * 1000)
            free.put_nowait(connection)

        async with self.connected() as connections, asyncio.TaskGroup() as group:
            for connection in connections:
                free.put_nowait(connection)
            started = time.perf_counter()
            for number, request in enumerate(requests):
                due = started + number / per_s
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                group.create_task(ask(request, due))
        return sorted(took)


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    return request("POST", path, headers, body)


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: bench"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body
