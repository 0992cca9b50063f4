"""An export is made: table by table, page by page, into the media store."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from functools import partial

import structlog

from db.exports import (
    Export,
    OldExport,
    Source,
    clear_export,
    drop_export,
    drop_idle_job,
    end_export,
    export_page,
    highest_id,
    old_exports,
    read_export,
)
from db.jobs import JobClaim, is_running
from db.pool import Pool, tenant
from handlers.deliveries.catalogue import ExportReady
from handlers.deliveries.outbox import tell
from handlers.exports.columns import columns_by_table
from handlers.exports.content import csv_lines, file_key, files_of, jsonl
from handlers.exports.sent import files_of_contact, name_of
from handlers.exports.zipping import zipped
from handlers.media_store.port import Store
from handlers.process.sweeps import Sweep

log: structlog.stdlib.BoundLogger = structlog.get_logger()

KEPT = timedelta(days=7)
PAGE_ROWS = 500  # of a transaction: a long one keeps dead rows from being vacuumed
OLD_AT_ONCE = 100


class Lost(Exception):
    """The job is somebody else's by now, or was begun anew by an erasure."""


async def make_export(pool: Pool, store: Store, job: JobClaim) -> None:
    """Raises Lost. What is made is told when it is there."""
    async with tenant(pool, job.user_id) as conn:
        export = await read_export(conn, job.user_id, job.id)
        if export is None:  # erased with whom it was about
            await drop_idle_job(conn, job)
    if export is None:
        raise Lost
    key = file_key(job.user_id, export.id, job.epoch)
    await store.remove_below(files_of(job.user_id, export.id))  # of tries that died
    size = await store.write(key, zipped(_files(pool, store, job, export)))
    async with tenant(pool, job.user_id) as conn:
        ended = await end_export(conn, job, export.id, key, size, KEPT)
        if ended:
            await tell(conn, job.user_id, ExportReady(export_id=export.id, what=export.what))
    if not ended:
        await store.remove(key)
        raise Lost
    log.info("export.made", user_id=job.user_id, export_id=export.id, bytes=size)


async def _files(
    pool: Pool, store: Store, job: JobClaim, export: Export
) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
    async with tenant(pool, job.user_id) as conn:
        sources = []
        for table, there in (await columns_by_table(conn, export.what)).items():
            wanted = [c for c in there if export.columns is None or c in export.columns]
            if not wanted:
                continue
            upto = await highest_id(conn, job.user_id, table)
            sources.append(Source(table, wanted, there, export.contact_id, upto))
    for source in sources:
        pages = partial(_pages, pool, job, source)
        yield f"{source.table}.csv", _csv(source.wanted, pages())
        yield f"{source.table}.jsonl", _jsonl(source.wanted, pages())
    # Of a whole tenant it would be hundreds of GB: there messages.content_url names each.
    if export.contact_id is not None and export.columns is None:
        async for medium, pieces in files_of_contact(pool, store, job.user_id, export.contact_id):
            async with tenant(pool, job.user_id) as conn:
                if not await is_running(conn, job):
                    raise Lost
            yield name_of(medium), pieces


async def _csv(
    columns: Sequence[str], pages: AsyncIterator[list[list[object]]]
) -> AsyncIterator[bytes]:
    yield csv_lines([columns])
    async for rows in pages:
        yield csv_lines(rows)


async def _jsonl(
    columns: Sequence[str], pages: AsyncIterator[list[list[object]]]
) -> AsyncIterator[bytes]:
    async for rows in pages:
        yield jsonl([dict(zip(columns, row, strict=True)) for row in rows])


async def _pages(pool: Pool, job: JobClaim, source: Source) -> AsyncIterator[list[list[object]]]:
    """Up to the id that was the highest at the beginning, so that both spellings have the same."""
    after: int | None = 0
    while after is not None:
        async with tenant(pool, job.user_id) as conn:
            if not await is_running(conn, job):
                raise Lost
            page = export_page(conn, job.user_id, source, after, PAGE_ROWS)
            seen = 0
            async for last, rows in page:
                seen, after = seen + len(rows), last
                yield rows
        if seen < PAGE_ROWS:
            after = None


async def clear_old_exports(pool: Pool, store: Store, sweep: Sweep[OldExport]) -> None:
    """Their files, and a month later what says that they were."""

    async def clear(one: OldExport) -> None:
        await store.remove_below(files_of(one.user_id, one.id))
        async with tenant(pool, one.user_id) as conn:
            await clear_export(conn, one.user_id, one.id)
            await drop_export(conn, one.user_id, one.id)
        log.info("export.cleared", user_id=one.user_id, export_id=one.id)

    async with pool.acquire() as conn:
        found = await old_exports(conn, sweep.limit(OLD_AT_ONCE))
    await sweep.each(found, clear)
