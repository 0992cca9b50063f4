"""Subscriptions: of each tenant one that is active, and history."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from db.ids import SubscriptionId, UserId
from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSubscription:
    subscription_name: str
    subscription_config: dict[str, Any]
    daily_message_limit: int
    monthly_message_limit: int
    daily_campaign_limit: int
    monthly_campaign_limit: int
    billing_amount: Decimal | None
    billing_currency: str | None
    billing_cycle: str | None
    contract_start_date: date
    contract_end_date: date | None
    auto_renew: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription(NewSubscription):
    id: SubscriptionId
    in_force: bool  # today, by the tenant's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class PastSubscription:
    id: SubscriptionId
    subscription_name: str
    contract_start_date: date
    contract_end_date: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """By the keys of the limits."""

    max_chatbots: int
    max_contacts: int | None  # not counted where no plan bounded them
    max_webhooks: int
    max_api_keys: int
    max_concurrent_conversations: int
    max_actions_per_day: int
    max_test_tokens_per_day: int
    daily_messages: int
    daily_campaigns: int
    monthly_messages: int
    monthly_campaigns: int


async def read_subscription(conn: Conn, user_id: UserId) -> Subscription | None:
    """None: there is no active one."""
    row = await conn.fetchrow(_SQL["read_subscription"], user_id)
    return Subscription(**row) if row else None


async def past_subscriptions(conn: Conn, user_id: UserId) -> list[PastSubscription]:
    rows = await conn.fetch(_SQL["past_subscriptions"], user_id)
    return [PastSubscription(**row) for row in rows]


async def close_subscription(
    conn: Conn, user_id: UserId, subscription_id: SubscriptionId, next_start: date
) -> None:
    await conn.execute(_SQL["close_subscription"], user_id, subscription_id, next_start)


async def open_subscription(conn: Conn, user_id: UserId, new: NewSubscription) -> SubscriptionId:
    return SubscriptionId(await conn.fetchval(_SQL["open_subscription"], user_id, *values(new)))


async def read_uses(conn: Conn, user_id: UserId) -> Uses | None:
    """None: there is no such tenant."""
    row = await conn.fetchrow(_SQL["read_uses"], user_id)
    return Uses(**row) if row else None


async def tell_limit(
    conn: Conn, user_id: UserId, limit: str, used: int, value: int, refused: bool
) -> None:
    """Of something countable: one more was made, and perhaps 80 % are reached, or was refused."""
    await conn.execute(_SQL["tell_limit"], user_id, limit, used, value, refused)
