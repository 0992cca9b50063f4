"""An import is done: batch by batch, each a transaction with its rows and how far it is.

A worker that dies leaves whole batches; another goes on behind the last. A file that takes long
gives way to other jobs every few seconds.
"""

import asyncio
import codecs
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from db.bulk import savepoint
from db.errors import is_data, is_hidden, is_integrity
from db.ids import UserId
from db.imports import (
    Import,
    OldImport,
    Step,
    became_rows,
    clear_import,
    end_import,
    file_of,
    forget_keys,
    give_way,
    old_imports,
    read_import,
    step_on,
)
from db.jobs import JobClaim, is_running
from db.pool import CONFLICT, REFUSED, Conn, Pool, tenant
from db.tenants import read_plan
from handlers.bulk.files import document_of, file_of_rows
from handlers.bulk.nouns import NOUNS, Noun, Row, row_of
from handlers.bulk.reading import WINDOW_CHARS, Form, read_some
from handlers.bulk.storing import Outcome, store
from handlers.documents.blocks import Refused
from handlers.documents.reading import passages_of
from handlers.exports.work import Lost
from handlers.media_store.port import Store
from handlers.plans import Feature, Plan
from handlers.process.sweeps import Sweep

log: structlog.stdlib.BoundLogger = structlog.get_logger()

BATCH_ROWS = 500  # of a transaction
SLICE_S = 5.0  # before another tenant's job is next
TOLD_MAX = 200  # rejected lines that are kept; all are counted
IGNORED_MAX = 20
TRIES = 6  # of a batch, when others are at the same rows
OLD_AT_ONCE = 50
KEYS_AT_ONCE = 5_000
KIND = "import_"  # and what


class Ended(Exception):
    """There is no point in going on; what the client reads."""


@dataclass(frozen=True, slots=True)
class _Batch:
    lines: Sequence[tuple[int, Row | str]]
    read: int  # how many lines that is
    at_byte: int
    at_line: int  # where the next begins
    ignored: list[str]


async def do_import(pool: Pool, files: Store, job: JobClaim) -> None:
    """Raises Lost."""
    async with tenant(pool, job.user_id) as conn:
        this = await read_import(conn, job)
    try:
        if this is None:
            raise Ended("it went with its chatbot")
        if this.form is not None:
            this = await _rows_of_document(pool, files, job, this, this.form)
        if not await _go_on(pool, files, job, this):
            async with tenant(pool, job.user_id) as conn:
                await give_way(conn, job)
            return
        problem = None
    except Ended as ended:
        problem = str(ended)
    except FileNotFoundError:
        problem = "its file is not in MEDIA_STORE any more: send it again"
    async with tenant(pool, job.user_id) as conn:
        if not await end_import(conn, job, problem):
            raise Lost
    log.info("import.done", user_id=job.user_id, job_id=job.id, problem=problem)
    if this is not None:
        await _clear(pool, files, OldImport(user_id=job.user_id, id=this.id))


async def _rows_of_document(
    pool: Pool, files: Store, job: JobClaim, this: Import, form: str
) -> Import:
    """A file of rows takes its place. Who dies in between leaves the document, and it is read
    again."""
    try:
        rows = await passages_of(form, files.read(this.file))
    except Refused as refused:
        raise Ended(f"the document cannot be imported: {refused}") from None
    file = file_of_rows(this.file)

    async def pieces() -> AsyncIterator[bytes]:
        for row in rows:
            yield (json.dumps(row) + "\n").encode()

    await files.write(file, pieces())
    async with tenant(pool, job.user_id) as conn:
        if not await became_rows(conn, job, this.id, file, len(rows)):
            raise Lost
    await files.remove(this.file)
    return replace(this, file=file, form=None)


async def _go_on(pool: Pool, files: Store, job: JobClaim, this: Import) -> bool:
    """Whether it is at its end."""
    until = time.monotonic() + SLICE_S
    told = this.told
    async for batch in _batches(files, this):
        told = await _tried(pool, job, this, batch, told)
        if time.monotonic() > until:
            return False
    return True


async def _batches(files: Store, this: Import) -> AsyncIterator[_Batch]:
    noun = NOUNS[this.what]
    form = Form(noun.columns, this.delimiter, this.columns)
    pieces = files.read(this.file, this.at_byte)
    decoder = codecs.getincrementaldecoder("utf-8")()
    text, at, line, is_all = "", this.at_byte, this.at_line, False
    ignored = list(this.ignored)
    while True:
        while not is_all and len(text) < WINDOW_CHARS:
            piece = await anext(pieces, b"")
            is_all = not piece
            text += decoder.decode(piece, is_all)
        if not text:
            return
        # In a thread: the loop has the turns of conversations too.
        read, judged, names = await asyncio.to_thread(_judged, text, form, noun, is_all)
        ignored += [name for name in names if name not in ignored][: IGNORED_MAX - len(ignored)]
        at += len(text[: read.end].encode())
        lines = [(line + number - 1, row) for number, row in judged]
        line += read.line - 1
        is_open = is_all and read.end == len(text) and not text.endswith(("\n", "\r"))
        yield _Batch(lines, read.line - 1 + is_open, at, line, ignored)
        text = text[read.end :]
        if read.is_last:
            return


def _judged(text: str, form: Form, noun: Noun, is_all: bool) -> tuple[Any, Any, list[str]]:
    read = read_some(text, form, BATCH_ROWS, is_all=is_all)
    of_csv = form.delimiter is not None
    rows = [(line, row_of(noun, value, of_csv=of_csv)) for line, value in read.rows]
    names = dict.fromkeys(
        name[:50]
        for _, value in read.rows
        if isinstance(value, dict)
        for name in value
        if name not in noun.fields
    )
    return read, rows, list(names)


async def _tried(pool: Pool, job: JobClaim, this: Import, batch: _Batch, told: int) -> int:
    """How many rejected lines are kept by now."""
    one_by_one = False
    for tries_left in reversed(range(TRIES)):
        try:
            async with tenant(pool, job.user_id) as conn:
                return await _done(conn, job, this, batch, told, one_by_one)
        except CONFLICT:
            if not tries_left:
                raise
            await asyncio.sleep(0.05 * (TRIES - tries_left))
        except REFUSED as error:
            if is_hidden(error):  # with its chatbot, which ended the import
                await _be_running(pool, job)
            # A row that the database will not have is rejected, and not its neighbours.
            if one_by_one or not (is_data(error) or is_integrity(error)):
                raise
            one_by_one = True
    raise AssertionError("unreachable: the last try returns or raises")


async def _be_running(pool: Pool, job: JobClaim) -> None:
    """Raises Lost."""
    async with tenant(pool, job.user_id) as conn:
        if not await is_running(conn, job):
            raise Lost


async def _done(
    conn: Conn, job: JobClaim, this: Import, batch: _Batch, told: int, one_by_one: bool
) -> int:
    rows = [(line, row) for line, row in batch.lines if isinstance(row, dict)]
    rejected = [(line, why) for line, why in batch.lines if isinstance(why, str)]
    _permit(Plan(await read_plan(conn, job.user_id)), this)
    keep = _one_by_one if one_by_one else store
    outcome = await keep(conn, job.user_id, this, rows) if rows else Outcome()
    rejected = sorted([*rejected, *outcome.rejected])
    kept = [{"line": line, "why": why} for line, why in rejected[: TOLD_MAX - told]]
    step = Step(
        at_byte=batch.at_byte,
        at_line=batch.at_line,
        inserted=outcome.inserted,
        updated=outcome.updated,
        unchanged=outcome.unchanged,
        rejected=len(rejected),
        told=kept,
        ignored=batch.ignored,
    )
    if not await step_on(conn, job, this.id, step, batch.read):
        raise Lost
    return told + len(kept)


async def _one_by_one(
    conn: Conn, user_id: UserId, this: Import, rows: Sequence[tuple[int, Row]]
) -> Outcome:
    whole = Outcome()
    for line, row in rows:
        try:
            async with savepoint(conn):
                one = await store(conn, user_id, this, [(line, row)])
        except REFUSED as error:
            if not (is_data(error) or is_integrity(error)):
                raise
            whole.rejected.append((line, "cannot be stored"))
        else:
            whole.add(one.inserted + one.updated + one.unchanged, one.inserted, one.updated)
            whole.rejected += one.rejected
    return whole


def _permit(plan: Plan, this: Import) -> None:
    """A plan that ends in the middle ends the import; what is imported stays."""
    noun = NOUNS[this.what]
    for key in (Feature.BULK_OPERATIONS, noun.feature):
        if key is not None and not plan.allows(key):
            raise Ended(f"the plan does not allow {key} any more")


# ---- what is left --------------------------------------------------------------------------------


async def clear_old_imports(pool: Pool, files: Store, sweep: Sweep[OldImport]) -> None:
    """Files of imports that are done, and of those that were never whole."""

    async def clear(one: OldImport) -> None:
        await _clear(pool, files, one)

    async with pool.acquire() as conn:
        found = await old_imports(conn, sweep.limit(OLD_AT_ONCE))
    await sweep.each(found, clear)


async def _clear(pool: Pool, files: Store, one: OldImport) -> None:
    """The file before its row: a row without one is forgotten, a file without a row would stay."""
    async with tenant(pool, one.user_id) as conn:
        file = await file_of(conn, one.user_id, one.id)
    if file is not None:
        for key in {file, document_of(file), file_of_rows(file)}:
            await files.remove(key)
    forgotten = KEYS_AT_ONCE
    while forgotten == KEYS_AT_ONCE:
        async with tenant(pool, one.user_id) as conn:
            forgotten = await forget_keys(conn, one.user_id, one.id, KEYS_AT_ONCE)
    async with tenant(pool, one.user_id) as conn:
        await clear_import(conn, one.user_id, one.id)
