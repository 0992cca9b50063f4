"""Actions: what the agent may not do by itself, and what a human decided about it."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from db.ids import BEYOND, ActionId, ChatbotId, ContactId, ConversationId, UserId
from db.pages import PAGE_BYTES, Listed, StoredJson, listed
from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A row, with the names of its columns."""

    id: ActionId
    user_id: UserId
    chatbot_id: ChatbotId
    contact_id: ContactId
    request_type: str
    request_details: str
    context_data: StoredJson
    status: str  # 'pending', 'approved', 'denied', 'expired'
    user_response: str | None
    auto_approve_similar: bool
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
    usage_day: date
    expiry_hours: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    user_id: UserId
    id: ActionId


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
    conn: Conn,
    user_id: UserId,
    action_id: ActionId,
    status: str,
    user_response: str | None,
    auto_approve_similar: bool,
) -> Action | None:
    """None: it is not pending (any more)."""
    row = await conn.fetchrow(
        _SQL["resolve_action"], user_id, action_id, status, user_response, auto_approve_similar
    )
    return _action(**row) if row else None


async def read_action(conn: Conn, user_id: UserId, action_id: ActionId) -> Action | None:
    row = await conn.fetchrow(_SQL["read_action"], user_id, action_id)
    return _action(**row) if row else None


async def list_actions(
    conn: Conn,
    user_id: UserId,
    status: str | None,
    before: ActionId | None,
    limit: int,
    most_bytes: int = PAGE_BYTES,
) -> Listed[Action]:
    first = BEYOND if before is None else before
    sql = _SQL["list_actions"]
    return listed(_action, await conn.fetch(sql, user_id, status, first, limit, most_bytes))


def _action(*, context_data: str, **row: Any) -> Action:
    return Action(context_data=StoredJson(context_data), **row)


async def overdue_actions(conn: Conn, limit: int) -> list[Overdue]:
    """Across tenants."""
    return [Overdue(**row) for row in await conn.fetch(_SQL["overdue_actions"], limit)]


async def owners_of_actions(conn: Conn) -> list[UserId]:
    return [row["user_id"] for row in await conn.fetch(_SQL["owners_of_actions"])]


async def owner_of_action(conn: Conn, action_id: ActionId) -> UserId | None:
    owner: UserId | None = await conn.fetchval(_SQL["owner_of_action"], action_id)
    return owner
