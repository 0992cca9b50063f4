"""What happens to a webhook while its deliveries are read, posted and written."""

import asyncio
import gc
import json
import resource

import pytest

from db.deliveries import (
    FIRST_KEY,
    ClaimedWebhook,
    Due,
    Fare,
    Settled,
    claim_webhooks,
    fare_webhook,
    forget_deliveries,
    next_deliveries,
    settle_deliveries,
)
from db.ids import WebhookId
from db.pool import Conn, Pool, tenant
from db.webhooks import forgive, lock_webhook
from handlers.deliveries.catalogue import BotRecovered
from handlers.deliveries.deliver import BATCH
from handlers.deliveries.forgetting import KEPT, forget_old_deliveries
from tests.deliveries.conftest import Hook, House
from tests.deliveries.test_delivering import done
from tests.deliveries.test_races import ME, TERM, begun, due, row, settled
from tests.e2e.conftest import until
from tests.factories import Tenant, make_tenant


@pytest.fixture(autouse=True)
async def alive(owner: Conn) -> None:
    await owner.execute("INSERT INTO workers (id, name) VALUES ($1, 'w')", ME)


async def one_of_mine(owner: Conn, pool: Pool, user: Tenant, each: int = 1) -> ClaimedWebhook:
    (hook,) = await due(owner, user, each=each)
    async with pool.acquire() as conn:
        await claim_webhooks(conn, ME, [], 1, 1, TERM)
    return ClaimedWebhook(user_id=user.user_id, id=WebhookId(hook))


async def several(house: House, hook: Hook, count: int) -> None:
    await house.tell(hook.tenant, *[BotRecovered(chatbot_id=hook.tenant.chatbot_id)] * count)


async def arrived(house: House, hook: Hook, count: int) -> None:
    await until(lambda: house.got(hook), lambda got: len(got) >= count)


# ---- it changes ----------------------------------------------------------------------------------


async def test_what_is_not_begun_goes_to_where_the_webhook_leads_by_now(house: House) -> None:
    """However long the posts took that were under way when it was changed."""
    hook = await house.hook(mode={"mode": "slow", "delay_ms": 3_000})
    other = await house.hook(hook.tenant, events=("ping",))
    await several(house, hook, 6)
    await house.worker()
    await arrived(house, hook, 4)
    await house.owner.execute(
        "UPDATE webhooks SET url = $2, version = version + 1 WHERE id = $1",
        *(hook.id, house.simulator.endpoint_url(other.name)),
    )
    await done(house, hook, 6)
    assert (len(await house.got(hook)), len(await house.got(other))) == (4, 2)


async def test_nothing_goes_to_a_webhook_that_is_gone(house: House) -> None:
    hook = await house.hook(mode={"mode": "slow", "delay_ms": 3_000})
    await several(house, hook, 6)
    await house.worker()
    await arrived(house, hook, 4)
    await house.owner.execute("DELETE FROM webhooks WHERE id = $1", hook.id)
    await until(lambda: house.rows(hook), lambda rows: sum(r["attempts"] for r in rows) >= 4)
    other = await house.hook()  # and time to do it
    await house.tell(other.tenant)
    await done(house, other, 1)
    assert len(await house.got(hook)) == 4


async def test_the_address_before_does_not_switch_off_the_one_that_came_after(
    house: House,
) -> None:
    """Who moves an endpoint lets the old one say 410."""
    hook = await house.hook(mode={"mode": "gone", "delay_ms": 1_000})
    other = await house.hook(hook.tenant, events=("ping",))
    await house.worker()
    await house.tell(hook.tenant)
    await arrived(house, hook, 1)
    await house.owner.execute(
        "UPDATE webhooks SET url = $2, version = version + 1 WHERE id = $1",
        *(hook.id, house.simulator.endpoint_url(other.name)),
    )
    await until(lambda: house.rows(hook), lambda rows: rows[0]["attempts"] == 1)
    await house.hurry(hook)
    await done(house, hook, 1)
    assert len(await house.got(other)) == 1
    assert (await row(house.owner, "webhooks", "id", hook.id))["is_active"] is True


FAILING = Fare(failures=30, timeouts=0, opened=5, open_s=0.0, disable="failing", version=1)


@pytest.mark.parametrize("forgiven", [False, True])
async def test_what_was_forgiven_switches_nothing_off(
    owner: Conn, pool: Pool, forgiven: bool
) -> None:
    user = await make_tenant(owner)
    held = await one_of_mine(owner, pool, user)
    await owner.execute(
        "UPDATE webhook_states SET failures = 29, failing_since = now() - interval '6 days'"
    )
    if forgiven:
        async with tenant(pool, user.user_id) as conn:
            await forgive(conn, user.user_id, held.id)
    async with pool.acquire() as conn:
        assert await fare_webhook(conn, held, ME, FAILING)
    assert (await row(owner, "webhooks", "id", held.id))["is_active"] is forgiven


async def test_who_switches_it_on_while_it_is_switched_off_waits(owner: Conn, pool: Pool) -> None:
    user = await make_tenant(owner)
    held = await one_of_mine(owner, pool, user)
    gone = Fare(failures=1, timeouts=0, opened=0, open_s=0.0, disable="gone", version=1)

    async def switches_off() -> bool:
        async with pool.acquire() as conn:
            return await fare_webhook(conn, held, ME, gone)

    async with tenant(pool, user.user_id) as conn:
        await lock_webhook(conn, user.user_id, held.id)
        task = await begun(owner, switches_off())
        assert not task.done()
        await forgive(conn, user.user_id, held.id)
    assert await task, "and none of the two is broken off"


async def test_two_that_write_of_the_same_deliveries_wait_for_each_other(
    owner: Conn, pool: Pool
) -> None:
    user = await make_tenant(owner)
    await one_of_mine(owner, pool, user, each=3)
    first, middle, last = [
        one["id"] for one in await owner.fetch("SELECT id FROM webhook_deliveries ORDER BY id")
    ]

    async def writes(*ids: int) -> None:
        async with pool.acquire() as conn:
            # As with a table of some size: in the order that is given.
            await conn.execute("SET enable_hashjoin = off; SET enable_mergejoin = off")
            await conn.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
            each = [settled(one, "delivered") for one in ids]
            await settle_deliveries(conn, user.user_id, each)

    async with pool.acquire() as conn, conn.transaction():
        await settle_deliveries(conn, user.user_id, [settled(middle, "delivered")])
        one = await begun(owner, writes(first, middle, last))
        other = asyncio.create_task(writes(last, middle, first))

        async def both() -> bool:
            waits: int = await owner.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return waits == 2

        await until(both, bool)
    await asyncio.gather(one, other)


# ---- there is much -------------------------------------------------------------------------------


async def test_a_tenant_has_its_share_however_often_is_claimed(owner: Conn, pool: Pool) -> None:
    many = await due(owner, await make_tenant(owner), hooks=10)
    (other,) = await due(owner, await make_tenant(owner))
    held: list[WebhookId] = []
    async with pool.acquire() as conn:
        for _ in range(4):
            held += [one.id for one in await claim_webhooks(conn, ME, held, 3, 4, TERM)]
    assert other in held
    assert len(set(held) & set(many)) == 4


@pytest.mark.parametrize("ordered", [False, True])
async def test_big_bodies_are_read_a_few_at_a_time(owner: Conn, pool: Pool, ordered: bool) -> None:
    user = await make_tenant(owner)
    held = await one_of_mine(owner, pool, user, each=6)
    await owner.execute("UPDATE webhooks SET ordered = $1", ordered)
    read = []
    for size in (100_000, 3_000_000):
        await owner.execute("UPDATE webhook_events SET body = repeat('x', $1)", size)
        async with pool.acquire() as conn:
            found = await next_deliveries(conn, held, ME, [], BATCH, FIRST_KEY)
        assert found is not None
        read.append(len(found.due))
    assert read == [2, 1]


async def test_what_waits_in_memory_is_bounded_however_slow_the_endpoint(house: House) -> None:
    hook = await house.hook(mode={"mode": "slow", "delay_ms": 2_200})
    await several(house, hook, 400)
    await house.worker()
    await arrived(house, hook, 15)
    waiting = sum(isinstance(one, Due) for one in gc.get_objects())
    assert waiting <= BATCH + 32


async def test_old_rows_are_found_without_reading_the_others(owner: Conn) -> None:
    """Also when the others have the places of rows that were old."""
    user = await make_tenant(owner)
    await due(owner, user, each=5_000)
    tables = ("webhook_events", "webhook_deliveries")
    for table in tables:
        await owner.execute(f"UPDATE {table} SET created_at = now() - interval '40 days'")
        await owner.execute(f"VACUUM {table}")
        await owner.execute(f"DELETE FROM {table}")
        await owner.execute(f"VACUUM {table}")
    await due(owner, user, each=20_000)
    for table in tables:
        await owner.execute(f"VACUUM ANALYZE {table}")
        plan = await owner.fetchval(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)"
            f" SELECT id FROM {table} WHERE created_at < now() - interval '30 days'"
            " ORDER BY created_at LIMIT 1000"
        )
        assert json.loads(plan)[0]["Plan"]["Shared Hit Blocks"] < 30


async def test_a_worker_may_have_as_many_files_open_as_it_has_posts(house: House) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(700, soft), hard))
    try:
        hook = await house.hook()
        await house.tell(hook.tenant)
        await house.worker()
        await done(house, hook, 1)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(8_192, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---- we are at fault -----------------------------------------------------------------------------


async def test_an_endpoint_does_not_pay_for_a_mistake_of_ours(house: House) -> None:
    """What cannot be written would be posted again at once, and so on."""
    hook, other = await house.hook(), await house.hook()
    await house.owner.execute(
        "ALTER TABLE webhook_attempts ADD CONSTRAINT broken CHECK (user_id <> "
        f"{int(hook.tenant.user_id)})"
    )
    await house.worker()
    await house.tell(hook.tenant)
    await arrived(house, hook, 1)
    for count in range(1, 11):
        await house.tell(other.tenant)
        await done(house, other, count)
    assert len(await house.got(hook)) == 1


# ---- what is old ---------------------------------------------------------------------------------


async def test_what_is_old_goes_and_nothing_else(owner: Conn, pool: Pool) -> None:
    user = await make_tenant(owner)
    hook, of_none = await due(owner, user, hooks=2, each=4)
    old = await owner.fetch(
        "UPDATE webhook_events SET created_at = now() - id * interval '10 days 1 hour'"
        " WHERE user_id = $1 RETURNING id, created_at",
        user.user_id,
    )
    for one in old:  # 10, 20, 30 and 40 days, and as many hours
        await owner.execute(
            "UPDATE webhook_deliveries SET created_at = $2 WHERE event_id = $1",
            *(one["id"], one["created_at"]),
        )
    await owner.execute("DELETE FROM webhooks WHERE id = $1", of_none)
    for part in range(7):
        await owner.execute(
            "INSERT INTO webhook_attempts (user_id, delivery_id, at, part, duration_ms)"
            " VALUES ($1, 1, now(), $2, 1)",
            *(user.user_id, part),
        )
    for _ in range(2):
        await forget_old_deliveries(pool)
    rows = await owner.fetch(
        "SELECT webhook_id, event_id FROM webhook_deliveries ORDER BY event_id"
    )
    assert [tuple(one) for one in rows] == [(hook, 1), (hook, 2)]
    events = await owner.fetch("SELECT id FROM webhook_events ORDER BY id")
    assert [one["id"] for one in events] == [1, 2, 3], "a day after its deliveries"
    kept = await owner.fetch("SELECT part FROM webhook_attempts")
    next_part = await owner.fetchval("SELECT attempts_part(now() + interval '6 days')")
    assert {one["part"] for one in kept} == set(range(7)) - {next_part}


async def test_two_that_forget_go_past_each_other(owner: Conn, pool: Pool) -> None:
    user = await make_tenant(owner)
    await due(owner, user, each=4)
    for table in ("webhook_events", "webhook_deliveries"):
        await owner.execute(f"UPDATE {table} SET created_at = now() - interval '40 days'")
    async with pool.acquire() as conn, pool.acquire() as other, conn.transaction():
        assert await forget_deliveries(conn, KEPT, 3) == 6
        await other.execute("SET lock_timeout = '1s'")
        assert await forget_deliveries(other, KEPT, 3) == 2


async def test_a_backlog_that_statistics_do_not_know_is_not_read_whole(
    owner: Conn, pool: Pool
) -> None:
    user = await make_tenant(owner)
    hooks = await due(owner, user, hooks=50, each=400)
    await owner.execute(
        "UPDATE webhook_deliveries"
        " SET status = 'delivered', due_at = NULL, order_key = event_id % 1000"
    )
    await owner.execute("UPDATE webhooks SET ordered = true")
    await owner.execute("VACUUM FULL ANALYZE webhook_deliveries")
    held = ClaimedWebhook(user_id=user.user_id, id=WebhookId(hooks[0]))
    await owner.execute(
        "WITH e AS (INSERT INTO webhook_events (id, user_id, type, body)"
        " SELECT i, $1, 'ping', '{}' FROM generate_series(1001, 51000) i RETURNING id)"
        " INSERT INTO webhook_deliveries (user_id, webhook_id, event_id, order_key)"
        " SELECT $1, $2, id, id % 1000 FROM e",
        *(user.user_id, held.id),
    )
    async with pool.acquire() as conn:
        await claim_webhooks(conn, ME, [], 1, 1, TERM)
    async with pool.acquire() as conn, conn.transaction():
        found = await next_deliveries(conn, held, ME, [], BATCH, FIRST_KEY)
        read = await conn.fetchval(
            "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_xact_user_tables"
            " WHERE relname = 'webhook_deliveries'"
        )
    assert found is not None
    assert len(found.due) == BATCH
    assert read < 6_000


async def test_a_replay_while_the_last_attempt_is_under_way_is_not_lost(house: House) -> None:
    hook = await house.hook()
    await house.tell(hook.tenant)
    (one,) = await house.rows(hook)  # as a replay left it: due, and with all its tries
    failed = Settled(
        id=one["id"],
        status="failed",
        after_s=None,
        ago_s=0.1,
        duration_ms=100,
        status_code=500,
        error=None,
        response=None,
    )
    async with house.pool.acquire() as conn:
        await settle_deliveries(conn, hook.tenant.user_id, [failed])
    (one,) = await house.rows(hook)
    assert (one["status"], one["attempts"]) == ("pending", 1)
    assert one["due_at"] is not None
