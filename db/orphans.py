"""Statuses that fit no message of ours, yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from db.ids import ChatbotId, UserId, Wamid
from db.pool import Conn
from db.sql import columns, load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    chatbot_id: ChatbotId
    wamid: Wamid
    status: str
    phone_number_id: str | None
    display_number: str | None
    trace_id: str | None
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundOrphan:
    user_id: UserId
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOrphan:
    id: int
    chatbot_id: ChatbotId
    phone_number_id: str | None
    display_number: str | None
    trace_id: str | None
    raw: bytes


async def park_orphans(conn: Conn, user_id: UserId, orphans: Sequence[Orphan]) -> None:
    await conn.execute(_SQL["park_orphans"], user_id, *columns(Orphan, orphans))


async def found_orphans(conn: Conn, within: timedelta, limit: int) -> list[FoundOrphan]:
    """Across tenants: those whose message is known by now."""
    return [FoundOrphan(**row) for row in await conn.fetch(_SQL["found_orphans"], within, limit)]


async def take_orphans(conn: Conn, user_id: UserId, ids: Sequence[int]) -> list[TakenOrphan]:
    return [TakenOrphan(**row) for row in await conn.fetch(_SQL["take_orphans"], user_id, ids)]


async def forget_orphans(conn: Conn, after: timedelta, limit: int) -> int:
    """Across tenants; how many."""
    forgotten: int = await conn.fetchval(_SQL["forget_orphans"], after, limit)
    return forgotten
