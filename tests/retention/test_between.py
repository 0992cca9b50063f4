"""What is old goes while somebody is erased, or waits for a plan."""

import asyncio
from collections.abc import Iterator

import pytest

from cli.erase_tenant import tenant_erase
from db.erasures import lock_erasable, silence_conversations
from db.pool import Conn, Pool, tenant
from handlers.retention.sweep import history_step
from tests.conftest import Database
from tests.erasure.test_tenant import environment
from tests.factories import make_conversation, make_message, make_tenant
from tests.recording import plainly_logged
from tests.retention.test_history import kept, plan, said, sweep


@pytest.fixture(autouse=True, scope="module")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


async def waits(owner: Conn) -> bool:
    await owner.execute("SELECT pg_stat_clear_snapshot()")
    return bool(
        await owner.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database())"
        )
    )


async def test_it_waits_for_nobody_who_is_being_erased(pool: Pool, owner: Conn) -> None:
    """It had the conversation and waited for the contact, the erasure the other way round."""
    of = await make_tenant(owner, config=plan(1))
    who = await make_conversation(owner, of)
    await said(owner, of, who, "old", 2, wamid="wamid.old")
    async with tenant(pool, of.user_id) as conn:
        await lock_erasable(conn, of.user_id, who[0])
        going = asyncio.create_task(history_step(pool, of.user_id, 500))
        while not going.done():
            assert not await waits(owner)
            await asyncio.sleep(0.01)
        await silence_conversations(conn, of.user_id, who[0])
    assert await kept(owner, of) == ["old"], "it has its turn in the next round"
    for _ in range(2):  # the end of this one, and the next
        await sweep(pool, of)
    assert await kept(owner, of) == []


async def test_what_waits_for_a_plan_stays_for_as_long_as_it_may_be_answered(
    pool: Pool, owner: Conn
) -> None:
    of = await make_tenant(owner, config=plan(0))
    who = await make_conversation(owner, of)
    await said(owner, of, who, "too late", 0.6)
    await said(owner, of, who, "may be answered", 0.2)
    await owner.execute("UPDATE conversations SET waits_for = 'no_active_subscription'")
    await sweep(pool, of)
    assert await kept(owner, of) == ["may be answered"]
    await owner.execute("UPDATE conversations SET waits_for = NULL")
    await sweep(pool, of)
    assert await kept(owner, of) == []


async def test_a_tenant_is_erased_while_messages_are_recorded(
    owner: Conn, database: Database
) -> None:
    """It has the tenant and waits for a conversation, whose writer wants the tenant: the command
    that is turned away for it comes again."""
    of = await make_tenant(owner)
    who = await make_conversation(owner, of)
    await owner.execute("UPDATE conversations SET ready_at = now()")
    async with owner.transaction():
        await owner.execute("SET LOCAL deadlock_timeout = '10min'")  # the command is turned away
        await owner.execute("SELECT FROM conversations FOR NO KEY UPDATE")
        erasing = asyncio.create_task(tenant_erase(environment(database), of.user_id))
        while not await waits(owner):
            await asyncio.sleep(0.01)
        await make_message(owner, of, *who, direction="inbound", status="received")
    assert (await erasing)["user_id"] == of.user_id
