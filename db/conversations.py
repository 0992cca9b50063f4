"""Conversations: who is unanswered, who answers, and what a turn has to know."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from db.ids import BEYOND, ChatbotId, ContactId, ConversationId, UserId, WorkerId
from db.pages import PAGE_BYTES, Listed, listed
from db.pool import Conn
from db.sql import columns, load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    id: ConversationId
    chatbot_id: ChatbotId
    contact_id: ContactId


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """That a customer wrote in a conversation: the last input's number, the last message's time."""

    id: ConversationId
    input_seq: int
    sent_at: datetime


@dataclass(frozen=True, slots=True)
class Debounce:
    """A burst is over so long after its last message, or so long after its first."""

    quiet: timedelta
    longest: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    user_id: UserId
    conversation_id: ConversationId
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PutOff:
    wait: timedelta
    failing_for: timedelta  # by now
    paid: bool  # the model worked for it
    tells: bool  # the customer is to be told that it takes longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a customer is spoken to."""

    contact_language: str | None
    chatbot_language: str | None
    tenant_language: str | None
    texts: dict[str, Any]
    wrote: list[str]  # the last one first


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    chatbot_id: ChatbotId
    contact_id: ContactId
    taken_over_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnContext:
    chatbot_id: ChatbotId
    contact_id: ContactId
    thread_id: str
    answered_seq: int
    attempts: int
    rebuild_thread: bool
    failing_since: datetime | None  # the model, for what is unanswered
    model_tries: int  # paid for in vain
    told_slow: bool  # the customer, that it takes longer
    chatbot_failing: bool  # it has handed over, and not answered since
    mine: bool  # the lease is still the asker's
    now: datetime  # the database's
    last_inbound_at: datetime | None  # by WhatsApp's time
    taken_over: bool
    by_human: bool  # with taken_over: a person has it, not the product's own handover
    paused: bool
    contact_name: str | None
    contact_language: str | None  # a BCP 47 tag, as the next two
    chatbot_name: str
    chatbot_language: str | None
    texts: dict[str, Any]  # of its own, as they are stored
    chatbot_active: bool
    phone_number_id: str | None
    access_token: str | None  # encrypted
    general_instructions: str | None
    timezone: str
    tenant_language: str | None
    instructions: list[str]
    kb_version: int
    plan: dict[str, Any]  # as it is stored
    open_actions: list[list[Any]]  # [id, request_type, request_details], the latest ten


async def open_conversations(
    conn: Conn,
    user_id: UserId,
    chatbot_ids: Sequence[ChatbotId],
    contact_ids: Sequence[ContactId],
) -> None:
    await conn.execute(_SQL["open_conversations"], user_id, chatbot_ids, contact_ids)


async def lock_conversations(
    conn: Conn,
    user_id: UserId,
    chatbot_ids: Sequence[ChatbotId],
    contact_ids: Sequence[ContactId],
) -> list[Locked]:
    rows = await conn.fetch(_SQL["lock_conversations"], user_id, chatbot_ids, contact_ids)
    return [Locked(**row) for row in rows]


async def mark_ready(
    conn: Conn, user_id: UserId, written: Sequence[Written], debounce: Debounce
) -> None:
    """Each conversation once, in the order of their ids."""
    await conn.execute(
        _SQL["mark_ready"], user_id, *columns(Written, written), debounce.quiet, debounce.longest
    )


async def claim_conversations(
    conn: Conn, worker_id: WorkerId, limit: int, tenant_max: int
) -> list[Claim]:
    rows = await conn.fetch(_SQL["claim_conversations"], worker_id, limit, tenant_max)
    return [Claim(**row) for row in rows]


async def read_turn(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    worker_id: WorkerId,
    epoch: int,
) -> TurnContext | None:
    row = await conn.fetchrow(_SQL["read_turn"], user_id, conversation_id, worker_id, epoch)
    return TurnContext(**row) if row else None


async def since_inbound(
    conn: Conn, user_id: UserId, conversation_id: ConversationId
) -> timedelta | None:
    age: timedelta | None = await conn.fetchval(_SQL["since_inbound"], user_id, conversation_id)
    return age


async def fence(
    conn: Conn, claim: Claim, worker_id: WorkerId, read_seq: int, answered_seq: int = 0
) -> str | None:
    """By what a person did meanwhile: 'free', 'silenced' (say nothing) or 'outdated' (read again;
    the lease is still there). `answered_seq`: as the turn read it. None: the lease is somebody
    else's now, and nothing of this turn may be written."""
    key = (claim.user_id, claim.conversation_id, worker_id, claim.epoch)
    fenced: str | None = await conn.fetchval(_SQL["fence"], *key, read_seq, answered_seq)
    return fenced


async def hand_over(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    how_long: timedelta,
    reason: str,
) -> HandedOver | None:
    """None: a person has it, and keeps it."""
    row = await conn.fetchrow(_SQL["hand_over"], user_id, conversation_id, how_long, reason)
    return HandedOver(**row) if row else None


async def read_manner(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, texts: int
) -> Manner:
    row = await conn.fetchrow(_SQL["read_manner"], user_id, conversation_id, texts)
    assert row is not None, "the caller has locked it"
    return Manner(**row)


async def put_off(conn: Conn, claim: Claim, worker_id: WorkerId, off: PutOff) -> bool | None:
    """Whether the customer may be told. None: the lease is somebody else's now."""
    tells: bool | None = await conn.fetchval(
        _SQL["put_off"],
        claim.user_id,
        claim.conversation_id,
        worker_id,
        claim.epoch,
        off.wait,
        off.failing_for,
        off.paid,
        off.tells,
    )
    return tells


async def note_limit(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, usage_day: date
) -> bool | None:
    """None: the customer was told on this day already."""
    news: bool | None = await conn.fetchval(_SQL["note_limit"], user_id, conversation_id, usage_day)
    return news


async def note_media(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, every: timedelta
) -> bool | None:
    """None: the customer was told not long ago."""
    news: bool | None = await conn.fetchval(_SQL["note_media"], user_id, conversation_id, every)
    return news


async def put_back(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    worker_id: WorkerId,
    epoch: int,
    failed: bool,
) -> int | None:
    """How many turns have failed by now, one after the other. None: the lease is not ours."""
    attempts: int | None = await conn.fetchval(
        _SQL["put_back"], user_id, conversation_id, worker_id, epoch, failed
    )
    return attempts


async def abandon(conn: Conn, user_id: UserId, conversation_id: ConversationId) -> None:
    await conn.execute(_SQL["abandon"], user_id, conversation_id)


async def trust_thread(conn: Conn, user_id: UserId, conversation_id: ConversationId) -> None:
    """It was rebuilt from the messages, and stored."""
    await conn.execute(_SQL["trust_thread"], user_id, conversation_id)


async def forget_threads(conn: Conn, user_id: UserId, ids: Sequence[ConversationId]) -> None:
    """What their threads remember is not what was said: they are rebuilt from the messages."""
    await conn.execute(_SQL["forget_threads"], user_id, ids)


# ---- for the tenant's own people and programs, page by page -----------------------------------


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
