"""A person in a conversation: takes it over, writes, hands it back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from db.ids import ChatbotId, ContactId, ConversationId, UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedConversation:
    chatbot_id: ChatbotId
    contact_id: ContactId
    with_human: bool
    window_open: bool
    chatbot_active: bool


async def lock_conversation(
    conn: Conn, user_id: UserId, conversation_id: ConversationId
) -> LockedConversation | None:
    row = await conn.fetchrow(_SQL["lock_conversation"], user_id, conversation_id)
    return LockedConversation(**row) if row else None


async def take_over(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    until: datetime | None,
    reason: str,
) -> None:
    await conn.execute(_SQL["take_over"], user_id, conversation_id, until, reason)


async def hand_back(
    conn: Conn, user_id: UserId, conversation_id: ConversationId
) -> ConversationId | None:
    """None: there was nothing to hand back."""
    handed: ConversationId | None = await conn.fetchval(_SQL["hand_back"], user_id, conversation_id)
    return handed


async def answered_by_person(
    conn: Conn, user_id: UserId, ids: Sequence[ConversationId], at: Sequence[datetime]
) -> None:
    """In each conversation a person wrote at that time."""
    await conn.execute(_SQL["answered_by_person"], user_id, ids, at)


async def wake_held(conn: Conn, user_id: UserId, conversations: Sequence[ConversationId]) -> None:
    await conn.execute(_SQL["wake_held"], user_id, conversations)


async def owner_of_conversation(conn: Conn, conversation_id: ConversationId) -> UserId | None:
    """Across tenants."""
    owner: UserId | None = await conn.fetchval(_SQL["owner_of_conversation"], conversation_id)
    return owner


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueHandover:
    user_id: UserId
    conversation_id: ConversationId


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedHandover:
    chatbot_id: ChatbotId
    contact_id: ContactId


async def overdue_handovers(conn: Conn, limit: int) -> list[OverdueHandover]:
    """Across tenants."""
    rows = await conn.fetch(_SQL["overdue_handovers"], limit)
    return [OverdueHandover(**row) for row in rows]


async def end_handover(
    conn: Conn, user_id: UserId, conversation_id: ConversationId
) -> EndedHandover | None:
    """None: it is no longer the bot's that is over."""
    row = await conn.fetchrow(_SQL["end_handover"], user_id, conversation_id)
    return EndedHandover(**row) if row else None


async def can_be_told(conn: Conn, user_id: UserId, conversation_id: ConversationId) -> bool:
    return bool(await conn.fetchval(_SQL["can_be_told"], user_id, conversation_id))
