"""Messages: what customers wrote, what we answered, and how far each answer got."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from db.ids import ChatbotId, ContactId, ConversationId, MessageId, UserId, WorkerId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    id: MessageId
    conversation_id: ConversationId
    input_seq: int
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    id: MessageId
    direction: str
    is_from_human: bool
    status: str
    content_text: str | None
    sent_at: datetime
    created_at: datetime
    input_seq: int | None
    wamid: str | None
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SendClaim:
    user_id: UserId
    message_id: MessageId


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    conversation_id: ConversationId | None
    content_text: str
    in_reply_to: str | None
    send_attempts: int
    usage_day: date | None
    phone_number: str | None
    wa_id: str | None
    bsuid: str | None
    chatbot_id: ChatbotId
    phone_number_id: str | None
    access_token: str | None  # encrypted
    chatbot_active: bool
    tenant_active: bool
    silenced: bool  # a human has the conversation


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    conversation_id: ConversationId | None
    usage_day: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    place: int  # of the status in the batch, from 1
    conversation_id: ConversationId | None
    status: str
    give_back_day: date | None
    failed_now: bool


async def record_inbound(
    conn: Conn,
    user_id: UserId,
    chatbot_ids: Sequence[ChatbotId],
    contact_ids: Sequence[ContactId],
    conversation_ids: Sequence[ConversationId],
    wamids: Sequence[str],
    types: Sequence[str],
    texts: Sequence[str | None],
    sent_at: Sequence[datetime],
    metadata: Sequence[dict[str, Any]],
) -> list[Recorded]:
    """Only what was not there before."""
    rows = await conn.fetch(
        _SQL["record_inbound"],
        user_id,
        chatbot_ids,
        contact_ids,
        conversation_ids,
        wamids,
        types,
        texts,
        sent_at,
        metadata,
    )
    return [Recorded(**row) for row in rows]


async def read_messages(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    answered_seq: int,
    history: int,
    unanswered: int,
) -> list[Message]:
    """In order of arrival."""
    rows = await conn.fetch(
        _SQL["read_messages"], user_id, conversation_id, answered_seq, history, unanswered
    )
    return [Message(**row) for row in rows]


async def settle_inputs(
    conn: Conn,
    user_id: UserId,
    ids: Sequence[MessageId],
    answered: bool,
    reason: str | None,
    duration_s: Decimal | None,
) -> None:
    await conn.execute(_SQL["settle_inputs"], user_id, ids, answered, reason, duration_s)


async def queue_reply(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    text: str,
    metadata: dict[str, Any],
    in_reply_to: str | None,
    usage_day: date | None,
) -> MessageId:
    return MessageId(
        await conn.fetchval(
            _SQL["queue_reply"], user_id, conversation_id, text, metadata, in_reply_to, usage_day
        )
    )


async def claim_sends(
    conn: Conn, worker_id: WorkerId, limit: int, tenant_max: int
) -> list[SendClaim]:
    rows = await conn.fetch(_SQL["claim_sends"], worker_id, limit, tenant_max)
    return [SendClaim(**row) for row in rows]


async def read_send(
    conn: Conn, user_id: UserId, message_id: MessageId, worker_id: WorkerId
) -> Send | None:
    row = await conn.fetchrow(_SQL["read_send"], user_id, message_id, worker_id)
    return Send(**row) if row else None


async def mark_sending(conn: Conn, user_id: UserId, message_id: MessageId) -> None:
    await conn.execute(_SQL["mark_sending"], user_id, message_id)


async def mark_accepted(
    conn: Conn, user_id: UserId, message_id: MessageId, wamid: str
) -> str | None:
    status: str | None = await conn.fetchval(_SQL["mark_accepted"], user_id, message_id, wamid)
    return status


async def mark_unknown(conn: Conn, user_id: UserId, message_id: MessageId) -> str | None:
    status: str | None = await conn.fetchval(_SQL["mark_unknown"], user_id, message_id)
    return status


async def requeue_send(
    conn: Conn, user_id: UserId, message_id: MessageId, delay: timedelta, mark: dict[str, Any]
) -> int | None:
    """How often it has been sent; None: it was settled meanwhile."""
    attempts: int | None = await conn.fetchval(
        _SQL["requeue_send"], user_id, message_id, delay, mark
    )
    return attempts


async def lock_unknown(conn: Conn, user_id: UserId, message_id: MessageId) -> int | None:
    """How often its outcome became unknown; None: it is known by now."""
    count: int | None = await conn.fetchval(_SQL["lock_unknown"], user_id, message_id)
    return count


async def end_send(
    conn: Conn, user_id: UserId, message_id: MessageId, status: str, why: dict[str, Any]
) -> Ended | None:
    row = await conn.fetchrow(_SQL["end_send"], user_id, message_id, status, why)
    return Ended(**row) if row else None


async def merge_statuses(
    conn: Conn,
    user_id: UserId,
    chatbot_id: ChatbotId,
    wamids: Sequence[str],
    our_ids: Sequence[MessageId | None],
    statuses: Sequence[str],
    reports: Sequence[dict[str, Any]],
) -> list[Merged]:
    """One entry a status that found its message. At most one status a message in a call."""
    rows = await conn.fetch(
        _SQL["merge_statuses"], user_id, chatbot_id, wamids, our_ids, statuses, reports
    )
    return [Merged(**row) for row in rows]


async def unknown_sends(conn: Conn, wait: timedelta, limit: int) -> list[SendClaim]:
    return [SendClaim(**row) for row in await conn.fetch(_SQL["unknown_sends"], wait, limit)]
