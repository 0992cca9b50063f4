"""What one customer had on one day, where the plan bounds it (migrations/0086_care.sql)."""

from dataclasses import dataclass
from datetime import date, timedelta

from db.ids import ConversationId, UserId
from db.pool import Conn, at_commit
from db.sql import load, values
from db.usage import Reserving

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldTokens:
    outcome: str  # 'granted', 'unbounded', 'reached' or 'lost' (the lease)
    granted: int


async def hold_tokens(conn: Conn, turn: Reserving, least: int, most: int) -> HeldTokens:
    """Outside of a transaction. So many in all for the turn."""
    row = await conn.fetchrow(_SQL["hold_tokens"], *values(turn), least, most)
    assert row is not None, "the function always returns a row"
    return HeldTokens(**row)


# ---- with the COMMIT, before the turn's unit is settled ------------------------------------------


def count_answer(conn: Conn, user_id: UserId, conversation_id: ConversationId, day: date) -> None:
    at_commit(conn, f"SELECT count_contact_answer({user_id:d}, {conversation_id:d}, '{day}')")


def count_tokens(conn: Conn, turn: Reserving, tokens: int) -> None:
    """Once a turn, however often it is tried."""
    at_commit(
        conn,
        f"SELECT count_contact_tokens({turn.user_id:d}, {turn.conversation_id:d},"
        f" {turn.epoch:d}, {tokens:d})",
    )


# ---- across tenants ------------------------------------------------------------------------------


async def forget_contact_days(conn: Conn, after: timedelta, limit: int) -> int:
    return int(await conn.fetchval(_SQL["forget_contact_days"], after, limit))
