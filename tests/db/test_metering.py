"""No counter passes its limit, and each equals what can be counted again from the rows."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import asyncpg
import pytest

from db.conversations import note_limit
from db.ids import ConversationId, MessageId
from db.messages import NewText, queue_text
from db.pool import Pool, create_pool, tenant
from db.sends import end_send
from db.usage import count_received
from tests.conftest import Database
from tests.db.units import (
    give_back_messages,
    release_messages,
    reserve_messages,
    settle_messages,
)
from tests.factories import Owner, Tenant, make_conversation, make_conversations, make_tenant

OVERAGE = '{"limits": {"on_message_limit": "overage"}}'


@dataclass(frozen=True, slots=True)
class Used:
    sent: int
    reserved: int
    overage: int = 0


async def by_day(owner: Owner, user: Tenant) -> dict[date, Used]:
    rows = await owner.fetch(
        "SELECT tracking_date, daily_messages_sent, messages_reserved, daily_overage_messages"
        " FROM usage_tracking WHERE user_id = $1",
        user.user_id,
    )
    return {r[0]: Used(r[1], r[2], r[3]) for r in rows if r[1] or r[2] or r[3]}


async def by_month(owner: Owner, user: Tenant) -> dict[date, Used]:
    rows = await owner.fetch(
        "SELECT make_date(year, month, 1), total_messages_sent, messages_reserved,"
        " overage_messages FROM monthly_usage_summary WHERE user_id = $1",
        user.user_id,
    )
    return {r[0]: Used(r[1], r[2], r[3]) for r in rows if r[1] or r[2] or r[3]}


async def recount(owner: Owner, user: Tenant) -> dict[date, Used]:
    """From the messages and the holds themselves, by day."""
    rows = await owner.fetch(
        """
        SELECT usage_day, sum(sent)::int, sum(reserved)::int, sum(overage)::int FROM (
            SELECT usage_day, (NOT overage)::int AS sent, 0 AS reserved, overage::int AS overage
              FROM messages WHERE user_id = $1 AND usage_day IS NOT NULL
            UNION ALL
            SELECT usage_day, 0, messages, 0 FROM usage_reservations
             WHERE user_id = $1 AND NOT overage) u
         GROUP BY usage_day
        """,
        user.user_id,
    )
    return {r[0]: Used(r[1], r[2], r[3]) for r in rows}


async def assert_recounts(owner: Owner, user: Tenant) -> dict[date, Used]:
    days = await recount(owner, user)
    assert await by_day(owner, user) == days
    months: dict[date, Used] = {}
    for day, used in days.items():
        so_far = months.get(day.replace(day=1), Used(0, 0))
        months[day.replace(day=1)] = Used(
            so_far.sent + used.sent,
            so_far.reserved + used.reserved,
            so_far.overage + used.overage,
        )
    assert await by_month(owner, user) == months
    return days


async def today_of(owner: Owner, user: Tenant) -> date:
    day: date = await owner.fetchval(
        "SELECT (now() AT TIME ZONE timezone)::date FROM users WHERE id = $1", user.user_id
    )
    return day


async def reserve(
    pool: Pool, user: Tenant, conversation_id: ConversationId, messages: int = 1
) -> str:
    async with tenant(pool, user.user_id) as conn:
        return (await reserve_messages(conn, user.user_id, conversation_id, messages)).outcome


async def reply(pool: Pool, user: Tenant, conversation_id: ConversationId) -> MessageId:
    """What a turn writes last: the message, and its unit settled."""
    async with tenant(pool, user.user_id) as conn:
        held = await conn.fetchrow(
            "SELECT usage_day, overage FROM usage_reservations WHERE conversation_id = $1",
            conversation_id,
        )
        assert held is not None
        text = NewText(content_text="hi", metadata={}, **held)
        message = await queue_text(conn, user.user_id, conversation_id, text)
        assert message is not None
        assert await settle_messages(conn, user.user_id, conversation_id, 1)
    return message


async def fail(pool: Pool, user: Tenant, message_id: MessageId) -> None:
    async with tenant(pool, user.user_id) as conn:
        ended = await end_send(conn, user.user_id, message_id, "failed", {"reason": "test"})
        if ended is not None and ended.usage_day is not None:
            await give_back_messages(conn, user.user_id, [ended.usage_day], [ended.overage])


async def release(pool: Pool, user: Tenant, conversation_id: ConversationId) -> None:
    async with tenant(pool, user.user_id) as conn:
        await release_messages(conn, user.user_id, conversation_id)


@pytest.fixture
async def clients(database: Database) -> AsyncIterator[Pool]:
    clients = await create_pool(database.runtime_url, size=64, name="clients")
    yield clients
    clients.terminate()


# ---- limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("daily", "monthly", "refusal"),
    [(20, 1_000, "daily_message_limit"), (1_000, 20, "monthly_message_limit")],
    ids=["daily", "monthly"],
)
async def test_of_64_at_once_exactly_20_are_granted(
    pool: Pool, owner: Owner, daily: int, monthly: int, refusal: str
) -> None:
    user = await make_tenant(owner, daily=daily, monthly=monthly)
    conversations = await make_conversations(owner, user, 64)
    outcomes = await asyncio.gather(*(reserve(pool, user, c) for c in conversations))
    assert sorted(outcomes) == sorted(["granted"] * 20 + [refusal] * 44)
    assert await assert_recounts(owner, user) == {await today_of(owner, user): Used(0, 20)}

    granted = [c for c, o in zip(conversations, outcomes, strict=True) if o == "granted"]
    messages = await asyncio.gather(*(reply(pool, user, c) for c in granted))
    assert await assert_recounts(owner, user) == {await today_of(owner, user): Used(20, 0)}
    assert await reserve(pool, user, conversations[0]) == refusal

    # Units that come back are there for others, and only they.
    await asyncio.gather(*(fail(pool, user, m) for m in messages[:5]))
    again = await asyncio.gather(*(reserve(pool, user, c) for c in conversations))
    assert again.count("granted") == 5
    assert await assert_recounts(owner, user) == {await today_of(owner, user): Used(15, 5)}


@pytest.mark.parametrize(("daily", "monthly"), [(40, 1_000), (1_000, 40)], ids=["daily", "monthly"])
@pytest.mark.parametrize("goes_on", [False, True], ids=["refuse", "overage"])
async def test_64_clients_against_40_whatever_becomes_of_their_units(
    clients: Pool, owner: Owner, daily: int, monthly: int, goes_on: bool
) -> None:
    """Each on a connection of its own: some reply, some fail afterwards, some give up before."""
    user = await make_tenant(
        owner, daily=daily, monthly=monthly, config=OVERAGE if goes_on else "{}"
    )
    conversations = await make_conversations(owner, user, 64)
    today = await today_of(owner, user)
    ready = asyncio.Barrier(64)

    async def client(n: int, conversation: ConversationId) -> int:
        kept = 0
        async with clients.acquire():
            await ready.wait()  # the pool has connected 64 times by now
        for turn in range(6):
            if await reserve(clients, user, conversation) != "granted":
                continue
            fate = (n + turn) % 4
            if fate == 0:
                await release(clients, user, conversation)
                continue
            message = await reply(clients, user, conversation)
            if fate == 1:
                await fail(clients, user, message)
            else:
                kept += 1
        return kept

    highest = 0
    working = asyncio.gather(*(client(n, c) for n, c in enumerate(conversations)))
    while not working.done():
        for counters in (await by_day(owner, user), await by_month(owner, user)):
            highest = max(highest, 0, *(used.sent + used.reserved for used in counters.values()))
        await asyncio.sleep(0.005)
    kept = sum(await working)
    assert highest == 40
    days = await assert_recounts(owner, user)
    assert days[today].sent + days[today].overage == kept
    assert days[today].reserved == 0
    while days[today].sent < 40:  # what came back last is still to be had, and no more
        assert await reserve(clients, user, conversations[0]) == "granted"
        await reply(clients, user, conversations[0])
        days = await assert_recounts(owner, user)
    outcome = await reserve(clients, user, conversations[0])
    assert (outcome == "granted") == goes_on
    assert (await assert_recounts(owner, user))[today].sent == 40


@pytest.mark.parametrize(
    ("daily", "monthly", "refusal"),
    [(0, 10, "daily_message_limit"), (10, 0, "monthly_message_limit")],
)
async def test_a_limit_of_nothing_grants_nothing(
    pool: Pool, owner: Owner, daily: int, monthly: int, refusal: str
) -> None:
    user = await make_tenant(owner, daily=daily, monthly=monthly)
    _, conversation = await make_conversation(owner, user)
    assert await reserve(pool, user, conversation) == refusal
    assert await assert_recounts(owner, user) == {}


async def test_several_units_are_granted_together_or_not_at_all(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner, daily=5)
    one, other = await make_conversations(owner, user, 2)
    assert await reserve(pool, user, one, 3) == "granted"
    assert await reserve(pool, user, other, 3) == "daily_message_limit"
    assert await reserve(pool, user, other, 2) == "granted"
    async with tenant(pool, user.user_id) as conn:  # less was used than was held
        day = await today_of(owner, user)
        text = NewText(content_text="hi", metadata={}, usage_day=day)
        await queue_text(conn, user.user_id, one, text)
        assert await settle_messages(conn, user.user_id, one, 1)
    assert await assert_recounts(owner, user) == {day: Used(1, 2)}


async def test_one_tenant_s_use_is_not_another_s(pool: Pool, owner: Owner) -> None:
    full = await make_tenant(owner, daily=1)
    other = await make_tenant(owner, daily=1)
    _, of_full = await make_conversation(owner, full)
    _, of_other = await make_conversation(owner, other)
    assert await reserve(pool, full, of_full) == "granted"
    assert await reserve(pool, other, of_other) == "granted"
    async with tenant(pool, full.user_id) as conn:  # even by mistake
        await release_messages(conn, other.user_id, of_other)
    assert await assert_recounts(owner, other) == {await today_of(owner, other): Used(0, 1)}


PLANS = {
    "no plan": ("DELETE FROM user_subscriptions WHERE user_id = $1", "no_active_subscription"),
    "a plan that was switched off": (
        "UPDATE user_subscriptions SET is_active = false WHERE user_id = $1",
        "no_active_subscription",
    ),
    "an expired plan": (
        "UPDATE user_subscriptions SET contract_end_date = current_date - 2 WHERE user_id = $1",
        "no_active_subscription",
    ),
    "a plan that has not begun": (
        "UPDATE user_subscriptions SET contract_start_date = current_date + 2 WHERE user_id = $1",
        "no_active_subscription",
    ),
    "a plan that renews itself": (
        """UPDATE user_subscriptions SET contract_end_date = current_date - 2, auto_renew = true
            WHERE user_id = $1""",
        "granted",
    ),
    "a plan's last day": (
        "UPDATE user_subscriptions SET contract_end_date = current_date WHERE user_id = $1",
        "granted",
    ),
    "an inactive tenant": ("UPDATE users SET is_active = false WHERE id = $1", "tenant_inactive"),
    "a tenant of unknown state": (
        "UPDATE users SET is_active = NULL WHERE id = $1",
        "tenant_inactive",
    ),
}


@pytest.mark.parametrize("state", PLANS)
async def test_with(pool: Pool, owner: Owner, state: str) -> None:
    change, outcome = PLANS[state]
    user = await make_tenant(owner)
    _, conversation = await make_conversation(owner, user)
    await owner.execute(change, user.user_id)
    assert await reserve(pool, user, conversation) == outcome
    await assert_recounts(owner, user)


# ---- what happens at a limit --------------------------------------------------------------------


async def told(owner: Owner, user: Tenant) -> list[dict[str, Any]]:
    """What the tenant was told."""
    rows = await owner.fetch(
        "SELECT event_data::text FROM analytics_events"
        " WHERE user_id = $1 AND event_type = 'limit.reached' ORDER BY id",
        user.user_id,
    )
    return [json.loads(r[0]) for r in rows]


@pytest.mark.parametrize(
    ("daily", "monthly", "limit"),
    [(20, 1_000, "daily_message_limit"), (1_000, 20, "monthly_message_limit")],
    ids=["daily", "monthly"],
)
@pytest.mark.parametrize("config", ["{}", OVERAGE], ids=["refuse", "overage"])
async def test_of_64_that_find_a_limit_one_tells_the_tenant(
    pool: Pool, owner: Owner, daily: int, monthly: int, limit: str, config: str
) -> None:
    user = await make_tenant(owner, daily=daily, monthly=monthly, config=config)
    conversations = await make_conversations(owner, user, 64)
    await asyncio.gather(*(reserve(pool, user, c) for c in conversations[:20]))
    assert await told(owner, user) == []
    await asyncio.gather(*(reserve(pool, user, c) for c in conversations))
    day = str(await today_of(owner, user))
    assert await told(owner, user) == [{"limit": limit, "day": day, "value": 20}]


async def test_the_database_keeps_the_tenant_from_being_told_twice(owner: Owner) -> None:
    """Not the order in which the counters happen to be locked."""
    user = await make_tenant(owner)

    async def tell(limit: str, day: str, kind: str = "limit.reached") -> None:
        await owner.execute(
            "INSERT INTO analytics_events (user_id, event_type, event_data)"
            " VALUES ($1, $2, jsonb_build_object('limit', $3::text, 'day', $4::text))",
            *(user.user_id, kind, limit, day),
        )

    for limit, days in {
        "daily_message_limit": ("2026-11-21", "2026-11-22", "2026-12-01"),
        "monthly_message_limit": ("2026-11-21", "2026-12-01"),
    }.items():
        for day in days:
            await tell(limit, day)
    for limit, day in (
        ("daily_message_limit", "2026-11-22"),
        ("monthly_message_limit", "2026-11-22"),
        ("monthly_message_limit", "2026-12-31"),
    ):
        with pytest.raises(asyncpg.UniqueViolationError, match="analytics_events_limit_once"):
            await tell(limit, day)
        await tell(limit, day, "something.else")


async def test_each_limit_is_told_of_by_itself(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner, daily=1, monthly=1)
    one, other = await make_conversations(owner, user, 2)
    assert await reserve(pool, user, one) == "granted"
    assert await reserve(pool, user, other) == "daily_message_limit"
    await owner.execute(
        "UPDATE user_subscriptions SET daily_message_limit = 9 WHERE user_id = $1", user.user_id
    )
    assert await reserve(pool, user, other) == "monthly_message_limit"
    assert [t["limit"] for t in await told(owner, user)] == [
        "daily_message_limit",
        "monthly_message_limit",
    ]


@pytest.mark.parametrize(("daily", "monthly"), [(20, 1_000), (1_000, 20)], ids=["daily", "monthly"])
async def test_what_is_beyond_a_limit_is_counted_apart(
    pool: Pool, owner: Owner, daily: int, monthly: int
) -> None:
    user = await make_tenant(owner, daily=daily, monthly=monthly, config=OVERAGE)
    conversations = await make_conversations(owner, user, 64)
    today = await today_of(owner, user)
    outcomes = await asyncio.gather(*(reserve(pool, user, c) for c in conversations))
    assert outcomes == ["granted"] * 64
    assert await assert_recounts(owner, user) == {today: Used(0, 20)}
    messages = await asyncio.gather(*(reply(pool, user, c) for c in conversations))
    assert await assert_recounts(owner, user) == {today: Used(20, 0, 44)}

    # Each unit comes off the counter that it is on.
    rows = await owner.fetch(
        "SELECT id, overage FROM messages WHERE id = ANY ($1::bigint[])", messages
    )
    beyond = [MessageId(r["id"]) for r in rows if r["overage"]]
    within = [MessageId(r["id"]) for r in rows if not r["overage"]]
    failing = beyond[:7] + within[:5]
    await asyncio.gather(*(fail(pool, user, m) for m in (*failing, *failing)))
    assert await assert_recounts(owner, user) == {today: Used(15, 0, 37)}
    # What came back within the limits is used first.
    await asyncio.gather(*(reserve(pool, user, c) for c in conversations[:8]))
    assert await assert_recounts(owner, user) == {today: Used(15, 5, 37)}
    await asyncio.gather(*(reply(pool, user, c) for c in conversations[:8]))
    assert await assert_recounts(owner, user) == {today: Used(20, 0, 40)}


async def test_units_of_both_kinds_are_given_back_together(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner, daily=3, config=OVERAGE)
    conversations = await make_conversations(owner, user, 6)
    day = await today_of(owner, user)
    for conversation in conversations:
        await reserve(pool, user, conversation)
        await reply(pool, user, conversation)
    async with tenant(pool, user.user_id) as conn:
        await owner.execute(
            "UPDATE messages SET usage_day = NULL WHERE id IN (SELECT id FROM messages"
            " WHERE user_id = $1 ORDER BY id OFFSET 2 LIMIT 3)",
            user.user_id,
        )
        await give_back_messages(conn, user.user_id, [day] * 3, [False, True, True])
    assert await assert_recounts(owner, user) == {day: Used(2, 0, 1)}
    # A process of the release before says nothing of overage: it has never counted any.
    async with tenant(pool, user.user_id) as conn:
        await conn.execute("SELECT give_back_messages($1, $2)", user.user_id, [day])
    assert await by_day(owner, user) == {day: Used(1, 0, 1)}


async def test_several_units_are_within_or_beyond_together(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner, daily=4, config=OVERAGE)
    one, two, three = await make_conversations(owner, user, 3)
    day = await today_of(owner, user)
    for conversation in (one, two):
        assert await reserve(pool, user, conversation, 3) == "granted"
    assert await reserve(pool, user, three, 1) == "granted"
    assert await assert_recounts(owner, user) == {day: Used(0, 4)}
    await reply(pool, user, two)
    assert await assert_recounts(owner, user) == {day: Used(0, 4, 1)}


async def test_a_hold_beyond_the_limit_is_kept_moved_and_released(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner, daily=0, config=OVERAGE)
    kept, gone = await make_conversations(owner, user, 2)
    day = await today_of(owner, user)
    for conversation in (kept, gone, kept):
        async with tenant(pool, user.user_id) as conn:
            held = await reserve_messages(conn, user.user_id, conversation, 1)
        assert (held.outcome, held.overage) == ("granted", True)
    await release(pool, user, gone)
    assert await assert_recounts(owner, user) == {}
    await owner.execute(
        "UPDATE usage_reservations SET usage_day = usage_day - 1 WHERE user_id = $1", user.user_id
    )
    assert await reserve(pool, user, kept) == "granted"
    await reply(pool, user, kept)
    assert await assert_recounts(owner, user) == {day: Used(0, 0, 1)}


CHOICES: dict[str, tuple[str, str, str | None]] = {
    "nothing chosen": ("{}", "daily_message_limit", None),
    "refuse": ('{"limits": {"on_message_limit": "refuse"}}', "daily_message_limit", None),
    "refuse, with a notice": (
        '{"limits": {"on_message_limit": "refuse", "message_limit_notice": " Tomorrow. "}}',
        "daily_message_limit",
        "Tomorrow.",
    ),
    "only a notice": (
        '{"limits": {"message_limit_notice": "Tomorrow."}}',
        "daily_message_limit",
        "Tomorrow.",
    ),
    "an empty notice": (
        '{"limits": {"message_limit_notice": " "}}',
        "daily_message_limit",
        None,
    ),
    "a choice that nobody knows": (
        '{"limits": {"on_message_limit": "shrug"}}',
        "daily_message_limit",
        None,
    ),
    "limits of another shape": ('{"limits": [1]}', "daily_message_limit", None),
    "overage": (OVERAGE, "granted", None),
    "overage, with a notice for nobody": (
        '{"limits": {"on_message_limit": "overage", "message_limit_notice": "Tomorrow."}}',
        "granted",
        None,
    ),
}


@pytest.mark.parametrize("plan", CHOICES)
async def test_the_plan_s_choice_at_a_limit(pool: Pool, owner: Owner, plan: str) -> None:
    config, outcome, notice = CHOICES[plan]
    user = await make_tenant(owner, daily=0, config=config)
    _, conversation = await make_conversation(owner, user)
    async with tenant(pool, user.user_id) as conn:
        held = await reserve_messages(conn, user.user_id, conversation, 1)
    assert (held.outcome, held.notice) == (outcome, notice)
    assert held.overage == (outcome == "granted")


@pytest.mark.parametrize("state", PLANS)
async def test_overage_changes_nothing_with(pool: Pool, owner: Owner, state: str) -> None:
    change, outcome = PLANS[state]
    user = await make_tenant(owner, daily=0, config=OVERAGE)
    _, conversation = await make_conversation(owner, user)
    await owner.execute(change, user.user_id)
    assert await reserve(pool, user, conversation) == outcome
    assert len(await told(owner, user)) == (outcome == "granted")


async def test_a_conversation_is_told_once_a_day(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    one, other = await make_conversations(owner, user, 2)

    async def note(conversation: ConversationId, day: date) -> bool | None:
        async with tenant(pool, user.user_id) as conn:
            return await note_limit(conn, user.user_id, conversation, day)

    today = await today_of(owner, user)
    news = await asyncio.gather(*(note(one, today) for _ in range(16)))
    assert news.count(True) == 1
    assert await note(other, today)
    assert await note(one, today + timedelta(1))
    assert not await note(one, today)  # the tenant moved west


# ---- exactly once -------------------------------------------------------------------------------


async def test_a_turn_that_is_repeated_takes_one_unit(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner, daily=1)
    _, conversation = await make_conversation(owner, user)
    for _ in range(3):
        assert await reserve(pool, user, conversation) == "granted"
    assert await assert_recounts(owner, user) == {await today_of(owner, user): Used(0, 1)}


async def test_a_turn_that_is_repeated_at_the_same_time_takes_one_unit(
    pool: Pool, owner: Owner
) -> None:
    """Of two that both find no hold, the later one fails or finds the other's."""
    user = await make_tenant(owner, daily=10)
    _, conversation = await make_conversation(owner, user)
    outcomes = await asyncio.gather(
        *(reserve(pool, user, conversation) for _ in range(8)), return_exceptions=True
    )
    assert "granted" in outcomes
    assert await assert_recounts(owner, user) == {await today_of(owner, user): Used(0, 1)}


async def test_a_repeated_turn_may_hold_another_number(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner, daily=3)
    _, conversation = await make_conversation(owner, user)
    assert await reserve(pool, user, conversation, 1) == "granted"
    assert await reserve(pool, user, conversation, 3) == "granted"
    assert await assert_recounts(owner, user) == {await today_of(owner, user): Used(0, 3)}
    assert await reserve(pool, user, conversation, 4) == "daily_message_limit"
    await assert_recounts(owner, user)


async def test_nothing_is_spent_without_a_hold(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    _, conversation = await make_conversation(owner, user)
    async with tenant(pool, user.user_id) as conn:
        assert not await settle_messages(conn, user.user_id, conversation, 1)
        assert await settle_messages(conn, user.user_id, conversation, 0)
    assert await assert_recounts(owner, user) == {}


async def test_settled_or_released_twice_counts_once(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    spent, unspent = await make_conversations(owner, user, 2)
    for conversation in (spent, unspent):
        await reserve(pool, user, conversation)
    message = await reply(pool, user, spent)
    async with tenant(pool, user.user_id) as conn:
        assert not await settle_messages(conn, user.user_id, spent, 1)
    for _ in range(2):
        await release(pool, user, unspent)
    assert await assert_recounts(owner, user) == {await today_of(owner, user): Used(1, 0)}
    for _ in range(2):
        await fail(pool, user, message)
    assert await assert_recounts(owner, user) == {}


async def test_more_than_was_held_is_not_settled(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    _, conversation = await make_conversation(owner, user)
    await reserve(pool, user, conversation)
    conn = await pool.acquire()
    await conn.execute(f"BEGIN; SELECT set_config('app.user_id', '{user.user_id}', true)")
    assert not await settle_messages(conn, user.user_id, conversation, 2)
    await conn.execute("ROLLBACK")  # as the caller must
    await pool.release(conn)
    assert await assert_recounts(owner, user) == {await today_of(owner, user): Used(0, 1)}


async def test_received_messages_are_counted_and_not_limited(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner, daily=0, monthly=0)
    today = await today_of(owner, user)

    async def receive(n: int) -> None:
        async with tenant(pool, user.user_id) as conn:
            count_received(conn, user.user_id, today, n)

    await asyncio.gather(*(receive(n) for n in range(1, 21)))
    rows = await owner.fetch(
        "SELECT tracking_date, daily_messages_received FROM usage_tracking WHERE user_id = $1",
        user.user_id,
    )
    assert [tuple(r) for r in rows] == [(today, 210)]


# ---- days and months ----------------------------------------------------------------------------


async def test_the_day_is_the_tenant_s(pool: Pool, owner: Owner) -> None:
    """These two zones are 26 hours apart: they never have the same date."""
    days = []
    for zone in ("Pacific/Kiritimati", "Etc/GMT+12"):
        user = await make_tenant(owner, timezone=zone)
        _, conversation = await make_conversation(owner, user)
        async with tenant(pool, user.user_id) as conn:
            held = await reserve_messages(conn, user.user_id, conversation, 1)
        assert held.outcome == "granted"
        assert held.usage_day == await today_of(owner, user)
        assert list(await assert_recounts(owner, user)) == [held.usage_day]
        days.append(held.usage_day)
    assert timedelta(days=1) <= days[0] - days[1] <= timedelta(days=2)


async def move_holds(owner: Owner, user: Tenant, day: date, conversations: list[Any]) -> None:
    """As if these had been taken on another day, counters and all."""
    async with owner.transaction():
        for table, key in (
            ("usage_tracking", "tracking_date = r.usage_day"),
            ("monthly_usage_summary", "make_date(year, month, 1) = date_trunc('month', usage_day)"),
        ):
            await owner.execute(
                f"UPDATE {table} t SET messages_reserved = t.messages_reserved - r.n"
                " FROM (SELECT usage_day, sum(messages)::int AS n FROM usage_reservations"
                "        WHERE conversation_id = ANY ($2::bigint[]) GROUP BY 1) r"
                f" WHERE t.user_id = $1 AND {key}",
                user.user_id,
                conversations,
            )
        await owner.execute("SELECT lock_usage($1, ARRAY[$2::date])", user.user_id, day)
        await owner.execute(
            "SELECT count_messages($1, $2, 0, (SELECT sum(messages)::int FROM usage_reservations"
            " WHERE conversation_id = ANY ($3::bigint[])), 0)",
            user.user_id,
            day,
            conversations,
        )
        await owner.execute(
            "UPDATE usage_reservations SET usage_day = $1"
            " WHERE conversation_id = ANY ($2::bigint[])",
            day,
            conversations,
        )


def day_before(today: date, what: str) -> date:
    return today - timedelta(days=1) if what == "yesterday" else today.replace(day=1) - timedelta(1)


@pytest.mark.parametrize("what", ["yesterday", "last month"])
async def test_a_unit_is_counted_and_given_back_on_the_day_it_was_held(
    pool: Pool, owner: Owner, what: str
) -> None:
    user = await make_tenant(owner)
    conversations = await make_conversations(owner, user, 3)
    today = await today_of(owner, user)
    then = day_before(today, what)
    for conversation in conversations:
        await reserve(pool, user, conversation)
    await move_holds(owner, user, then, conversations[:2])
    messages = [await reply(pool, user, c) for c in conversations]
    assert await assert_recounts(owner, user) == {then: Used(2, 0), today: Used(1, 0)}
    for message in messages[1:]:
        await fail(pool, user, message)
    assert await assert_recounts(owner, user) == {then: Used(1, 0)}


async def test_a_new_day_and_a_new_month_begin_at_nothing(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner, daily=2, monthly=2)
    conversations = await make_conversations(owner, user, 5)
    today = await today_of(owner, user)
    for conversation in conversations[:2]:
        assert await reserve(pool, user, conversation) == "granted"
    await move_holds(owner, user, day_before(today, "last month"), conversations[:2])
    for conversation in conversations[:2]:
        await reply(pool, user, conversation)
    outcomes = [await reserve(pool, user, c) for c in conversations[2:]]
    assert outcomes == ["granted", "granted", "daily_message_limit"]
    await assert_recounts(owner, user)


async def test_a_month_holds_all_its_days(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner, daily=10, monthly=3)
    conversations = await make_conversations(owner, user, 3)
    today = await today_of(owner, user)
    another = today + timedelta(1) if today.day == 1 else today - timedelta(1)
    for conversation in conversations[:2]:
        await reserve(pool, user, conversation)
    await move_holds(owner, user, another, conversations[:2])
    assert await reserve(pool, user, conversations[2]) == "granted"
    _, fourth = await make_conversation(owner, user)
    assert await reserve(pool, user, fourth) == "monthly_message_limit"
    assert await assert_recounts(owner, user) == {another: Used(0, 2), today: Used(0, 1)}


@pytest.mark.parametrize("what", ["yesterday", "last month"])
async def test_units_of_several_days_are_given_back_while_others_count(
    pool: Pool, owner: Owner, what: str
) -> None:
    """As a batch of statuses does, in whatever order its messages are."""
    user = await make_tenant(owner, daily=1_000, monthly=1_000)
    conversations = await make_conversations(owner, user, 50)
    today = await today_of(owner, user)
    then = day_before(today, what)
    for conversation in conversations[:40]:
        await reserve(pool, user, conversation)
    await move_holds(owner, user, then, conversations[:30])
    of_then, of_today = conversations[:10], conversations[30:40]
    before = [await reply(pool, user, c) for c in of_then]
    now = [await reply(pool, user, c) for c in of_today]

    async def fail_both(*messages: MessageId) -> None:
        async with tenant(pool, user.user_id) as conn:
            days = []
            for message_id in messages:
                ended = await end_send(conn, user.user_id, message_id, "failed", {})
                assert ended is not None
                assert ended.usage_day is not None
                days.append(ended.usage_day)
            await give_back_messages(conn, user.user_id, days, [False] * len(days))

    work: list[Any] = []
    for place in range(10):
        pair = (now[place], before[place])
        work += [
            reply(pool, user, conversations[10 + place]),  # counts then
            fail_both(*(pair if place % 2 else reversed(pair))),
            reply(pool, user, conversations[20 + place]),
            reserve(pool, user, conversations[40 + place]),  # counts today
        ]
    await asyncio.gather(*work)
    assert await assert_recounts(owner, user) == {then: Used(20, 0), today: Used(0, 10)}


async def test_a_hold_goes_with_its_conversation(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    _, conversation = await make_conversation(owner, user)
    await reserve(pool, user, conversation)
    async with tenant(pool, user.user_id) as conn:
        await conn.execute("DELETE FROM conversations WHERE id = $1", conversation)
    assert await assert_recounts(owner, user) == {}
    _, conversation = await make_conversation(owner, user)
    await reserve(pool, user, conversation)
    await owner.execute("DELETE FROM users WHERE id = $1", user.user_id)
    assert await by_day(owner, user) == {}


@pytest.mark.parametrize("what", ["yesterday", "last month"])
async def test_holds_move_to_today_while_others_count(pool: Pool, owner: Owner, what: str) -> None:
    """All of a tenant's counters are touched in one order, so that nobody waits in a circle."""
    user = await make_tenant(owner, daily=1_000, monthly=1_000)
    conversations = await make_conversations(owner, user, 72)
    today = await today_of(owner, user)
    then = day_before(today, what)
    old, fresh = conversations[:48], conversations[48:]
    for conversation in old:
        await reserve(pool, user, conversation)
    await move_holds(owner, user, then, old)
    sent_then = [await reply(pool, user, c) for c in old[:12]]

    work: list[Any] = []
    for place in range(12):
        work += [
            fail(pool, user, sent_then[place]),
            reserve(pool, user, old[12 + place]),  # moves its hold
            reply(pool, user, old[24 + place]),
            release(pool, user, old[36 + place]),
            reserve(pool, user, fresh[place]),
            reserve(pool, user, fresh[12 + place]),
        ]
    await asyncio.gather(*work)
    assert await assert_recounts(owner, user) == {then: Used(12, 0), today: Used(0, 36)}
