"""What is made one by one: chatbots and API keys, of 64 clients at once exactly as many as the plan
has; and what the tenant hears of its limits."""

import asyncio
import json
from typing import Any

import pytest

from db.api_keys import NewApiKey, create_api_key
from db.chatbots import create_chatbot
from db.pool import Conn, tenant, tenant_transaction
from db.usage import Reserving, reserve_actions_for_turn, reserve_for_turn
from handlers.limits import NoRoom, NotInPlan, hold_place, tell_no_room
from handlers.plans import Feature, Limit, Permission
from tests.db.units import reserve_messages
from tests.factories import Tenant, make_conversation, make_conversations, make_tenant
from tests.plan import ME, House

CLIENTS = 64
ROUNDS = 20
NONE = {"features": {"core_features": {"chatbot_management": False}}}


async def make_chatbot(conn: Conn, of: Tenant, n: str) -> None:
    await create_chatbot(conn, of.user_id, "bot", f"+1404{of.user_id:04d}{n}", None, None)


async def make_key(conn: Conn, of: Tenant, n: str) -> None:
    await create_api_key(conn, of.user_id, NewApiKey("key", f"{of.user_id}-{n}", "sr_", {}))


MAKES = {Limit.MAX_CHATBOTS: make_chatbot, Limit.MAX_API_KEYS: make_key}
TABLES = {Limit.MAX_CHATBOTS: "chatbots", Limit.MAX_API_KEYS: "api_keys"}


async def make(house: House, of: Tenant, limit: Limit, n: str) -> bool:
    """One more, as everybody makes one. Whether there was room."""
    try:
        async with tenant(house.pool, of.user_id) as conn:
            assert await hold_place(conn, of.user_id, limit)
            await MAKES[limit](conn, of, n)
    except NoRoom as none:
        async with tenant(house.pool, of.user_id) as conn:
            await tell_no_room(conn, of.user_id, none.key, none.most)
        return False
    return True


@pytest.mark.parametrize("limit", MAKES)
async def test_64_clients_get_exactly_as_many_as_there_are(house: House, limit: Limit) -> None:
    name = limit.rsplit(".", 1)[-1]
    count = f"SELECT count(*) FROM {TABLES[limit]} WHERE user_id = $1"
    for round_ in range(ROUNDS):
        most = (1, 7, 40, 64)[round_ % 4]
        user = await make_tenant(house.owner, config=json.dumps({"limits": {name: most}}))
        there = await house.owner.fetchval(count, user.user_id)
        made = await asyncio.gather(
            *(make(house, user, limit, f"{n:03d}") for n in range(CLIENTS + 1))
        )
        assert made.count(True) == most - there
        assert await house.owner.fetchval(count, user.user_id) == most
        reached = await house.events(user, "limit.reached")
        assert [(e["limit"], e["value"]) for e in reached] == [(name, most)]


async def test_a_smaller_plan_takes_nothing_away_and_refuses_the_next(house: House) -> None:
    user = await make_tenant(house.owner)
    assert await make(house, user, Limit.MAX_CHATBOTS, "1")
    await house.plan(user, {"limits": {"max_chatbots": 1}})
    assert not await make(house, user, Limit.MAX_CHATBOTS, "2")
    count = "SELECT count(*) FROM chatbots WHERE user_id = $1"
    assert await house.owner.fetchval(count, user.user_id) == 2


async def test_a_second_chatbot_needs_multi_chatbot(house: House) -> None:
    user = await make_tenant(house.owner)  # with one
    off: dict[str, Any] = {"features": {"advanced_features": {"multi_chatbot": False}}}
    await house.plan(user, off | {"limits": {"max_chatbots": 9}})
    assert not await make(house, user, Limit.MAX_CHATBOTS, "2")
    (event,) = await house.events(user, "limit.reached")
    assert event["limit"] == "multi_chatbot"
    await house.owner.execute("DELETE FROM chatbots WHERE user_id = $1", user.user_id)
    assert await make(house, user, Limit.MAX_CHATBOTS, "3")
    await house.plan(user, {"features": {"advanced_features": {"multi_chatbot": True}}})
    assert await make(house, user, Limit.MAX_CHATBOTS, "4")


@pytest.mark.parametrize(
    ("limit", "config", "key"),
    [
        (Limit.MAX_CHATBOTS, NONE, Feature.CHATBOT_MANAGEMENT),
        (
            Limit.MAX_API_KEYS,
            {"permissions": {"configure_integrations": False}},
            Permission.CONFIGURE_INTEGRATIONS,
        ),
    ],
)
async def test_making_one_needs_its_key(
    house: House, limit: Limit, config: dict[str, Any], key: Feature | Permission
) -> None:
    user = await make_tenant(house.owner)
    await house.plan(user, config)
    with pytest.raises(NotInPlan) as refused:
        await make(house, user, limit, "1")
    assert refused.value.key is key
    await house.plan(user, {})
    assert await make(house, user, limit, "1")


async def test_80_percent_are_told_once(house: House) -> None:
    user = await make_tenant(house.owner, config='{"limits": {"max_api_keys": 5}}')
    told = []
    for n in range(7):
        await make(house, user, Limit.MAX_API_KEYS, f"{n}")
        told.append([e["type"] for e in await house.events(user, "limit.%")])
    assert told == [
        *([[]] * 3),
        *([["limit.warning"]] * 2),
        *([["limit.warning", "limit.reached"]] * 2),
    ]


# ---- messages and actions -----------------------------------------------------------------------


async def test_of_messages_80_percent_of_a_day_and_of_a_month(house: House) -> None:
    user = await make_tenant(house.owner, daily=5, monthly=10)
    told: list[list[tuple[str, str, int | None]]] = []
    for conversation_id in await make_conversations(house.owner, user, 6):
        async with tenant(house.pool, user.user_id) as conn:
            await reserve_messages(conn, user.user_id, conversation_id, 1)
        events = await house.events(user, "limit.%")
        told.append([(e["type"], e["limit"], e.get("used")) for e in events])
    day = ("limit.warning", "daily_message_limit", 4)
    assert told == [
        *([[]] * 3),
        *([[day]] * 2),
        [day, ("limit.reached", "daily_message_limit", None)],
    ]
    # Another day of the month: its 80 % are those of the month.
    await house.owner.execute(
        "UPDATE usage_tracking SET tracking_date = tracking_date - 40;"
        " UPDATE usage_reservations SET usage_day = usage_day - 40"
    )
    for conversation_id in await make_conversations(house.owner, user, 3):
        async with tenant(house.pool, user.user_id) as conn:
            await reserve_messages(conn, user.user_id, conversation_id, 1)
    assert (await house.events(user, "limit.%"))[-1]["limit"] == "monthly_message_limit"


async def test_a_limit_of_0_is_reached_and_never_near(house: House) -> None:
    user = await make_tenant(house.owner, daily=0)
    _, conversation_id = await make_conversation(house.owner, user)
    async with tenant(house.pool, user.user_id) as conn:
        await reserve_messages(conn, user.user_id, conversation_id, 1)
    assert [e["type"] for e in await house.events(user, "limit.%")] == ["limit.reached"]


async def test_of_actions_80_percent_of_a_day(house: House) -> None:
    user = await make_tenant(house.owner, config='{"limits": {"max_actions_per_day": 5}}')
    told = []
    for _ in range(6):
        _, conversation_id = await make_conversation(house.owner, user)
        await house.owner.execute(
            "UPDATE conversations SET lease_owner = 1, epoch = 1 WHERE id = $1", conversation_id
        )
        turn = Reserving(user.user_id, conversation_id, ME, 1)
        async with house.pool.acquire() as conn:
            assert await reserve_for_turn(conn, turn, 1)
            await reserve_actions_for_turn(conn, turn, 1)
        told.append([e["type"] for e in await house.events(user, "limit.%")])
    assert told == [
        *([[]] * 3),
        *([["limit.warning"]] * 2),
        ["limit.warning", "limit.reached"],
    ]


async def test_a_tenant_that_is_not_there_has_no_room(house: House) -> None:
    user = await make_tenant(house.owner)
    async with house.pool.acquire() as conn, tenant_transaction(conn, user.user_id):
        other = type(user.user_id)(user.user_id + 1)
        assert not await hold_place(conn, other, Limit.MAX_CHATBOTS)
