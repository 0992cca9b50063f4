"""What goes when it is old (migrations/0042_retention.sql)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from db.ids import UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    days: int | None  # None: all are kept
    lower_from: datetime | None
    swept_upto: int
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    upto: int | None  # the last message that was looked at; None: there were none
    gone: int
    young_since: datetime | None  # of the first that is too young


async def due_retentions(conn: Conn, limit: int) -> list[UserId]:
    """Across tenants."""
    return [row["user_id"] for row in await conn.fetch(_SQL["due_retentions"], limit)]


async def lock_retention(conn: Conn, user_id: UserId) -> Retention | None:
    row = await conn.fetchrow(_SQL["lock_retention"], user_id)
    return Retention(**row) if row else None


async def forget_history(
    conn: Conn, user_id: UserId, days: int, after: int, limit: int
) -> Forgotten:
    row = await conn.fetchrow(_SQL["forget_history"], user_id, days, after, limit)
    assert row is not None, "the function always returns a row"
    return Forgotten(**row)


async def forget_told(conn: Conn, user_id: UserId, days: int, limit: int) -> int:
    """Bodies for webhooks; how many."""
    return int(await conn.fetchval(_SQL["forget_told"], user_id, days, limit))


async def note_retention(conn: Conn, user_id: UserId, swept_upto: int, due_at: datetime) -> None:
    await conn.execute(_SQL["note_retention"], user_id, swept_upto, due_at)


async def forget_old(conn: Conn, what: str, after: timedelta, limit: int) -> int:
    """Across tenants; how many."""
    return int(await conn.fetchval(_SQL["forget_old"], what, after, limit))
