"""A shop's figures of a month: orders, revenue and conversion, against the same rules in Python."""

import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from db.ids import UserId
from db.pool import Pool
from db.reconcile import recount
from tests.factories import Owner, Tenant, make_conversation, make_message, make_tenant
from tests.usage import differences, make_figures, today_of

TALKS, ORDERS = 40, 60


@dataclass(frozen=True, slots=True)
class Made:
    talk: int
    at: datetime
    amount: Decimal
    paid: bool


def month_after(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


async def generated(
    owner: Owner, user: Tenant, first: date, zone: ZoneInfo, dice: random.Random
) -> tuple[dict[int, date], list[Made]]:
    """Conversations by the day of their customer's message, and orders around the ends of a month,
    to the second."""
    ends = [datetime.combine(day, datetime.min.time(), zone) for day in (first, month_after(first))]
    days = [first - timedelta(days=1), first, month_after(first) - timedelta(days=1)]
    wrote: dict[int, date] = {}
    whose = []
    for n in range(TALKS):
        whose.append(await make_conversation(owner, user))
        message = await make_message(
            *(owner, user, *whose[n]), direction="inbound", status="received", input_seq=1
        )
        wrote[n] = dice.choice(days)
        await owner.execute(
            "UPDATE messages SET received_day = $2 WHERE id = $1", message, wrote[n]
        )
    orders = []
    for n in range(ORDERS):
        seconds = dice.choice([-86_400, -1, 0, 1, 86_400])
        at = (dice.choice(ends) + timedelta(seconds=seconds)).astimezone(UTC)
        made = Made(dice.randrange(TALKS), at, Decimal(dice.randrange(9_999)) / 100, n % 3 == 0)
        orders.append(made)
        order_id = await owner.fetchval(
            "INSERT INTO orders (user_id, chatbot_id, contact_id, order_number, created_at)"
            " VALUES ($1, $2, $3, $4, $5) RETURNING id",
            *(user.user_id, user.chatbot_id, whose[made.talk][0], f"N-{n}", at),
        )
        await owner.execute(
            "INSERT INTO order_items (user_id, order_id, product_name, quantity, unit_price,"
            " total_price) VALUES ($1, $2, 'x', 1, $3, $3)",
            *(user.user_id, order_id, made.amount),
        )
        if made.paid:
            await owner.execute("UPDATE orders SET payment_status = 'paid' WHERE id = $1", order_id)
    return wrote, orders


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/Los_Angeles"])
async def test_a_shops_figures_are_what_the_rows_come_to(
    owner: Owner, pool: Pool, zone: str
) -> None:
    user = await make_tenant(owner)
    await owner.execute("UPDATE users SET timezone = $2 WHERE id = $1", user.user_id, zone)
    first = (await today_of(owner, user)).replace(day=1)
    wrote, orders = await generated(owner, user, first, ZoneInfo(zone), random.Random(zone))
    await owner.execute("UPDATE monthly_usage_summary SET figures_due = now()")
    await make_figures(pool)
    row: dict[str, Any] = dict(
        await owner.fetchrow(
            "SELECT total_orders_created, total_revenue, avg_conversion_rate"
            " FROM monthly_usage_summary WHERE user_id = $1 AND year = $2 AND month = $3",
            *(user.user_id, first.year, first.month),
        )
        or {}
    )
    talked = {n for n, day in wrote.items() if day >= first}
    ordered = {
        one.talk
        for one in orders
        if first <= one.at.astimezone(ZoneInfo(zone)).date() < month_after(first)
    }
    assert 0 < len(talked & ordered) < len(talked)
    # Orders count on the day on which they are written, and when they become paid: today.
    assert row == {
        "total_orders_created": ORDERS,
        "total_revenue": sum(one.amount for one in orders if one.paid),
        "avg_conversion_rate": round(Decimal(len(talked & ordered)) / len(talked), 4),
    }
    wrong = ("total_orders_created", "total_revenue", "avg_conversion_rate")
    assert [d for d in await differences(owner, user) if d.what.counter in wrong] == []
    # And whoever tampers with one is told of it; a share that is about to be made, that it is.
    await owner.execute(
        "UPDATE monthly_usage_summary SET total_orders_created = 1, total_revenue = 1,"
        " avg_conversion_rate = 0.9 WHERE user_id = $1",
        user.user_id,
    )
    found = {one.what.counter for one in await recount(owner, UserId(user.user_id))}
    assert found >= {*wrong}
