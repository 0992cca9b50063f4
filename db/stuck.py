"""Items that their tenant's transaction refused for no fault of theirs, to be tried again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from db.ids import UserId
from db.pool import Conn
from db.sql import columns, load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    item_key: bytes
    kind: str
    phone_number_id: str | None
    display_number: str | None
    trace_id: str | None
    raw: bytes
    error: str  # a type's name


@dataclass(frozen=True, slots=True, kw_only=True)
class DueStuck:
    user_id: UserId
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenStuck:
    kind: str
    phone_number_id: str | None
    display_number: str | None
    trace_id: str | None
    raw: bytes
    tries: int
    stuck_now: bool  # has just been waiting for too long


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownStuck:
    id: int
    kind: str
    phone_number_id: str | None
    display_number: str | None
    trace_id: str | None
    error: str
    tries: int
    failed_at: datetime
    retry_at: datetime
    told_at: datetime | None
    raw: bytes


async def set_aside(conn: Conn, user_id: UserId, items: Sequence[Aside]) -> None:
    await conn.execute(_SQL["set_aside"], user_id, *columns(Aside, items))


async def due_stuck_items(conn: Conn, limit: int) -> list[DueStuck]:
    """Across tenants."""
    return [DueStuck(**row) for row in await conn.fetch(_SQL["due_stuck_items"], limit)]


async def take_stuck(
    conn: Conn, user_id: UserId, stuck_id: int, patience: timedelta
) -> TakenStuck | None:
    """None: it is gone, or somebody else tries it."""
    row = await conn.fetchrow(_SQL["take_stuck"], user_id, stuck_id, patience)
    return TakenStuck(**row) if row else None


async def forget_stuck(conn: Conn, user_id: UserId, stuck_id: int) -> None:
    await conn.execute(_SQL["forget_stuck"], user_id, stuck_id)


async def retry_stuck_now(conn: Conn, user_id: UserId, stuck_id: int) -> bool | None:
    found: bool | None = await conn.fetchval(_SQL["retry_stuck_now"], user_id, stuck_id)
    return found


async def show_stuck(conn: Conn, user_id: UserId, stuck_id: int) -> ShownStuck | None:
    row = await conn.fetchrow(_SQL["show_stuck"], user_id, stuck_id)
    return ShownStuck(**row) if row else None
