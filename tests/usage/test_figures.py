"""Averages, costs and shares of a month: what they are, when they are made, and by whom."""

import asyncio
import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from db.figures import DueMonth, claim_figures
from db.figures import make_figures as make_month
from db.pool import Pool, tenant
from db.usage import count_received
from handlers.ingest.recording import record_batch
from handlers.plans import OVERAGE_MESSAGE_PRICE, Plan
from tests.conftest import Database
from tests.db.units import reserve_messages
from tests.factories import Owner, Tenant, make_conversation, make_conversations, make_tenant
from tests.recording import DEBOUNCE, to, wrote
from tests.usage import (
    OVERAGE,
    busy_tenant,
    days_after,
    differences,
    make_figures,
    quiet,
    reply,
    today_of,
)
from tests.worker.test_session_locks import watching

FEBRUARY = date(2026, 2, 1)
ANOTHER_PRICE = (
    "UPDATE user_subscriptions"
    ' SET subscription_config = \'{"limits": {"overage_message_price": 7}}\''
)
ORDER = (
    "INSERT INTO orders (user_id, chatbot_id, contact_id)"
    " SELECT user_id, chatbot_id, contact_id FROM messages WHERE direction = 'inbound'"
)


async def month_of(owner: Owner, user: Tenant, first: date) -> dict[str, Any]:
    row = await owner.fetchrow(
        "SELECT avg_daily_messages, overage_cost, avg_conversion_rate, figures_due,"
        " total_messages_sent FROM monthly_usage_summary"
        " WHERE user_id = $1 AND year = $2 AND month = $3",
        *(user.user_id, first.year, first.month),
    )
    assert row is not None
    return dict(row)


async def add_days(owner: Owner, user: Tenant, *days: tuple[date, int, int]) -> None:
    """Days with so many messages within the limits and beyond, and their month."""
    for day, sent, beyond in days:
        await owner.execute(
            "INSERT INTO usage_tracking (user_id, tracking_date, daily_messages_sent,"
            " daily_overage_messages, updated_at) VALUES ($1, $2, $3, $4, now() - interval '1 h')",
            *(user.user_id, day, sent, beyond),
        )
        await owner.execute(
            "INSERT INTO monthly_usage_summary AS m (user_id, year, month, total_messages_sent,"
            " overage_messages) VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT (user_id, year, month) DO UPDATE SET"
            " total_messages_sent = m.total_messages_sent + $4,"
            " overage_messages = m.overage_messages + $5",
            *(user.user_id, day.year, day.month, sent, beyond),
        )


async def make_one(pool: Pool, month: DueMonth) -> None:
    async with tenant(pool, month.user_id) as conn:
        await make_month(conn, month)


# ---- what they are -------------------------------------------------------------------------------


async def test_the_average_is_over_the_days_of_the_month_so_far(owner: Owner, pool: Pool) -> None:
    user = await make_tenant(owner, timezone="Pacific/Kiritimati")
    today = await today_of(owner, user)
    await add_days(owner, user, (FEBRUARY, 70, 0), (days_after(FEBRUARY, 9), 30, 5), (today, 9, 0))
    await make_figures(pool)
    past, now = await month_of(owner, user, FEBRUARY), await month_of(owner, user, today)
    assert past["avg_daily_messages"] == Decimal("3.57")  # 100 in 28 days
    assert now["avg_daily_messages"] == round(Decimal(9) / today.day, 2)


async def test_overage_costs_what_the_plan_said_that_was_in_force_on_its_day(
    owner: Owner, pool: Pool
) -> None:
    """A history of plans, the last of which began in the middle of the month."""
    user = await make_tenant(owner)
    for start, price in (
        *(("2025-01-01", '"0.005"'), ("2026-02-11", "0.25")),
        ("2026-02-19", "100"),  # never began: the next one took its place
        *(("2026-02-15", '"x"'), ("2026-02-20", "9")),
    ):
        await owner.execute("UPDATE user_subscriptions SET is_active = false")
        await owner.execute(
            "INSERT INTO user_subscriptions (user_id, subscription_name, subscription_config,"
            " contract_start_date) VALUES ($1, 'next', $2::text::jsonb, $3)",
            user.user_id,
            '{"limits": {"overage_message_price": ' + price + "}}",
            date.fromisoformat(start),
        )
    beyond = ((10, 3), (11, 2), (16, 7), (19, 5), (20, 1))
    days = [(date(2026, 2, day), 1, units) for day, units in beyond]
    await add_days(owner, user, *days)
    await make_figures(pool)
    # 3 x 0.005 + 2 x 0.25 + 12 x nothing that could be read + 1 x 9
    assert (await month_of(owner, user, FEBRUARY))["overage_cost"] == Decimal("9.52")


async def test_the_share_of_conversations_with_an_order(owner: Owner, pool: Pool) -> None:
    user = await make_tenant(owner)
    today = await today_of(owner, user)
    people = ["13035550111", "13035550222", "13035550333"]
    messages = [wrote(f"w{n}.{who}", who=who) for n in range(2) for who in people]
    await record_batch(pool, [to(user, *messages)], DEBOUNCE)
    silent, _ = await make_conversation(owner, user)  # an order, and no message in the month
    await make_figures(pool)
    assert (await month_of(owner, user, today))["avg_conversion_rate"] == 0
    contacts = [
        row["contact_id"]
        for row in await owner.fetch("SELECT DISTINCT contact_id FROM messages ORDER BY 1")
    ]
    long_ago = "now() - interval '40 days'"
    for contact, made in (
        (contacts[0], "now()"),
        (contacts[0], "now()"),
        (contacts[1], long_ago),
        (silent, "now()"),
    ):
        await owner.execute(
            "INSERT INTO orders (user_id, chatbot_id, contact_id, created_at)"
            f" VALUES ($1, $2, $3, {made})",
            *(user.user_id, user.chatbot_id, contact),
        )
    await owner.execute("UPDATE monthly_usage_summary SET figures_due = now()")
    await make_figures(pool)
    assert (await month_of(owner, user, today))["avg_conversion_rate"] == Decimal("0.3333")


async def test_there_is_no_share_of_no_conversations(owner: Owner, pool: Pool) -> None:
    user = await make_tenant(owner)
    await add_days(owner, user, (FEBRUARY, 3, 0))
    await make_figures(pool)
    assert (await month_of(owner, user, FEBRUARY))["avg_conversion_rate"] is None


# ---- when they are made --------------------------------------------------------------------------


async def test_a_month_that_is_over_is_final_until_a_counter_of_it_moves(
    owner: Owner, pool: Pool
) -> None:
    """A message of the month before may fail in this one, and gives its unit back."""
    user = await make_tenant(owner, config=OVERAGE)
    await owner.execute("UPDATE user_subscriptions SET contract_start_date = '2026-01-01'")
    await add_days(owner, user, (FEBRUARY, 28, 10))
    await make_figures(pool)
    closed = await month_of(owner, user, FEBRUARY)
    assert (closed["avg_daily_messages"], closed["overage_cost"]) == (1, Decimal("0.50"))
    assert await due_in_s(owner, user, FEBRUARY) is None
    async with tenant(pool, user.user_id) as conn:
        await conn.execute(
            "SELECT give_back_messages($1, $2, $3)",
            *(user.user_id, [FEBRUARY, FEBRUARY], [False, True]),
        )
    soon = await due_in_s(owner, user, FEBRUARY)
    assert soon is not None
    assert soon <= 40
    await quiet(owner)
    await make_figures(pool)
    changed = await month_of(owner, user, FEBRUARY)
    assert (changed["avg_daily_messages"], changed["overage_cost"]) == (
        Decimal("0.96"),
        Decimal("0.45"),
    )
    assert await due_in_s(owner, user, FEBRUARY) is None


async def due_in_s(owner: Owner, user: Tenant, first: date) -> float | None:
    """None: never."""
    due = (await month_of(owner, user, first))["figures_due"]
    now: datetime = await owner.fetchval("SELECT now()")
    return None if due.year > 9000 else (due - now).total_seconds()


async def test_what_moves_is_due_within_40_seconds_and_the_next_day_when_it_is_quiet(
    owner: Owner, pool: Pool
) -> None:
    user = await busy_tenant(owner, pool)
    today = await today_of(owner, user)
    for _ in range(2):  # moving, it is looked at again; the first look may have been too early
        await owner.execute("UPDATE monthly_usage_summary SET figures_due = now()")
        await make_figures(pool)
        soon = await due_in_s(owner, user, today)
        assert soon is not None
        assert 0 < soon <= 40
    await quiet(owner)
    await make_figures(pool)
    midnight = await owner.fetchval(
        "SELECT ($1::date + 1)::timestamp AT TIME ZONE 'Pacific/Kiritimati'", today
    )
    assert (await month_of(owner, user, today))["figures_due"] == midnight
    async with tenant(pool, user.user_id) as conn:  # a message alone, whoever answers it or not
        count_received(conn, user.user_id, today, 1)
    soon = await due_in_s(owner, user, today)
    assert soon is not None
    assert soon <= 40


async def test_a_month_in_which_nobody_was_answered_has_its_figures_too(
    owner: Owner, pool: Pool
) -> None:
    user = await make_tenant(owner, daily=0)
    await record_batch(pool, [to(user, wrote("w1"))], DEBOUNCE)
    await make_figures(pool)
    made = await month_of(owner, user, await today_of(owner, user))
    assert (made["avg_daily_messages"], made["avg_conversion_rate"]) == (0, 0)


async def test_another_zone_moves_the_moment_at_which_they_are_due(
    owner: Owner, pool: Pool
) -> None:
    user = await busy_tenant(owner, pool)
    await quiet(owner)
    await make_figures(pool)
    async with tenant(pool, user.user_id) as conn:
        await conn.execute("UPDATE users SET timezone = 'UTC' WHERE id = $1", user.user_id)
    soon = await due_in_s(owner, user, await today_of(owner, user))
    assert soon is not None
    assert soon <= 40


# ---- by whom -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what",
    [
        ANOTHER_PRICE,
        ORDER,
        "DELETE FROM orders",
    ],
)
async def test_another_price_and_an_order_call_for_them(
    owner: Owner, pool: Pool, what: str
) -> None:
    user = await make_tenant(owner, daily=0, config=OVERAGE)
    _, talk = await make_conversation(owner, user)
    await reply(pool, user, talk)
    await record_batch(pool, [to(user, wrote("w", who="13035550999"))], DEBOUNCE)
    if what.startswith("DELETE"):
        await owner.execute(ORDER)
    await quiet(owner)
    await make_figures(pool)
    assert await differences(owner, user) == []
    await owner.execute(what)
    assert await differences(owner, user) == []
    await quiet(owner)
    await make_figures(pool)
    assert await differences(owner, user) == []


async def test_what_calls_for_them_while_they_are_made_is_heard(owner: Owner, pool: Pool) -> None:
    user = await make_tenant(owner, daily=0, config=OVERAGE)
    _, talk = await make_conversation(owner, user)
    await reply(pool, user, talk)
    await quiet(owner)
    (due,) = await claim_figures(owner, 10)
    async with owner.transaction():
        await owner.execute("SELECT FROM monthly_usage_summary WHERE id = $1 FOR UPDATE", due.id)
        making = asyncio.create_task(make_one(pool, due))
        while not await owner.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            await asyncio.sleep(0.01)
        await owner.execute(ANOTHER_PRICE)
    await making
    assert await differences(owner, user) == []


async def test_several_workers_at_once_make_each_once(owner: Owner, pool: Pool) -> None:
    users = [await make_tenant(owner) for _ in range(30)]
    for user in users:
        await add_days(owner, user, (FEBRUARY, 28, 0))
    async with pool.acquire() as one, pool.acquire() as other:
        claimed = await asyncio.gather(claim_figures(one, 20), claim_figures(other, 20))
    assert len({*claimed[0], *claimed[1]}) == len(claimed[0]) + len(claimed[1]) <= 30
    async with pool.acquire() as conn:
        rest = await claim_figures(conn, 20)
    assert len({*claimed[0], *claimed[1], *rest}) == 30
    async with pool.acquire() as conn:
        assert await claim_figures(conn, 20) == []  # for a minute
    # Both died before they made anything.
    await owner.execute("UPDATE monthly_usage_summary SET figures_due = now()")
    await asyncio.gather(*(make_figures(pool) for _ in range(4)))
    for user in users:
        assert (await month_of(owner, user, FEBRUARY))["avg_daily_messages"] == 1
        assert await due_in_s(owner, user, FEBRUARY) is None


async def test_figures_that_are_made_while_counters_move_are_made_again(
    owner: Owner, pool: Pool
) -> None:
    user = await make_tenant(owner, daily=1_000)
    talks = await make_conversations(owner, user, 20)
    today = await today_of(owner, user)

    async def make() -> None:
        for _ in range(10):
            await owner.execute("UPDATE monthly_usage_summary SET figures_due = now()")
            await make_figures(pool)

    await asyncio.gather(make(), *(reply(pool, user, talk) for talk in talks))
    soon = await due_in_s(owner, user, today)
    assert soon is not None
    assert soon <= 60
    await quiet(owner)
    await make_figures(pool)
    assert (await month_of(owner, user, today))["avg_daily_messages"] == round(
        Decimal(20) / today.day, 2
    )
    assert await differences(owner, user) == []


async def test_figures_are_made_with_no_counter_locked(owner: Owner, pool: Pool) -> None:
    """Who holds the counters for long holds up nobody's figures but the tenant's own."""
    held, free = await make_tenant(owner), await make_tenant(owner)
    for user in (held, free):
        await add_days(owner, user, (FEBRUARY, 28, 0))
    _, talk = await make_conversation(owner, held)
    async with pool.acquire() as conn:
        await conn.execute(f"BEGIN; SELECT set_config('app.user_id', '{held.user_id}', true)")
        await reserve_messages(conn, held.user_id, talk, 1)
        await conn.execute("SELECT lock_usage($1, ARRAY[$2::date])", held.user_id, FEBRUARY)
        await make_figures(pool)  # claims what nobody has locked
        await conn.execute("ROLLBACK")
    assert (await month_of(owner, free, FEBRUARY))["avg_daily_messages"] == 1
    await make_figures(pool)
    assert (await month_of(owner, held, FEBRUARY))["avg_daily_messages"] == 1


@pytest.mark.parametrize("spelt", ["1.5", '"1.5"', '"1e3"', "true", '"-1"', '"0.1234567"', "[1]"])
async def test_a_price_is_read_as_the_plan_reads_it(owner: Owner, spelt: str) -> None:
    config = '{"limits": {"overage_message_price": ' + spelt + "}}"
    read = await owner.fetchval(
        "SELECT plan_price($1::text::jsonb, 'overage_message_price')", config
    )
    assert read == Plan(json.loads(config)).get(OVERAGE_MESSAGE_PRICE)


async def test_the_scheduler_makes_them(database: Database, owner: Owner) -> None:
    user = await make_tenant(owner)
    await add_days(owner, user, (FEBRUARY, 28, 0))
    async with watching(database.runtime_url):
        while (await month_of(owner, user, FEBRUARY))["avg_daily_messages"] is None:
            await asyncio.sleep(0.05)
    assert (await month_of(owner, user, FEBRUARY))["avg_daily_messages"] == 1
