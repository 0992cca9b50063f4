"""What customers asked and a chatbot did not know (migrations/0076_unanswered.sql)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NewType

from db.ids import BEYOND, ChatbotId, ConversationId, MessageId, UserId, Wamid
from db.pages import Listed, listed
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)

UnansweredId = NewType("UnansweredId", int)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """One question, however often it was asked and worded."""

    id: int
    chatbot_id: ChatbotId
    question: str  # as it was asked last
    count: int
    people: int
    first_asked_at: datetime
    last_asked_at: datetime
    message_id: int  # that asked it last
    conversation_id: ConversationId


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    key: bytes  # of all its wordings
    question: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedOnce:
    question: str
    asked_at: datetime
    chatbot_name: str
    timezone: str  # the tenant's


async def asked_before(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, limit: int
) -> list[Asked]:
    """Among the last so many times that something was not known."""
    rows = await conn.fetch(_SQL["asked_before"], user_id, chatbot_id, limit)
    return [Asked(**row) for row in rows]


async def note_unanswered(
    conn: Conn,
    user_id: UserId,
    chatbot_id: ChatbotId,
    read: Sequence[MessageId],
    question: str,
    key: bytes,
) -> None:
    """By the turn that read these messages, and holds their conversation."""
    args = (user_id, chatbot_id, read, question, key)
    await conn.execute(_SQL["note_unanswered"], *args)


async def drop_oldest(conn: Conn, user_id: UserId, chatbot_id: ChatbotId, most: int) -> None:
    await conn.execute(_SQL["drop_oldest"], user_id, chatbot_id, most)


async def forget_revoked(conn: Conn, user_id: UserId, chatbot_id: ChatbotId, wamid: Wamid) -> None:
    await conn.execute(_SQL["forget_revoked"], user_id, chatbot_id, wamid)


async def list_unanswered(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, after: int | None, limit: int
) -> Listed[Unanswered]:
    before = BEYOND if after is None else after
    rows = await conn.fetch(_SQL["list_unanswered"], user_id, chatbot_id, before, limit)
    return listed(Unanswered, rows)


async def read_unanswered(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, unanswered_id: UnansweredId
) -> AskedOnce | None:
    row = await conn.fetchrow(_SQL["read_unanswered"], user_id, chatbot_id, unanswered_id)
    return AskedOnce(**row) if row else None


async def clear_unanswered(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, unanswered_id: UnansweredId
) -> int:
    """How often it was asked; 0: there is no such question."""
    return int(
        await conn.fetchval(_SQL["clear_unanswered"], user_id, chatbot_id, unanswered_id) or 0
    )


async def forget_unanswered(conn: Conn, after: timedelta, limit: int) -> int:
    """Across tenants."""
    return int(await conn.fetchval(_SQL["forget_unanswered"], after, limit))
