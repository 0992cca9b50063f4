"""Users (the tenants) and their plans."""

from dataclasses import dataclass
from typing import Any

from db.ids import UserId
from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)


async def next_user_id(conn: Conn) -> UserId:
    return UserId(await conn.fetchval(_SQL["next_user_id"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    email: str
    password_hash: str
    full_name: str | None
    timezone: str
    language: str | None  # a BCP 47 tag


async def create_user(conn: Conn, user_id: UserId, user: NewUser) -> None:
    await conn.execute(_SQL["create_user"], user_id, *values(user))


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


async def read_plan(conn: Conn, user_id: UserId) -> dict[str, Any]:
    """As it is stored; without a plan in force {}."""
    plan: dict[str, Any] = await conn.fetchval(_SQL["read_plan"], user_id)
    return plan
