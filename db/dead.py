"""The dead list's tenant part: replies that did not reach their customer, statuses without a
message. As the owner, for operator commands."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.ids import ChatbotId, ContactId, ConversationId, MessageId, UserId
from db.pool import Conn, at_commit
from db.sql import columns, load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    id: str  # 'send-', 'status-' or 'stuck-', and a number
    reason: str
    detail: str | None
    kind: str
    phone_number_id: str | None
    display_number: str | None
    trace_id: str | None
    parked_at: datetime
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadSend:
    message_id: MessageId
    reason: str
    detail: str | None
    trace_id: str | None
    died_at: datetime
    user_id: UserId
    chatbot_id: ChatbotId
    contact_id: ContactId | None
    conversation_id: ConversationId | None
    status: str
    content_text: str | None
    send_attempts: int
    unknown_count: int
    created_at: datetime
    metadata: dict[str, Any]
    phone_number_id: str | None
    display_number: str | None
    recipient: str | None
    answers: str | None  # the last message that it replies to


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanStatus:
    id: int
    user_id: UserId
    status: str
    phone_number_id: str | None
    display_number: str | None
    trace_id: str | None
    parked_at: datetime
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedDead:
    conversation_id: ConversationId
    status: str
    being_answered: bool
    is_notice: bool


async def owners_of_dead(conn: Conn) -> list[UserId]:
    return [row["user_id"] for row in await conn.fetch(_SQL["owners_of_dead"])]


async def owner_of_dead(conn: Conn, kind: str, number: int) -> UserId | None:
    owner: UserId | None = await conn.fetchval(_SQL["owner_of_dead"], kind, number)
    return owner


async def list_dead(conn: Conn, user_id: UserId) -> list[Dead]:
    return [Dead(**row) for row in await conn.fetch(_SQL["list_dead"], user_id)]


async def show_dead_send(conn: Conn, user_id: UserId, message_id: MessageId) -> DeadSend | None:
    row = await conn.fetchrow(_SQL["show_dead_send"], user_id, message_id)
    return DeadSend(**row) if row else None


async def show_orphan(conn: Conn, user_id: UserId, orphan_id: int) -> OrphanStatus | None:
    row = await conn.fetchrow(_SQL["show_orphan"], user_id, orphan_id)
    return OrphanStatus(**row) if row else None


async def lock_dead_message(conn: Conn, user_id: UserId, message_id: MessageId) -> MessageId | None:
    found: MessageId | None = await conn.fetchval(_SQL["lock_dead_message"], user_id, message_id)
    return found


async def lock_dead_conversation(
    conn: Conn, user_id: UserId, message_id: MessageId
) -> ConversationId | None:
    found: ConversationId | None = await conn.fetchval(
        _SQL["lock_dead_conversation"], user_id, message_id
    )
    return found


async def read_dead_send(conn: Conn, user_id: UserId, message_id: MessageId) -> LockedDead | None:
    """None: it is not dead any more."""
    row = await conn.fetchrow(_SQL["read_dead_send"], user_id, message_id)
    return LockedDead(**row) if row else None


async def requeue_dead_send(conn: Conn, user_id: UserId, message_id: MessageId) -> None:
    await conn.execute(_SQL["requeue_dead_send"], user_id, message_id)
    at_commit(conn, f"SELECT date_replay({user_id:d}, {message_id:d})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Burial:
    """For the dead list: why a message did not reach its customer."""

    message_id: MessageId
    reason: str  # a fixed word
    detail: str | None  # Meta's code and title; never the message's content
    trace_id: str | None


async def bury(conn: Conn, user_id: UserId, dead: Sequence[Burial]) -> None:
    await conn.execute(_SQL["bury"], user_id, *columns(Burial, dead))


async def unbury(conn: Conn, user_id: UserId, ids: Sequence[MessageId]) -> None:
    await conn.execute(_SQL["unbury"], user_id, ids)
