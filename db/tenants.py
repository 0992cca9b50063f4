"""Users (the tenants) and their plans."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from db.ids import UserId
from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)
PRIORITY_WEIGHT = 2  # in every fair claim, of a plan with priority_queue


async def next_user_id(conn: Conn) -> UserId:
    return UserId(await conn.fetchval(_SQL["next_user_id"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    email: str
    password_hash: str
    full_name: str | None
    timezone: str
    language: str | None  # a BCP 47 tag
    currency: str


async def create_user(conn: Conn, user_id: UserId, user: NewUser) -> None:
    await conn.execute(_SQL["create_user"], user_id, *values(user))


async def today_of(conn: Conn, user_id: UserId) -> date:
    """By the tenant's clock."""
    today: date = await conn.fetchval(_SQL["today_of"], user_id)
    return today


async def all_tenants(conn: Conn) -> list[UserId]:
    return [row["user_id"] for row in await conn.fetch(_SQL["all_tenants"])]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    id: UserId
    email: str
    full_name: str | None
    company_name: str | None
    phone: str | None
    timezone: str
    language: str | None
    currency: str
    is_active: bool
    created_at: datetime


async def read_user(conn: Conn, user_id: UserId) -> User | None:
    row = await conn.fetchrow(_SQL["read_user"], user_id)
    return User(**row) if row else None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChange:
    """None: stays as it is."""

    email: str | None = None
    full_name: str | None = None
    company_name: str | None = None
    phone: str | None = None
    timezone: str | None = None
    language: str | None = None
    currency: str | None = None


async def update_user(conn: Conn, user_id: UserId, change: UserChange) -> bool | None:
    """None: there is no such user."""
    email, *others = values(change)
    done: bool | None = await conn.fetchval(_SQL["update_user"], user_id, *others)
    if done and email is not None:
        await update_email(conn, user_id, email)
    return done


async def update_email(conn: Conn, user_id: UserId, email: str) -> None:
    await conn.execute(_SQL["update_email"], user_id, email)


async def set_active(conn: Conn, user_id: UserId, active: bool) -> bool | None:
    """None: it was so before."""
    done: bool | None = await conn.fetchval(_SQL["set_active"], user_id, active)
    return done


async def lock_user(conn: Conn, user_id: UserId) -> bool | None:
    """None: there is no such user."""
    locked: bool | None = await conn.fetchval(_SQL["lock_user"], user_id)
    return locked


async def user_exists(conn: Conn, user_id: UserId) -> bool:
    return bool(await conn.fetchval(_SQL["user_exists"], user_id))


async def user_is_on(conn: Conn, user_id: UserId) -> bool:
    return bool(await conn.fetchval(_SQL["user_is_on"], user_id))


async def read_plan(conn: Conn, user_id: UserId) -> dict[str, Any]:
    """As it is stored; without a plan in force {}."""
    plan: dict[str, Any] = await conn.fetchval(_SQL["read_plan"], user_id)
    return plan
