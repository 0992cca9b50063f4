"""Signed calls to what speaks S3, each tried again while it is away, and what its refusals mean."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp_s3_client import S3Client
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from handlers.media_store.place import KEY_ID, SECRET, Keys, Place
from handlers.media_store.port import PIECE_BYTES, StoreProblem

CONNECTIONS = 32
_CODE = re.compile(rb"<Code>(\w{1,80})</Code>")
_NOTHING = hashlib.sha256(b"").hexdigest()
_WRONG_REGION = ("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed")


@dataclass(frozen=True, slots=True)
class Patience:
    connect_s: float = 5.0
    idle_s: float = 10.0  # between two pieces that are read
    call_s: float = 30.0  # all of one that is no file: a part of PART_BYTES is sent in it
    tries: int = 3
    between_s: float = 2.0  # at most, and spread


@dataclass(frozen=True, slots=True)
class Said:
    status: int
    body: bytes
    etag: str


class Away(StoreProblem):
    """It may answer the next time."""


class Calls:
    def __init__(self, place: Place, keys: Keys, patience: Patience) -> None:
        self._place, self._keys, self._patience = place, keys, patience
        self._opened: tuple[aiohttp.ClientSession, S3Client] | None = None

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened[0].close()
            self._opened = None

    async def call(
        self,
        method: str,
        key: str = "",
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        also: tuple[int, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Said:
        """Of a key, or of the bucket. Raises StoreProblem unless it is 2xx, or one of these."""
        digest = _NOTHING
        if data:  # in a thread: of a part it takes milliseconds, and the loop has others' turns
            digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        patience = self._patience
        timeout = aiohttp.ClientTimeout(total=patience.call_s, connect=patience.connect_s)

        async def once() -> Said:
            try:
                async with self._client.request(
                    method,
                    self._path(key),
                    headers=dict(headers or {}),
                    params=dict(params or {}),
                    data=None if data is None else _sliced(data),
                    data_length=None if data is None else len(data),
                    content_sha256=digest,
                    timeout=timeout,
                    allow_redirects=False,
                ) as response:
                    body = await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise self._away(error) from error
            if not 200 <= response.status < 300 and response.status not in also:
                raise self._refusal(response.status, body)
            return Said(response.status, body, response.headers.get("ETag", "").strip('"'))

        return await self._tries()(once)

    async def open(self, key: str, start: int) -> aiohttp.ClientResponse | None:
        """A file from this byte on; whoever gets it closes it. None: nothing begins there. Raises
        FileNotFoundError."""
        patience = self._patience
        timeout = aiohttp.ClientTimeout(connect=patience.connect_s, sock_read=patience.idle_s)

        async def once() -> aiohttp.ClientResponse | None:
            try:
                response = await self._client.request(
                    "GET",
                    self._path(key),
                    headers={"Range": f"bytes={start}-"} if start else {},
                    content_sha256=_NOTHING,
                    timeout=timeout,
                    allow_redirects=False,
                )
                if response.status == (206 if start else 200):
                    return response
                async with response:
                    body = await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise self._away(error) from error
            if response.status == 416:
                return None
            if response.status == 404 and b"NoSuchBucket" not in body:
                raise FileNotFoundError(key)
            raise self._refusal(response.status, body)

        return await self._tries()(once)

    async def piece(self, response: aiohttp.ClientResponse) -> bytes:
        """Nothing: that was all of it."""
        try:
            return await response.content.readexactly(PIECE_BYTES)
        except asyncio.IncompleteReadError as end:
            return end.partial
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._away(error) from error

    @property
    def _client(self) -> S3Client:
        """With the first call: a session belongs to the loop that runs then."""
        if self._opened is None:
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
                trust_env=False,
            )
            client = S3Client(
                session,
                self._place.endpoint,
                access_key_id=self._keys.key_id,
                secret_access_key=self._keys.secret,
                region=self._place.region,
            )
            self._opened = session, client
        return self._opened[1]

    def _path(self, key: str) -> str:
        return f"{self._place.bucket}/{self._place.prefix}{key}" if key else self._place.bucket

    def _tries(self) -> AsyncRetrying:
        return AsyncRetrying(
            stop=stop_after_attempt(self._patience.tries),
            wait=wait_random_exponential(multiplier=0.1, max=self._patience.between_s),
            retry=retry_if_exception_type(Away),
            reraise=True,
        )

    def _away(self, error: Exception) -> Away:
        return Away(f"MEDIA_STORE: {self._place} is away: {str(error) or type(error).__name__}")

    def _refusal(self, status: int, body: bytes) -> StoreProblem:
        found = _CODE.search(body)
        code = found[1].decode() if found else ""
        said = f"{status} {code}".strip()
        if code == "NoSuchBucket":
            return StoreProblem(
                f"MEDIA_STORE: there is no {self._place} ({said}): make it, or name another"
            )
        if code in _WRONG_REGION or 300 <= status < 400:
            return StoreProblem(
                f"MEDIA_STORE: the {self._place} is not in {self._place.region} ({said}): name its"
                " region with ?region="
            )
        if status in (401, 403):
            return StoreProblem(
                f"MEDIA_STORE: the {self._place} refuses us ({said}): look at {KEY_ID}, {SECRET},"
                " this machine's clock, and at what the key may do (docs/deploy.md has the list)"
            )
        if status >= 500 or status in (408, 429) or code in ("SlowDown", "RequestTimeout"):
            return Away(f"MEDIA_STORE: {self._place} is away: it says {said}")
        return StoreProblem(f"MEDIA_STORE: the {self._place} says {said}, which was not expected")


async def _sliced(data: bytes) -> AsyncIterator[bytes]:
    """Not in one go: the loop would write all of it before it did anything else."""
    for at in range(0, len(data), PIECE_BYTES):
        yield data[at : at + PIECE_BYTES]
