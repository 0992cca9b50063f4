"""Sends: which reply leaves next, how far each got, and how fast a number and a pair may go."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from db.ids import (
    ActionId,
    CampaignId,
    ChatbotId,
    ContactId,
    ConversationId,
    MessageId,
    UserId,
    Wamid,
    WorkerId,
)
from db.pool import Conn
from db.sql import load
from db.tenants import PRIORITY_WEIGHT

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendClaim:
    user_id: UserId
    message_id: MessageId


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    campaign_id: CampaignId | None
    conversation_id: ConversationId | None
    contact_id: ContactId | None
    content_text: str
    in_reply_to: Wamid | None
    send_attempts: int
    usage_day: date | None
    refused: dict[str, int]  # how often for which passing reason
    trace_id: str | None
    too_old: bool
    waited: timedelta | None  # since it was queued
    since_inbound: timedelta | None  # since the customer's last message, by WhatsApp's time of it
    template: dict[str, Any] | None  # name, language and what fills it; None: a text
    by_marketing_api: bool  # Meta's endpoint for MARKETING templates
    interactive: dict[str, Any] | None  # what can be chosen under the text
    # The file that it brings: id, kind, name?, caption?; file and content_type, None: it is gone;
    # handle, Meta's id of it, None: it has to be uploaded.
    medium: dict[str, Any] | None
    left_behind: bool  # what it was to go out behind will not go, and nothing is missing for that
    trying: bool  # its number is paused, and this message finds out whether it still has to be
    phone_number: str | None
    wa_id: str | None
    bsuid: str | None
    chatbot_id: ChatbotId
    phone_number_id: str | None
    access_token: str | None  # encrypted
    chatbot_active: bool
    tenant_active: bool
    silenced: bool  # a human has the conversation
    blocked: bool  # the tenant has blocked the contact, and it is the bot that writes


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    status: str  # of the message by now
    told: bool  # it is the first that is known of it, and some webhook wants to hear


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    conversation_id: ConversationId | None
    chatbot_id: ChatbotId
    contact_id: ContactId | None
    trace_id: str | None
    usage_day: date | None
    overage: bool
    bulk: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Since when nothing leaves is now; until when, and for the how-manieth time in a row."""

    held_until: datetime
    holds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a pair may be written to: so many at once, then one every so often."""

    every: timedelta
    burst: int


async def claim_sends(
    conn: Conn,
    worker_id: WorkerId,
    limit: int,
    tenant_max: int,
    pair: Pace,
    max_age: timedelta,
) -> list[SendClaim]:
    rows = await conn.fetch(
        _SQL["claim_sends"],
        worker_id,
        limit,
        tenant_max,
        pair.every,
        pair.burst,
        max_age,
        PRIORITY_WEIGHT,
    )
    return [SendClaim(**row) for row in rows]


async def lock_send(
    conn: Conn, user_id: UserId, message_id: MessageId, worker_id: WorkerId
) -> bool:
    """False: it is no longer the worker's to send."""
    locked = await conn.fetchval(_SQL["lock_send"], user_id, message_id, worker_id)
    return locked is not None


async def read_send(
    conn: Conn, user_id: UserId, message_id: MessageId, max_age: timedelta
) -> Send | None:
    """After lock_send()."""
    row = await conn.fetchrow(_SQL["read_send"], user_id, message_id, max_age)
    return Send(**row) if row else None


async def mark_sending(
    conn: Conn, user_id: UserId, message_id: MessageId, every: timedelta
) -> None:
    await conn.execute(_SQL["mark_sending"], user_id, message_id, every)


async def drain_pair(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, full_after: timedelta
) -> None:
    await conn.execute(_SQL["drain_pair"], user_id, conversation_id, full_after)


async def slow_number(conn: Conn, user_id: UserId, chatbot_id: ChatbotId, pause: timedelta) -> None:
    await conn.execute(_SQL["slow_number"], user_id, chatbot_id, pause)


async def hold_number(
    conn: Conn,
    user_id: UserId,
    chatbot_id: ChatbotId,
    first: timedelta,
    longest: timedelta,
    reason: str,
) -> Hold | None:
    """None: it is paused already."""
    row = await conn.fetchrow(_SQL["hold_number"], user_id, chatbot_id, first, longest, reason)
    return Hold(**row) if row else None


async def resume_number(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> bool:
    return await conn.fetchval(_SQL["resume_number"], user_id, chatbot_id) is not None


async def mark_accepted(
    conn: Conn, user_id: UserId, message_id: MessageId, wamid: Wamid
) -> Acceptance | None:
    row = await conn.fetchrow(_SQL["mark_accepted"], user_id, message_id, wamid)
    return Acceptance(**row) if row else None


async def mark_unknown(conn: Conn, user_id: UserId, message_id: MessageId) -> str | None:
    status: str | None = await conn.fetchval(_SQL["mark_unknown"], user_id, message_id)
    return status


async def lock_attempt(conn: Conn, user_id: UserId, message_id: MessageId, attempt: int) -> bool:
    """False: settled by now, or sent anew."""
    found = await conn.fetchval(_SQL["lock_attempt"], user_id, message_id, attempt)
    return found is not None


async def requeue_send(
    conn: Conn, user_id: UserId, message_id: MessageId, delay: timedelta, mark: dict[str, Any]
) -> int | None:
    """How often it has been sent; None: it was settled meanwhile."""
    attempts: int | None = await conn.fetchval(
        _SQL["requeue_send"], user_id, message_id, delay, mark
    )
    return attempts


async def let_go(conn: Conn, user_id: UserId, message_id: MessageId) -> None:
    await conn.execute(_SQL["let_go"], user_id, message_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    unknown_count: int  # how often its outcome became unknown
    bulk: bool


async def put_off_send(
    conn: Conn, user_id: UserId, message_id: MessageId, delay: timedelta, mark: dict[str, Any]
) -> None:
    await conn.execute(_SQL["put_off_send"], user_id, message_id, delay, mark)


async def lock_unknown(
    conn: Conn, user_id: UserId, message_id: MessageId, wait: timedelta
) -> Lost | None:
    """None: its outcome is known by now, or waits anew."""
    row = await conn.fetchrow(_SQL["lock_unknown"], user_id, message_id, wait)
    return Lost(**row) if row else None


async def end_send(
    conn: Conn, user_id: UserId, message_id: MessageId, status: str, why: dict[str, Any]
) -> Ended | None:
    row = await conn.fetchrow(_SQL["end_send"], user_id, message_id, status, why)
    return Ended(**row) if row else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LateReply:
    """One for which the window was closed, and what its chatbot has for that."""

    chatbot_id: ChatbotId
    contact_id: ContactId
    conversation_id: ConversationId
    content_text: str
    trace_id: str | None
    decided: ActionId | None  # it told of this decision
    window_template: dict[str, Any] | None
    decision_template: dict[str, Any] | None
    asked: bool  # a template went out since the customer last wrote


async def late_reply(conn: Conn, user_id: UserId, message_id: MessageId) -> LateReply | None:
    """None: it is no reply of a bot."""
    row = await conn.fetchrow(_SQL["late_reply"], user_id, message_id)
    return LateReply(**row) if row else None
