"""What tenants were told: analytics_events."""

from typing import Any

from db.ids import ChatbotId, ContactId, UserId
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
