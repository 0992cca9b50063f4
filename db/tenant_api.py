"""What a tenant's own people and programs see and change, page by page.

The rows' fields are what the API answers with and what its description is made of."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from db.ids import BEYOND, ChatbotId, ContactId, ConversationId, MessageId, UserId, Wamid
from db.pages import PAGE_BYTES, Listed, StoredJson, listed
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    id: ConversationId
    chatbot_id: ChatbotId
    contact_id: ContactId
    phone_number: str | None
    name: str | None
    bsuid: str | None
    status: str  # bot, taken_over, paused
    unanswered: bool
    last_inbound_at: datetime | None
    taken_over_at: datetime | None
    taken_over_until: datetime | None  # None while taken over: until it is handed back
    taken_over_by: str | None  # human, product
    taken_over_reason: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    id: MessageId
    conversation_id: ConversationId | None
    chatbot_id: ChatbotId
    contact_id: ContactId
    message_id: Wamid | None
    direction: str
    message_type: str
    content_text: str | None
    content_url: str | None
    status: str
    sent_at: datetime | None
    is_from_human: bool | None
    ai_processed: bool | None
    in_reply_to: Wamid | None
    metadata: StoredJson | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Chatbot:
    id: ChatbotId
    name: str
    whatsapp_phone_number: str | None
    phone_number_id: str | None
    general_instructions: str | None
    is_active: bool | None
    bot_status: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    timezone: str
    tracking_date: date
    day_ends_at: datetime
    month_ends_at: datetime
    year: int
    month: int
    subscription_name: str | None
    daily_message_limit: int | None
    monthly_message_limit: int | None
    daily_messages_sent: int
    daily_messages_received: int
    daily_overage_messages: int
    messages_reserved: int
    live_takeovers_used: int
    actions_created: int
    api_calls_made: int
    total_messages_sent: int
    overage_messages: int


async def list_conversations(
    conn: Conn,
    user_id: UserId,
    after: int | None,
    status: str | None,
    limit: int,
    most_bytes: int = PAGE_BYTES,
) -> Listed[Conversation]:
    before = BEYOND if after is None else after
    sql = _SQL["list_conversations"]
    return listed(Conversation, await conn.fetch(sql, user_id, before, status, limit, most_bytes))


async def read_conversation(
    conn: Conn, user_id: UserId, conversation_id: ConversationId
) -> Conversation | None:
    row = await conn.fetchrow(_SQL["read_conversation"], user_id, conversation_id)
    return Conversation(**row) if row else None


async def list_messages(
    conn: Conn,
    user_id: UserId,
    after: int | None,
    conversation_id: ConversationId,
    limit: int,
    most_bytes: int = PAGE_BYTES,
) -> Listed[Message]:
    before = BEYOND if after is None else after
    sql = _SQL["list_messages"]
    rows = await conn.fetch(sql, user_id, before, conversation_id, limit, most_bytes)
    return listed(_message, rows)


async def read_message(conn: Conn, user_id: UserId, message_id: MessageId) -> Message | None:
    row = await conn.fetchrow(_SQL["read_message"], user_id, message_id)
    return _message(**row) if row else None


def _message(*, metadata: str | None, **row: Any) -> Message:
    return Message(metadata=None if metadata is None else StoredJson(metadata), **row)


async def list_chatbots(
    conn: Conn, user_id: UserId, after: int | None, limit: int, most_bytes: int = PAGE_BYTES
) -> Listed[Chatbot]:
    before = BEYOND if after is None else after
    rows = await conn.fetch(_SQL["list_chatbots"], user_id, before, limit, most_bytes)
    return listed(Chatbot, rows)


async def read_usage(conn: Conn, user_id: UserId) -> Usage | None:
    row = await conn.fetchrow(_SQL["read_usage"], user_id)
    return Usage(**row) if row else None
