"""Files of any length, in and out (ingress/api/outflow.py). Nothing of one is held but a piece, and
no connection of the pool while a client is waited for.

What comes in is stored in UTF-8 as it comes, and becomes a job of the role `jobs`; the request
waits for it. What is wrong with the file itself is told from its first lines.
"""

import asyncio
import codecs
import hashlib
import json
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from aiohttp import web

from db.idempotency import FirstAnswer, Once, keep_answer
from db.ids import UserId
from db.imports import Received, begin_import, drop_import, open_imports, received
from db.jobs import Job, create_job, read_job
from db.pool import UNAVAILABLE
from handlers.bulk.files import file_key
from handlers.bulk.nouns import NOUNS
from handlers.bulk.spreadsheet import ABOVE, Reader, Unclear, encoding_of, head_of, misspelt
from handlers.bulk.work import IGNORED_MAX, KIND
from handlers.documents.blocks import FILE_BYTES as DOCUMENT_BYTES
from handlers.documents.blocks import Form
from handlers.documents.reading import TYPES
from handlers.media_store.port import StoreProblem
from handlers.process.http.connection import Connection, Unfinished
from ingress.api.encoding import pieces
from ingress.api.mistakes import Mistake
from ingress.api.once import first_answer
from ingress.api.outflow import given
from ingress.api.problems import Problem, invalid, unavailable
from ingress.api.stream import Stream
from ingress.api.table import CSV, JSON, JSONL, Rows

log: structlog.stdlib.BoundLogger = structlog.get_logger()

FILE_BYTES = 512 * 1024 * 1024
HEAD_CHARS = 64 * 1024  # in which the names of the columns stand
RECEIVE_S = 900.0  # for a file to be whole
WAIT_S = 45.0  # for its job; then 202
LOOK_S = 0.25
OPEN_MAX = 10  # imports of a tenant that come, wait or are being done
TENANT_STREAMS, ALL_STREAMS = 4, 64  # in one process at once


def unfinished(error: Unfinished) -> Problem:
    if error.status == 400:
        return Problem("invalid_request", f"Of the body, {error.text}.")
    if error.status == 408:
        return Problem("request_timeout", f"The body came {error.text}.")
    return unavailable(f"There is {error.text}.", 1)


class Streams:
    def __init__(self) -> None:
        self._of: Counter[UserId] = Counter()

    @contextmanager
    def place(self, user_id: UserId) -> Iterator[None]:
        if self._of[user_id] >= TENANT_STREAMS:
            raise Problem(
                "too_many_requests",
                f"{TENANT_STREAMS} files of this account are on their way. Wait for their ends.",
                headers={"Retry-After": "5"},
            )
        if self._of.total() >= ALL_STREAMS:
            raise unavailable("Too many files are on their way: come again.", 5)
        self._of[user_id] += 1
        try:
            yield
        finally:
            self._of[user_id] -= 1
            if not self._of[user_id]:
                del self._of[user_id]

    async def takes(self, request: web.Request, stream: Stream) -> web.StreamResponse:
        with self.place(stream.user_id):
            incoming = Incoming(request, stream)
            try:
                async with asyncio.timeout(RECEIVE_S):
                    job_id = await incoming.job()
            except Unfinished as error:
                raise unfinished(error) from None
            except StoreProblem as problem:
                log.warning("import.not_stored", exc_info=problem)
                raise unavailable("MEDIA_STORE, where files wait, takes none now.", 30) from None
            now = "respond-async" in request.headers.get("Prefer", "")
            return await _awaited(stream, job_id, 0 if now else WAIT_S)

    async def gives(self, request: web.Request, stream: Stream) -> web.StreamResponse:
        with self.place(stream.user_id):
            return await given(request, stream)


# ---- in ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Incoming:
    request: web.Request
    stream: Stream
    what: Received | None = None
    _bytes: int = 0
    _lines: int = 0
    _is_open: bool = False  # the last one, without an end
    _hash: Any = field(default_factory=hashlib.sha256)
    _decoder: codecs.IncrementalDecoder | None = None
    _encoding: str = ""
    _coming: AsyncIterator[str] | None = None

    async def job(self) -> int:
        """Begun by this file, or by the first one with its Idempotency-Key."""
        if isinstance(self.request.protocol, Connection):
            self.request.protocol.streams()
        if (self.request.content_length or 0) > FILE_BYTES:
            raise _too_large()
        stream, rows = self.stream, self.stream.rows
        form = TYPES.get(self.request.content_type) if rows.what == "knowledge" else None
        if form is None:
            head = await self._head()
            what, pieces_of_it = self._received(head), self._pieces(head)
        else:
            what, pieces_of_it = _document(form), await self._raw()
        file = file_key(stream.user_id, secrets.token_hex(16))
        async with stream.transaction() as conn:
            if (count := await open_imports(conn, stream.user_id)) >= OPEN_MAX:
                raise _too_many(count)
            import_id = await begin_import(conn, stream.user_id, rows.what, rows.chatbot_id, file)
        try:
            await stream.store.write(file, pieces_of_it)
            lines = self._lines + self._is_open - (what.at_line - 1)
            job_id, is_new = await self._begun(import_id, replace(what, lines=lines))
        except BaseException:
            await asyncio.shield(self._forget(import_id, file))
            raise
        if not is_new:
            await self._forget(import_id, file)
        return job_id

    async def _forget(self, import_id: int, file: str) -> None:
        """What a process that dies here leaves is swept."""
        try:
            await self.stream.store.remove(file)
            async with self.stream.tidying() as conn:
                await drop_import(conn, self.stream.user_id, import_id)
        except (*UNAVAILABLE, StoreProblem) as error:
            log.warning("import.not_forgotten", exc_info=error)

    async def _texts(self) -> AsyncIterator[str]:
        """The body as it comes."""
        while piece := await self.request.content.readany():
            self._bytes += len(piece)
            if self._bytes > FILE_BYTES:
                raise _too_large()
            self._hash.update(piece)
            if self._decoder is None:
                try:
                    self._encoding = encoding_of(piece)
                except Unclear as unclear:
                    raise _unclear(unclear) from None
                self._decoder = codecs.getincrementaldecoder(self._encoding)()
            yield self._decoded(piece)
        if self._decoder is not None:
            yield self._decoded(b"", is_last=True)

    def _decoded(self, piece: bytes, *, is_last: bool = False) -> str:
        assert self._decoder is not None, "the first piece sets it"
        try:
            text = self._decoder.decode(piece, is_last)
        except UnicodeDecodeError as error:
            at = self._bytes - len(piece) + max(0, error.start)
            raise _unclear(Unclear(misspelt(self._encoding, at))) from None
        self._lines += text.count("\n")
        self._is_open = not text.endswith("\n") if text else self._is_open
        return text

    async def _raw(self) -> AsyncIterator[bytes]:
        """A document, as it comes."""
        first = await self.request.content.readany()
        if not first:
            raise invalid([Mistake("", "the file is empty")])
        return self._pieces_behind(first)

    async def _pieces_behind(self, piece: bytes) -> AsyncIterator[bytes]:
        while piece:
            self._bytes += len(piece)
            if self._bytes > DOCUMENT_BYTES:
                raise _too_large(DOCUMENT_BYTES)
            self._hash.update(piece)
            yield piece
            piece = await self.request.content.readany()

    async def _head(self) -> str:
        """The first of it, or all."""
        self._coming = coming = self._texts()
        head = ""
        while len(head) < HEAD_CHARS and (text := await anext(coming, None)) is not None:
            head += text
        if head and self.request.content_type not in (CSV, JSONL):
            raise Problem("unsupported_media_type", f"Send `Content-Type: {CSV}` or {JSONL}.")
        if not head.strip():
            raise invalid([Mistake("", "the file is empty")])
        return head

    async def _pieces(self, head: str) -> AsyncIterator[bytes]:
        yield head.encode()
        assert self._coming is not None, "the head comes first"
        async for text in self._coming:
            yield text.encode()

    def _received(self, head: str) -> Received:
        """What its first lines say."""
        if self.request.content_type == JSONL:
            return Received(
                delimiter=None, columns=[], at_byte=0, at_line=1, rejected=[], ignored=[], lines=0
            )
        noun = NOUNS[self.stream.rows.what]
        try:
            found = head_of(head, noun.columns)
        except Unclear as unclear:
            raise _unclear(unclear) from None
        unknown = [name for name in found.columns if name and name not in noun.fields]
        before = head[: found.end]
        return Received(
            delimiter=found.delimiter,
            columns=found.columns,
            at_byte=len(before.encode()),
            at_line=Reader(head, found.delimiter).line_of(found.end),
            rejected=[{"line": line, "why": ABOVE} for line in found.above],
            ignored=[name[:50] for name in dict.fromkeys(unknown)][:IGNORED_MAX],
            lines=0,
        )

    async def _begun(self, import_id: int, what: Received) -> tuple[int, bool]:
        """Its job, and whether it is one of its own."""
        stream, rows, once = self.stream, self.stream.rows, self.stream.call.once
        async with stream.transaction() as conn:
            if once is not None:
                once = Once(once.key, hashlib.sha256(once.request_hash + self._digest).digest())
                before = await first_answer(conn, stream.user_id, once)
                if before is not None:
                    assert before.body is not None, "of the same request, so kept below"
                    return int(json.loads(before.body)["job_id"]), False
            job_id = await create_job(conn, stream.user_id, f"{KIND}{stream.rows.what}")
            if not await received(conn, stream.user_id, import_id, job_id, what):
                raise Problem("import_ended", _why_not(rows))
            if once is not None:
                first = FirstAnswer(
                    message_id=None,
                    contact_id=None,
                    status=202,
                    headers={},
                    body=json.dumps({"job_id": job_id}),
                )
                await keep_answer(conn, stream.user_id, once, first)
        return job_id, True

    @property
    def _digest(self) -> bytes:
        digest: bytes = self._hash.digest()
        return digest


def _why_not(rows: Rows) -> str:
    if rows.chatbot_id is not None:
        return "Its chatbot was deleted meanwhile."
    return "Somebody was erased meanwhile. Send the file without them."


def _unclear(unclear: Unclear) -> Problem:
    return invalid([Mistake("", f"the file {unclear}")])


def _too_large(most: int = FILE_BYTES) -> Problem:
    return Problem("too_large", f"A file may have {most} bytes: import it in parts.")


def _document(form: Form) -> Received:
    """Its rows are made of it later."""
    return Received(
        delimiter=None,
        columns=[],
        at_byte=0,
        at_line=1,
        form=form,
        rejected=[],
        ignored=[],
        lines=0,
    )


def _too_many(count: int) -> Problem:
    return Problem(
        "limit_reached",
        f"{count} imports come, wait or are being done. Come again when one has ended.",
        limit="imports",
        allowed=OPEN_MAX,
        count=count,
    )


async def _awaited(stream: Stream, job_id: int, wait_s: float) -> web.Response:
    """What came of a file that was permitted, whatever became of key and plan since."""
    until = time.monotonic() + wait_s
    while True:
        async with stream.tidying() as conn:
            job = await read_job(conn, stream.user_id, job_id)
        if job is None:
            raise Problem("import_ended", "It is gone with what it was about.")
        if job.settled_at is not None or time.monotonic() >= until:
            return _answer(job)
        await asyncio.sleep(LOOK_S)


def _answer(job: Job) -> web.Response:
    if job.settled_at is None:
        headers = {"Location": f"/v1/jobs/{job.id}", "Content-Type": JSON}
        return web.Response(status=202, body=_job_body(job), headers=headers)
    if job.status == "failed":
        report = json.loads(job.report)
        problem = str(report.pop("problem", "it failed"))
        raise Problem("import_ended", f"{problem}.", job_id=job.id, report=report)
    return web.Response(body=job.report.encode(), headers={"Content-Type": JSON})


def _job_body(job: Job) -> bytes:
    return b"".join(pieces(job))
