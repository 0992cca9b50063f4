"""A key is made, by the operator or by another key. Part of the caller's transaction."""

from collections.abc import Collection
from datetime import datetime

from db.api_keys import (
    ApiKey,
    NewApiKey,
    create_api_key,
    hold_maker,
    read_api_key,
)
from db.ids import ApiKeyId, UserId
from db.pool import Conn
from handlers.api_keys import SHOWN_CHARS, hash_of, new_key

MAX_NAME_CHARS = 100


async def make_key(
    conn: Conn,
    user_id: UserId,
    name: str,
    permissions: Collection[str],
    expires_at: datetime | None = None,
    created_by: ApiKeyId | None = None,
) -> tuple[ApiKeyId, str]:
    """With the key itself, which nobody is told again."""
    key = new_key()
    hashed = hash_of(key)
    assert hashed is not None, "a new key has the form of one"
    granted = dict.fromkeys(permissions, True)
    new = NewApiKey(name, hashed, key[:SHOWN_CHARS], granted, expires_at, created_by)
    return await create_api_key(conn, user_id, new), key


async def maker_now(conn: Conn, user_id: UserId, key_id: ApiKeyId) -> ApiKey | None:
    """As it stays until the transaction ends. None: it may not be used any more."""
    await hold_maker(conn, user_id, key_id)
    found = await read_api_key(conn, user_id, key_id)
    return found.key if found is not None and found.key.usable else None
