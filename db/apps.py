"""Meta's apps beside the environment's: their secrets, encrypted, and the chatbots on them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from db.ids import AppId, ChatbotId, UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredApp:
    """Each secret encrypted; the old ones only while they are taken as well."""

    id: AppId
    name: str
    app_secret: str
    verify_token: str
    old_app_secret: str | None
    old_verify_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedApp:
    id: AppId
    name: str
    created_at: datetime
    old_until: datetime | None  # until when those before are taken as well


async def read_apps(conn: Conn) -> list[StoredApp]:
    return [StoredApp(**row) for row in await conn.fetch(_SQL["read_apps"])]


async def lock_apps(conn: Conn) -> None:
    """Against others that add one."""
    await conn.execute(_SQL["lock_apps"])


async def count_apps(conn: Conn) -> int:
    return int(await conn.fetchval(_SQL["count_apps"]))


async def next_app_id(conn: Conn) -> AppId:
    return AppId(await conn.fetchval(_SQL["next_app_id"]))


async def create_app(
    conn: Conn, app_id: AppId, name: str, app_secret: str, verify_token: str
) -> None:
    await conn.execute(_SQL["create_app"], app_id, name, app_secret, verify_token)


async def find_app(conn: Conn, name: str) -> AppId | None:
    found: AppId | None = await conn.fetchval(_SQL["find_app"], name)
    return found


async def list_apps(conn: Conn) -> list[ListedApp]:
    return [ListedApp(**row) for row in await conn.fetch(_SQL["list_apps"])]


async def lock_app(conn: Conn, name: str) -> StoredApp | None:
    row = await conn.fetchrow(_SQL["lock_app"], name)
    return StoredApp(**row) if row else None


async def rotate_app(
    conn: Conn, app_id: AppId, app_secret: str, verify_token: str, keep: timedelta
) -> datetime | None:
    """Until when those before are taken as well."""
    until: datetime | None = await conn.fetchval(
        _SQL["rotate_app"], app_id, app_secret, verify_token, keep
    )
    return until


async def end_rotation(conn: Conn, app_id: AppId) -> None:
    await conn.execute(_SQL["end_rotation"], app_id)


async def delete_app(conn: Conn, app_id: AppId) -> None:
    """Raises ForeignKeyViolationError when a chatbot or a tenant is on it."""
    await conn.execute(_SQL["delete_app"], app_id)


async def chatbots_of_app(conn: Conn, app_id: AppId) -> list[ChatbotId]:
    """Of all tenants; for operators."""
    return [row["chatbot_id"] for row in await conn.fetch(_SQL["chatbots_of_app"], app_id)]


async def app_of_user(conn: Conn, user_id: UserId) -> AppId | None:
    """That of the chatbots that are made for the tenant."""
    app_id: AppId | None = await conn.fetchval(_SQL["app_of_user"], user_id)
    return app_id


async def put_user_on_app(conn: Conn, user_id: UserId, app_id: AppId) -> None:
    await conn.execute(_SQL["put_user_on_app"], user_id, app_id)


async def put_chatbot_on_app(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, app_id: AppId
) -> None:
    await conn.execute(_SQL["put_chatbot_on_app"], user_id, chatbot_id, app_id)
