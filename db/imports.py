"""Imports: a file that comes in, how far it is, and what was wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from db.ids import ChatbotId, UserId
from db.jobs import JobClaim
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)

# What a client reads of an import that was ended.
ERASED = (
    "somebody was erased meanwhile, whom the rest of the file may name: send it again without them"
)
GONE = "its chatbot was deleted meanwhile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One that is being done."""

    id: int
    what: str
    chatbot_id: ChatbotId | None
    file: str
    form: str | None  # pdf, docx, html; None: it has rows
    delimiter: str | None
    columns: list[str]
    at_byte: int
    at_line: int
    told: int  # how many rejected lines are kept
    ignored: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What a file turned out to be."""

    delimiter: str | None
    columns: list[str]
    at_byte: int
    at_line: int
    form: str | None = None
    rejected: list[dict[str, Any]]
    ignored: list[str]
    lines: int  # behind the names of the columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What became of the next rows. `rejected` are all, `told` those that are kept."""

    at_byte: int
    at_line: int
    inserted: int
    updated: int
    unchanged: int
    rejected: int
    told: list[dict[str, Any]]
    ignored: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OldImport:
    user_id: UserId
    id: int


# ---- it comes -----------------------------------------------------------------------------------


async def open_imports(conn: Conn, user_id: UserId) -> int:
    """That come, wait or are being done. Who begins one meanwhile waits for this transaction."""
    await lock_importer(conn, user_id)
    return await count_open_imports(conn, user_id)


async def lock_importer(conn: Conn, user_id: UserId) -> None:
    await conn.execute(_SQL["lock_importer"], user_id)


async def count_open_imports(conn: Conn, user_id: UserId) -> int:
    return int(await conn.fetchval(_SQL["count_open_imports"], user_id))


async def begin_import(
    conn: Conn, user_id: UserId, what: str, chatbot_id: ChatbotId | None, file: str
) -> int:
    args = (user_id, what, chatbot_id, file)
    return int(await conn.fetchval(_SQL["begin_import"], *args))


async def received(
    conn: Conn, user_id: UserId, import_id: int, job_id: int, what: Received
) -> bool:
    """False: it is not there any more, since an erasure ended it, or its chatbot is deleted."""
    await conn.execute(_SQL["expect_lines"], user_id, job_id, what.lines)
    chatbot_id = await hold_chatbot(conn, user_id, import_id)
    done = await conn.fetchval(
        _SQL["received"],
        *(user_id, import_id, job_id, what.delimiter, what.columns),
        *(what.at_byte, what.at_line, what.rejected, what.ignored, what.form, chatbot_id),
    )
    return bool(done)


async def hold_chatbot(conn: Conn, user_id: UserId, import_id: int) -> ChatbotId | None:
    """None: it has none, or that is deleted."""
    found: ChatbotId | None = await conn.fetchval(_SQL["hold_chatbot"], user_id, import_id)
    return found


async def drop_import(conn: Conn, user_id: UserId, import_id: int) -> None:
    await conn.execute(_SQL["drop_import"], user_id, import_id)


# ---- it is done ---------------------------------------------------------------------------------


async def read_import(conn: Conn, job: JobClaim) -> Import | None:
    """None: it is ended, or gone with its chatbot."""
    row = await conn.fetchrow(_SQL["read_import"], job.user_id, job.id)
    return Import(**row) if row else None


async def became_rows(conn: Conn, job: JobClaim, import_id: int, file: str, rows: int) -> bool:
    """Of a document, in this file. False: the job is somebody else's by now."""
    if await conn.fetchval(_SQL["expect_rows"], job.user_id, job.id, job.epoch, rows) is None:
        return False
    await conn.execute(_SQL["became_rows"], job.user_id, import_id, file)
    return True


async def new_keys(
    conn: Conn, user_id: UserId, import_id: int, keys: Sequence[str], lines: Sequence[int]
) -> set[str]:
    """Those that the file did not have before. They are distinct."""
    rows = await conn.fetch(_SQL["new_keys"], user_id, import_id, keys, lines)
    return {str(row["key"]) for row in rows}


async def lines_of(
    conn: Conn, user_id: UserId, import_id: int, keys: Sequence[str]
) -> dict[str, int]:
    rows = await conn.fetch(_SQL["lines_of"], user_id, import_id, keys)
    return {str(row["key"]): row["line"] for row in rows}


async def step_on(conn: Conn, job: JobClaim, import_id: int, step: Step, lines: int) -> bool:
    """The last of a transaction: so many lines further. False: the job is somebody else's by now,
    or ended: nothing of it may be committed."""
    if not await conn.fetchval(_SQL["progress"], job.user_id, job.id, job.epoch, lines):
        return False
    await note_step(conn, job.user_id, import_id, step)
    return True


async def note_step(conn: Conn, user_id: UserId, import_id: int, step: Step) -> None:
    await conn.execute(
        _SQL["note_step"],
        *(user_id, import_id, step.at_byte, step.at_line),
        *(step.inserted, step.updated, step.unchanged, step.rejected, step.told, step.ignored),
    )


async def give_way(conn: Conn, job: JobClaim) -> None:
    """Another tenant's job is next, and then the rest of this."""
    await conn.execute(_SQL["give_way"], job.user_id, job.id, job.epoch)


async def end_import(conn: Conn, job: JobClaim, problem: str | None) -> bool:
    """With its report. False: the job is somebody else's by now, or ended."""
    args = (job.user_id, job.id, job.epoch, problem)
    return bool(await conn.fetchval(_SQL["end_import"], *args))


async def note_failed(conn: Conn, user_id: UserId, job_id: int, problem: str) -> None:
    """Of a job that has failed, what became of it until then."""
    await conn.execute(_SQL["note_failed"], user_id, job_id, problem)


async def end_imports(conn: Conn, user_id: UserId) -> None:
    """An erasure begins: of contacts, those that come and those that are being done. What names
    people may name who is being erased: what is not imported yet never is."""
    await end_jobs(conn, user_id, None, ERASED)
    await forget_coming(conn, user_id)


async def end_imports_of(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> None:
    """It is deleted. One that comes is refused once it is whole."""
    await end_jobs(conn, user_id, chatbot_id, GONE)


async def end_jobs(conn: Conn, user_id: UserId, chatbot_id: ChatbotId | None, problem: str) -> None:
    await conn.execute(_SQL["end_jobs"], user_id, chatbot_id, problem)


async def forget_coming(conn: Conn, user_id: UserId) -> None:
    await conn.execute(_SQL["forget_coming"], user_id)


async def files_in_use(conn: Conn, user_id: UserId) -> list[str]:
    return [row["file"] for row in await conn.fetch(_SQL["files_in_use"], user_id)]


# ---- what is left -------------------------------------------------------------------------------


async def old_imports(conn: Conn, limit: int) -> list[OldImport]:
    """Across tenants."""
    return [OldImport(**row) for row in await conn.fetch(_SQL["old_imports"], limit)]


async def file_of(conn: Conn, user_id: UserId, import_id: int) -> str | None:
    file: str | None = await conn.fetchval(_SQL["file_of"], user_id, import_id)
    return file


async def forget_keys(conn: Conn, user_id: UserId, import_id: int, limit: int) -> int:
    return int(await conn.fetchval(_SQL["forget_keys"], user_id, import_id, limit))


async def clear_import(conn: Conn, user_id: UserId, import_id: int) -> None:
    """Its file is gone. With it who never became a job, and who is old enough."""
    await conn.execute(_SQL["clear_import"], user_id, import_id)
    await conn.execute(_SQL["drop_unborn"], user_id, import_id)
    await conn.execute(_SQL["drop_old"], user_id, import_id)
