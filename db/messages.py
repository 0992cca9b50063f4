"""Messages: what customers wrote, what we answered, and how far each answer got."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from db.ids import BEYOND, ChatbotId, ContactId, ConversationId, MessageId, UserId, Wamid
from db.pages import PAGE_BYTES, Listed, StoredJson, listed
from db.pool import Conn
from db.sql import columns, load, values

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    id: MessageId
    conversation_id: ConversationId
    input_seq: int
    sent_at: datetime
    told: bool  # some webhook wants to hear of it
    chatbot_id: ChatbotId
    wamid: Wamid
    opt_out_words: list[str]  # the chatbot's own
    received_day: date  # the tenant's, on which it is counted


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """What a customer wrote."""

    chatbot_id: ChatbotId
    contact_id: ContactId
    conversation_id: ConversationId
    wamid: Wamid
    message_type: str
    content_text: str | None
    sent_at: datetime
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewText:
    """What a customer is to be sent."""

    content_text: str
    metadata: dict[str, Any]
    in_reply_to: Wamid | None = None  # that it quotes
    usage_day: date | None = None  # on which its unit is counted; None: it is outside the meter
    overage: bool = False
    is_from_human: bool = False
    calls: list[dict[str, Any]] | None = None  # to models, for what it cost: db/model_calls.py
    confidence_score: Decimal | None = None  # of the search behind it, 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnMessage:
    id: MessageId
    direction: str
    is_from_human: bool
    status: str
    content_text: str | None
    sent_at: datetime
    created_at: datetime
    input_seq: int | None
    wamid: Wamid | None
    metadata: dict[str, Any]
    answered_text: str | None = None  # where it was edited after its answer: what that was to
    pressed: str | None = None  # the id that a press brought along: whoever sent it chose it
    cart: dict[str, Any] | None = None  # of an unanswered order message, as it came
    medium: dict[str, Any] | None = None  # of an input: kind, since, open (not done with yet)


async def record_inbound(
    conn: Conn, user_id: UserId, messages: Sequence[NewMessage]
) -> list[Recorded]:
    """Only what was not there before."""
    rows = await conn.fetch(_SQL["record_inbound"], user_id, *columns(NewMessage, messages))
    return [Recorded(**row) for row in rows]


async def read_messages(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    answered_seq: int,
    history: int,
    unanswered: int,
) -> list[TurnMessage]:
    """In order of arrival."""
    rows = await conn.fetch(
        _SQL["read_messages"], user_id, conversation_id, answered_seq, history, unanswered
    )
    return [TurnMessage(**row) for row in rows]


async def settle_inputs(
    conn: Conn,
    user_id: UserId,
    inputs: Sequence[TurnMessage],
    answered: bool,
    reason: str | None,
    duration_s: Decimal | None,
) -> None:
    """As the turn read them."""
    ids, edits = [row.id for row in inputs], [len(row.metadata.get("edits", ())) for row in inputs]
    args = (answered, reason, duration_s, edits)
    await conn.execute(_SQL["settle_inputs"], user_id, ids, *args)


async def abandon_inputs(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, reason: str
) -> None:
    """All that wait for an answer."""
    await conn.execute(_SQL["abandon_inputs"], user_id, conversation_id, reason)


async def queue_text(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, text: NewText
) -> MessageId | None:
    """None: the conversation is not there any more, or hidden with its chatbot."""
    queued: MessageId | None = await conn.fetchval(
        _SQL["queue_text"], user_id, conversation_id, *values(text)
    )
    return queued


# ---- for the tenant's own people and programs, page by page -----------------------------------

# Of the metadata what Meta said word for word, and what only our logs know.
RAW = (
    *("details", "original_details", "errors", "last_error", "refused", "statuses", "trace_id"),
    *("legacy_status", "legacy_duplicate_of"),
)


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
    confidence_score: float | None
    in_reply_to: Wamid | None
    metadata: StoredJson | None
    created_at: datetime


async def list_messages(
    conn: Conn,
    user_id: UserId,
    after: int | None,
    conversation_id: ConversationId,
    limit: int,
    *,
    raw: bool = False,
) -> Listed[Message]:
    """`raw`: with the metadata whole."""
    before = BEYOND if after is None else after
    sql = _SQL["list_messages"]
    rows = await conn.fetch(sql, user_id, before, conversation_id, limit, PAGE_BYTES, raw, RAW)
    return listed(_message, rows)


async def read_message(
    conn: Conn, user_id: UserId, message_id: MessageId, *, raw: bool = False
) -> Message | None:
    row = await conn.fetchrow(_SQL["read_message"], user_id, message_id, raw, RAW)
    return _message(**row) if row else None


def _message(*, metadata: str | None, **row: Any) -> Message:
    return Message(metadata=None if metadata is None else StoredJson(metadata), **row)
