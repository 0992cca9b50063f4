"""What tenants were told: analytics_events."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.ids import BEYOND, ChatbotId, ContactId, UserId
from db.pages import PAGE_BYTES, Listed, StoredJson, listed
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


async def add_tenant_event(
    conn: Conn,
    user_id: UserId,
    event_type: str,
    data: dict[str, Any],
    chatbot_id: ChatbotId | None,
    contact_id: ContactId | None,
) -> None:
    await conn.execute(_SQL["add_tenant_event"], user_id, event_type, data, chatbot_id, contact_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    id: int
    type: str
    timestamp: datetime
    data: StoredJson


async def newest_events(
    conn: Conn, user_id: UserId, event_type: str | None, after: int | None, limit: int
) -> Listed[Told]:
    place = BEYOND if after is None else after
    rows = await conn.fetch(_SQL["newest_events"], user_id, event_type, place, limit, PAGE_BYTES)
    return listed(_told, rows)


async def events_since(
    conn: Conn,
    user_id: UserId,
    event_type: str | None,
    since: datetime,
    after: int | None,
    limit: int,
) -> Listed[Told]:
    """Oldest first."""
    rows = await conn.fetch(
        _SQL["events_since"], user_id, event_type, after or 0, limit, PAGE_BYTES, since
    )
    return listed(_told, rows)


def _told(*, data: str, **row: Any) -> Told:
    return Told(data=StoredJson(data), **row)
