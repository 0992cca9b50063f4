"""SQL and handlers/plans.py read the same plan in the same way, whatever it holds."""

import json

import pytest

from db.pool import Pool, tenant
from db.tenants import read_plan
from db.usage import Reservation
from handlers.plans import (
    MESSAGE_LIMIT_NOTICE,
    ON_MESSAGE_LIMIT,
    AtLimit,
    Feature,
    Limit,
    Plan,
)
from tests.db.units import reserve_messages
from tests.factories import Owner, make_conversation, make_tenant
from tests.plans import ODD

BESIDE = ('"overage"', '"refuse"', '" overage"', '"Overage"', '"\\t Until\\n tomorrow \\r\\n"', "7")
VALUES = (*ODD, *BESIDE, "0.0", "1e2", "2147483647", "9999999999", "10000000000", "1" * 400)


def limits_of(name: str, value: str) -> str:
    return f'{{"limits": {{"{name}": {value}}}}}'


def plans_about(name: str) -> list[str]:
    """In the key, and in what should hold it: also in what should be the plan."""
    return [
        *(limits_of(name, value) for value in VALUES),
        *(f'{{"limits": {value}}}' for value in ODD),
        *(f'{{"limits": {{"another": {value}}}}}' for value in VALUES),
        *VALUES,
    ]


@pytest.mark.parametrize("key", Limit)
async def test_a_limit(pool: Pool, key: Limit) -> None:
    name = key.removeprefix("limits.")
    rows = await pool.fetch(
        "SELECT text, text::jsonb AS config, plan_limit(text::jsonb, $2)"
        " FROM unnest($1::text[]) text",
        plans_about(name),
        name,
    )
    by_sql = {row["text"]: row["plan_limit"] for row in rows}
    assert by_sql == {row["text"]: Plan(row["config"]).limit(key) for row in rows}
    assert set(by_sql.values()) >= {None, 0, 1, 7, 100, 2**31 - 1}


@pytest.mark.parametrize("key", Feature)
async def test_a_feature(pool: Pool, key: Feature) -> None:
    _, group, name = key.split(".")
    texts = [
        *(f'{{"features": {{"{group}": {{"{name}": {value}}}}}}}' for value in VALUES),
        *(f'{{"features": {{"{group}": {value}}}}}' for value in ODD),
        *(f'{{"features": {value}}}' for value in ODD),
        *ODD,
    ]
    rows = await pool.fetch(
        "SELECT text, text::jsonb AS config, plan_allows(text::jsonb, $2, $3)"
        " FROM unnest($1::text[]) text",
        *(texts, group, name),
    )
    by_sql = {row["text"]: row["plan_allows"] for row in rows}
    assert by_sql == {row["text"]: Plan(row["config"]).allows(key) for row in rows}
    assert set(by_sql.values()) == {True, False}


async def test_without_a_plan_there_is_no_limit(pool: Pool) -> None:
    assert await pool.fetchval("SELECT plan_limit(NULL, 'max_contacts')") is None
    assert await pool.fetchval("SELECT plan_text(NULL, 'on_message_limit')") is None


async def test_what_happens_at_a_limit(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner, daily=0)
    _, conversation = await make_conversation(owner, user)
    goes_on = notices = 0
    for setting in (ON_MESSAGE_LIMIT, MESSAGE_LIMIT_NOTICE):
        for config in plans_about(setting.path.removeprefix("limits.")):
            await owner.execute(
                "UPDATE user_subscriptions SET subscription_config = $2::text::jsonb"
                " WHERE user_id = $1",
                user.user_id,
                config,
            )
            await owner.execute("DELETE FROM usage_reservations WHERE user_id = $1", user.user_id)
            async with tenant(pool, user.user_id) as conn:
                plan = Plan(await read_plan(conn, user.user_id))
                held = await reserve_messages(conn, user.user_id, conversation, 1)
            overage = plan.get(ON_MESSAGE_LIMIT) is AtLimit.OVERAGE
            assert held == Reservation(
                outcome="granted" if overage else "daily_message_limit",
                usage_day=held.usage_day,
                overage=overage,
                notice=None if overage else plan.get(MESSAGE_LIMIT_NOTICE),
            ), config
            goes_on += overage
            notices += held.notice is not None
    assert (goes_on, notices) == (1, 13)


async def test_the_readers_cost_no_call(owner: Owner) -> None:
    """They are inlined: a function in SQL that is not is planned anew in every call."""
    plan = await owner.fetchval(
        "EXPLAIN (VERBOSE, FORMAT JSON) SELECT plan_limit(subscription_config, 'max_contacts'),"
        " plan_text(subscription_config, 'on_message_limit') FROM user_subscriptions"
    )
    assert "plan_" not in json.dumps(json.loads(plan)[0]["Plan"]["Output"])
