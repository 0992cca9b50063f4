"""What a tenant is told, in the transaction in which it happens."""

from typing import Any

from db.ids import ChatbotId, ContactId, UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


async def tell_tenant(
    conn: Conn,
    user_id: UserId,
    event_type: str,
    data: dict[str, Any],
    *,
    chatbot_id: ChatbotId | None = None,
    contact_id: ContactId | None = None,
) -> None:
    await conn.execute(_SQL["tell_tenant"], user_id, event_type, data, chatbot_id, contact_id)
