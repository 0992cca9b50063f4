"""`usage reconcile` finds whatever is not what its rows say, and names what they cannot tell."""

import asyncio
import json

import pytest

from db.pool import Pool, tenant
from db.reconcile import UNCOUNTABLE, recount
from tests.cli import Command
from tests.conftest import Database
from tests.factories import Owner, make_conversation, make_tenant
from tests.usage import (
    busy_tenant,
    counters,
    differences,
    make_figures,
    model_calls,
    quiet,
    reply,
    today_of,
)

TABLES = ("usage_tracking", "monthly_usage_summary", "model_usage", "contact_counts")
COUNTERS = [(table, counter) for table in TABLES for counter in counters(table)]


@pytest.fixture
def command(database: Database) -> Command:
    return Command(
        {
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
        }
    )


async def test_all_that_was_counted_can_be_counted_again(pool: Pool, owner: Owner) -> None:
    """And each counter of this tenant stands at something, but those whose events are not there."""
    user = await busy_tenant(owner, pool)
    await quiet(owner)
    await make_figures(pool)
    assert await recount(owner, user.user_id) == []
    nothing = {
        *("daily_campaigns_sent", "daily_campaign_messages", "total_campaigns_sent"),
        *("overage_campaigns", "total_orders_created", "total_revenue", "api_calls_made"),
        *("avg_conversion_rate", "unpriced_calls", "cost"),
    }
    for table in TABLES:
        for row in await owner.fetch(f"SELECT * FROM {table} WHERE user_id = $1", user.user_id):
            zero = {counter for counter in counters(table) if not row[counter]}
            assert zero <= nothing, table


@pytest.mark.parametrize(("table", "counter"), COUNTERS)
async def test_a_counter_that_is_bent_by_hand_is_found(
    pool: Pool, owner: Owner, table: str, counter: str
) -> None:
    user = await busy_tenant(owner, pool)
    other = await busy_tenant(owner, pool)
    await quiet(owner)
    await make_figures(pool)
    await owner.execute(
        f"UPDATE {table} SET {counter} = coalesce({counter}, 0) + 1 WHERE user_id = $1",
        user.user_id,
    )
    found = await differences(owner, user)
    if (table, counter) in UNCOUNTABLE:
        assert found == []
    elif (table, counter) == ("usage_tracking", "daily_overage_messages"):
        # What was made of it is not what can be made of it now.
        assert [(f.table, f.what.counter) for f in found] == [
            (table, counter),
            ("monthly_usage_summary", "overage_cost"),
        ]
    else:
        assert {(f.table, f.what.counter) for f in found} == {(table, counter)}
        assert float(found[0].what.counted) == float(found[0].what.recounted) + 1
    assert await differences(owner, other) == []


async def test_a_day_that_is_missing_is_found(pool: Pool, owner: Owner) -> None:
    user = await busy_tenant(owner, pool)
    await owner.execute("DELETE FROM usage_tracking")
    assert {f.what.counter for f in await differences(owner, user)} >= {
        *("daily_messages_sent", "daily_messages_received", "live_takeovers_used"),
        *("actions_created", "messages_reserved", "actions_reserved"),
    }


async def test_it_agrees_at_any_moment_while_counters_move(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner, daily=10_000, monthly=10_000)
    talks = [(await make_conversation(owner, user))[1] for _ in range(6)]

    async def move(n: int) -> None:
        for round_ in range(15):
            await reply(pool, user, talks[n])
            await model_calls(pool, user, round_, conversation_id=n)

    moving = asyncio.gather(*(move(n) for n in range(len(talks))))
    looks = 0
    while not moving.done():
        assert await differences(owner, user) == []
        looks += 1
        await asyncio.sleep(0)
    await moving
    assert looks > 3
    assert await differences(owner, user) == []


@pytest.mark.parametrize(
    ("statement", "left_out"),
    [
        (
            "DELETE FROM messages WHERE direction = 'outbound'",
            {"daily_messages_sent", "daily_overage_messages", "daily_campaign_messages"},
        ),
        (
            "DELETE FROM messages WHERE direction = 'inbound'",
            {"daily_messages_received", "avg_conversion_rate"},
        ),
        ("DELETE FROM actions", {"actions_created"}),
        (
            "DELETE FROM model_calls",
            {
                *("calls", "input_tokens", "cached_tokens", "output_tokens", "cost"),
                *("unpriced_calls", "test_tokens_used"),
            },
        ),
    ],
)
async def test_days_of_which_rows_were_removed_are_left_out_and_named(
    pool: Pool, owner: Owner, statement: str, left_out: set[str]
) -> None:
    """By whom and in what way does not matter: here it is the tenant's own transaction."""
    user = await busy_tenant(owner, pool)
    await quiet(owner)
    await make_figures(pool)
    async with tenant(pool, user.user_id) as conn:
        await conn.execute(statement)
    found = await recount(owner, user.user_id)
    assert {(f.what.counter, f.what.why) for f in found} == {
        (c, "rows were removed") for c in left_out
    }
    if "daily_messages_sent" in left_out:  # a month is still the sum of its days
        await owner.execute("UPDATE monthly_usage_summary SET total_messages_sent = 7")
        assert [f.what.counter for f in await differences(owner, user)] == ["total_messages_sent"]


async def test_rows_that_go_with_their_contact_are_named_and_takeovers_stay(
    pool: Pool, owner: Owner
) -> None:
    user = await busy_tenant(owner, pool)
    async with tenant(pool, user.user_id) as conn:
        await conn.execute("DELETE FROM contacts")
    found = await recount(owner, user.user_id)
    # With the conversations went what was held for them, which is given back.
    assert [f for f in found if f.what.why is None] == []
    assert {f.what.counter for f in found} >= {"daily_messages_sent", "actions_created"}
    assert "live_takeovers_used" not in {f.what.counter for f in found}


async def test_a_tenant_can_be_deleted_with_all_that_was_counted(pool: Pool, owner: Owner) -> None:
    user = await busy_tenant(owner, pool)
    await owner.execute("DELETE FROM users WHERE id = $1", user.user_id)
    for table in (*TABLES, "usage_gaps", "takeovers", "model_calls"):
        assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_what_the_release_before_counts_is_named(pool: Pool, owner: Owner) -> None:
    """Its processes go on while this one's begin: their messages have no day, their takeovers
    do."""
    user = await make_tenant(owner)
    async with tenant(pool, user.user_id) as conn:
        await conn.execute("SELECT count_received($1, 3)", user.user_id)
        await conn.execute("SELECT count_takeover($1)", user.user_id)
    found = await recount(owner, user.user_id)
    assert [(f.what.counter, f.what.counted, f.what.recounted, f.what.why) for f in found] == [
        ("daily_messages_received", "3", "0", "older than its rows"),
        ("avg_daily_messages", "nothing", "0.00", "about to be made"),
    ]


# ---- the command ---------------------------------------------------------------------------------


async def test_the_command_says_what_differs_and_ends_with_1(
    command: Command, pool: Pool, owner: Owner
) -> None:
    bent, fine = await busy_tenant(owner, pool), await busy_tenant(owner, pool)
    agreed = (await command("usage", "reconcile", "--json")).json
    assert (agreed["tenants"], agreed["differences"]) == (2, [])
    assert ("usage_tracking", "api_calls_made", "no rows are kept of it") in {
        (one["table"], one["counter"], one["why"]) for one in agreed["left_out"]
    }
    await owner.execute(
        "UPDATE usage_tracking SET daily_messages_received = 9 WHERE user_id = $1", bent.user_id
    )
    day = await today_of(owner, bent)
    result = await command("usage", "reconcile", "--json")
    assert result.code == 1
    assert json.loads(result.out)["differences"] == [
        {
            "user_id": bent.user_id,
            "table": "usage_tracking",
            "counter": "daily_messages_received",
            "period": str(day),
            "counted": "9",
            "recounted": "3",
        }
    ]
    told = await command("usage", "reconcile", "--user", str(bent.user_id))
    assert told.code == 1
    assert (
        f"tenant {bent.user_id}: usage_tracking.daily_messages_received of {day} is 9,"
        " the rows say 3" in told.out
    )
    assert "1 counters" in told.err
    assert (await command("usage", "reconcile", "--user", str(fine.user_id))).code == 0
    assert await command.refused("usage", "reconcile", "--user", "999") == (
        "there is no tenant 999"
    )


async def test_an_owner_who_is_no_superuser_reconciles_too(
    command: Command, database: Database, pool: Pool, owner: Owner
) -> None:
    """Row-level security binds the owner of the tables as well."""
    user = await busy_tenant(owner, pool)
    await owner.execute("UPDATE usage_tracking SET live_takeovers_used = 5")
    tables = await owner.fetch(
        "SELECT format('%I', relname) AS name FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    )
    await owner.execute("CREATE ROLE operator LOGIN PASSWORD 'operator'")
    try:
        for table in tables:
            await owner.execute(f"ALTER TABLE {table['name']} OWNER TO operator")
        await owner.execute("GRANT EXECUTE ON FUNCTION every_tenant() TO operator")
        login = database.owner_url.rpartition("@")[2]
        result = await command(
            *("usage", "reconcile", "--json"),
            MIGRATION_DATABASE_URL=f"postgresql://operator:operator@{login}",
        )
        assert [d["counter"] for d in json.loads(result.out)["differences"]] == [
            "live_takeovers_used"
        ]
        assert json.loads(result.out)["differences"][0]["user_id"] == user.user_id
    finally:
        await owner.execute(
            "REASSIGN OWNED BY operator TO CURRENT_USER; DROP OWNED BY operator; DROP ROLE operator"
        )
