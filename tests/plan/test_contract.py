"""A contract's days: when it is in force, when it is renewed, what the tenant hears of its end."""

import asyncio
from datetime import date

import pytest

from db.pool import Conn, Pool, tenant
from handlers.contracts import keep_contracts
from handlers.process.sweeps import Sweep
from tests.db.units import reserve_messages
from tests.factories import Owner, make_conversation, make_tenant
from tests.plan import House, days

ZONES = ("UTC", "Pacific/Kiritimati", "Etc/GMT+12")


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("start", "end", "in_force"),
    [
        (0, 0, True),
        (-5, 0, True),
        (0, None, True),
        (1, None, False),
        (-9, -1, False),
        (1, 5, False),
    ],
)
async def test_both_days_are_included_by_the_tenant_s_clock(
    house: House, pool: Pool, zone: str, start: int, end: int | None, in_force: bool
) -> None:
    user = await make_tenant(house.owner, timezone=zone)
    today = await house.today(user)
    await house.contract(
        user,
        contract_start_date=today + days(start),
        contract_end_date=None if end is None else today + days(end),
    )
    _, conversation_id = await make_conversation(house.owner, user)
    async with tenant(pool, user.user_id) as conn:
        held = await reserve_messages(conn, user.user_id, conversation_id, 1)
    assert held.outcome == ("granted" if in_force else "no_active_subscription")


@pytest.mark.parametrize(
    ("end", "day", "cycle", "next_one"),
    [
        ("2026-01-31", 31, "monthly", "2026-02-28"),
        ("2026-02-28", 31, "monthly", "2026-03-31"),
        ("2026-03-31", 31, "monthly", "2026-04-30"),
        ("2028-01-31", 31, "monthly", "2028-02-29"),
        ("2028-02-29", 31, "monthly", "2028-03-31"),
        ("2026-02-28", 28, "monthly", "2026-03-28"),
        ("2026-12-15", 15, "monthly", "2027-01-15"),
        ("2026-11-30", 30, "quarterly", "2027-02-28"),
        ("2027-02-28", 30, "quarterly", "2027-05-30"),
        ("2028-02-29", 29, "yearly", "2029-02-28"),
        ("2031-02-28", 29, "yearly", "2032-02-29"),
        ("2026-05-10", 10, "weekly, as somebody wrote", "2026-06-10"),
    ],
)
async def test_the_next_end(owner: Owner, end: str, day: int, cycle: str, next_one: str) -> None:
    found = await owner.fetchval("SELECT next_end($1, $2, $3)", date.fromisoformat(end), day, cycle)
    assert found == date.fromisoformat(next_one)


async def test_an_end_keeps_its_day_through_short_months(house: House) -> None:
    """Nobody looked for years; then a person sets another end."""
    user = await make_tenant(house.owner)
    await house.contract(user, auto_renew=True, contract_end_date=date(2023, 1, 31))
    await house.scheduler()
    end = await the_end(house.owner, user.user_id)
    today = await house.today(user)
    assert today < end <= today + days(31)
    assert end.day == 31 or (end + days(1)).day == 1
    await house.contract(user, contract_end_date=today - days(today.day + 20))
    day = (today - days(today.day + 20)).day
    await house.scheduler()
    assert (await the_end(house.owner, user.user_id)).day == day


async def test_it_is_renewed_on_its_last_day_and_not_before(house: House) -> None:
    user = await make_tenant(house.owner)
    today = await house.today(user)
    await house.contract(user, auto_renew=True, contract_end_date=today + days(1))
    await house.scheduler()
    assert await the_end(house.owner, user.user_id) == today + days(1)
    await house.contract(user, contract_end_date=today)
    await asyncio.gather(*(keep_contracts(house.pool, Sweep(f"{n}")) for n in range(8)))
    assert today + days(27) < await the_end(house.owner, user.user_id) <= today + days(31)
    assert await house.events(user, "subscription.%") == []


async def test_the_end_is_told_14_7_and_1_days_before_each_once(house: House) -> None:
    user = await make_tenant(house.owner)
    today = await house.today(user)
    # As the days go by: the end comes nearer, what was told moves along.
    told: list[tuple[int, str, int | None]] = []
    for left in (20, 15, 14, 13, 8, 7, 2, 1, 0, -1, -2):
        await house.owner.execute(
            "UPDATE user_subscriptions SET contract_end_date = $2,"
            " told_end = CASE WHEN told_end IS NOT NULL THEN $2::date END WHERE user_id = $1",
            *(user.user_id, today + days(left)),
        )
        await asyncio.gather(*(keep_contracts(house.pool, Sweep(f"{n}")) for n in range(4)))
        events = await house.events(user, "subscription.%")
        told += [(left, e["type"], e.get("days_left")) for e in events[len(told) :]]
    assert told == [
        (14, "subscription.expiring", 14),
        (7, "subscription.expiring", 7),
        (1, "subscription.expiring", 1),
        (-1, "subscription.ended", None),
    ]


async def test_what_was_missed_is_told_once_as_it_is(house: House) -> None:
    user = await make_tenant(house.owner)
    today = await house.today(user)
    await house.contract(user, contract_end_date=today + days(5))
    for _ in range(3):
        await house.scheduler()
    (event,) = await house.events(user, "subscription.%")
    assert event["days_left"] == 5
    assert event["contract_end_date"] == (today + days(5)).isoformat()
    assert event["subscription_name"] == "test"


async def test_an_end_that_a_person_moved_is_told_anew(house: House) -> None:
    user = await make_tenant(house.owner)
    today = await house.today(user)
    for left in (-1, 3, -3):
        await house.contract(user, contract_end_date=today + days(left))
        await house.scheduler()
    assert [e["type"] for e in await house.events(user, "subscription.%")] == [
        "subscription.ended",
        "subscription.expiring",
        "subscription.ended",
    ]


async def test_a_plan_that_is_history_is_told_of_no_more(house: House) -> None:
    user = await make_tenant(house.owner)
    await house.contract(user, contract_end_date=await house.today(user), is_active=False)
    await house.scheduler()
    assert await house.events(user, "subscription.%") == []


async def test_one_tenant_s_contract_is_not_another_s_to_advance(house: House, pool: Pool) -> None:
    user, other = await make_tenant(house.owner), await make_tenant(house.owner)
    today = await house.today(user)
    await house.contract(user, auto_renew=True, contract_end_date=today)
    async with tenant(pool, other.user_id) as conn:
        plan = await house.owner.fetchval(
            "SELECT id FROM user_subscriptions WHERE user_id = $1", user.user_id
        )
        assert await conn.fetch("SELECT advance_contract($1, $2)", other.user_id, plan) == []
    assert await the_end(house.owner, user.user_id) == today


async def the_end(owner: Conn, user_id: int) -> date:
    end: date = await owner.fetchval(
        "SELECT contract_end_date FROM user_subscriptions WHERE user_id = $1", user_id
    )
    return end
