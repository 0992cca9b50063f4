"""The media store as a bucket of S3, or of a server that speaks like it.

A file is an upload in parts, however small: what is being written is listed under its key from its
first moment on, so that whoever removes it ends it; a file comes to be with the last call, whole.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

from aiohttp_s3_client.xml import (
    create_complete_upload_request,
    parse_create_multipart_upload_id,
    validate_complete_upload_response,
)

from handlers.media_store.place import Keys, Place
from handlers.media_store.port import IDENTITY, UNFINISHED_S, StoreProblem, checked, folder_of
from handlers.media_store.s3_calls import Away, Calls, Patience

# The least that S3 takes of any but the last, which bounds memory; and a file to 48 GiB, of 10,000.
PART_BYTES = 5 * 1024 * 1024
TAKE_BACK_S = 5.0
PAGE = 1_000  # keys of a listing; S3 gives no more


class Bucket:
    def __init__(
        self, place: Place, keys: Keys, patience: Patience | None = None, page: int = PAGE
    ) -> None:
        self._place, self._page = place, str(page)
        self._calls = Calls(place, keys, patience or Patience())

    async def close(self) -> None:
        await self._calls.close()

    async def write(self, key: str, pieces: AsyncIterator[bytes]) -> int:
        begun = await self._calls.call("POST", checked(key), {"uploads": ""}, b"")
        upload = {"uploadId": _id_of(begun.body)}
        try:
            written, parts = await self._parts(key, upload, pieces)
            whole = create_complete_upload_request(parts)
            said = await self._calls.call("POST", key, upload, whole)
            try:
                validate_complete_upload_response(said.body)
            except ValueError:  # it says 200 before it has begun
                raise Away(
                    f"MEDIA_STORE: {self._place} did not make one file of its parts"
                ) from None
        except BaseException:
            # What cannot be taken back is, when its key is removed, or a day later.
            with suppress(StoreProblem, TimeoutError):
                async with asyncio.timeout(TAKE_BACK_S):
                    await self._end(key, upload["uploadId"])
            raise
        return written

    async def read(self, key: str, start: int = 0) -> AsyncIterator[bytes]:
        async for piece in self._pieces(checked(key), start):
            yield piece

    async def remove(self, key: str) -> None:
        """First what is being written: the other way round it could end in between."""
        for of, upload_id, _ in await self._uploads(checked(key)):
            if of == key:
                await self._end(key, upload_id)
        await self._calls.call("DELETE", key, also=(404,))

    async def remove_below(self, prefix: str) -> int:
        keys = await self.keys_below(prefix)
        for key in keys:
            await self.remove(key)
        return len(keys)

    async def keys_below(self, prefix: str) -> list[str]:
        folder_of(prefix)
        uploads = await self._uploads(prefix)  # first: one that ends meanwhile is among the files
        files = await self._files(prefix)
        return sorted({*files, *(key for key, _, _ in uploads)})

    async def identity(self) -> str:
        """Also ends uploads of who died."""
        versions = await self._calls.call("GET", "", {"versioning": ""}, also=(403, 405, 501))
        if b"<Status>Enabled</Status>" in versions.body:
            raise StoreProblem(
                f"MEDIA_STORE: the {self._place} keeps versions, so what is erased would stay"
                " there: turn its versioning off, or name another"
            )
        old = datetime.now(UTC) - timedelta(seconds=UNFINISHED_S)
        for key, upload_id, begun_at in await self._uploads(""):
            if begun_at < old:
                await self._end(key, upload_id)
        with suppress(FileNotFoundError):
            return await self._identity()
        # Of two at once one is first; where a server does not know the condition, whoever was
        # second is seen by both a minute later.
        first = {"If-None-Match": "*"}
        mine = secrets.token_hex(16).encode()
        await self._calls.call("PUT", IDENTITY, data=mine, also=(409, 412), headers=first)
        try:
            return await self._identity()
        except FileNotFoundError:
            raise StoreProblem(f"MEDIA_STORE: the {self._place} keeps nothing") from None

    async def _identity(self) -> str:
        return b"".join([piece async for piece in self._pieces(IDENTITY, 0)]).decode()

    async def _pieces(self, key: str, start: int) -> AsyncIterator[bytes]:
        response = await self._calls.open(key, start)
        if response is None:
            return
        async with response:
            while piece := await self._calls.piece(response):
                yield piece

    async def _parts(
        self, key: str, upload: dict[str, str], pieces: AsyncIterator[bytes]
    ) -> tuple[int, list[tuple[int, str]]]:
        """All but the last have the same size: some servers want that."""
        written, parts, part = 0, list[tuple[int, str]](), bytearray()

        async def send(data: bytes) -> None:
            number = len(parts) + 1
            said = await self._calls.call("PUT", key, {**upload, "partNumber": str(number)}, data)
            parts.append((number, said.etag))

        async for piece in pieces:
            written += len(piece)
            part += piece
            while len(part) >= PART_BYTES:
                data = bytes(memoryview(part)[:PART_BYTES])
                del part[:PART_BYTES]
                await send(data)
        if part or not parts:
            await send(bytes(part))
        return written, parts

    async def _end(self, key: str, upload_id: str) -> None:
        await self._calls.call("DELETE", key, {"uploadId": upload_id}, also=(404,))

    async def _files(self, prefix: str) -> list[str]:
        prefix = f"{self._place.prefix}{prefix}"
        params = {"list-type": "2", "prefix": prefix, "max-keys": self._page}
        found: list[str] = []
        while True:
            page = _page((await self._calls.call("GET", "", params)).body)
            found += [self._ours(_text(one, "Key")) for one in page.iterfind("{*}Contents")]
            token = _text(page, "NextContinuationToken")
            if _text(page, "IsTruncated") != "true" or not token:
                return found
            params["continuation-token"] = token

    async def _uploads(self, prefix: str) -> Sequence[tuple[str, str, datetime]]:
        """Key, id, and since when."""
        prefix = f"{self._place.prefix}{prefix}"
        params = {"uploads": "", "prefix": prefix, "max-uploads": self._page}
        found: list[tuple[str, str, datetime]] = []
        while True:
            page = _page((await self._calls.call("GET", "", params)).body)
            found += [
                (
                    self._ours(_text(one, "Key")),
                    _text(one, "UploadId"),
                    datetime.fromisoformat(_text(one, "Initiated")),
                )
                for one in page.iterfind("{*}Upload")
            ]
            marker, upload = _text(page, "NextKeyMarker"), _text(page, "NextUploadIdMarker")
            if _text(page, "IsTruncated") != "true" or not marker:
                return found
            params |= {"key-marker": marker, "upload-id-marker": upload}

    def _ours(self, key: str) -> str:
        return key.removeprefix(self._place.prefix)


def _id_of(body: bytes) -> str:
    try:
        return parse_create_multipart_upload_id(body)
    except (ValueError, ET.ParseError):
        raise StoreProblem("MEDIA_STORE: what answers does not speak S3") from None


def _page(body: bytes) -> ET.Element:
    try:
        return ET.fromstring(body)  # noqa: S314 - of the operator's own store
    except ET.ParseError:
        raise StoreProblem("MEDIA_STORE: what answers does not speak S3") from None


def _text(element: ET.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""
