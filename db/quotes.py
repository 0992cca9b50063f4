"""Quotes: what was added up for a customer, and what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from db.ids import ContactId, ConversationId, UserId
from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewQuote:
    input_seq: int  # that began the turn which makes it
    token: str
    items: list[dict[str, Any]]
    total_amount: Decimal
    currency: str
    lives: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedQuote:
    id: int
    items: list[dict[str, Any]]
    currency: str
    status: str
    is_over: bool
    order_number: str | None  # of the order that was made of it
    ordered_amount: Decimal | None
    ordered_currency: str | None
    is_cancelled: bool  # the order


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldOrder:
    order_number: str
    status: str | None
    payment_status: str | None
    total_amount: Decimal | None
    currency: str | None
    created_at: datetime
    items: list[list[Any]]  # [quantity, name]


async def pressed_quotes(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, tokens: Sequence[str]
) -> list[str]:
    rows = await conn.fetch(_SQL["pressed_quotes"], user_id, conversation_id, tokens)
    return [row["token"] for row in rows]


async def lock_quote(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, token: str
) -> int | None:
    found: int | None = await conn.fetchval(_SQL["lock_quote"], user_id, conversation_id, token)
    return found


async def read_quote(conn: Conn, user_id: UserId, quote_id: int) -> LockedQuote | None:
    """After lock_quote()."""
    row = await conn.fetchrow(_SQL["read_quote"], user_id, quote_id)
    return LockedQuote(**row) if row else None


async def end_quote(conn: Conn, user_id: UserId, quote_id: int, status: str) -> bool:
    """False: it was not open any more."""
    return bool(await conn.fetchval(_SQL["end_quote"], user_id, quote_id, status))


async def replace_quotes(conn: Conn, user_id: UserId, conversation_id: ConversationId) -> None:
    await conn.execute(_SQL["replace_quotes"], user_id, conversation_id)


async def keep_quote(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, quote: NewQuote
) -> None:
    await conn.execute(_SQL["keep_quote"], user_id, conversation_id, *values(quote))


async def orders_of_contact(
    conn: Conn, user_id: UserId, contact_id: ContactId, number: str | None, limit: int
) -> list[ToldOrder]:
    rows = await conn.fetch(_SQL["orders_of_contact"], user_id, contact_id, number, limit)
    return [ToldOrder(**row) for row in rows]


async def forget_quotes(conn: Conn, after: timedelta, limit: int) -> int:
    return int(await conn.fetchval(_SQL["forget_quotes"], after, limit))
