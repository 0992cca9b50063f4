"""A lock that the beating session holds, by which others see at once that this process has ended:
its connection breaks, and the lock is gone. It hastens and nothing else; a beat that is old is old
whatever is locked.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from db.ids import WorkerId
from db.pool import REFUSED, UNAVAILABLE, Conn
from db.workers import (
    are_two_sessions,
    broken_locks,
    has_shown_lock,
    show_session_lock,
    take_session_lock,
)

log: structlog.stdlib.BoundLogger = structlog.get_logger()

SPACE = 730_580_993  # any constant: the first half of these locks
SURE_S = 0.1  # between two looks that both find a lock broken
PROBE_S = 1.0  # for the second connection, and all that is asked over both


class SessionLock:
    """Of one process, over all its sessions. Where a pooler lends its connections for a transaction
    no session is kept, and none of them holds a lock for long: the first that shows it is the last
    that is asked."""

    def __init__(self, connect: Callable[[], Awaitable[Conn]]) -> None:
        self._connect = connect
        self.behind_pooler = False
        self.is_held = False

    def is_gone(self) -> None:
        """The session ended."""
        self.is_held = False

    async def look_at_own(self, conn: Conn, worker_id: WorkerId) -> None:
        """A session that goes on in another backend never was one; nor was one whose row somebody
        took away because of its lock."""
        if self.is_held and not await has_shown_lock(conn, worker_id):
            self.is_held = False
            self._give_up("it changed its backend, or its lock went without it")

    async def broken(self, conn: Conn, worker_id: WorkerId, term: timedelta) -> list[int]:
        """The locks of others that nobody holds. Seen twice: a server that goes, or a proxy, ends
        its sessions one after the other, and this one may be the last."""
        if not self.is_held or not (first := await broken_locks(conn, worker_id, term, SPACE)):
            return []
        await asyncio.sleep(SURE_S)
        still = await broken_locks(conn, worker_id, term, SPACE)
        return [number for number in first if number in still]

    async def take(self, conn: Conn, worker_id: WorkerId) -> None:
        """If it is to be had. Whatever goes wrong with that, the beat goes on."""
        if self.is_held or self.behind_pooler:
            return
        try:
            async with asyncio.timeout(PROBE_S):
                if not await self._is_session(conn):
                    self._give_up("it has no backend of its own")
                elif await self._show(conn, worker_id, random.getrandbits(31)):
                    self.is_held = True
                else:
                    self._give_up("the lock is another session's")
        except (*UNAVAILABLE, *REFUSED) as error:
            log.warning("worker.lock_not_taken", error=type(error).__name__)

    async def _show(self, conn: Conn, worker_id: WorkerId, number: int) -> bool:
        return (
            await take_session_lock(conn, SPACE, number)
            and await show_session_lock(conn, worker_id, SPACE, number) is not None
        )

    async def _is_session(self, conn: Conn) -> bool:
        other = await self._connect()
        try:
            return await are_two_sessions(conn, other)
        finally:
            other.terminate()

    def _give_up(self, why: str) -> None:
        if not self.behind_pooler:
            log.warning("worker.behind_pooler", why=why)
        self.behind_pooler = True
