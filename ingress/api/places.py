"""How many calls are in hand, and of whom."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from db.ids import UserId
from ingress.api.problems import Problem, unavailable

TENANT_CALLS = 16  # of one tenant at once; then 429
TENANT_CONNECTIONS = 4  # of the pool, for one tenant: the others wait for each other, not for it
ALL_CALLS = 128  # of all tenants at once; then 503
# Whoever asks for large answers without a pause gets 8 MiB a second. 16 callers who list what is
# large kept PostgreSQL, and whoever shares its machine, at nothing else.
LARGE_BYTES = 64 * 1024  # up to it there is no pause
LARGE_BYTES_PER_S = 2 * 1024 * 1024  # on each of the tenant's connections


def pause_s(answer_bytes: int) -> float:
    """In which a tenant's connection is not asked again."""
    return max(0, answer_bytes - LARGE_BYTES) / LARGE_BYTES_PER_S


class Places:
    """How many calls are in hand, and of whom."""

    def __init__(self) -> None:
        self._all = 0
        self._tenants: dict[UserId, tuple[int, asyncio.Semaphore]] = {}

    @asynccontextmanager
    async def of(self, user_id: UserId) -> AsyncIterator[asyncio.Semaphore]:
        """Gives what the tenant's connections are counted by."""
        calls, connections = self._tenants.get(user_id, (0, asyncio.Semaphore(TENANT_CONNECTIONS)))
        if calls >= TENANT_CALLS:
            raise Problem(
                "too_many_requests",
                f"{TENANT_CALLS} requests of this account are in hand. Wait for their answers.",
                headers={"Retry-After": "1"},
            )
        if self._all >= ALL_CALLS:
            raise unavailable("Too many requests are in hand: come again.", 1)
        self._all += 1
        self._tenants[user_id] = (calls + 1, connections)
        try:
            yield connections
        finally:
            self._all -= 1
            calls, _ = self._tenants.pop(user_id)
            if calls > 1:
                self._tenants[user_id] = (calls - 1, connections)
