"""Places for what is slow, which tenants share."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Room:
    """Of a tenant at most half at a time, so that another's never waits for all of it to end; who
    waits is let in tenant by tenant."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._most = max(1, places // 2)
        self._held: Counter[int] = Counter()
        self._waiting: dict[int, deque[asyncio.Future[None]]] = {}  # the next tenant first

    @asynccontextmanager
    async def place(self, tenant: int) -> AsyncIterator[None]:
        await self._enter(tenant)
        try:
            yield
        finally:
            self._leave(tenant)

    async def _enter(self, tenant: int) -> None:
        admitted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(admitted)
        self._admit()
        try:
            await admitted
        except asyncio.CancelledError:
            if not admitted.cancelled():  # let in at the same moment
                self._leave(tenant)
            raise

    def _leave(self, tenant: int) -> None:
        self._free += 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        self._admit()

    def _admit(self) -> None:
        while self._free and (admitted := self._next()) is not None:
            self._free -= 1
            admitted.set_result(None)

    def _next(self) -> asyncio.Future[None] | None:
        """Of the first tenant that may, who is the last one then."""
        for tenant in list(self._waiting):
            waiting = self._waiting[tenant]
            while waiting and waiting[0].done():  # given up
                waiting.popleft()
            if not waiting:
                del self._waiting[tenant]
            elif self._held[tenant] < self._most:
                del self._waiting[tenant]
                admitted = waiting.popleft()
                if waiting:
                    self._waiting[tenant] = waiting
                self._held[tenant] += 1
                return admitted
        return None
