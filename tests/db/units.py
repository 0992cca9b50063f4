"""What is counted, as the functions of the database do it, each in the transaction that is open."""

from collections.abc import Sequence
from datetime import date

from db.ids import ConversationId, UserId
from db.pool import Conn
from db.usage import Reservation


async def reserve_messages(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, messages: int
) -> Reservation:
    row = await conn.fetchrow(
        "SELECT * FROM reserve_messages($1, $2, $3)", user_id, conversation_id, messages
    )
    assert row is not None
    return Reservation(**row)


async def settle_messages(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, sent: int
) -> bool:
    """False: more was spent than was held; the transaction must not commit."""
    return bool(
        await conn.fetchval("SELECT settle_messages($1, $2, $3)", user_id, conversation_id, sent)
    )


async def release_messages(conn: Conn, user_id: UserId, conversation_id: ConversationId) -> None:
    await conn.execute("SELECT release_messages($1, $2)", user_id, conversation_id)


async def give_back_messages(
    conn: Conn, user_id: UserId, usage_days: Sequence[date], overage: Sequence[bool]
) -> None:
    await conn.execute("SELECT give_back_messages($1, $2, $3)", user_id, usage_days, overage)
