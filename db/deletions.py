"""Deletions of chatbots (migrations/0051_lives.sql)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from db.erasures import Cancelled
from db.ids import ChatbotId, ConversationId, UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDeletion:
    user_id: UserId
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    chatbot_id: ChatbotId
    at_table: str | None  # whose rows go now; None: the first's
    created_at: datetime
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """What one transaction deleted: so many rows, or more; and where the next goes on."""

    gone: int
    at_table: str


# ---- it begins ----------------------------------------------------------------------------------


async def version_of_chatbot(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> int | None:
    version: int | None = await conn.fetchval(_SQL["version_of_chatbot"], user_id, chatbot_id)
    return version


async def lock_living_chatbot(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> int | None:
    """Its version. None: it is deleted, or was never there."""
    version: int | None = await conn.fetchval(_SQL["lock_living_chatbot"], user_id, chatbot_id)
    return version


async def cancel_queued_of_chatbot(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, limit: int
) -> list[Cancelled]:
    rows = await conn.fetch(_SQL["cancel_queued_of_chatbot"], user_id, chatbot_id, limit)
    return [Cancelled(**row) for row in rows]


async def queued_left(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> bool:
    return bool(await conn.fetchval(_SQL["queued_left"], user_id, chatbot_id))


async def silence_conversations_of_chatbot(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, limit: int
) -> int:
    """How many were at work, or waited."""
    args = (user_id, chatbot_id, limit)
    return len(await conn.fetch(_SQL["silence_conversations_of_chatbot"], *args))


async def reserved_of_chatbot(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId
) -> list[ConversationId]:
    rows = await conn.fetch(_SQL["reserved_of_chatbot"], user_id, chatbot_id)
    return [row["conversation_id"] for row in rows]


async def campaign_of_chatbot(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> int | None:
    """One that runs."""
    campaign: int | None = await conn.fetchval(_SQL["campaign_of_chatbot"], user_id, chatbot_id)
    return campaign


async def see_deleted(conn: Conn) -> None:
    """For the rest of the transaction."""
    await conn.execute(_SQL["see_deleted"])


def _of_chatbot(query: str) -> Callable[[Conn, UserId, ChatbotId], Awaitable[None]]:
    async def run(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> None:
        await conn.execute(_SQL[query], user_id, chatbot_id)

    return run


empty_chatbot = _of_chatbot("empty_chatbot")
begin_deletion = _of_chatbot("begin_deletion")
delete_webhooks_of_chatbot = _of_chatbot("delete_webhooks_of_chatbot")
let_campaigns_go = _of_chatbot("let_campaigns_go")


# ---- and goes on --------------------------------------------------------------------------------


async def due_deletions(conn: Conn, limit: int) -> list[DueDeletion]:
    """Across tenants."""
    return [DueDeletion(**row) for row in await conn.fetch(_SQL["due_deletions"], limit)]


async def lock_deletion(conn: Conn, due: DueDeletion) -> Deletion | None:
    row = await conn.fetchrow(_SQL["lock_deletion"], due.user_id, due.id)
    return Deletion(**row) if row else None


async def delete_rows_of_chatbot(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, at_table: str | None, limit: int
) -> Gone:
    args = (user_id, chatbot_id, at_table, limit)
    row = await conn.fetchrow(_SQL["delete_rows_of_chatbot"], *args)
    assert row is not None, "the function always returns a row"
    return Gone(**row)


async def let_contacts_go(conn: Conn, user_id: UserId, chatbot_id: ChatbotId, limit: int) -> int:
    """How many named it as theirs."""
    return len(await conn.fetch(_SQL["let_contacts_go"], user_id, chatbot_id, limit))


async def nobody_refers(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> bool:
    return bool(await conn.fetchval(_SQL["nobody_refers"], user_id, chatbot_id))


async def move_deletion(
    conn: Conn, due: DueDeletion, at_table: str | None, due_at: datetime
) -> None:
    await conn.execute(_SQL["move_deletion"], due.user_id, due.id, at_table, due_at)


async def end_deletion(conn: Conn, due: DueDeletion) -> None:
    await conn.execute(_SQL["end_deletion"], due.user_id, due.id)


async def owner_of_deleted_chatbot(conn: Conn, chatbot_id: ChatbotId) -> UserId | None:
    """As the owner."""
    owner: UserId | None = await conn.fetchval(_SQL["owner_of_deleted_chatbot"], chatbot_id)
    return owner
