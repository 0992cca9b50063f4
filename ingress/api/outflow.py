"""Files go out: of rows, a page at a time, each read in a transaction of its own that is over while
the client takes it; and what is in the media store.

A key that ends ends them. What is cut off is seen to be: the last chunk, or the bytes that were
announced, never come.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from aiohttp import web

from db.bulk import last_id, page_of_rows
from handlers.bulk.cells import csv_lines, json_lines
from handlers.bulk.nouns import NOUNS
from handlers.media_store.port import Store
from ingress.api.places import pause_s
from ingress.api.problems import Problem
from ingress.api.stream import Stream
from ingress.api.table import CSV, JSONL, StoredFile

log: structlog.stdlib.BoundLogger = structlog.get_logger()

STILL_S = 1.0  # between looks whether a stored file may still be given


async def given(request: web.Request, stream: Stream) -> web.StreamResponse:
    rows = stream.rows
    wanted = rows.format or ("jsonl" if JSONL in request.headers.get("Accept", "") else "csv")
    names = tuple(NOUNS[rows.what].fields)
    async with stream.transaction() as conn:
        upto = await last_id(conn, stream.user_id, rows.what, rows.chatbot_id)
    response = web.StreamResponse(
        headers={
            "Content-Type": f"{CSV}; charset=utf-8" if wanted == "csv" else JSONL,
            "Content-Disposition": f'attachment; filename="{rows.what}.{wanted}"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
    )
    await response.prepare(request)
    with _begun(request):
        if wanted == "csv":
            await response.write(csv_lines([names]))
        async for page in _pages(stream, upto):
            if wanted == "csv":
                lines = csv_lines([[row[name] for name in names] for row in page])
            else:
                lines = json_lines([{name: row[name] for name in names} for row in page])
            await asyncio.sleep(pause_s(len(lines)))
            await response.write(lines)
        await response.write_eof()
    return response


async def stored(
    request: web.Request,
    store: Store,
    file: StoredFile,
    headers: Mapping[str, str],
    still: Callable[[], Awaitable[None]],
) -> web.StreamResponse:
    """As fast as it is taken; a client that takes nothing is left by the server. Raises
    FileNotFoundError. `still` raises when it may be given no more."""
    pieces = store.read(file.key)
    first = await anext(pieces, b"")
    response = web.StreamResponse(
        headers={
            "Content-Type": file.content_type,
            "Content-Disposition": f'attachment; filename="{file.name}"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            **headers,
        }
    )
    response.content_length = file.bytes
    await response.prepare(request)
    with _begun(request):
        await response.write(first)
        looked_at = time.monotonic()
        async for piece in pieces:
            if time.monotonic() - looked_at > STILL_S:
                await still()
                looked_at = time.monotonic()
            await response.write(piece)
        await response.write_eof()
    return response


@contextmanager
def _begun(request: web.Request) -> Iterator[None]:
    """An answer that has begun can only break off: another would be taken for a part of it."""
    try:
        yield
        return
    except ConnectionError:
        log.info("api.export_left")
        return
    except Problem as ended:
        log.info("api.export_ended", problem=ended.name)
    except Exception as error:
        log.warning("api.export_broke", exc_info=error)
    if request.transport is not None:
        request.transport.abort()


async def _pages(stream: Stream, upto: int) -> AsyncIterator[list[dict[str, Any]]]:
    """Each in a transaction of its own, which is over while the client takes it."""
    rows, after = stream.rows, 0
    while True:
        async with stream.transaction() as conn:
            between = (after, upto)
            page = await page_of_rows(conn, stream.user_id, rows.what, rows.chatbot_id, between)
        if not page:
            return
        after = page[-1]["id"]
        yield page
