"""Events that are told only where a webhook wants them: see migrations/0028."""

from collections.abc import Sequence

from db.ids import ContactId, MessageId, UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


async def tell_messages(
    conn: Conn, user_id: UserId, types: Sequence[str], ids: Sequence[MessageId]
) -> None:
    """An event a place, in this order. With an ordered webhook it locks their conversations."""
    await conn.execute(_SQL["tell_messages"], user_id, types, ids)


async def tell_contacts(
    conn: Conn, user_id: UserId, event_type: str, ids: Sequence[ContactId]
) -> None:
    await conn.execute(_SQL["tell_contacts"], user_id, event_type, ids)
