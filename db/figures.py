"""What is made of counters as time passes (migrations/0038_usage_days.sql)."""

from dataclasses import dataclass
from datetime import timedelta

from db.ids import UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True)
class DueMonth:
    """Of `monthly_usage_summary`."""

    user_id: UserId
    id: int


async def claim_figures(conn: Conn, limit: int) -> list[DueMonth]:
    """Outside of a transaction. Who asks next does not get them for a minute."""
    rows = await conn.fetch(_SQL["claim_figures"], limit)
    return [DueMonth(**row) for row in rows]


async def make_figures(conn: Conn, month: DueMonth) -> None:
    await conn.execute(_SQL["make_figures"], month.user_id, month.id)


async def forget_model_calls(conn: Conn, after: timedelta, limit: int) -> int:
    """The counters stay; those of the days can no longer be counted again."""
    return int(await conn.fetchval(_SQL["forget_model_calls"], after, limit))
