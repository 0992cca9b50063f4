"""Which worker processes are alive."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from db.ids import ConversationId, MessageId, UserId, WorkerId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Freed:
    what: str  # 'conversation' or 'message'
    user_id: UserId
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Died:
    id: WorkerId
    name: str


async def register_worker(conn: Conn, name: str) -> WorkerId:
    return WorkerId(await conn.fetchval(_SQL["register_worker"], name))


async def beat(conn: Conn, worker_id: WorkerId) -> WorkerId | None:
    found: WorkerId | None = await conn.fetchval(_SQL["beat"], worker_id)
    return found


async def beat_without_lock(conn: Conn, worker_id: WorkerId) -> WorkerId | None:
    """The first beat of a session."""
    found: WorkerId | None = await conn.fetchval(_SQL["beat_without_lock"], worker_id)
    return found


async def are_two_sessions(one: Conn, other: Conn) -> bool:
    """Whether each of two connections that are open has a backend of its own, and keeps it.

    A pooler that lends backends for a transaction gives both the same, or one of them a new one
    with each statement; and most poolers tell a client another pid at its start than it then has.
    """
    seen: list[tuple[int, int]] = []
    for _ in range(3):
        pids = [await conn.fetchval("SELECT pg_backend_pid()") for conn in (one, other)]
        seen.append((pids[0], pids[1]))
    first, second = seen[0]
    told = (one.get_server_pid(), other.get_server_pid())
    return first != second and set(seen) == {told}


async def take_session_lock(conn: Conn, space: int, number: int) -> bool:
    taken: bool = await conn.fetchval(_SQL["take_session_lock"], space, number)
    return taken


async def show_session_lock(
    conn: Conn, worker_id: WorkerId, space: int, number: int
) -> WorkerId | None:
    """None: this session is not seen to hold it, or the worker was taken for dead."""
    shown: WorkerId | None = await conn.fetchval(
        _SQL["show_session_lock"], worker_id, space, number
    )
    return shown


async def has_shown_lock(conn: Conn, worker_id: WorkerId) -> bool:
    found: bool | None = await conn.fetchval(_SQL["has_shown_lock"], worker_id)
    return bool(found)


async def broken_locks(conn: Conn, worker_id: WorkerId, term: timedelta, space: int) -> list[int]:
    """Those that others' rows name and nobody holds, as far as this session may judge."""
    rows = await conn.fetch(_SQL["broken_locks"], worker_id, term, space)
    return [row["session_lock"] for row in rows]


async def forget_broken(conn: Conn, locks: Sequence[int]) -> list[Died]:
    """Who is dead because these locks are broken. What they held is free with the next
    sweep_dead_workers()."""
    return [Died(**row) for row in await conn.fetch(_SQL["forget_broken"], locks)]


async def retire_worker(conn: Conn, worker_id: WorkerId) -> None:
    await conn.execute(_SQL["retire_worker"], worker_id)


async def sweep_dead_workers(conn: Conn, term: timedelta) -> list[Freed]:
    return [Freed(**row) for row in await conn.fetch(_SQL["sweep_dead_workers"], term)]


async def sweep_unheld(
    conn: Conn,
    worker_id: WorkerId,
    conversations: Sequence[ConversationId],
    messages: Sequence[MessageId],
) -> list[Freed]:
    """What the worker claimed beyond these, which it does hold."""
    rows = await conn.fetch(_SQL["sweep_unheld"], worker_id, conversations, messages)
    return [Freed(**row) for row in rows]
