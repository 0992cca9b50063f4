"""How the model's client reaches its server: by aiohttp, as everything else here.

The client's own transport takes 0.6 ms of CPU for a request, and looks at every open connection
each time: with 300 requests in flight 1.5 ms, with 1,000 it is what a worker is busy with. aiohttp
takes 0.15 ms, however many there are.

It is also where an answer's size is bounded, as it arrives and as it is unpacked: 20 MB are no
answer, and 20 KB may be packed 20 MB.
"""

import zlib
from collections.abc import Mapping

import aiohttp
import httpx2
from yarl import URL

from handlers.agent.answerer import Kind, NoAnswer
from handlers.outbound.guard import class_of

MAX_ANSWER_BYTES = 2 * 1024 * 1024  # unpacked; 800 tokens are some 4 KB, with reasoning some 100
MAX_ERROR_BYTES = 64 * 1024  # of an answer with an error's status; what is beyond is not read
_OF_THE_WAY = {b"content-encoding", b"content-length", b"transfer-encoding"}


class Blocked(NoAnswer):
    """An address that is not for tenants: handlers/outbound."""

    billed = False


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """The session is the caller's to close, and leaves compressed bodies as they are."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises NoAnswer for what is too big or packed in another way than it was asked for."""
        timeout = request.extensions.get("timeout", {})
        request.headers["Accept-Encoding"] = "gzip"
        try:
            async with self._session.request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=request.headers.multi_items(),
                data=await request.aread(),
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    connect=timeout.get("pool"),
                    sock_connect=timeout.get("connect"),
                    sock_read=timeout.get("read"),
                ),
                allow_redirects=False,  # the client's to follow
            ) as response:
                return httpx2.Response(
                    response.status,
                    headers=_headers(response),
                    content=await _content(response),
                    request=request,
                )
        except (TimeoutError, aiohttp.ServerTimeoutError) as error:
            raise httpx2.ReadTimeout(type(error).__name__, request=request) from error
        except aiohttp.ClientError as error:
            if class_of(error) == "blocked_address":
                raise Blocked("blocked_address", Kind.BROKEN) from error
            raise httpx2.NetworkError(type(error).__name__, request=request) from error


def _headers(response: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
    """Without those that say how the body came."""
    return [header for header in response.raw_headers if header[0].lower() not in _OF_THE_WAY]


async def _content(response: aiohttp.ClientResponse) -> bytes:
    is_error = response.status >= 400
    unpacking = _Unpacking(response.headers, MAX_ERROR_BYTES if is_error else MAX_ANSWER_BYTES)
    async for part in response.content.iter_any():
        if not unpacking.takes(part):
            if is_error:
                break
            raise NoAnswer("answer_too_big", Kind.NEVER)
    return bytes(unpacking.content)


class _Unpacking:
    def __init__(self, headers: Mapping[str, str], limit: int) -> None:
        self.content = bytearray()
        self._limit = limit
        encoding = headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip", "deflate"):
            raise NoAnswer("unreadable")
        self._zlib = None if encoding == "identity" else zlib.decompressobj(32 + zlib.MAX_WBITS)

    def takes(self, part: bytes) -> bool:
        """False: it is more than the limit; `content` has that much of it."""
        room = self._limit - len(self.content)
        if self._zlib is not None:
            try:
                part = self._zlib.decompress(part, room + 1)
            except zlib.error:
                raise NoAnswer("unreadable") from None
        self.content += part[:room]
        return len(part) <= room
