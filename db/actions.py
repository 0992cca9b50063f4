"""Actions: what the agent may not do by itself, and what a human decided about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from db.ids import BEYOND, ActionId, ChatbotId, ContactId, ConversationId, UserId
from db.pages import PAGE_BYTES, Listed, StoredValue, listed
from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)
_WANTED = ("status", "chatbot_id", "contact_id", "auto_approve_similar")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A row, with the names of its columns."""

    id: ActionId
    user_id: UserId
    chatbot_id: ChatbotId
    contact_id: ContactId
    request_type: str
    request_details: str
    context_data: StoredValue
    amount: Decimal | None
    currency: str | None
    status: str  # 'pending', 'approved', 'denied', 'expired'
    user_response: str | None
    auto_approve_similar: bool  # whether it approves others; the next five say how far
    max_amount: Decimal | None
    max_per_day: Decimal | None
    any_contact: bool
    auto_approve_until: datetime | None
    withdrawn_at: datetime | None
    auto_approved_by: ActionId | None
    created_at: datetime
    expires_at: datetime | None
    resolved_at: datetime | None
    resolved_by: UserId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAction:
    request_type: str
    request_details: str
    context_data: dict[str, Any]
    amount: Decimal | None
    currency: str | None
    request_key: str
    usage_day: date
    expiry_hours: int
    auto_approved_by: ActionId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedApproval:
    """A decision that approves similar requests; nobody else takes of it."""

    id: ActionId
    request_type: str
    request_details: str
    request_key: str | None  # of a decision of before: none is stored
    currency: str | None
    max_amount: Decimal | None
    context: str  # JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a pending action, and what it approves from then on."""

    status: str
    user_response: str | None = None
    auto_approve_similar: bool = False
    max_amount: Decimal | None = None
    max_per_day: Decimal | None = None
    any_contact: bool = False
    auto_approve_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedActions:
    """None: whatever it is."""

    status: str | None = None
    chatbot_id: ChatbotId | None = None
    contact_id: ContactId | None = None
    auto_approve_similar: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    user_id: UserId
    id: ActionId


async def equal_requests(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, keys: Sequence[str]
) -> list[str]:
    """Those of them that wait for a decision already."""
    rows = await conn.fetch(_SQL["equal_requests"], user_id, conversation_id, keys)
    return [row["request_key"] for row in rows]


async def lock_approving(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, types: Sequence[str]
) -> list[ActionId]:
    """What it says has to be read once it is locked."""
    rows = await conn.fetch(_SQL["lock_approving"], user_id, conversation_id, types)
    return [ActionId(row["id"]) for row in rows]


async def read_approving(
    conn: Conn, user_id: UserId, ids: Sequence[ActionId], equal_a_day: int
) -> list[LockedApproval]:
    """`equal_a_day`: so many approves one without an amount."""
    rows = await conn.fetch(_SQL["read_approving"], user_id, ids, equal_a_day)
    return [LockedApproval(**row) for row in rows]


async def take_of_bound(
    conn: Conn, user_id: UserId, action_id: ActionId, day: date, amount: Decimal
) -> bool:
    """False: on that day it has no room for so much."""
    return bool(await conn.fetchval(_SQL["take_of_bound"], user_id, action_id, day, amount))


async def create_action(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, action: NewAction
) -> Action:
    row = await conn.fetchrow(_SQL["create_action"], user_id, conversation_id, *values(action))
    assert row is not None, "the turn holds the conversation's row"
    return _action(**row)


async def lock_action_conversation(
    conn: Conn, user_id: UserId, action_id: ActionId
) -> ConversationId | None:
    found: ConversationId | None = await conn.fetchval(
        _SQL["lock_action_conversation"], user_id, action_id
    )
    return found


async def resolve_action(
    conn: Conn, user_id: UserId, action_id: ActionId, verdict: Verdict
) -> Action | None:
    """None: it is not pending (any more)."""
    row = await conn.fetchrow(_SQL["resolve_action"], user_id, action_id, *values(verdict))
    return _action(**row) if row else None


async def withdraw_action(conn: Conn, user_id: UserId, action_id: ActionId) -> Action | None:
    """None: it approves no others (any more)."""
    row = await conn.fetchrow(_SQL["withdraw_action"], user_id, action_id)
    return _action(**row) if row else None


async def read_action(conn: Conn, user_id: UserId, action_id: ActionId) -> Action | None:
    row = await conn.fetchrow(_SQL["read_action"], user_id, action_id)
    return _action(**row) if row else None


async def list_actions(
    conn: Conn,
    user_id: UserId,
    wanted: WantedActions,
    after: int | None,
    limit: int,
    most_bytes: int = PAGE_BYTES,
) -> Listed[Action]:
    before = BEYOND if after is None else after
    sql, asked = list_query(wanted)
    return listed(_action, await conn.fetch(sql, user_id, before, limit, most_bytes, *asked))


def list_query(wanted: WantedActions) -> tuple[str, list[Any]]:
    """With what it is asked for, which follows its first four parameters."""
    args: list[Any] = []
    only = ["true"]
    for column, value in zip(_WANTED, values(wanted), strict=True):
        if column == "auto_approve_similar" and value is not None:
            only.append("a.auto_approve_similar" if value else "NOT a.auto_approve_similar")
        elif value is not None:
            args.append(value)
            only.append(f"a.{column} = ${4 + len(args)}")
    # One contact has few, and nearly all approve nothing similar; the other lists are in the order
    # of migrations/0055 and 0096.
    others = wanted.status, wanted.chatbot_id, wanted.auto_approve_similar or None
    by_id = wanted.contact_id is not None or others == (None, None, None)
    sql = _SQL["list_actions"].replace("/* key */", "a.id" if by_id else "(a.id + 0)")
    return sql.replace("/* only */", " AND ".join(only)), args


def _action(*, context_data: str, **row: Any) -> Action:
    return Action(context_data=StoredValue(context_data), **row)


async def overdue_actions(conn: Conn, limit: int) -> list[Overdue]:
    """Across tenants."""
    return [Overdue(**row) for row in await conn.fetch(_SQL["overdue_actions"], limit)]


async def owners_of_actions(conn: Conn) -> list[UserId]:
    return [row["user_id"] for row in await conn.fetch(_SQL["owners_of_actions"])]


async def owner_of_action(conn: Conn, action_id: ActionId) -> UserId | None:
    owner: UserId | None = await conn.fetchval(_SQL["owner_of_action"], action_id)
    return owner
