"""Exports: what was asked for, what is in it, and where its file is."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from db.ids import BEYOND, ContactId, UserId
from db.jobs import JobClaim
from db.pages import Listed, listed
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)

PREFETCH = 20  # rows in memory at once, of which each may have a webhook's 4 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One that is to be made."""

    id: int
    what: str
    contact_id: ContactId | None
    columns: list[str] | None


@dataclass(frozen=True, slots=True)
class Source:
    """A table of an export."""

    table: str
    wanted: list[str]  # columns
    there: list[str]  # all that may be
    contact_id: ContactId | None  # whose rows; None: everybody's
    upto: int  # the last id


@dataclass(frozen=True, slots=True, kw_only=True)
class OldExport:
    user_id: UserId
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRow:
    id: int
    job_id: int
    what: str
    contact_id: ContactId | None
    columns: list[str] | None
    status: str
    bytes: int | None
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundExport:
    row: ExportRow
    file: str | None  # while it may be fetched


async def contact_exists(conn: Conn, user_id: UserId, contact_id: ContactId) -> bool:
    return bool(await conn.fetchval(_SQL["contact_exists"], user_id, contact_id))


async def lock_tenant(conn: Conn, user_id: UserId) -> None:
    await conn.execute(_SQL["lock_tenant"], user_id)


async def open_exports(conn: Conn, user_id: UserId) -> int:
    """That wait or are being made. Whoever asks for one meanwhile waits for this transaction."""
    await lock_tenant(conn, user_id)
    return int(await conn.fetchval(_SQL["open_exports"], user_id))


async def create_export(
    conn: Conn,
    user_id: UserId,
    job_id: int,
    what: str,
    contact_id: ContactId | None,
    columns: list[str] | None,
) -> int:
    args = (user_id, job_id, what, contact_id, columns)
    return int(await conn.fetchval(_SQL["create_export"], *args))


async def find_export(conn: Conn, user_id: UserId, export_id: int) -> FoundExport | None:
    row = await conn.fetchrow(_SQL["find_export"], user_id, export_id)
    return _found(**row) if row else None


async def list_exports(
    conn: Conn, user_id: UserId, after: int | None, limit: int
) -> Listed[ExportRow]:
    before = BEYOND if after is None else after
    rows = await conn.fetch(_SQL["list_exports"], user_id, before, limit)
    found = listed(_found, rows)
    return Listed([one.row for one in found.rows], found.more)


def _found(*, file: str | None, **row: Any) -> FoundExport:
    return FoundExport(row=ExportRow(**row), file=file)


# ---- made ---------------------------------------------------------------------------------------


async def read_export(conn: Conn, user_id: UserId, job_id: int) -> Export | None:
    """None: it is made, or there is none."""
    row = await conn.fetchrow(_SQL["read_export"], user_id, job_id)
    return Export(**row) if row else None


async def tables_of(conn: Conn, of_contact: bool, without: Sequence[str]) -> list[str]:
    return [row["name"] for row in await conn.fetch(_SQL["tables_of"], of_contact, without)]


async def columns_of(conn: Conn, table: str) -> list[str]:
    return list(await conn.fetchval(_SQL["columns_of"], table))


async def highest_id(conn: Conn, user_id: UserId, table: str) -> int:
    """`table` is a name of tables_of(), or one of ours."""
    query = f"SELECT max(id) FROM {_name(table)} WHERE {_tenant(table)} = $1"  # noqa: S608
    found = await conn.fetchval(query, user_id)
    return int(found or 0)


async def export_page(
    conn: Conn,
    user_id: UserId,
    of: Source,
    after: int,
    limit: int,
) -> AsyncIterator[tuple[int, list[list[Any]]]]:
    """A few rows at a time, each as a list of its columns' values as JSON has them, and the last id
    of them. Nobody who is being erased is among them."""
    chosen = ", ".join(f"t.{_name(c)}" for c in of.wanted)
    query = f"""
        SELECT t.id, jsonb_build_array({chosen})::text AS row FROM {_rows(of)} t
         WHERE t.{_tenant(of.table)} = $1 AND t.id > $2 AND t.id <= $3
           AND {_shown(of)} AND ($4::bigint IS NULL OR true)
         ORDER BY t.id LIMIT $5"""  # noqa: S608 - names are the catalogue's, and quoted
    rows: list[list[Any]] = []
    last = 0
    async for record in conn.cursor(
        query, user_id, after, of.upto, of.contact_id, limit, prefetch=PREFETCH
    ):
        rows.append([_unsealed(value) for value in json.loads(record["row"])])
        last = record["id"]
        if len(rows) == PREFETCH:
            yield last, rows
            rows = []
    if rows:
        yield last, rows


def _rows(of: Source) -> str:
    """Of one person theirs alone, found by them and then put in order: in the order of ids a page
    of three rows was looked for among all that the tenant has."""
    if of.contact_id is None:
        return _name(of.table)
    return f"""(SELECT * FROM {_name(of.table)} r
                WHERE r.{_tenant(of.table)} = $1 AND {_of_contact(of)} OFFSET 0)"""  # noqa: S608


def _of_contact(of: Source) -> str:
    if of.table == "contacts":
        return "r.id = $4"
    if of.table == "order_items":
        return """r.order_id IN (
               SELECT o.id FROM orders o WHERE o.user_id = $1 AND o.contact_id = $4)"""
    return "r.contact_id = $4" if "contact_id" in of.there else "false"


def _shown(of: Source) -> str:
    if of.table == "contacts":
        return "t.erased_at IS NULL"
    if "contact_id" not in of.there:
        return "true"
    return """NOT EXISTS (SELECT FROM contacts k WHERE k.user_id = $1 AND k.id = t.contact_id
                          AND k.erased_at IS NOT NULL)"""


def _tenant(table: str) -> str:
    return "id" if table == "users" else "user_id"


def _unsealed(value: Any) -> Any:
    return None if isinstance(value, str) and value.startswith("enc:v1:") else value


def _name(name: str) -> str:
    """As the catalogue has it."""
    return '"' + name.replace('"', '""') + '"'


async def end_export(
    conn: Conn, job: JobClaim, export_id: int, file: str, size: int, kept: timedelta
) -> bool:
    """False: the job is somebody else's by now."""
    if not await lock_running(conn, job):
        return False
    await note_ready(conn, job.user_id, export_id, file, size, kept)
    await note_done(conn, job.user_id, job.id, export_id)
    return True


async def lock_running(conn: Conn, job: JobClaim) -> bool:
    return bool(await conn.fetchval(_SQL["lock_running"], job.user_id, job.id, job.epoch))


async def note_ready(
    conn: Conn, user_id: UserId, export_id: int, file: str, size: int, kept: timedelta
) -> None:
    await conn.execute(_SQL["note_ready"], user_id, export_id, file, size, kept)


async def note_done(conn: Conn, user_id: UserId, job_id: int, export_id: int) -> None:
    await conn.execute(_SQL["note_done"], user_id, job_id, export_id)


async def fail_export(conn: Conn, user_id: UserId, job_id: int) -> None:
    await conn.execute(_SQL["fail_export"], user_id, job_id)


async def void_exports(conn: Conn, user_id: UserId) -> None:
    """What was made, and what is being made."""
    await begin_anew(conn, user_id)
    await void_ready(conn, user_id)


async def begin_anew(conn: Conn, user_id: UserId) -> None:
    await conn.execute(_SQL["begin_anew"], user_id)


async def void_ready(conn: Conn, user_id: UserId) -> None:
    await conn.execute(_SQL["void_ready"], user_id)


async def drop_exports_of(conn: Conn, user_id: UserId, contact_id: ContactId) -> None:
    await conn.execute(_SQL["drop_exports_of"], user_id, contact_id)


async def drop_idle_job(conn: Conn, job: JobClaim) -> None:
    await conn.execute(_SQL["drop_idle_job"], job.user_id, job.id, job.epoch)


async def made_now(conn: Conn, user_id: UserId) -> list[tuple[int, int]]:
    """Exports that are ready or being made, each with its epoch."""
    rows = await conn.fetch(_SQL["made_now"], user_id)
    return [(row["id"], row["epoch"]) for row in rows]


async def erased_files(conn: Conn, user_id: UserId) -> list[str]:
    return [row["file"] for row in await conn.fetch(_SQL["erased_files"], user_id)]


async def clear_erased(conn: Conn, user_id: UserId, files: Sequence[str]) -> None:
    await conn.execute(_SQL["clear_erased"], user_id, files)


async def old_exports(conn: Conn, limit: int) -> list[OldExport]:
    """Across tenants."""
    return [OldExport(**row) for row in await conn.fetch(_SQL["old_exports"], limit)]


async def clear_export(conn: Conn, user_id: UserId, export_id: int) -> None:
    await conn.execute(_SQL["clear_export"], user_id, export_id)


async def drop_export(conn: Conn, user_id: UserId, export_id: int) -> None:
    """If it is old enough."""
    await conn.execute(_SQL["drop_export"], user_id, export_id)
