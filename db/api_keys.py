"""Keys of the tenant API. Only a hash of each is here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from db.ids import ApiKeyId, UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    id: ApiKeyId
    key_name: str
    key_prefix: str | None
    permissions: dict[str, Any]
    last_used: datetime | None
    expires_at: datetime | None
    usable: bool
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOwner:
    key_hash: str
    user_id: UserId
    id: ApiKeyId


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    usable: bool  # key and tenant are active, the key has not expired
    permissions: dict[str, Any]
    usage_day: date  # the tenant's
    plan: dict[str, Any]  # as it is stored


async def count_usable_keys(conn: Conn, user_id: UserId) -> int:
    return int(await conn.fetchval(_SQL["count_usable_keys"], user_id))


async def create_api_key(
    conn: Conn,
    user_id: UserId,
    name: str,
    key_hash: str,
    prefix: str,
    permissions: dict[str, Any],
) -> ApiKeyId:
    return ApiKeyId(
        await conn.fetchval(_SQL["create_api_key"], user_id, name, key_hash, prefix, permissions)
    )


async def list_api_keys(conn: Conn, user_id: UserId) -> list[ApiKey]:
    return [ApiKey(**row) for row in await conn.fetch(_SQL["list_api_keys"], user_id)]


async def revoke_api_key(conn: Conn, user_id: UserId, key_id: ApiKeyId) -> bool | None:
    revoked: bool | None = await conn.fetchval(_SQL["revoke_api_key"], user_id, key_id)
    return revoked


async def find_api_keys(conn: Conn, key_hashes: Sequence[str]) -> list[KeyOwner]:
    """Across tenants; those that there are."""
    return [KeyOwner(**row) for row in await conn.fetch(_SQL["find_api_keys"], key_hashes)]


async def recent_api_keys(conn: Conn, within: timedelta, limit: int) -> list[KeyOwner]:
    """Across tenants, the last used first."""
    return [KeyOwner(**row) for row in await conn.fetch(_SQL["recent_api_keys"], within, limit)]


async def api_key_owner(conn: Conn, key_id: ApiKeyId) -> UserId | None:
    owner: UserId | None = await conn.fetchval(_SQL["api_key_owner"], key_id)
    return owner


async def read_access(conn: Conn, user_id: UserId, key_id: ApiKeyId) -> Access | None:
    """None: the key was deleted."""
    row = await conn.fetchrow(_SQL["read_access"], user_id, key_id)
    return Access(**row) if row else None


async def note_api_use(
    conn: Conn, user_id: UserId, key_ids: Sequence[ApiKeyId], used_at: Sequence[datetime]
) -> None:
    await conn.execute(_SQL["note_api_use"], user_id, key_ids, used_at)
