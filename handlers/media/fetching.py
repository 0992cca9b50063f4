"""A medium is fetched from Meta: where it is, then what it is.

The address is good for five minutes and wants the number's token, which goes to Meta's hosts alone
and over no redirect. What comes is untrusted: bounded while it comes, and held against its hash.
"""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import quote

import aiohttp

from handlers.media.kinds import BYTES
from handlers.media.sniffing import HEAD_BYTES, content_type, fits
from handlers.media_store.port import PIECE_BYTES
from handlers.outbound.kept import Connector
from handlers.whatsapp.cloud_api.media import (
    Described,
    NotDescribed,
    described,
    digest,
    may_be_fetched,
)

CONNECT_S = 5.0
DESCRIBED_S = 10.0
READ_S = 20.0  # between two pieces
FILE_S = 90.0  # for all of it
ANSWER_BYTES = 64 * 1024
ADDRESSES = 3  # that are asked for in one try: one that has expired is asked for anew
# Some hosts take no client that names itself as libraries do.
USER_AGENT = "Mozilla/5.0 (compatible; SwiftReplies)"


class NotFetched(Exception):
    """In a word of handlers/media/rules.py."""


class _Expired(Exception):
    """The address, not the medium."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One medium, and with what it is asked for."""

    kind: str
    handle: str
    phone_number_id: str
    token: str = field(repr=False)
    named_hash: str | None = None


class MediaApi:
    def __init__(self, session: aiohttp.ClientSession, base_url: str, version: str) -> None:
        """The session unpacks nothing and keeps no cookies: media_session()."""
        self._session = session
        self._graph = base_url.rstrip("/")
        self._base = f"{self._graph}/{version}"

    async def fetch(self, asked: Asked) -> "Fetch":
        """Raises NotFetched."""
        for _ in range(ADDRESSES):
            found = await self._describe(asked)
            if not may_be_fetched(found.url, self._graph):
                raise NotFetched("foreign_host")
            if (found.bytes or 0) > BYTES[asked.kind]:
                raise NotFetched("too_large")
            try:
                response = await self._open(found, asked)
            except _Expired:
                continue
            return Fetch(response, asked.kind, found.sha256 or digest(asked.named_hash or ""))
        raise NotFetched("gone")

    async def _describe(self, asked: Asked) -> Described:
        try:
            async with self._session.get(
                f"{self._base}/{quote(asked.handle, safe='')}",
                params={"phone_number_id": asked.phone_number_id},
                headers={"Authorization": f"Bearer {asked.token}"},
                timeout=aiohttp.ClientTimeout(total=DESCRIBED_S, connect=CONNECT_S),
                allow_redirects=False,
            ) as response:
                return described(response.status, await _bounded(response))
        except NotDescribed as error:
            raise NotFetched(str(error)) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotFetched("unreachable") from error

    async def _open(self, found: Described, asked: Asked) -> aiohttp.ClientResponse:
        try:
            response = await self._session.get(
                found.url,
                headers={"Authorization": f"Bearer {asked.token}"},
                timeout=aiohttp.ClientTimeout(total=FILE_S, connect=CONNECT_S, sock_read=READ_S),
                allow_redirects=False,
            )
        except aiohttp.InvalidURL:
            raise NotFetched("foreign_host") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotFetched("unreachable") from error
        if response.status == 200:
            return response
        response.close()
        if response.status in (401, 403, 404, 410):
            raise _Expired
        is_redirect = 300 <= response.status < 400
        raise NotFetched("redirected" if is_redirect else f"http_{response.status}")


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while len(body) < ANSWER_BYTES and (piece := await response.content.readany()):
        body += piece
    return bytes(body)


class Fetch:
    """`async with` it: an answer that was begun is ended."""

    def __init__(self, response: aiohttp.ClientResponse, kind: str, sha256: bytes | None) -> None:
        self._response = response
        self.kind = kind
        self.sha256 = sha256

    async def __aenter__(self) -> "Fetch":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._response.close()

    async def coming(self) -> "Coming":
        """Raises NotFetched, and so do its pieces: of a file that is none nothing is to be kept."""
        if (self._response.content_length or 0) > BYTES[self.kind]:
            raise NotFetched("too_large")
        head = b""
        while len(head) < HEAD_BYTES and (piece := await self.piece()):
            head += piece
        found = content_type(head[:HEAD_BYTES], self.kind)
        if not head or not fits(found, self.kind):
            raise NotFetched("wrong_type")
        return Coming(self, head, found)

    async def piece(self) -> bytes:
        try:
            return await self._response.content.read(PIECE_BYTES)
        except aiohttp.ClientPayloadError as error:
            raise NotFetched("truncated") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotFetched("unreachable") from error


class Coming:
    """A file as it comes: what it is by its first bytes, and in the end its size."""

    def __init__(self, fetch: Fetch, head: bytes, content_type: str) -> None:
        self._fetch = fetch
        self._head = head
        self.content_type = content_type
        self.bytes = 0

    async def pieces(self) -> AsyncIterator[bytes]:
        """Raises NotFetched."""
        seen, piece = hashlib.sha256(), self._head
        while piece:
            self.bytes += len(piece)
            if self.bytes > BYTES[self._fetch.kind]:
                raise NotFetched("too_large")
            seen.update(piece)
            yield piece
            piece = await self._fetch.piece()
        if self._fetch.sha256 is not None and seen.digest() != self._fetch.sha256:
            raise NotFetched("hash")


def media_session(connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=Connector(limit=connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
    )
