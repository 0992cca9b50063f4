"""Connections that say what no client library would."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

WEBHOOKS = "/webhooks/whatsapp"


class Line(asyncio.Protocol):
    def __init__(self) -> None:
        self.heard = b""  # and not yet taken by answer()
        self.is_open = True
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._news.set()

    def say(self, data: bytes) -> None:
        if self.is_open:
            self._transport.write(data)

    def hang_up(self) -> None:
        self._transport.abort()

    async def end(self) -> bytes:
        """All that is said until the other side closes."""
        while self.is_open:
            await self._hear()
        return self.heard

    async def answer(self) -> tuple[int, bytes]:
        while b"\r\n\r\n" not in self.heard:
            await self._hear()
        head, _, rest = self.heard.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0")
        while len(rest) < length:
            await self._hear()
            rest = self.heard.partition(b"\r\n\r\n")[2]
        self.heard = rest[length:]
        return int(head.split()[1]), rest[:length]

    async def _hear(self) -> None:
        assert self.is_open, self.heard
        self._news.clear()
        await asyncio.wait_for(self._news.wait(), 10)


def head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


@asynccontextmanager
async def lines(url: str, said: Iterable[bytes]) -> AsyncIterator[list[Line]]:
    """One for each of `said`, which it begins with."""
    host, _, port = urlsplit(url).netloc.partition(":")
    loop = asyncio.get_running_loop()
    opened: list[Line] = []
    try:
        for data in said:
            _, line = await loop.create_connection(Line, host, int(port))
            opened.append(line)
            line.say(data)
        yield opened
    finally:
        for line in opened:
            line.hang_up()
