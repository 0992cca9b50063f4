"""A file comes in beside fields, as multipart/form-data, and is kept.

It goes into the store piece by piece as it comes; of a picture nothing is kept but what can be
seen, so it is read whole (5 MiB at most) and drawn anew by a process of its own. What a client that
leaves in the middle, or a process that dies, has written is removed by its name
(handlers/media/giving.py).
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from aiohttp import BodyPartReader, MultipartReader, StreamReader, web
from aiohttp.http import HttpProcessingError

from db.given_media import drop_unfinished
from db.idempotency import Once
from db.pool import UNAVAILABLE, Conn
from handlers.media import giving
from handlers.media.kinds import BYTES
from handlers.media.pictures import DRAWN, PICTURE_S, NotDrawn, drawn_anew, whole
from handlers.media.room import Room
from handlers.media.sendable import FILE_BYTES, FORMS, KIND_OF
from handlers.media.sniffing import HEAD_BYTES, content_type
from handlers.media_store.port import StoreProblem
from handlers.process.http.connection import Connection, Unfinished
from ingress.api.encoding import encoded
from ingress.api.fields import Parameters
from ingress.api.mistakes import Mistake
from ingress.api.once import done_once
from ingress.api.problems import Problem, invalid, unavailable
from ingress.api.reading import read_parameters
from ingress.api.stream import Stream
from ingress.api.streams import RECEIVE_S, Streams, unfinished
from ingress.api.table import FORM, JSON, Answer, Call, Upload

log: structlog.stdlib.BoundLogger = structlog.get_logger()

FILE = "file"
FIELD_BYTES = 4 * 1024
PARTS_MAX = 10
FORM_BYTES = 64 * 1024  # of a form, beside its file
# That are no content of a part: boundaries, headers, what stands before the first part. aiohttp
# throws a preamble of any length away line by line, and megabytes of nothing but line ends stood
# ready at once: the loop, in which webhooks are taken in, stood still for 20 s.
LINES_MAX = 256
# One picture at a time: a process that draws may take hundreds of MB and its niceness, and webhooks
# are taken in on this machine. Tenant by tenant: 100 KB may take 20 s, and who waited behind all of
# a tenant's was refused. So it is two at most that another waits for.
DRAWN_AT_ONCE, DRAW_WAIT_S = 1, 2 * PICTURE_S + 5.0
# aiohttp's, of bytes that are no form.
NO_FORM_ERRORS = (ValueError, AssertionError, RuntimeError, LookupError, HttpProcessingError)
NO_FORM = f"not {FORM} that can be read: `curl -F file=@menu.pdf` sends it"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that is in the store."""

    file: str
    kind: str
    content_type: str
    bytes: int
    name: str | None  # as whoever sent it calls it


@dataclass(slots=True)
class Uploads:
    streams: Streams  # whose places they share
    drawing: Room = field(default_factory=lambda: Room(DRAWN_AT_ONCE))

    async def takes(
        self, request: web.Request, stream: Stream, upload: Upload[Any, Any, Any]
    ) -> web.Response:
        with self.streams.place(stream.user_id):
            try:
                async with asyncio.timeout(RECEIVE_S):
                    answer = await self._kept(request, stream, upload)
            except Unfinished as error:
                raise unfinished(error) from None
            except TimeoutError:
                raise Problem(
                    "request_timeout", f"A file is whole within {RECEIVE_S:.0f} s."
                ) from None
            except StoreProblem as problem:
                log.warning("upload.not_stored", exc_info=problem)
                raise unavailable("MEDIA_STORE, where files are, takes none now.", 30) from None
            headers = {**answer.headers, "Content-Type": JSON}
            return web.Response(
                body=await encoded(answer.body), status=answer.status, headers=headers
            )

    async def _kept(
        self, request: web.Request, stream: Stream, upload: Upload[Any, Any, Any]
    ) -> Answer[Any]:
        if request.content_type != FORM:
            raise Problem("unsupported_media_type", f"Send `Content-Type: {FORM}`.")
        if (request.content_length or 0) > FILE_BYTES + FORM_BYTES:
            raise _too_large(FILE_BYTES)
        if isinstance(request.protocol, Connection):
            request.protocol.streams()
        async with stream.transaction() as conn:
            file = await giving.begin(conn, stream.user_id)
        form = Form(stream, upload.fields, file, self.drawing)
        is_kept = False
        try:
            fields, kept = await form.read(request)
            call = replace(stream.call, once=form.once(stream.call.once))
            async with stream.transaction() as conn:
                work = partial(_keeps, (upload, call), fields, kept, form, conn)
                answer = await done_once(conn, call, work)
            is_kept = form.is_kept
            return answer
        finally:
            if not is_kept:  # refused, left, or given before with this Idempotency-Key
                await asyncio.shield(_forget(stream, file))


async def _keeps(
    of: tuple[Upload[Any, Any, Any], Call[Any, Any]],
    fields: Parameters,
    kept: Kept,
    form: "Form",
    conn: Conn,
) -> Answer[Any]:
    upload, call = of
    answer = await upload.keeps(conn, call, fields, kept)
    form.is_kept = True
    return answer


async def _forget(stream: Stream, file: str) -> None:
    try:
        async with stream.tidying() as conn:
            await drop_unfinished(conn, stream.user_id, file)
    except UNAVAILABLE as error:  # it is removed later
        log.warning("upload.not_forgotten", exc_info=error)


@dataclass(slots=True)
class Form:
    stream: Stream
    fields: type[Parameters]
    file: str
    drawing: Room
    is_kept: bool = False
    _hash: Any = field(default_factory=hashlib.sha256)
    _bytes: int = 0

    async def read(self, request: web.Request) -> tuple[Parameters, Kept]:
        """Raises with everything that is wrong with it."""
        given: dict[str, list[str]] = {}
        kept: Kept | None = None
        parts = 0
        try:
            reader = MultipartReader(request.headers, Lines(request.content))
            while (part := await reader.next()) is not None:
                parts += 1
                if parts > PARTS_MAX:
                    raise _no_form(f"has more than {PARTS_MAX} parts")
                if isinstance(part, MultipartReader) or part.name is None:
                    raise _no_form("has a part without a name")
                if part.name != FILE:
                    given.setdefault(part.name, []).append(await self._field(part))
                elif kept is None:
                    kept = await self._file(part)
                else:
                    raise invalid([Mistake(FILE, "given more than once")])
        except NO_FORM_ERRORS as error:
            log.info("upload.no_form", error=type(error).__name__)
            raise _no_form() from None
        fields = read_parameters(self.fields, {}, given, datetime.now(UTC))
        mistakes = fields if isinstance(fields, list) else []
        if kept is None:
            mistakes = [Mistake(FILE, "missing: the file itself"), *mistakes]
        if mistakes or kept is None or isinstance(fields, list):
            raise invalid(mistakes)
        self._hash.update(repr(sorted(given.items())).encode())
        return fields, kept

    def once(self, once: Once | None) -> Once | None:
        """Another file, or another field, is another request."""
        if once is None:
            return None
        return Once(once.key, hashlib.sha256(once.request_hash + self._hash.digest()).digest())

    async def _field(self, part: BodyPartReader) -> str:
        raw = bytearray()
        while piece := await part.read_chunk(FIELD_BYTES):
            raw += piece
            if len(raw) > FIELD_BYTES:
                raise invalid([Mistake(str(part.name)[:100], f"{FIELD_BYTES} bytes at most")])
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise invalid([Mistake(str(part.name)[:100], "not UTF-8")]) from None

    async def _file(self, part: BodyPartReader) -> Kept:
        head = b""
        while len(head) < HEAD_BYTES and (piece := await part.read_chunk()):
            head += piece
        if not head:
            raise invalid([Mistake(FILE, "empty")])
        found = content_type(head[:HEAD_BYTES], "")
        kind = KIND_OF.get(found)
        if kind is None:
            raise invalid([Mistake(FILE, f"by its bytes it is {found}: send {FORMS}")])
        pieces = self._pieces(head, part, BYTES[kind])
        if kind == "image":
            found, size = DRAWN, await self._draw(pieces)
        else:
            size = await self.stream.store.write(self.file, pieces)
        return Kept(self.file, kind, found, size, part.filename)

    async def _pieces(self, piece: bytes, part: BodyPartReader, most: int) -> AsyncIterator[bytes]:
        while piece:
            self._bytes += len(piece)
            if self._bytes > most:
                raise _too_large(most)
            self._hash.update(piece)
            yield piece
            piece = await part.read_chunk()

    async def _draw(self, pieces: AsyncIterator[bytes]) -> int:
        data = b"".join([piece async for piece in pieces])
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(DRAW_WAIT_S):
                    await held.enter_async_context(self.drawing.place(self.stream.user_id))
            except TimeoutError:
                raise unavailable("Other pictures are being drawn anew: come again.", 10) from None
            try:
                picture = await drawn_anew(whole(data))
            except NotDrawn as problem:
                if str(problem) == "too_slow":  # by the clock: the machine may have been busy
                    raise unavailable("It took too long to draw: come again.", 10) from None
                raise invalid(
                    [Mistake(FILE, "a picture that cannot be drawn: it is damaged, or too large")]
                ) from None
        return await self.stream.store.write(self.file, whole(picture.big))


class Lines(StreamReader):
    """A body as a reader of forms reads it, with so many lines between its parts."""

    def __init__(self, body: StreamReader) -> None:  # nothing of its own is buffered
        self._body, self._lines = body, 0

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        self._lines += 1
        if self._lines > LINES_MAX:
            raise ValueError("too many lines")
        return await self._body.readline(max_line_length=max_line_length)

    async def read(self, n: int = -1) -> bytes:
        return await self._body.read(n)

    def unread_data(self, data: bytes) -> None:
        self._body.unread_data(data)

    def at_eof(self) -> bool:
        return self._body.at_eof()


def _no_form(detail: str = NO_FORM) -> Problem:
    return invalid([Mistake("", detail)])


def _too_large(most: int) -> Problem:
    return Problem("too_large", f"By its bytes, a file of this kind may have {most} of them.")
