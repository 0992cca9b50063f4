"""Inputs of a conversation that nobody wrote: a decision, a hand-back. Settled by turns, like
messages; see migrations/0011_actions.sql."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from db.ids import ConversationId, EventId, UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)

# Kinds.
DECIDED = "action_decided"  # data: what handlers/actions.py says of the action
HANDED_BACK = "handed_back"  # a person had the conversation; no data
NOBODY_CAME = "nobody_came"  # the bot had handed it over, and nobody took it up; no data


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    id: EventId
    input_seq: int
    kind: str
    data: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    user_id: UserId
    conversation_id: ConversationId


async def add_event(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, kind: str, data: dict[str, Any]
) -> EventId | None:
    """None: there is no such conversation."""
    added: EventId | None = await conn.fetchval(
        _SQL["add_event"], user_id, conversation_id, kind, data
    )
    return added


async def read_events(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, limit: int
) -> list[Event]:
    rows = await conn.fetch(_SQL["read_events"], user_id, conversation_id, limit)
    return [Event(**row) for row in rows]


async def settle_events(
    conn: Conn, user_id: UserId, ids: Sequence[EventId], reason: str | None
) -> None:
    """`reason`: why the customer is not told; None: they are."""
    await conn.execute(_SQL["settle_events"], user_id, ids, reason)


async def abandon_events(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, reason: str
) -> None:
    """All that nobody was told of."""
    await conn.execute(_SQL["abandon_events"], user_id, conversation_id, reason)


async def defer_events(
    conn: Conn, user_id: UserId, ids: Sequence[EventId], wait: timedelta
) -> None:
    await conn.execute(_SQL["defer_events"], user_id, ids, wait)


async def passed_events(conn: Conn, limit: int) -> list[Passed]:
    """Across tenants: where events wait that turns went past."""
    return [Passed(**row) for row in await conn.fetch(_SQL["passed_events"], limit)]


async def lock_passed(conn: Conn, user_id: UserId, conversation_id: ConversationId) -> int | None:
    """How far it is answered; None: it is being answered at this moment."""
    answered_seq: int | None = await conn.fetchval(_SQL["lock_passed"], user_id, conversation_id)
    return answered_seq


async def raise_events(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, answered_seq: int
) -> None:
    await conn.execute(_SQL["raise_events"], user_id, conversation_id, answered_seq)
