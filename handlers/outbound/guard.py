"""The one guard through which whatever a tenant names by a URL is reached.

An address is looked at where it is connected to, in the factory of sockets: that sees the final
address of every attempt, whether it was a literal in the URL, in whatever spelling, or an answer of
DNS, of which the first may be public and the next 127.0.0.1. So nothing rests on what was looked at
before. That all answers of a name are looked at together is the second line: a name that has an
inner address among others is refused, whichever would have been taken.

https:// and http:// have a session each, since a factory of sockets is not told which it is for.
That of http:// reaches what OUTBOUND_ALLOW names and nothing else; neither takes the other's URLs.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from handlers.outbound.addresses import Allow, plainest, refusal
from handlers.outbound.kept import Answering, Connector

# Of one answer, whatever it is: interim answers, headers, marks of chunks. One read may be 256 KiB,
# and a page that is merely long must not come near.
ARRIVED_BYTES = 384 * 1024
ANSWER_BYTES = 64 * 1024  # then it is closed: who answers a webhook has nothing to say
TEXT_BYTES = 1_024  # of the answer, for people to look at
RETRY_AFTER_CHARS = 100  # a date has 29
HEADERS_MAX = 100
HEADER_BYTES = 8 * 1024
# Less than the 5 s after which Node closes: a connection that is closed at the moment of sending
# costs a delivery a retry. It also bounds how many idle ones there are.
KEPT_S = 4.0
# Names looked up at a time. In threads of their own: uvloop has four for this and everything else,
# and a server of names that answers nothing holds one for 10 s and more.
NAMES_AT_ONCE = 64
_HEADERS = {"User-Agent": "SwiftReplies", "Accept-Encoding": "identity"}

Error = Literal["blocked_address", "dns", "connect", "tls", "timeout", "protocol"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a post: a status, or else the class of what went wrong.

    `text` is the answer's beginning, as a row can hold it; empty with an error, so that nothing an
    inner server says is ever told.
    """

    milliseconds: int
    status: int | None = None
    error: Error | None = None
    text: str = ""
    retry_after: str | None = None
    content_type: str = ""  # without its parameters, in small letters
    is_whole: bool = True  # `text` is all of the answer
    broke_off: Error | None = None  # behind the status: what it says is not all that it would have
    is_packed: bool = False  # by a Content-Encoding, which nobody asked for and nobody unpacks


class BlockedAddress(OSError):
    """An OSError, or aiohappyeyeballs fails at it; all alike, or it makes another error of several
    that differ."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "blocked_address")


class Names(AbstractResolver):
    """The system's resolver."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(NAMES_AT_ONCE, "outbound-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        look = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, look)
        except UnicodeError:
            raise OSError(errno.EINVAL, "no name of DNS") from None
        return [
            ResolveResult(
                hostname=host, host=str(at[0]), port=port, family=kind, proto=proto, flags=0
            )
            for kind, _, proto, _, at in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Guard(AbstractResolver):
    """Of one scheme: looks at all answers of a name, and at each address as it is connected to."""

    def __init__(self, names: AbstractResolver, allow: Allow, *, plain: bool) -> None:
        self._names = names
        self._allow = allow
        self._plain = plain

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._names.resolve(host, port, family)
        for answer in found:
            self._look(answer["host"], port)
        return found

    async def close(self) -> None:
        """The names are closed by who has them."""

    def socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, proto, _, at = info
        self._look(str(at[0]), int(at[1]))
        return socket.socket(family, kind, proto)

    def _look(self, text: str, port: int) -> None:
        try:
            address = plainest(text)
        except ValueError:
            raise BlockedAddress from None
        if refusal(address, port, plain=self._plain, allow=self._allow):
            raise BlockedAddress


class _Bounded(Answering):
    """Counts what arrives. aiohttp bounds headers alone: in 5 s, 2 to 5 GB of nothing but a chunk's
    size or its extension were read, and interim answers (1xx) took 100 MB of memory."""

    _arrived = 0
    most = ARRIVED_BYTES

    def set_response_params(self, **params: Any) -> None:
        self._arrived = 0
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._arrived += len(data)
        if self._arrived > self.most and self.transport is not None:
            self.transport.abort()  # an answer without an end, to whoever reads it


class _Connector(Connector):
    def __init__(self, *, most: int, **options: Any) -> None:
        def protocol(**given: Any) -> Answering:
            made = _Bounded(**given)
            made.most = most
            return made

        super().__init__(protocol=protocol, **options)


class _Encrypted(_Connector):
    allowed_protocol_schema_set = frozenset({"https"})


class _Plain(_Connector):
    allowed_protocol_schema_set = frozenset({"http"})


class Outbound:
    """`async with Outbound(...) as outbound: await outbound.post(...)`; one for a process.

    `seconds` is the time for all of a post: to wait for a place among the `connections`, to look
    its name up, to connect, to be answered. So let no more posts be under way than there are
    connections. `names` and `tls` stand for the system's resolver and its certificates.
    """

    def __init__(
        self,
        allow: Allow,
        *,
        connections: int,
        seconds: float,
        names: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
        arrived_bytes: int = ARRIVED_BYTES,
    ) -> None:
        self._allow = allow
        self._arrived_bytes = arrived_bytes
        self._connections = connections
        # aiohttp rounds what is above its threshold up to a whole second of the clock.
        self._timeout = aiohttp.ClientTimeout(total=seconds, ceil_threshold=seconds + 1)
        self._given_names = names
        self._tls: ssl.SSLContext | bool = tls if tls is not None else True
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._time = asyncio.get_running_loop().time
        names = self._given_names
        if names is None:
            names = Names()
            self._open.push_async_callback(names.close)
        self._https = await self._session(_Encrypted, names, plain=False)
        self._http = await self._session(_Plain, names, plain=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def _session(
        self, kind: type[_Connector], names: AbstractResolver, *, plain: bool
    ) -> aiohttp.ClientSession:
        guard = _Guard(names, self._allow, plain=plain)
        connector = kind(
            most=self._arrived_bytes,
            resolver=guard,
            socket_factory=guard.socket,
            limit=self._connections,
            keepalive_timeout=KEPT_S,
            ssl=self._tls,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            headers=_HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            read_bufsize=ANSWER_BYTES // 2,  # reading pauses at twice that
            max_line_size=HEADER_BYTES,
            max_field_size=HEADER_BYTES,
            max_headers=HEADERS_MAX,
        )
        return await self._open.enter_async_context(session)

    def session(self, url: str) -> aiohttp.ClientSession:
        """For who asks by itself; it follows no redirect only if it is told not to."""
        return self._https if url[:5].lower() == "https" else self._http

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], kept: int = TEXT_BYTES
    ) -> Outcome:
        """Raises nothing for what the outside does; a cancellation passes through. `kept`: bytes of
        the answer that its `text` has at most.

        A redirect is the answer, and is not followed. Connections are used again. One that the
        server closes at the moment of sending ends in `protocol`: whether the server has read what
        was sent is not known, so nothing here sends it once more; the delivery's next attempt does.
        Once a status has come it is the outcome, whatever becomes of the rest of the answer.
        """
        began = self._time()
        session = self.session(url)
        try:
            response = await session.post(url, data=body, headers=headers, allow_redirects=False)
        except (aiohttp.ClientError, OSError) as error:
            return Outcome(round((self._time() - began) * 1_000), error=class_of(error))
        beginning, is_whole, broke_off = await _beginning(response, kept)
        return Outcome(
            round((self._time() - began) * 1_000),
            response.status,
            None,
            _storable(beginning),
            _retry_after(response),
            response.headers.get("Content-Type", "").partition(";")[0].strip().lower()[:100],
            is_whole,
            broke_off,
            response.headers.get("Content-Encoding", "identity").strip().lower() != "identity",
        )


async def _beginning(
    response: aiohttp.ClientResponse, most: int
) -> tuple[bytes, bool, Error | None]:
    """Reads to the answer's end, so that the connection can be used again, or to our limit. And
    whether it is all of it, and what broke it off."""
    kept, size, ended, broke_off = b"", 0, False, None
    try:
        while size <= ANSWER_BYTES and (piece := await response.content.readany()):
            size += len(piece)
            if len(kept) < most:
                kept += piece[: most - len(kept)]
        ended = size <= most
    except (aiohttp.ClientError, OSError) as error:  # the status has come
        broke_off = class_of(error)
    finally:
        response.close()  # nothing, if it was read to its end
    return kept, ended, broke_off


def _storable(beginning: bytes) -> str:
    """PostgreSQL takes no NUL."""
    return beginning.decode("utf-8", "replace").replace("\0", "\ufffd") if beginning else ""


def _retry_after(response: aiohttp.ClientResponse) -> str | None:
    given = response.headers.get("Retry-After")
    if given is None:
        return None
    return _storable(given[:RETRY_AFTER_CHARS].encode("utf-8", "surrogateescape"))


def class_of(error: Exception) -> Error:
    causes = (error, error.__cause__)
    if any(isinstance(one, BlockedAddress) for one in causes):
        return "blocked_address"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, aiohttp.InvalidURL):  # also an address in another spelling
        return "blocked_address"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns"
    if isinstance(error, aiohttp.ClientSSLError) or any(
        isinstance(one, ssl.SSLError) for one in causes
    ):
        return "tls"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connect"
    return "protocol"
