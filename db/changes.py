"""What happens to messages without us: said elsewhere, reacted to, edited, revoked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.ids import ChatbotId, ContactId, ConversationId, MessageId, UserId, Wamid
from db.pool import Conn
from db.sql import columns, load, values

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenByHuman:
    id: ConversationId
    chatbot_id: ChatbotId
    contact_id: ContactId
    taken_over_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PastMessage:
    """What was said without us."""

    chatbot_id: ChatbotId
    contact_id: ContactId
    conversation_id: ConversationId
    wamid: Wamid
    direction: str
    message_type: str
    content_text: str | None
    status: str
    sent_at: datetime
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    wamid: Wamid  # of the message that it is about
    by: str  # 'customer' or 'business'
    emoji: str | None  # None: taken back
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    wamid: Wamid  # of the message
    direction: str
    content_text: str
    edit: Wamid  # that of the edit itself
    at: datetime
    marks: dict[str, Any]  # for the metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    conversation_id: ConversationId
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    place: int  # from 1
    contact_id: ContactId
    opt_out_words: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    place: int
    content_text: str | None


async def known_messages(
    conn: Conn, user_id: UserId, chatbot_ids: Sequence[ChatbotId], wamids: Sequence[Wamid]
) -> list[int]:
    """The places, from 1, of those that are recorded."""
    rows = await conn.fetch(_SQL["known_messages"], user_id, chatbot_ids, wamids)
    return [row["place"] for row in rows]


async def writers_of(
    conn: Conn, user_id: UserId, chatbot_ids: Sequence[ChatbotId], wamids: Sequence[Wamid]
) -> list[Writer]:
    """Of the inbound ones among them, by contact."""
    rows = await conn.fetch(_SQL["writers_of"], user_id, chatbot_ids, wamids)
    return [Writer(**row) for row in rows]


async def quoted_texts(
    conn: Conn, user_id: UserId, chatbot_ids: Sequence[ChatbotId], wamids: Sequence[Wamid]
) -> list[Quoted]:
    rows = await conn.fetch(_SQL["quoted_texts"], user_id, chatbot_ids, wamids)
    return [Quoted(**row) for row in rows]


async def record_past(conn: Conn, user_id: UserId, messages: Sequence[PastMessage]) -> list[Said]:
    """Only what was not there before. No wamid of a chatbot twice in a call."""
    rows = await conn.fetch(_SQL["record_past"], user_id, *columns(PastMessage, messages))
    return [Said(**row) for row in rows]


async def react(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, reaction: Reaction
) -> MessageId | None:
    """None: there is no such message."""
    found: MessageId | None = await conn.fetchval(
        _SQL["react"], user_id, chatbot_id, *values(reaction)
    )
    return found


async def edit_message(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, edit: Edit
) -> ConversationId | None:
    """None: nothing changed."""
    changed: ConversationId | None = await conn.fetchval(
        _SQL["edit_message"], user_id, chatbot_id, *values(edit)
    )
    return changed


async def revoke_message(
    conn: Conn,
    user_id: UserId,
    chatbot_id: ChatbotId,
    wamid: Wamid,
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
) -> list[TakenByHuman]:
    """Those that no human had before."""
    rows = await conn.fetch(_SQL["hand_to_human"], user_id, ids, until)
    return [TakenByHuman(**row) for row in rows]
