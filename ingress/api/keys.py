"""Whose key a request has."""

import asyncio

from db.api_keys import KeyOwner, find_api_key
from db.pool import Pool
from handlers.api_keys import hash_of
from ingress.api.problems import not_authenticated, unavailable

LOOKUPS = 2  # at once, of keys that were not seen before: anybody may send those
LOOKUPS_WAITING = 32
REMEMBERED_MAX = 10_000  # keys; then all are forgotten and asked again


class Keys:
    """Which key has this hash. That never changes, so it is remembered; whether the key may still
    be used is asked in each request's transaction."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[str, KeyOwner] = {}
        self._free = asyncio.Semaphore(LOOKUPS)
        self._waiting = 0

    async def owner(self, authorization: str) -> KeyOwner:
        scheme, _, key = authorization.partition(" ")
        hashed = hash_of(key.strip()) if scheme.lower() == "bearer" else None
        if hashed is None:
            raise not_authenticated("Send `Authorization: Bearer <API key>`.")
        if hashed in self._known:
            return self._known[hashed]
        if self._waiting >= LOOKUPS_WAITING:
            raise unavailable("Too many keys are being looked up: come again.", 1)
        self._waiting += 1
        try:
            async with self._free, self._pool.acquire() as conn:
                owner = await find_api_key(conn, hashed)
        finally:
            self._waiting -= 1
        if owner is None:
            raise not_authenticated("There is no such API key.")
        if len(self._known) >= REMEMBERED_MAX:
            self._known.clear()
        self._known[hashed] = owner
        return owner
