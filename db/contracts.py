"""Contracts: what a subscription's days bring (migrations/0035_contract.sql)."""

from dataclasses import dataclass
from datetime import date

from db.ids import SubscriptionId, UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    user_id: UserId
    id: SubscriptionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    subscription_id: SubscriptionId
    subscription_name: str
    contract_end_date: date | None
    days_left: int | None


async def due_contracts(conn: Conn, limit: int) -> list[Due]:
    """Across tenants."""
    return [Due(**row) for row in await conn.fetch(_SQL["due_contracts"], limit)]


async def advance_contract(
    conn: Conn, user_id: UserId, subscription_id: SubscriptionId
) -> str | None:
    """'renewed', 'expiring', 'ended'. None: another did it."""
    what: str | None = await conn.fetchval(_SQL["advance_contract"], user_id, subscription_id)
    return what


async def read_contract(
    conn: Conn, user_id: UserId, subscription_id: SubscriptionId
) -> Contract | None:
    row = await conn.fetchrow(_SQL["read_contract"], user_id, subscription_id)
    return Contract(**row) if row else None
