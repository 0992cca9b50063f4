"""How far ahead of the clock calls of the API have got, over all processes."""

from collections.abc import Mapping
from datetime import timedelta

from db.ids import UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)

ALL_KEYS = 0  # of a tenant, together


async def charge_calls(
    conn: Conn, user_id: UserId, takes: Mapping[int, timedelta]
) -> dict[int, float]:
    """By key, or ALL_KEYS: the seconds that it is ahead by now."""
    rows = await conn.fetch(_SQL["charge_calls"], user_id, list(takes), list(takes.values()))
    return {row["api_key_id"]: row["ahead_s"] for row in rows}
