"""What a tenant has used of its plan (migrations/0004_metering.sql and those after it)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from db.ids import ConversationId, UserId, WorkerId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    outcome: str  # 'granted', or the reason why not
    usage_day: date
    overage: bool  # beyond the limits, and counted apart
    notice: str | None  # what the plan tells customers at a limit


async def reserve_messages(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, messages: int
) -> Reservation:
    row = await conn.fetchrow(_SQL["reserve_messages"], user_id, conversation_id, messages)
    assert row is not None, "the function always returns a row"
    return Reservation(**row)


async def settle_messages(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, sent: int
) -> bool:
    """False: more was spent than was held; the transaction must not commit."""
    return bool(await conn.fetchval(_SQL["settle_messages"], user_id, conversation_id, sent))


async def release_messages(conn: Conn, user_id: UserId, conversation_id: ConversationId) -> None:
    await conn.execute(_SQL["release_messages"], user_id, conversation_id)


async def give_back_messages(
    conn: Conn, user_id: UserId, usage_days: Sequence[date], overage: Sequence[bool]
) -> None:
    """Of each message its day, and whether it was counted as overage."""
    await conn.execute(_SQL["give_back_messages"], user_id, usage_days, overage)


async def count_received(conn: Conn, user_id: UserId, messages: int) -> None:
    await conn.execute(_SQL["count_received"], user_id, messages)


async def reserve_actions(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    worker_id: WorkerId,
    epoch: int,
    actions: int,
) -> str:
    """So many in all for the turn. 'granted', or the reason why not."""
    return str(
        await conn.fetchval(
            _SQL["reserve_actions"], user_id, conversation_id, worker_id, epoch, actions
        )
    )


async def settle_actions(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, actions: int
) -> date | None:
    """The day they are counted on. None: more than was held; the transaction must not commit."""
    day: date | None = await conn.fetchval(
        _SQL["settle_actions"], user_id, conversation_id, actions
    )
    return day
