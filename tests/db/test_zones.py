"""A plan that is in force stays so, whichever zone its tenant is put into, and when."""

from datetime import UTC, date, datetime, timedelta

import pytest

from db.pool import Conn, Pool, tenant
from db.usage import count_takeover
from handlers.ingest.recording import record_batch
from tests.db.units import reserve_messages
from tests.factories import Owner, Tenant, make_conversation, make_tenant
from tests.recording import DEBOUNCE, to, wrote

# Around midnight, noon and changes of clocks, and the day that Samoa left out.
MOMENTS = [
    *(datetime(2026, 11, 22, hour, 30, tzinfo=UTC) for hour in (0, 3, 9, 11, 12, 13, 21, 23)),
    *(datetime(2026, month, 29, 1, 0, tzinfo=UTC) for month in (3, 10)),
    datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2028, 2, 29, 10, 0, tzinfo=UTC),
    datetime(2011, 12, 30, 12, 0, tzinfo=UTC),
]
FROM = ["UTC", "Pacific/Kiritimati", "Etc/GMT+12", "Asia/Kolkata", "America/Los_Angeles"]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_plan_that_began_today_has_begun_in_every_zone(
    owner: Owner, moment: datetime
) -> None:
    """And one that is to begin tomorrow begins on no other day."""
    found = await owner.fetch(
        "SELECT old, new, n, start, (at AT TIME ZONE new)::date AS today,"
        "       start_in_zone(start, old, new, at) AS kept"
        "  FROM (SELECT $1::timestamptz AS at, old, z.name AS new, n,"
        "               ($1 AT TIME ZONE old)::date + n AS start"
        "          FROM unnest($2::text[]) AS f (old), pg_timezone_names z,"
        "               generate_series(-1, 2) AS d (n)) every",
        *(moment, FROM),
    )
    assert len(found) > 4 * len(FROM) * 400
    for row in found:
        if row["n"] <= 0:  # was in force
            assert row["kept"] <= row["today"], dict(row)
            assert row["start"] - row["kept"] <= timedelta(days=2)
        else:
            assert row["kept"] == row["start"], dict(row)


async def test_a_tenant_is_answered_after_a_change_to_any_zone(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    _, conversation_id = await make_conversation(owner, user)
    zones = [r["name"] for r in await owner.fetch("SELECT name FROM pg_timezone_names ORDER BY 1")]
    for zone in [*zones[::7], "Etc/GMT+12", "Pacific/Kiritimati", "Pacific/Pago_Pago"]:
        await put_into(owner, user, "Pacific/Kiritimati")
        await owner.execute(
            "UPDATE user_subscriptions SET contract_start_date ="
            " (now() AT TIME ZONE 'Pacific/Kiritimati')::date WHERE user_id = $1",
            user.user_id,
        )
        # As the tenant itself, which may not write its plan.
        async with tenant(pool, user.user_id) as conn:
            await put_into(conn, user, zone)
            held = await reserve_messages(conn, user.user_id, conversation_id, 1)
        assert held.outcome == "granted", zone


async def test_what_comes_in_counts_on_the_tenant_s_own_day(pool: Pool, owner: Owner) -> None:
    """Of these two one is on another day than UTC, at any hour."""
    zones = ("Pacific/Kiritimati", "Etc/GMT+12")
    users = [await make_tenant(owner, timezone=zone) for zone in zones]

    async def days() -> list[date]:
        return [
            await owner.fetchval("SELECT (now() AT TIME ZONE $1)::date", zone) for zone in zones
        ]

    before = await days()
    await record_batch(pool, [to(user, wrote(f"w{user.user_id}")) for user in users], DEBOUNCE)
    for user in users:
        _, conversation_id = await make_conversation(owner, user)
        async with tenant(pool, user.user_id) as conn:
            count_takeover(conn, user.user_id, conversation_id)
    counted = [
        await owner.fetch(
            "SELECT tracking_date, daily_messages_received, live_takeovers_used"
            " FROM usage_tracking WHERE user_id = $1",
            user.user_id,
        )
        for user in users
    ]
    assert [[tuple(row)[1:] for row in rows] for rows in counted] == [[(1, 1)]] * 2
    assert [rows[0]["tracking_date"] for rows in counted] in (before, await days())


async def test_a_plan_that_is_to_begin_is_not_begun_by_another_zone(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner)
    _, conversation_id = await make_conversation(owner, user)
    await owner.execute(
        "UPDATE user_subscriptions SET contract_start_date = (now() AT TIME ZONE 'UTC')::date + 1"
        " WHERE user_id = $1",
        user.user_id,
    )
    before = await starts(owner, user)
    for zone in ("Etc/GMT+12", "UTC", "Etc/GMT+5"):
        await put_into(owner, user, zone)
    assert await starts(owner, user) == before
    async with tenant(pool, user.user_id) as conn:
        held = await reserve_messages(conn, user.user_id, conversation_id, 1)
    assert held.outcome == "no_active_subscription"


async def test_what_is_history_stays_as_it_was(owner: Owner) -> None:
    user = await make_tenant(owner, timezone="Pacific/Kiritimati")
    await owner.execute(
        "UPDATE user_subscriptions SET is_active = false, contract_start_date = current_date + 1"
        " WHERE user_id = $1",
        user.user_id,
    )
    before = await starts(owner, user)
    await put_into(owner, user, "Etc/GMT+12")
    assert await starts(owner, user) == before


async def put_into(conn: Conn, user: Tenant, zone: str) -> None:
    await conn.execute("UPDATE users SET timezone = $2 WHERE id = $1", user.user_id, zone)


async def starts(owner: Conn, user: Tenant) -> list[date]:
    rows = await owner.fetch(
        "SELECT contract_start_date FROM user_subscriptions WHERE user_id = $1", user.user_id
    )
    return [row["contract_start_date"] for row in rows]
