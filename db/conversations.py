"""Conversations: who is unanswered, who answers, and what a turn has to know."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from db.ids import ChatbotId, ContactId, ConversationId, UserId, WorkerId
from db.pool import Conn
from db.sql import columns, load
from db.tenants import PRIORITY_WEIGHT

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
    blocked: bool  # the contact, by the tenant
    over_limit: bool  # the contact: the plan has no room for it
    contact_name: str | None
    contact_language: str | None  # a BCP 47 tag, as the next two
    chatbot_name: str
    chatbot_language: str | None
    texts: dict[str, Any]  # of its own, as they are stored
    chatbot_active: bool
    business_hours: dict[str, Any] | None  # as they are stored
    answer_checks: str
    phone_number_id: str | None
    access_token: str | None  # encrypted
    general_instructions: str | None
    timezone: str
    tenant_language: str | None
    currency: str
    instructions: list[str]
    kb_version: int
    plan: dict[str, Any]  # as it is stored
    # [id, request_type, request_details, amount as text, currency], the latest ten
    open_actions: list[list[Any]]
    facts: list[list[str]]  # [about, text] of the contact, oldest first
    budgets: dict[str, Any]  # of the chatbot, as they are stored
    model: dict[str, Any] | None = None  # of its own, as it is stored; None: the installation's
    model_keys: str | None = None  # sealed
    topic: str | None = None
    opt_out_words: Sequence[str] = ()
    marketing_choice: str | None = None  # the contact's: stop, resume, signup
    marketing_choice_at: datetime | None = None  # by WhatsApp's time
    turns_lately: int = 0  # what the bot said in 10 minutes; 31 are all that count
    loop_stopped_at: datetime | None = None
    off_topic: int = 0  # answers in a row that it declined
    off_topic_at: datetime | None = None  # the last of them
    forgotten: int = 0  # how often its thread was given up
    catalogue_version: int | None = None  # None: nothing was ever sold
    sells: bool = False  # there are active products
    has_tools: bool = False  # the chatbot, of the tenant's own
    files: list[list[Any]] = field(default_factory=list)  # [id, kind, title] that the bot may send
    tenant_active: bool = True
    plan_in_force: bool = True


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
    """Outside of a transaction: what one of a bounded tenant's holds, it holds until its commit."""
    rows = await conn.fetch(
        _SQL["claim_conversations"], worker_id, limit, tenant_max, PRIORITY_WEIGHT
    )
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
    """By what a person did meanwhile: 'free', 'silenced' or 'blocked' (say nothing) or 'outdated'
    (read again; the lease is still there). `answered_seq`: as the turn read it. None: the lease is
    somebody else's now, and nothing of this turn may be written."""
    key = (claim.user_id, claim.conversation_id, worker_id, claim.epoch)
    fenced: str | None = await conn.fetchval(_SQL["fence"], *key, read_seq, answered_seq)
    if fenced == "silenced":  # now that the conversation is locked
        is_blocked = await conn.fetchval(_SQL["is_blocked"], claim.user_id, claim.conversation_id)
        return "blocked" if is_blocked else fenced
    return fenced


async def hand_over(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    how_long: timedelta,
    by: str,
    reason: str,
) -> HandedOver | None:
    """`by`: 'bot', 'product'. None: somebody has it, and keeps it."""
    row = await conn.fetchrow(_SQL["hand_over"], user_id, conversation_id, how_long, by, reason)
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


async def stop_loop(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, how_long: timedelta, reason: str
) -> HandedOver | None:
    """None: somebody has it."""
    row = await conn.fetchrow(_SQL["stop_loop"], user_id, conversation_id, how_long, reason)
    return HandedOver(**row) if row else None


async def note_topic(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, *, off_topic: bool
) -> None:
    """Of an answer."""
    await conn.execute(_SQL["note_topic"], user_id, conversation_id, off_topic)


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


async def hold_turn(conn: Conn, claim: Claim, worker_id: WorkerId, until: datetime) -> None:
    """Another begins then, or when what it waits for has come."""
    args = (claim.user_id, claim.conversation_id, worker_id, claim.epoch, until)
    await conn.execute(_SQL["hold_turn"], *args)


async def abandon(conn: Conn, user_id: UserId, conversation_id: ConversationId) -> None:
    await conn.execute(_SQL["abandon"], user_id, conversation_id)


async def trust_thread(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, forgotten: int
) -> None:
    """It was rebuilt from the messages, and stored. `forgotten`: as it was read; who gave the
    thread up since did not see what it has now."""
    await conn.execute(_SQL["trust_thread"], user_id, conversation_id, forgotten)


async def forget_threads(conn: Conn, user_id: UserId, ids: Sequence[ConversationId]) -> None:
    """What their threads remember is not what was said: they are rebuilt from the messages."""
    await conn.execute(_SQL["forget_threads"], user_id, ids)
