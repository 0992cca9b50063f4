"""The ledger of what tenants' own tools were called for (migrations/0106_tools.sql)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from db.ids import (
    BEYOND,
    ActionId,
    ChatbotId,
    ContactId,
    ConversationId,
    MessageId,
    ToolCallId,
    ToolId,
    UserId,
)
from db.pages import PAGE_BYTES, Listed, StoredJson, listed
from db.pool import Conn
from db.sql import load, values
from db.usage import Reserving

_SQL = load(__file__)


@dataclass(frozen=True, slots=True)
class NewCall:
    input_seq: int  # the first that the turn answers
    tool_id: ToolId
    tool_name: str
    effect: str
    arguments_hash: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Proposal:
    """To be called when an action is approved."""

    action_id: ActionId
    tool_id: ToolId
    tool_name: str
    effect: str
    arguments_hash: str
    arguments: dict[str, Any]
    status: str  # 'proposed', or 'due' where it is approved already


@dataclass(frozen=True, slots=True, kw_only=True)
class Calling:
    """One that is to leave now; it is committed as `calling`."""

    id: ToolCallId
    tool_id: ToolId | None
    tool_name: str
    arguments: dict[str, Any]
    chatbot_id: ChatbotId
    contact_id: ContactId
    conversation_id: ConversationId
    action_id: ActionId | None
    tries: int  # which one this is
    phone_number: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCall:
    """Of a conversation, made by a turn."""

    id: ToolCallId
    tool_id: ToolId | None  # None: it is deleted
    tool_name: str
    effect: str
    input_seq: int
    arguments_hash: str
    arguments: dict[str, Any]
    status: str
    error: str | None
    result: str | None
    told: bool


@dataclass(frozen=True, slots=True)
class CallEnd:
    status: str  # 'done', 'failed', 'unknown'
    status_code: int | None = None
    error: str | None = None
    result: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallOf:
    user_id: UserId
    id: ToolCallId


@dataclass(frozen=True, slots=True, kw_only=True)
class LostCall:
    id: ToolCallId
    status: str
    action_id: ActionId | None
    tool_name: str
    chatbot_id: ChatbotId
    contact_id: ContactId
    conversation_id: ConversationId


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """As tenants see it."""

    id: ToolCallId
    idempotency_key: str  # as it was sent, and the webhook-id
    tool_id: ToolId | None
    tool_name: str
    effect: str
    chatbot_id: ChatbotId
    contact_id: ContactId
    conversation_id: ConversationId
    action_id: ActionId | None
    arguments: StoredJson
    status: str
    tries: int
    status_code: int | None
    error: str | None
    result: str | None
    created_at: datetime
    called_at: datetime | None
    ended_at: datetime | None


# ---- of a turn -----------------------------------------------------------------------------------


async def known_calls(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, input_seq: int, limit: int
) -> list[KnownCall]:
    """What the conversation's turns called and the customer was not told of, and what was called
    for the same inputs; oldest first."""
    args = (user_id, conversation_id, input_seq, limit)
    return [KnownCall(**row) for row in await conn.fetch(_SQL["known_calls"], *args)]


async def done_tools(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, limit: int
) -> list[str]:
    """Names of those that did something in the conversation."""
    rows = await conn.fetch(_SQL["done_tools"], user_id, conversation_id, limit)
    return [row["tool_name"] for row in rows]


async def hold_lease(conn: Conn, by: Reserving) -> bool:
    """Until the transaction ends the lease stays where it is. False: it is somebody else's."""
    return bool(await conn.fetchval(_SQL["hold_lease"], *values(by)))


async def begin_call(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, call: NewCall
) -> Calling | None:
    """None: it was begun before. Whoever begins holds the lease."""
    row = await conn.fetchrow(_SQL["begin_call"], user_id, conversation_id, *values(call))
    return Calling(**row) if row else None


async def known_call(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, call: NewCall
) -> KnownCall:
    key = (call.input_seq, call.tool_name, call.arguments_hash)
    row = await conn.fetchrow(_SQL["known_call"], user_id, conversation_id, *key)
    assert row is not None, "begin_call() met it, and the conversation is locked"
    return KnownCall(**row)


async def call_again(conn: Conn, user_id: UserId, call_id: ToolCallId, most: int) -> Calling | None:
    """None: it may not be repeated, or was often enough."""
    row = await conn.fetchrow(_SQL["call_again"], user_id, call_id, most)
    return Calling(**row) if row else None


async def settle_call(
    conn: Conn, user_id: UserId, call_id: ToolCallId, tries: int, end: CallEnd
) -> bool:
    """Of this try. False: it is gone, has ended, or a later try is under way."""
    args = (user_id, call_id, tries, *values(end))
    return bool(await conn.fetchval(_SQL["settle_call"], *args))


async def call_end(conn: Conn, user_id: UserId, call_id: ToolCallId) -> CallEnd | None:
    """As others have settled it. None: it is gone."""
    row = await conn.fetchrow(_SQL["call_end"], user_id, call_id)
    return CallEnd(**row) if row else None


async def lock_call_conversation(
    conn: Conn, user_id: UserId, call_id: ToolCallId
) -> ConversationId | None:
    """None: one of the two is gone."""
    found: ConversationId | None = await conn.fetchval(
        _SQL["lock_call_conversation"], user_id, call_id
    )
    return found


async def note_told(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    known: tuple[Sequence[ToolCallId], int],
    by: MessageId,
) -> None:
    """`known`: those that the turn knew of before, and the input of its own."""
    await conn.execute(_SQL["note_told"], user_id, conversation_id, *known, by)


async def tell_again(
    conn: Conn,
    user_id: UserId,
    conversations: Sequence[ConversationId],
    ended: Sequence[MessageId],
    arrived: Sequence[MessageId],
) -> None:
    """What these messages told nobody was told; of those that arrived after all, they were."""
    await conn.execute(_SQL["tell_again"], user_id, conversations, ended, arrived)


# ---- of an action --------------------------------------------------------------------------------


async def propose_call(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, proposal: Proposal
) -> None:
    await conn.execute(_SQL["propose_call"], user_id, conversation_id, *values(proposal))


async def decide_call(
    conn: Conn, user_id: UserId, action_id: ActionId, approved: bool
) -> str | None:
    """What the call is by now: `due`, or `dropped`. None: the action calls nothing."""
    status: str | None = await conn.fetchval(_SQL["decide_call"], user_id, action_id, approved)
    return status


async def take_call(conn: Conn, user_id: UserId, call_id: ToolCallId) -> Calling | None:
    """None: another worker has it, or it is gone."""
    row = await conn.fetchrow(_SQL["take_call"], user_id, call_id)
    return Calling(**row) if row else None


async def put_off_call(
    conn: Conn, user_id: UserId, calling: Calling, wait: timedelta, error: str | None, most: int
) -> bool:
    """For another try; longer after each. False: there is none."""
    args = (user_id, calling.id, wait, error, most, calling.tries)
    return bool(await conn.fetchval(_SQL["put_off_call"], *args))


async def lose_call(
    conn: Conn, user_id: UserId, call_id: ToolCallId, after: timedelta, most: int
) -> LostCall | None:
    """Its worker is gone. An action's that may be repeated is due again; of any other nobody knows
    what came. None: it has ended."""
    row = await conn.fetchrow(_SQL["lose_call"], user_id, call_id, after, most)
    return LostCall(**row) if row else None


async def due_tool_calls(conn: Conn, each: int, limit: int) -> list[ToolCallOf]:
    """Across tenants."""
    return [ToolCallOf(**row) for row in await conn.fetch(_SQL["due_tool_calls"], each, limit)]


async def lost_tool_calls(conn: Conn, after: timedelta, limit: int) -> list[ToolCallOf]:
    """Across tenants."""
    return [ToolCallOf(**row) for row in await conn.fetch(_SQL["lost_tool_calls"], after, limit)]


# ---- kept, and shown -----------------------------------------------------------------------------


async def forget_tool_calls(conn: Conn, after: timedelta, limit: int) -> int:
    """Across tenants; how many."""
    return int(await conn.fetchval(_SQL["forget_tool_calls"], after, limit))


async def forget_calls_of(conn: Conn, user_id: UserId, days: int, limit: int) -> int:
    """Of a tenant whose messages are kept for so long; how many."""
    rows = await conn.fetch(_SQL["forget_calls_of"], user_id, days, limit)
    return len(rows)


async def list_calls(
    conn: Conn,
    user_id: UserId,
    chatbot_id: ChatbotId,
    status: str | None,
    page: tuple[int | None, int],
) -> Listed[ToolCall]:
    """Youngest first. `page`: after which, and how many."""
    after, limit = page
    args = (user_id, chatbot_id, status, BEYOND if after is None else after, limit, PAGE_BYTES)
    return listed(_call, await conn.fetch(_SQL["list_calls"], *args))


def _call(*, arguments: str, **row: Any) -> ToolCall:
    return ToolCall(arguments=StoredJson(arguments), **row)
