"""One call that takes or gives a file."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from db.ids import UserId
from db.pool import Conn, Pool, tenant
from handlers.media_store.port import Store
from ingress.api.table import Call, Rows


@dataclass(frozen=True, slots=True)
class Stream:
    """Found to be permitted when it began."""

    pool: Pool
    store: Store
    connections: asyncio.Semaphore  # of the tenant's
    call: Call[Any, Any]
    about: Rows | None  # None: of an Upload
    still: Callable[[Conn], Awaitable[None]]  # raises what it is refused with by now

    @property
    def rows(self) -> Rows:
        assert self.about is not None, "of an Intake or Outflow"
        return self.about

    @property
    def user_id(self) -> UserId:
        return self.call.user_id

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Conn]:
        """One of several: a key may have ended since the one before."""
        async with self.tidying() as conn:
            await self.still(conn)
            yield conn

    @asynccontextmanager
    async def tidying(self) -> AsyncIterator[Conn]:
        """Whatever became of the key: to look at what it began, and to undo that."""
        async with self.connections, tenant(self.pool, self.user_id) as conn:
            yield conn
