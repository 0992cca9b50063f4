"""Jobs: what takes longer than a request (migrations/0043_exports.sql)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from db.ids import BEYOND, UserId, WorkerId
from db.pages import Listed, StoredJson, listed
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobClaim:
    user_id: UserId
    id: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    id: int
    kind: str
    status: str
    done: int
    total: int | None
    report: StoredJson
    created_at: datetime
    settled_at: datetime | None


async def claim_job(
    conn: Conn, worker_id: WorkerId, term: timedelta, kinds: Sequence[str]
) -> JobClaim | None:
    """Across tenants, of these kinds. None: there is none."""
    row = await conn.fetchrow(_SQL["claim_job"], worker_id, term, kinds)
    return JobClaim(**row) if row else None


async def job_kind(conn: Conn, job: JobClaim, tries: int) -> str | None:
    """None: it is somebody else's, or was begun in vain so many times."""
    args = (job.user_id, job.id, job.epoch, tries)
    kind: str | None = await conn.fetchval(_SQL["job_kind"], *args)
    return kind


async def is_running(conn: Conn, job: JobClaim) -> bool:
    """By who claimed it."""
    return bool(await conn.fetchval(_SQL["is_running"], job.user_id, job.id, job.epoch))


async def create_job(conn: Conn, user_id: UserId, kind: str) -> int:
    return int(await conn.fetchval(_SQL["create_job"], user_id, kind))


async def fail_job(conn: Conn, job: JobClaim, tries: int) -> str | None:
    """What it is now: queued, or failed. None: it is somebody else's."""
    status: str | None = await conn.fetchval(
        _SQL["fail_job"], job.user_id, job.id, job.epoch, tries
    )
    return status


async def read_job(conn: Conn, user_id: UserId, job_id: int) -> Job | None:
    row = await conn.fetchrow(_SQL["read_job"], user_id, job_id)
    return _job(**row) if row else None


async def list_jobs(
    conn: Conn, user_id: UserId, kinds: Sequence[str], after: int | None, limit: int
) -> Listed[Job]:
    """Of these kinds."""
    before = BEYOND if after is None else after
    return listed(_job, await conn.fetch(_SQL["list_jobs"], user_id, kinds, before, limit))


def _job(*, report: str, **row: object) -> Job:
    return Job(report=StoredJson(report), **row)  # type: ignore[arg-type]
