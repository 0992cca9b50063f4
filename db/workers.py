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


async def register_worker(conn: Conn, name: str) -> WorkerId:
    return WorkerId(await conn.fetchval(_SQL["register_worker"], name))


async def beat(conn: Conn, worker_id: WorkerId) -> WorkerId | None:
    found: WorkerId | None = await conn.fetchval(_SQL["beat"], worker_id)
    return found


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
