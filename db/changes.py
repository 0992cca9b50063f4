"""What happens to messages without us: said elsewhere, reacted to, edited, revoked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.ids import ChatbotId, ContactId, ConversationId, MessageId, UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    conversation_id: ConversationId
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    place: int
    content_text: str | None


async def known_messages(
    conn: Conn, user_id: UserId, chatbot_ids: Sequence[ChatbotId], wamids: Sequence[str]
) -> list[int]:
    """The places, from 1, of those that are recorded."""
    rows = await conn.fetch(_SQL["known_messages"], user_id, chatbot_ids, wamids)
    return [row["place"] for row in rows]


async def quoted_texts(
    conn: Conn, user_id: UserId, chatbot_ids: Sequence[ChatbotId], wamids: Sequence[str]
) -> list[Quoted]:
    rows = await conn.fetch(_SQL["quoted_texts"], user_id, chatbot_ids, wamids)
    return [Quoted(**row) for row in rows]


async def record_past(
    conn: Conn,
    user_id: UserId,
    chatbot_ids: Sequence[ChatbotId],
    contact_ids: Sequence[ContactId],
    conversation_ids: Sequence[ConversationId],
    wamids: Sequence[str],
    directions: Sequence[str],
    types: Sequence[str],
    texts: Sequence[str | None],
    statuses: Sequence[str],
    sent_at: Sequence[datetime],
    metadata: Sequence[dict[str, Any]],
) -> list[Said]:
    """Only what was not there before. No wamid of a chatbot twice in a call."""
    rows = await conn.fetch(
        _SQL["record_past"],
        user_id,
        chatbot_ids,
        contact_ids,
        conversation_ids,
        wamids,
        directions,
        types,
        texts,
        statuses,
        sent_at,
        metadata,
    )
    return [Said(**row) for row in rows]


async def react(
    conn: Conn,
    user_id: UserId,
    chatbot_id: ChatbotId,
    wamid: str,
    by: str,
    emoji: str | None,
    at: datetime,
) -> MessageId | None:
    """None: there is no such message."""
    found: MessageId | None = await conn.fetchval(
        _SQL["react"], user_id, chatbot_id, wamid, by, emoji, at
    )
    return found


async def edit_message(
    conn: Conn,
    user_id: UserId,
    chatbot_id: ChatbotId,
    wamid: str,
    direction: str,
    text: str,
    edit: str,
    at: datetime,
    marks: dict[str, Any],
) -> ConversationId | None:
    """`edit` is the wamid of the edit itself. None: nothing changed."""
    changed: ConversationId | None = await conn.fetchval(
        _SQL["edit_message"], user_id, chatbot_id, wamid, direction, text, edit, at, marks
    )
    return changed


async def revoke_message(
    conn: Conn,
    user_id: UserId,
    chatbot_id: ChatbotId,
    wamid: str,
    direction: str,
    at: datetime,
) -> ConversationId | None:
    """None: nothing changed."""
    changed: ConversationId | None = await conn.fetchval(
        _SQL["revoke_message"], user_id, chatbot_id, wamid, direction, at
    )
    return changed


async def hand_to_human(
    conn: Conn, user_id: UserId, ids: Sequence[ConversationId], until: Sequence[datetime]
) -> None:
    await conn.execute(_SQL["hand_to_human"], user_id, ids, until)
