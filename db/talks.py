"""Conversations as the tenant's people and programs see them, page by page."""

from dataclasses import dataclass
from datetime import datetime

from db.ids import BEYOND, ChatbotId, ContactId, ConversationId, UserId
from db.pages import PAGE_BYTES, Listed, listed
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)

# As texts: what takes no parameter. The status is that of the answer.
_WAITS = {True: "c.input_seq > c.answered_seq", False: "c.input_seq <= c.answered_seq"}
_FREE = "NOT coalesce(c.taken_over_until > now(), false)"
_IS = {
    "taken_over": "c.taken_over_until > now()",
    "paused": f"{_FREE} AND k.conversation_paused",
    "bot": f"{_FREE} AND NOT coalesce(k.conversation_paused, false)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """None: whatever it is."""

    contact_id: ContactId | None = None
    chatbot_id: ChatbotId | None = None
    unanswered: bool | None = None
    status: str | None = None


def statement(
    user_id: UserId, wanted: Wanted, before: int, limit: int
) -> tuple[str, list[int | None]]:
    """With its parameters."""
    args: list[int | None] = [user_id, before, limit, PAGE_BYTES]
    only = ["true"]
    for column, value in (("contact_id", wanted.contact_id), ("chatbot_id", wanted.chatbot_id)):
        if value is not None:
            args.append(value)
            only.append(f"c.{column} = ${len(args)}")
    if wanted.unanswered is not None:
        only.append(_WAITS[wanted.unanswered])
    if wanted.status is not None:
        only.append(_IS[wanted.status])
    ids = _way(wanted).replace("/* only */", " AND ".join(only))
    return _SQL["list_conversations"].replace("/* ids */", ids), args


def _way(wanted: Wanted) -> str:
    """By the index of the narrowest of what is asked for."""
    all_of, step = _SQL["all_of"], _SQL["step"]
    by_expression = step.replace("/* key */", "(c.id + 0)")  # as migrations/0055 has it
    if wanted.contact_id is not None:
        return all_of
    if wanted.unanswered:
        return by_expression
    if wanted.status == "taken_over":
        # Who is held until a moment is found by it: of those whose moment has passed there may be
        # any number.
        forever = "c.taken_over_until = 'infinity' AND /* only */"
        until = "c.taken_over_until < 'infinity' AND /* only */"
        return " UNION ALL ".join(all_of.replace("/* only */", one) for one in (forever, until))
    if wanted.status == "paused":
        return all_of
    if wanted.chatbot_id is not None:
        return by_expression
    return step.replace("/* key */", "c.id")


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
    conn: Conn, user_id: UserId, wanted: Wanted, after: int | None, limit: int
) -> Listed[Conversation]:
    sql, args = statement(user_id, wanted, BEYOND if after is None else after, limit)
    return listed(Conversation, await conn.fetch(sql, *args))


async def read_conversation(
    conn: Conn, user_id: UserId, conversation_id: ConversationId
) -> Conversation | None:
    row = await conn.fetchrow(_SQL["read_conversation"], user_id, conversation_id)
    return Conversation(**row) if row else None


async def conversation_between(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, contact_id: ContactId
) -> ConversationId | None:
    found: ConversationId | None = await conn.fetchval(
        _SQL["conversation_between"], user_id, chatbot_id, contact_id
    )
    return found
