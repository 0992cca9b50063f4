"""Two at one webhook, one delivery or one conversation at the same moment; and who may not.

One of two is held open until the other is seen to wait for it, or not to wait, so that each of
these happens in the same way every time; the one that is not says so.
"""

import asyncio
import json
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import pytest

from db.deliveries import (
    FIRST_KEY,
    ClaimedWebhook,
    Fare,
    Next,
    Settled,
    claim_webhooks,
    fare_webhook,
    next_deliveries,
    park_deliveries,
    settle_deliveries,
)
from db.ids import MessageId, WebhookId, WorkerId
from db.pool import Conn, Pool, tenant
from db.telling import tell_messages
from tests.deliveries.conftest import House
from tests.deliveries.test_delivering import done
from tests.e2e.conftest import until
from tests.factories import Tenant, make_conversation, make_message, make_tenant

ME, OTHER = WorkerId(2**40), WorkerId(2**40 + 1)  # not what a Delivering of these tests gets
TERM = timedelta(hours=1)


@pytest.fixture(autouse=True)
async def workers(owner: Conn) -> None:
    """Both are alive."""
    for one in (ME, OTHER):
        await owner.execute("INSERT INTO workers (id, name) VALUES ($1, 'w')", one)


async def dies(owner: Conn, worker: WorkerId) -> None:
    await owner.execute("DELETE FROM workers WHERE id = $1", worker)


async def due(owner: Conn, user: Tenant, hooks: int = 1, each: int = 1) -> list[int]:
    """So many webhooks of a tenant, each with so many deliveries that are due."""
    rows = await owner.fetch(
        "INSERT INTO webhooks (user_id, url, events)"
        " SELECT $1, 'https://x.example', '[\"ping\"]' FROM generate_series(1, $2) RETURNING id",
        user.user_id,
        hooks,
    )
    first = await owner.fetchval("SELECT coalesce(max(id), 0) + 1 FROM webhook_events")
    await owner.execute(
        "INSERT INTO webhook_events (id, user_id, type, body)"
        " SELECT i, $1, 'ping', '{}' FROM generate_series($2::bigint, $2 + $3 - 1) i",
        *(user.user_id, first, each),
    )
    ids = [row["id"] for row in rows]
    await owner.execute(
        "INSERT INTO webhook_deliveries (user_id, webhook_id, event_id, order_key)"
        " SELECT $1, w, e, -e FROM unnest($2::bigint[]) w,"
        " generate_series($3::bigint, $3 + $4 - 1) e",
        *(user.user_id, ids, first, each),
    )
    return ids


async def claim(conn: Any, worker: WorkerId, limit: int = 100, share: int = 100) -> list[int]:
    return [c.id for c in await claim_webhooks(conn, worker, [], limit, share, TERM)]


async def read(pool: Pool, held: ClaimedWebhook, worker: WorkerId) -> Next | None:
    async with pool.acquire() as conn:
        return await next_deliveries(conn, held, worker, [], 10, FIRST_KEY)


def settled(delivery_id: int, status: str) -> Settled:
    after_s = 5.0 if status == "pending" else None
    return Settled(
        id=delivery_id, status=status, after_s=after_s, ago_s=0.0, duration_ms=1,
        status_code=200 if status == "delivered" else 500, error=None, response=None,
    )  # fmt: skip


async def settle(pool: Pool, held: ClaimedWebhook, delivery_id: int, status: str) -> None:
    async with pool.acquire() as conn:
        await settle_deliveries(conn, held.user_id, [settled(delivery_id, status)])


async def row(owner: Conn, table: str, column: str, row_id: int) -> dict[str, Any]:
    found = await owner.fetchrow(f"SELECT * FROM {table} WHERE {column} = $1", row_id)
    return dict(found or {})


async def begun(owner: Conn, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
    """The work, once it waits for a lock or is done."""
    task = asyncio.create_task(work)

    async def rests() -> bool:
        return task.done() or bool(
            await owner.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )

    await until(rests, bool)
    return task


# ---- claims --------------------------------------------------------------------------------------


async def test_what_another_is_about_to_hold_is_gone_past(owner: Conn, pool: Pool) -> None:
    hooks = await due(owner, await make_tenant(owner), hooks=4)
    async with (
        pool.acquire() as first,
        pool.acquire() as second,
        first.transaction(),
        second.transaction(),
    ):
        mine = await claim(first, ME, limit=2)
        await second.execute("SET LOCAL lock_timeout = '1s'")
        theirs = await claim(second, OTHER)
    assert len(mine) == 2
    assert sorted(mine + theirs) == hooks


async def test_what_a_living_worker_holds_is_nobody_else_s(owner: Conn, pool: Pool) -> None:
    (hook,) = await due(owner, await make_tenant(owner))
    async with pool.acquire() as conn:
        assert await claim(conn, ME) == [hook]
        assert await claim(conn, OTHER) == []
        assert await claim(conn, ME) == [hook], "said to be its own, and it knows nothing of it"
        await dies(owner, ME)
        assert await claim(conn, OTHER) == [hook]


async def sixty(owner: Conn) -> list[WorkerId]:
    """So many webhooks of four tenants, and eight workers."""
    for _ in range(4):
        await due(owner, await make_tenant(owner), hooks=15)
    several = [WorkerId(ME + n) for n in range(8)]
    for worker in several[2:]:
        await owner.execute("INSERT INTO workers (id, name) VALUES ($1, 'w')", worker)
    return several


async def test_of_many_that_claim_at_once_one_holds_a_webhook(owner: Conn, pool: Pool) -> None:
    """Whoever comes to a row that was taken since it looked leaves it. Not every round has such a
    moment, so there are many."""
    several = await sixty(owner)

    async def one(worker: WorkerId) -> list[int]:
        async with pool.acquire() as conn:
            return await claim(conn, worker)

    for _ in range(30):
        found = await asyncio.gather(*map(one, several))
        hooks = [hook for taken in found for hook in taken]
        assert len(hooks) == len(set(hooks))
        assert await owner.fetchval("SELECT count(lease_owner) FROM webhook_states") == 60
        await owner.execute("UPDATE webhook_states SET lease_owner = NULL")


async def test_what_is_let_go_of_for_a_while_is_nobody_s(owner: Conn, pool: Pool) -> None:
    """Also when it was claimed, failed and paused between another's look and its lock."""
    several = await sixty(owner)
    fare = Fare(failures=10, timeouts=0, opened=1, open_s=1_800.0)

    async def one(worker: WorkerId) -> list[int]:
        taken: list[int] = []
        async with pool.acquire() as conn:
            while claimed := await claim_webhooks(conn, worker, [], 4, 60, TERM):
                for held in claimed:
                    assert await fare_webhook(conn, held, worker, fare)
                taken += [held.id for held in claimed]
        return taken

    for _ in range(10):
        hooks = [hook for taken in await asyncio.gather(*map(one, several)) for hook in taken]
        assert len(hooks) == len(set(hooks)) == 60
        await owner.execute("UPDATE webhook_states SET open_until = NULL")


async def test_a_tenant_s_many_webhooks_leave_places_to_the_others(owner: Conn, pool: Pool) -> None:
    many = await due(owner, await make_tenant(owner), hooks=10)
    (one,) = await due(owner, await make_tenant(owner))
    async with pool.acquire() as conn:
        found = await claim(conn, ME, limit=5, share=4)
    assert one in found
    assert len(set(found) & set(many)) == 4


async def test_those_that_answer_come_before_those_that_failed(owner: Conn, pool: Pool) -> None:
    hooks = await due(owner, await make_tenant(owner), hooks=3)
    await owner.execute("UPDATE webhook_states SET failures = 1 WHERE webhook_id = $1", hooks[0])
    async with pool.acquire() as conn:
        assert sorted(await claim(conn, ME, limit=2)) == hooks[1:]


# ---- who lost a webhook --------------------------------------------------------------------------


async def lost(owner: Conn, pool: Pool) -> tuple[ClaimedWebhook, Next]:
    """A webhook of OTHER's, and what ME, taken for dead, had read of it."""
    user = await make_tenant(owner)
    (hook,) = await due(owner, user)
    held = ClaimedWebhook(user_id=user.user_id, id=WebhookId(hook))
    async with pool.acquire() as conn:
        assert await claim(conn, ME) == [hook]
    read_by_me = await read(pool, held, ME)
    assert read_by_me is not None
    await dies(owner, ME)
    async with pool.acquire() as conn:
        assert await claim(conn, OTHER) == [hook]
    return held, read_by_me


async def test_who_lost_a_webhook_reads_nothing_more_of_it(owner: Conn, pool: Pool) -> None:
    held, _ = await lost(owner, pool)
    assert await read(pool, held, ME) is None
    state = await row(owner, "webhook_states", "webhook_id", held.id)
    assert state["lease_owner"] == OTHER, "nor lets go of it"
    found = await read(pool, held, OTHER)
    assert found is not None
    assert len(found.due) == 1


async def test_who_lost_a_webhook_says_nothing_of_how_it_fares(owner: Conn, pool: Pool) -> None:
    held, _ = await lost(owner, pool)
    before = await row(owner, "webhook_states", "webhook_id", held.id)
    gone = Fare(failures=1, timeouts=0, opened=0, open_s=1_800.0, disable="gone")
    async with pool.acquire() as conn:
        assert await fare_webhook(conn, held, ME, gone) is False
    assert await row(owner, "webhook_states", "webhook_id", held.id) == before
    assert (await row(owner, "webhooks", "id", held.id))["is_active"] is True


@pytest.mark.parametrize("late", ["failed", "pending", "delivered"])
async def test_what_another_delivered_stays_delivered(owner: Conn, pool: Pool, late: str) -> None:
    held, read_by_me = await lost(owner, pool)
    (one,) = read_by_me.due
    await owner.execute("UPDATE webhook_deliveries SET tries = 8")
    async with pool.acquire() as conn, conn.transaction():
        await settle_deliveries(conn, held.user_id, [settled(one.id, "delivered")])
        task = await begun(owner, settle(pool, held, one.id, late))
        assert not task.done()
    await task
    now = await row(owner, "webhook_deliveries", "id", one.id)
    assert (now["status"], now["tries"], now["due_at"]) == ("delivered", 9, None)
    attempts = await owner.fetchval("SELECT count(*) FROM webhook_attempts")
    assert attempts == 2, "both posts were made"


# ---- order ---------------------------------------------------------------------------------------


async def test_only_the_first_of_each_conversation_is_due(owner: Conn, pool: Pool) -> None:
    user = await make_tenant(owner)
    (hook,) = await due(owner, user, each=3)
    await owner.execute("UPDATE webhooks SET ordered = true WHERE id = $1", hook)
    rows = await owner.fetch("SELECT id FROM webhook_deliveries ORDER BY event_id")
    first, second, of_another = (row["id"] for row in rows)
    await owner.execute(
        "UPDATE webhook_deliveries SET order_key = CASE id WHEN $1 THEN 8 ELSE 7 END", of_another
    )
    held = ClaimedWebhook(user_id=user.user_id, id=WebhookId(hook))
    async with pool.acquire() as conn:
        await claim(conn, ME)

    async def goes() -> list[int]:
        found = await read(pool, held, ME)
        return [] if found is None else [one.id for one in found.due]

    assert await goes() == [first, of_another]
    await settle(pool, held, first, "pending")
    assert await goes() == [of_another], "the second waits while the first waits to come again"
    await settle(pool, held, first, "delivered")
    assert await goes() == [second, of_another]


async def test_of_two_that_tell_of_a_conversation_at_once_the_second_waits(house: House) -> None:
    hook = await house.hook(ordered=True, events=("message.*",))
    user = hook.tenant
    contact_id, conversation_id = await make_conversation(house.owner, user)
    messages = [
        await make_message(house.owner, user, contact_id, conversation_id) for _ in range(2)
    ]
    await house.worker()

    async def tells(message: MessageId) -> None:
        async with tenant(house.pool, user.user_id) as conn:
            await tell_messages(conn, user.user_id, ["message.sent"], [message])

    async with tenant(house.pool, user.user_id) as conn:
        await tell_messages(conn, user.user_id, ["message.sent"], messages[:1])
        second = await begun(house.owner, tells(messages[1]))
        assert not second.done()
    await second
    await done(house, hook, 2)
    bodies = [json.loads(one["body"]) for one in await house.got(hook)]
    assert [body["data"]["message_id"] for body in bodies] == messages


async def test_nobody_waits_where_no_webhook_is_ordered(house: House) -> None:
    hook = await house.hook(events=("message.*",))
    user = hook.tenant
    contact_id, conversation_id = await make_conversation(house.owner, user)
    message = await make_message(house.owner, user, contact_id, conversation_id)
    async with (
        tenant(house.pool, user.user_id) as first,
        tenant(house.pool, user.user_id) as second,
    ):
        await tell_messages(first, user.user_id, ["message.sent"], [message])
        await second.execute("SET LOCAL lock_timeout = '1s'")
        await tell_messages(second, user.user_id, ["message.delivered"], [message])


# ---- tenants -------------------------------------------------------------------------------------


async def test_a_tenant_reaches_no_other_s_webhooks(owner: Conn, pool: Pool) -> None:
    user, stranger = await make_tenant(owner), await make_tenant(owner)
    (hook,) = await due(owner, user)
    async with pool.acquire() as conn:
        await claim(conn, ME)
    delivery_id = await owner.fetchval("SELECT id FROM webhook_deliveries")
    before = await row(owner, "webhook_deliveries", "id", delivery_id)
    state = await row(owner, "webhook_states", "webhook_id", hook)
    theirs = ClaimedWebhook(user_id=stranger.user_id, id=WebhookId(hook))
    assert await read(pool, theirs, ME) is None
    await settle(pool, theirs, delivery_id, "failed")
    async with pool.acquire() as conn:
        assert await park_deliveries(conn, theirs, 10) == 0
        gone = Fare(failures=1, timeouts=0, opened=0, disable="gone")
        assert await fare_webhook(conn, theirs, ME, gone) is False
    assert await row(owner, "webhook_deliveries", "id", delivery_id) == before
    assert await row(owner, "webhook_states", "webhook_id", hook) == state
    assert (await row(owner, "webhooks", "id", hook))["is_active"] is True
