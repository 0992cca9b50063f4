"""Up to when the statuses are merged, and the sends of unknown outcome that this settles."""

from datetime import datetime, timedelta

from db.pool import Conn
from db.sends import SendClaim
from db.sql import load

_SQL = load(__file__)


async def overdue_sends(conn: Conn, wait: timedelta, limit: int) -> list[SendClaim]:
    """Unknown for so long, with every status that came in that time merged."""
    return [SendClaim(**row) for row in await conn.fetch(_SQL["overdue_sends"], wait, limit)]


async def fence_wanted(conn: Conn, wait: timedelta) -> datetime | None:
    """The time for a new mark, if some send has been unknown for so long, or a replay waits."""
    now: datetime | None = await conn.fetchval(_SQL["fence_wanted"], wait)
    return now


async def move_fence(conn: Conn, merged_until: datetime, patience: timedelta) -> None:
    """Not past a status that has been waiting to be tried again for less than `patience`."""
    await conn.execute(_SQL["move_fence"], merged_until, patience)


async def release_replayed(conn: Conn) -> list[SendClaim]:
    """Those whose every earlier status is merged may leave now; when they still have to."""
    return [SendClaim(**row) for row in await conn.fetch(_SQL["release_replayed"])]
