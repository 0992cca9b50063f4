"""WhatsApp accounts (WABAs): whose they are, and what Meta tells about them."""

from collections.abc import Sequence
from dataclasses import dataclass

from db.ids import AppId, ChatbotId, UserId
from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    place: int  # of the account in the question, from 1
    outcome: str  # 'known'; or, without ids, why it is nobody's
    user_id: UserId | None
    chatbot_id: ChatbotId | None  # one of theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEvent:
    chatbot_id: ChatbotId | None
    item_key: bytes  # the same item is kept once
    field: str
    event: str | None
    trace_id: str
    raw: bytes


async def learn_accounts(
    conn: Conn, user_id: UserId, chatbot_ids: Sequence[ChatbotId], waba_ids: Sequence[str]
) -> list[ChatbotId]:
    """Those that are known now; of the others somebody changes the row at this moment."""
    rows = await conn.fetch(_SQL["learn_accounts"], user_id, chatbot_ids, waba_ids)
    return [row["chatbot_id"] for row in rows]


async def resolve_accounts(
    conn: Conn,
    waba_ids: Sequence[str | None],
    numbers: Sequence[str | None],
    app_ids: Sequence[AppId | None],
) -> list[Holder]:
    """By the number where there is one; else every tenant with a number of the account. Of those in
    the webhook's app (None: the environment's)."""
    rows = await conn.fetch(_SQL["resolve_accounts"], waba_ids, numbers, app_ids)
    return [Holder(**row) for row in rows]


async def keep_event(conn: Conn, user_id: UserId, event: KeptEvent) -> int | None:
    """None: it was kept before."""
    kept: int | None = await conn.fetchval(_SQL["keep_event"], user_id, *values(event))
    return kept


async def raise_rate(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, rate: int, default: int
) -> None:
    await conn.execute(_SQL["raise_rate"], user_id, chatbot_id, rate, default)
