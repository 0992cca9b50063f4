"""A tenant's usage day: its own zone's, and never an earlier one than before."""

from datetime import date, timedelta

import pytest

from db.pool import Pool, tenant
from db.subscriptions import read_uses
from db.usage import count_takeover, read_usage
from handlers.ingest.recording import record_batch
from tests.db.units import reserve_messages
from tests.factories import Owner, Tenant, make_conversation, make_tenant
from tests.recording import DEBOUNCE, to, wrote
from tests.usage import differences, reply, today_of

# 26 hours apart: never on the same date.
EAST, WEST = "Pacific/Kiritimati", "Etc/GMT+12"


async def put_into(pool: Pool, user: Tenant, zone: str) -> None:
    async with tenant(pool, user.user_id) as conn:
        await conn.execute("UPDATE users SET timezone = $2 WHERE id = $1", user.user_id, zone)


async def calendar(owner: Owner, zone: str) -> date:
    day: date = await owner.fetchval("SELECT (now() AT TIME ZONE $1)::date", zone)
    return day


async def days_of(owner: Owner, user: Tenant) -> list[date]:
    rows = await owner.fetch(
        "SELECT tracking_date FROM usage_tracking WHERE user_id = $1 ORDER BY 1", user.user_id
    )
    return [row["tracking_date"] for row in rows]


async def use(owner: Owner, pool: Pool, user: Tenant, name: str) -> None:
    """Whatever counts on a day."""
    _, conversation_id = await make_conversation(owner, user)
    await reply(pool, user, conversation_id)
    async with tenant(pool, user.user_id) as conn:
        count_takeover(conn, user.user_id, conversation_id)
    await record_batch(pool, [to(user, wrote(name))], DEBOUNCE)


async def test_the_usage_day_stays_when_the_zone_goes_back(owner: Owner, pool: Pool) -> None:
    user = await make_tenant(owner, timezone=EAST)
    await use(owner, pool, user, "w1")
    before = await today_of(owner, user)
    assert before == await calendar(owner, EAST)
    await put_into(pool, user, WEST)
    assert await calendar(owner, WEST) < before
    await use(owner, pool, user, "w2")
    assert await days_of(owner, user) == [before]
    async with tenant(pool, user.user_id) as conn:
        usage = await read_usage(conn, user.user_id)
        shown = await read_uses(conn, user.user_id)
    assert usage is not None
    assert shown is not None
    assert shown.daily_messages == 2
    assert (usage.tracking_date, usage.daily_messages_sent) == (before, 2)
    assert (usage.year, usage.month) == (before.year, before.month)
    # It lasts until the new zone's calendar has come to the next.
    ends = await owner.fetchval(
        "SELECT ($1::date + 1)::timestamp AT TIME ZONE $2::text", before, WEST
    )
    assert usage.day_ends_at == ends
    assert await differences(owner, user) == []


async def test_a_limit_that_was_reached_stays_so_in_another_zone(owner: Owner, pool: Pool) -> None:
    user = await make_tenant(owner, timezone=EAST, daily=1)
    _, conversation_id = await make_conversation(owner, user)
    await reply(pool, user, conversation_id)
    for zone in (WEST, "UTC", WEST):
        await put_into(pool, user, zone)
        async with tenant(pool, user.user_id) as conn:
            held = await reserve_messages(conn, user.user_id, conversation_id, 1)
        assert held.outcome == "daily_message_limit"


async def test_the_usage_day_goes_on_with_the_zone_and_with_the_calendar(
    owner: Owner, pool: Pool
) -> None:
    user = await make_tenant(owner, timezone=WEST)
    for zone in ("UTC", EAST):
        await put_into(pool, user, zone)
        assert await today_of(owner, user) == await calendar(owner, zone)
    # A floor that the calendar has passed says nothing any more.
    await owner.execute(
        "UPDATE users SET usage_day_floor = (now() AT TIME ZONE timezone)::date - 1"
    )
    assert await today_of(owner, user) == await calendar(owner, EAST)


@pytest.mark.parametrize("zones", [[EAST, WEST, EAST], [WEST, EAST, WEST], ["UTC", WEST, "UTC"]])
async def test_whatever_the_moves_the_day_never_goes_back(
    owner: Owner, pool: Pool, zones: list[str]
) -> None:
    user = await make_tenant(owner, timezone=zones[0])
    last = await today_of(owner, user)
    for zone in zones[1:]:
        await put_into(pool, user, zone)
        now = await today_of(owner, user)
        assert last <= now <= await calendar(owner, EAST) + timedelta(days=1)
        last = now
