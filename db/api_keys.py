"""Keys of the tenant API. Only a hash of each is here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from db.ids import BEYOND, ApiKeyId, UserId
from db.pages import Listed
from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """As tenants see it."""

    id: ApiKeyId
    key_name: str
    key_prefix: str | None
    permissions: list[str]
    usable: bool  # neither revoked nor expired
    last_used: datetime | None
    expires_at: datetime | None
    created_by: ApiKeyId | None  # None: the operator made it
    created_at: datetime


@dataclass(frozen=True, slots=True)
class FoundKey:
    key: ApiKey
    is_active: bool  # False: revoked, for good
    version: int


@dataclass(frozen=True, slots=True)
class NewApiKey:
    key_name: str
    key_hash: str
    key_prefix: str
    permissions: dict[str, bool]
    expires_at: datetime | None = None
    created_by: ApiKeyId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOwner:
    key_hash: str
    user_id: UserId
    id: ApiKeyId


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    usable: bool  # key and tenant are active, the key has not expired
    permissions: str  # JSON, as the plan's: who reads it has read the same before
    usage_day: date  # the tenant's
    plan: str


async def count_usable_keys(conn: Conn, user_id: UserId) -> int:
    return int(await conn.fetchval(_SQL["count_usable_keys"], user_id))


async def create_api_key(conn: Conn, user_id: UserId, new: NewApiKey) -> ApiKeyId:
    return ApiKeyId(await conn.fetchval(_SQL["create_api_key"], user_id, *values(new)))


async def every_api_key(conn: Conn, user_id: UserId) -> list[ApiKey]:
    """Revoked ones too, oldest first."""
    ids = [row["id"] for row in await conn.fetch(_SQL["every_api_key_id"], user_id)]
    return [found.key for found in reversed(await _api_keys(conn, user_id, ids))]


async def list_api_keys(
    conn: Conn, user_id: UserId, after: int | None, limit: int
) -> Listed[ApiKey]:
    """Youngest first, without those that are revoked."""
    before = BEYOND if after is None else after
    rows = await conn.fetch(_SQL["api_key_ids"], user_id, before, limit + 1)
    found = await _api_keys(conn, user_id, [row["id"] for row in rows[:limit]])
    return Listed([one.key for one in found], len(rows) > limit)


async def read_api_key(conn: Conn, user_id: UserId, key_id: ApiKeyId) -> FoundKey | None:
    found = await _api_keys(conn, user_id, [key_id])
    return found[0] if found else None


async def _api_keys(conn: Conn, user_id: UserId, ids: Sequence[ApiKeyId]) -> list[FoundKey]:
    found = []
    for record in await conn.fetch(_SQL["api_key_fields"], user_id, ids):
        row = dict(record)
        is_active, version = row.pop("is_active"), row.pop("version")
        found.append(FoundKey(ApiKey(**row), is_active, version))
    return found


async def lock_api_key(conn: Conn, user_id: UserId, key_id: ApiKeyId) -> int | None:
    """Its version. None: there is none, or it is revoked."""
    version: int | None = await conn.fetchval(_SQL["lock_api_key"], user_id, key_id)
    return version


async def hold_maker(conn: Conn, user_id: UserId, key_id: ApiKeyId) -> None:
    """As it is, for whoever looks at it next."""
    await conn.execute(_SQL["hold_maker"], user_id, key_id)


async def revoke_api_key(conn: Conn, user_id: UserId, key_id: ApiKeyId) -> bool | None:
    revoked: bool | None = await conn.fetchval(_SQL["revoke_api_key"], user_id, key_id)
    return revoked


async def give_permissions(
    conn: Conn, user_id: UserId, key_id: ApiKeyId, permissions: dict[str, bool]
) -> None:
    """To a locked key: these, and no others."""
    await conn.execute(_SQL["give_permissions"], user_id, key_id, permissions)


async def take_from_made(
    conn: Conn, user_id: UserId, makers: Sequence[ApiKeyId], permissions: Sequence[str]
) -> list[ApiKeyId]:
    """What these keys made has no permission but these any more. The keys that they made."""
    rows = await conn.fetch(_SQL["take_from_made"], user_id, makers, permissions)
    return [row["id"] for row in rows]


async def find_api_keys(conn: Conn, key_hashes: Sequence[str]) -> list[KeyOwner]:
    """Across tenants; those that there are."""
    return [KeyOwner(**row) for row in await conn.fetch(_SQL["find_api_keys"], key_hashes)]


async def find_usable_keys(conn: Conn, key_hashes: Sequence[str]) -> list[KeyOwner]:
    """As find_api_keys, without those that have ended, or whose tenant is not active."""
    return [KeyOwner(**row) for row in await conn.fetch(_SQL["find_usable_keys"], key_hashes)]


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
