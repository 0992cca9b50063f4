"""A conversation as it is recorded, for whoever looks at it again: a case, a replay. Only reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from db.conversation_events import Event
from db.ids import ActionId, ChatbotId, ContactId, ConversationId, MessageId, UserId
from db.messages import TurnMessage
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTalk:
    id: ConversationId
    chatbot_id: ChatbotId
    contact_id: ContactId
    thread_id: str
    chatbot_name: str
    texts: dict[str, Any]
    contact_name: str | None
    contact_language: str | None
    timezone: str
    instructions: list[str]  # for this conversation, as they are now


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMessage(TurnMessage):
    answered: bool = False  # an inbound one: its turn committed
    handed_over: bool = False  # an outbound one: with it the bot called a person


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAction:
    id: ActionId
    request_type: str
    details: str
    amount: Decimal | None
    currency: str | None
    status: str
    created_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFact:
    about: str
    text: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Of a row of knowledge."""

    id: int
    question: str


async def recorded_talk(
    conn: Conn, user_id: UserId, conversation_id: ConversationId
) -> RecordedTalk | None:
    row = await conn.fetchrow(_SQL["recorded_talk"], user_id, conversation_id)
    return RecordedTalk(**row) if row else None


async def recorded_messages(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    until: MessageId | None,
    limit: int,
) -> list[RecordedMessage]:
    """The last ones, oldest first."""
    args = (user_id, conversation_id, until, limit)
    rows = await conn.fetch(_SQL["recorded_messages"], *args)
    return [RecordedMessage(**row) for row in rows]


async def recorded_actions(
    conn: Conn,
    user_id: UserId,
    contact_id: ContactId,
    chatbot_id: ChatbotId,
    since: datetime,
    limit: int,
) -> list[RecordedAction]:
    args = (user_id, contact_id, chatbot_id, since, limit)
    return [RecordedAction(**row) for row in await conn.fetch(_SQL["recorded_actions"], *args)]


async def recorded_facts(
    conn: Conn, user_id: UserId, contact_id: ContactId, limit: int
) -> list[RecordedFact]:
    args = (user_id, contact_id, limit)
    return [RecordedFact(**row) for row in await conn.fetch(_SQL["recorded_facts"], *args)]


async def recorded_events(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, since: datetime, limit: int
) -> list[Event]:
    args = (user_id, conversation_id, since, limit)
    return [Event(**row) for row in await conn.fetch(_SQL["recorded_events"], *args)]


async def questions_of(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, ids: Sequence[int]
) -> list[Question]:
    """Of rows that are still there."""
    rows = await conn.fetch(_SQL["questions_of"], user_id, chatbot_id, ids)
    return [Question(**row) for row in rows]
