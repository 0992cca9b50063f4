"""Users (the tenants) and their plans."""

from dataclasses import dataclass
from typing import Any

from db.ids import UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatbotLimit:
    max_chatbots: int | None
    chatbots: int


async def next_user_id(conn: Conn) -> UserId:
    return UserId(await conn.fetchval(_SQL["next_user_id"]))


async def create_user(
    conn: Conn, user_id: UserId, email: str, password_hash: str, full_name: str | None
) -> None:
    await conn.execute(_SQL["create_user"], user_id, email, password_hash, full_name)


async def create_subscription(
    conn: Conn,
    user_id: UserId,
    name: str,
    config: dict[str, Any],
    daily_messages: int,
    monthly_messages: int,
) -> None:
    await conn.execute(
        _SQL["create_subscription"], user_id, name, config, daily_messages, monthly_messages
    )


async def lock_user(conn: Conn, user_id: UserId) -> bool | None:
    """None: there is no such user."""
    locked: bool | None = await conn.fetchval(_SQL["lock_user"], user_id)
    return locked


async def chatbot_limit(conn: Conn, user_id: UserId) -> ChatbotLimit:
    row = await conn.fetchrow(_SQL["chatbot_limit"], user_id)
    assert row is not None, "aggregates always make a row"
    return ChatbotLimit(**row)
