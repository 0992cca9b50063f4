"""A file is uploaded to Meta, which gives an id for it that is good for 30 days.

Nobody is told anything by it, so it may be repeated: what stays unknown costs an upload, and is as
if it had not been.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

import aiohttp
from aiohttp.payload import AsyncIterablePayload

from handlers.whatsapp.cloud_api.errors import class_of
from handlers.whatsapp.cloud_api.wire import error_report
from handlers.whatsapp.port import Refused

CONNECT_S = 5.0
UPLOAD_S = 45.0  # of 20 MiB
ANSWER_BYTES = 64 * 1024
HANDLE_CHARS = 200
HANDLES_LIVE = timedelta(days=29)  # Meta's ids of what was uploaded are good for 30


@dataclass(frozen=True, slots=True)
class Uploaded:
    handle: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file, as it goes out."""

    content_type: str
    name: str  # in ASCII; nobody sees it
    pieces: AsyncIterator[bytes]
    bytes: int


Outcome: TypeAlias = Uploaded | Refused


class _Sized(AsyncIterablePayload):
    """Of a known length, so that the whole is sent with one and not in chunks."""

    def __init__(self, file: Outgoing) -> None:
        super().__init__(file.pieces, content_type=file.content_type)
        self._size = file.bytes


class Uploads:
    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        """`base`: with the version."""
        self._session = session
        self._base = base

    async def upload(self, phone_number_id: str, token: str, file: Outgoing) -> Outcome:
        form = aiohttp.MultipartWriter("form-data")
        for name, value in (("messaging_product", "whatsapp"), ("type", file.content_type)):
            form.append(value).set_content_disposition("form-data", name=name)
        part = form.append_payload(_Sized(file))
        part.set_content_disposition("form-data", name="file", filename=file.name)
        try:
            async with self._session.post(
                f"{self._base}/{phone_number_id}/media",
                data=form,
                headers={"Authorization": f"Bearer {token}"},
                timeout=aiohttp.ClientTimeout(total=UPLOAD_S, connect=CONNECT_S),
                allow_redirects=False,
            ) as response:
                return _outcome(response.status, await _bounded(response))
        except (aiohttp.ClientError, TimeoutError) as error:
            return Refused("transient", _local_error(type(error).__name__))


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while len(body) < ANSWER_BYTES and (piece := await response.content.readany()):
        body += piece
    return bytes(body)


def _outcome(status: int, raw: bytes) -> Outcome:
    try:
        answer: Any = json.loads(raw)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        error = error_report(answer["error"])
        return Refused(class_of(error["code"], status) or "transient", error)
    handle = answer.get("id") if isinstance(answer, dict) else None
    if status == 200 and isinstance(handle, str) and 0 < len(handle) <= HANDLE_CHARS:
        return Uploaded(handle)
    refused = 300 <= status < 500 and status != 429
    return Refused("refused" if refused else "transient", _local_error(f"http_{status}"))


def _local_error(title: str) -> dict[str, Any]:
    return {"code": None, "title": title, "details": None}
