"""What the database refuses, and who is to blame for it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import asyncpg
import pytest

from db.conversations import claim_conversations
from db.ids import WorkerId
from db.pool import UNAVAILABLE, Conn, Pool, create_pool
from db.status_fence import move_fence, overdue_sends
from db.stuck import due_stuck_items
from handlers.ingest.batch import Kept
from handlers.ingest.others import take_others
from handlers.ingest.recording import record_batch
from handlers.ingest.retry import PATIENCE, retry_stuck
from handlers.ingest.statuses import merge_batch
from handlers.process.sweeps import Sweep
from tests.conftest import Database
from tests.factories import Tenant, make_conversation, make_message, make_tenant
from tests.recording import (
    DEBOUNCE,
    body,
    parked,
    plainly_logged,
    recorded,
    statuses_for,
    to,
    wrote,
)
from tests.unit.payloads import change, status

RAISES = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF {when} THEN
            RAISE EXCEPTION 'refused' USING ERRCODE = '{code}';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table}
        FOR EACH ROW EXECUTE FUNCTION refuse();"""
MENDED = "DROP FUNCTION refuse CASCADE"
RESOLVE = "resolve_number(text, text, bigint, boolean)"

# What is broken, and how it is mended: of the whole database, not of one item.
BROKEN = {
    "a grant is missing": (
        "REVOKE INSERT ON messages FROM swiftreplies_app",
        "GRANT INSERT ON messages TO swiftreplies_app",
    ),
    "a counter's grant is missing": (
        "REVOKE INSERT, UPDATE ON usage_tracking FROM swiftreplies_app",
        "GRANT INSERT, UPDATE ON usage_tracking TO swiftreplies_app",
    ),
    "a function may not be called": (
        f"REVOKE EXECUTE ON FUNCTION {RESOLVE} FROM swiftreplies_app",
        f"GRANT EXECUTE ON FUNCTION {RESOLVE} TO swiftreplies_app",
    ),
    "a column is gone": (
        "ALTER TABLE messages RENAME COLUMN content_text TO renamed",
        "ALTER TABLE messages RENAME COLUMN renamed TO content_text",
    ),
    "a table is gone": (
        "ALTER TABLE contacts RENAME TO renamed",
        "ALTER TABLE renamed RENAME TO contacts",
    ),
    "a trigger raises": (RAISES.format(when="true", code="P0001", table="messages"), MENDED),
    "an internal error": (RAISES.format(when="true", code="XX000", table="messages"), MENDED),
    "a system error": (RAISES.format(when="true", code="58030", table="messages"), MENDED),
    "the disk is full": (RAISES.format(when="true", code="53100", table="messages"), MENDED),
    "no such feature": (RAISES.format(when="true", code="0A000", table="contacts"), MENDED),
    "a check that all fail": (
        "ALTER TABLE messages ADD CONSTRAINT never CHECK (false) NOT VALID",
        "ALTER TABLE messages DROP CONSTRAINT never",
    ),
}


@pytest.fixture(autouse=True)
def plain() -> Iterator[None]:
    with plainly_logged():
        yield


async def stuck(owner: Conn) -> list[tuple[Any, ...]]:
    rows = await owner.fetch("SELECT kind, error, tries FROM stuck_items ORDER BY id")
    return [tuple(row) for row in rows]


async def retry(pool: Pool, owner: Conn) -> None:
    await owner.execute("UPDATE stuck_items SET retry_at = now()")
    await retry_stuck(pool, DEBOUNCE, Sweep("test"))


@pytest.mark.parametrize("what", [name for name in BROKEN if name != "a check that all fail"])
async def test_what_refuses_everything_loses_and_blames_nothing(
    pool: Pool, owner: Conn, what: str
) -> None:
    tenants = [await make_tenant(owner) for _ in range(2)]
    bodies = [to(t, *(wrote(f"w{n}") for n in range(9))) for t in tenants]
    broken, mended = BROKEN[what]
    await owner.execute(broken)
    try:
        for _ in range(3):
            with pytest.raises((Kept, asyncpg.PostgresError)):
                await record_batch(pool, bodies, DEBOUNCE)
        assert await parked(owner) == []
        assert await stuck(owner) == []
    finally:
        await owner.execute(mended)
    await record_batch(pool, bodies, DEBOUNCE)
    for tenant in tenants:
        assert await recorded(owner, tenant) == [f"w{n}" for n in range(9)]


async def test_a_refused_login_is_away(database: Database, owner: Conn) -> None:
    """The password was rotated, or the login may not connect any more."""
    tenant = await make_tenant(owner)
    login = "runtime"
    pool = await create_pool(database.runtime_url, size=2, name="tests")
    try:
        await owner.execute(f"ALTER ROLE {login} NOLOGIN")
        with pytest.raises((*UNAVAILABLE, asyncpg.InvalidAuthorizationSpecificationError)):
            await record_batch(pool, [to(tenant, wrote("w1"))], DEBOUNCE)
        assert await parked(owner) == []
    finally:
        await owner.execute(f"ALTER ROLE {login} LOGIN")
    await record_batch(pool, [to(tenant, wrote("w1"))], DEBOUNCE)
    assert await recorded(owner, tenant) == ["w1"]
    pool.terminate()


async def test_statuses_are_not_lost_to_a_refusal(pool: Pool, owner: Conn) -> None:
    """A 'delivered' that was put away so let a message go out twice."""
    tenant, message = await sent(owner)
    bodies = [statuses_for(tenant, status("delivered", 1))]
    await owner.execute("REVOKE UPDATE ON messages FROM swiftreplies_app")
    try:
        with pytest.raises(Kept):
            await merge_batch(pool, bodies)
        assert await parked(owner) == []
    finally:
        await owner.execute("GRANT UPDATE ON messages TO swiftreplies_app")
    await merge_batch(pool, bodies)
    assert await owner.fetchval("SELECT status FROM messages WHERE id = $1", message) == "delivered"


async def sent(owner: Conn, wamid: str = "wamid.OURS1") -> tuple[Tenant, int]:
    tenant = await make_tenant(owner)
    who = await make_conversation(owner, tenant)
    return tenant, await make_message(owner, tenant, *who, wamid=wamid, status="accepted")


# ---- one alone -----------------------------------------------------------------------------------


@pytest.fixture
async def one_refused(owner: Conn) -> AsyncIterator[None]:
    """Whatever one customer writes; others are taken."""
    await owner.execute(
        RAISES.format(when="NEW.message_id = 'bad'", code="P0001", table="messages")
    )
    yield
    await owner.execute("DROP FUNCTION IF EXISTS refuse CASCADE")


@pytest.mark.usefixtures("one_refused")
async def test_what_fails_alone_is_set_aside_and_tried_again(pool: Pool, owner: Conn) -> None:
    tenant, other = await make_tenant(owner), await make_tenant(owner)
    bodies = [to(tenant, wrote("w1"), wrote("bad"), wrote("w2")), to(other, wrote("o1"))]
    for _ in range(2):  # delivered again it is aside once
        await record_batch(pool, bodies, DEBOUNCE)
    assert await recorded(owner, tenant) == ["w1", "w2"]
    assert await recorded(owner, other) == ["o1"]
    assert await parked(owner) == []
    assert await stuck(owner) == [("message", "RaiseError", 0)]
    async with pool.acquire() as conn:
        assert await due_stuck_items(conn, 10) == [], "not at once"
    await retry(pool, owner)
    assert await stuck(owner) == [("message", "RaiseError", 1)]
    assert await parked(owner) == []
    await owner.execute(MENDED)
    await retry(pool, owner)
    assert await recorded(owner, tenant) == ["w1", "w2", "bad"]
    assert await stuck(owner) == []
    assert await owner.fetchval("SELECT count(*) FROM conversations WHERE ready_at IS NOT NULL") > 0


@pytest.mark.usefixtures("one_refused")
async def test_alone_in_its_batch_it_is_kept_until_others_come(pool: Pool, owner: Conn) -> None:
    """Whether it or the database is to blame is not known before."""
    tenant = await make_tenant(owner)
    bad = to(tenant, wrote("bad"))
    with pytest.raises(Kept):
        await record_batch(pool, [bad], DEBOUNCE)
    assert await stuck(owner) == []
    await record_batch(pool, [bad, to(tenant, wrote("w1", "13035550122"))], DEBOUNCE)
    assert await recorded(owner, tenant) == ["w1"]
    assert len(await stuck(owner)) == 1


@pytest.mark.usefixtures("one_refused")
async def test_after_five_minutes_it_is_stuck_and_told_once(
    pool: Pool, owner: Conn, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = await make_tenant(owner)
    await record_batch(pool, [to(tenant, wrote("bad"), wrote("w1"))], DEBOUNCE)
    await retry(pool, owner)
    assert await owner.fetchval("SELECT told_at IS NULL FROM stuck_items")
    await owner.execute("UPDATE stuck_items SET failed_at = now() - interval '5 min 1 s'")
    await retry(pool, owner)
    told_at = await owner.fetchval("SELECT told_at FROM stuck_items")
    assert told_at is not None
    await retry(pool, owner)
    assert await owner.fetchval("SELECT told_at FROM stuck_items") == told_at
    pauses = []
    for _ in range(14):
        await retry(pool, owner)
        pauses.append(await owner.fetchval("SELECT retry_at - now() FROM stuck_items"))
    assert all(b > a - timedelta(seconds=5) for a, b in pairwise(pauses))
    assert pauses[0] < timedelta(minutes=1)
    assert timedelta(minutes=59) < pauses[-1] < timedelta(minutes=61)


async def test_what_does_not_fit_is_looked_at_anew_before_it_is_poison(
    pool: Pool, owner: Conn
) -> None:
    tenant = await make_tenant(owner)
    await owner.execute(
        RAISES.format(when="NEW.message_id = 'bad'", code="23503", table="messages")
    )
    await record_batch(pool, [to(tenant, wrote("w1"), wrote("bad"))], DEBOUNCE)
    assert [(r["reason"], r["detail"]) for r in await parked(owner)] == [
        ("poison", "ForeignKeyViolationError")
    ]
    assert await stuck(owner) == []
    # What does not fit now and fits when it is resolved anew is recorded.
    await owner.execute("DROP FUNCTION refuse CASCADE; CREATE SEQUENCE looks")
    await owner.execute(
        RAISES.format(
            when="NEW.message_id = 'late' AND nextval('looks') < 3",
            code="23503",
            table="messages",
        )
    )
    await owner.execute("GRANT USAGE ON SEQUENCE looks TO swiftreplies_app")
    await record_batch(pool, [to(tenant, wrote("w2"), wrote("late"))], DEBOUNCE)
    assert await recorded(owner, tenant) == ["w1", "w2", "late"]
    assert len(await parked(owner)) == 1


async def test_a_status_that_is_aside_holds_back_the_mark(pool: Pool, owner: Conn) -> None:
    """As long as it may say that a send of unknown outcome arrived: at the last one before it."""
    tenant, _ = await sent(owner)
    who = await make_conversation(owner, tenant)
    await make_message(owner, tenant, *who, wamid="wamid.OURS2", status="accepted")
    await owner.execute(
        RAISES.format(when="NEW.message_id = 'wamid.OURS2'", code="P0001", table="messages")
    )

    async def fence() -> Any:
        async with pool.acquire() as conn:
            await move_fence(conn, await owner.fetchval("SELECT clock_timestamp()"), PATIENCE)
        return await owner.fetchval("SELECT merged_until FROM status_fence")

    async def aside(place: int) -> None:
        good, bad = status("delivered", 1), status(("sent", "delivered")[place], 2)
        await merge_batch(pool, [statuses_for(tenant, good, bad)])
        assert await stuck(owner) == [("status", "RaiseError", 0)] * (place + 1)

    first = await fence()
    await aside(0)
    assert await fence() == await fence() == first
    second = await owner.fetchval("SELECT marked_until FROM status_fence")
    await aside(1)
    assert await fence() == first
    gone_by = "UPDATE stuck_items SET failed_at = now() - interval '6 min' WHERE marked_until <= $1"
    await owner.execute(gone_by, first)
    assert await fence() == second > first, "not for ever, though others come"
    await owner.execute(gone_by, second)
    assert await fence() > second
    await owner.execute(MENDED)
    await retry(pool, owner)
    assert {r["status"] for r in await owner.fetch("SELECT status FROM messages")} == {"delivered"}
    assert await stuck(owner) == []


async def test_a_status_that_is_aside_counts_however_long_it_waited(
    pool: Pool, owner: Conn
) -> None:
    """It stood in the log for longer than a send waits for it, and failed when it was its turn."""
    tenant, _ = await sent(owner)
    who = await make_conversation(owner, tenant)
    unknown = await make_message(owner, tenant, *who, status="unknown")
    await owner.execute(
        "UPDATE messages SET unknown_at = now() - interval '90 s', send_attempts = 1 WHERE id = $1",
        unknown,
    )
    await owner.execute("UPDATE status_fence SET marked_until = now() - interval '95 s'")
    await owner.execute(RAISES.format(when=f"NEW.id = {unknown}", code="P0001", table="messages"))
    arrived = status("delivered", 2, biz_opaque_callback_data=f"sr:{unknown}:1")
    mark = await owner.fetchval("SELECT clock_timestamp()")
    await merge_batch(pool, [statuses_for(tenant, status("delivered", 1), arrived)])
    assert await stuck(owner) == [("status", "RaiseError", 0)]
    async with pool.acquire() as conn:
        await move_fence(conn, mark, PATIENCE)
        assert await overdue_sends(conn, timedelta(seconds=60), 10) == []
    await owner.execute(MENDED)
    await retry(pool, owner)
    now = await owner.fetchval("SELECT status FROM messages WHERE id = $1", unknown)
    assert now == "delivered"


@pytest.mark.parametrize("table", ["contacts", "conversations", "usage_tracking"])
async def test_a_row_that_stays_locked_holds_up_nobody_else(
    pool: Pool, owner: Conn, table: str
) -> None:
    """By a process that fell silent in mid-transaction, or by a person who forgot to commit."""
    locked, other = [await make_tenant(owner) for _ in range(2)]
    await record_batch(pool, [to(locked, wrote("w1"))], DEBOUNCE)
    async with owner.transaction():
        await owner.execute(f"SELECT FROM {table} FOR UPDATE")
        async with asyncio.timeout(10):
            bodies = [to(locked, wrote("w2")), to(other, wrote("o1"))]
            await record_batch(pool, bodies, DEBOUNCE)
        assert await recorded(owner, other) == ["o1"]
        assert await recorded(owner, locked) == ["w1"]
    assert await stuck(owner) == [("message", "LockNotAvailableError", 0)]
    await retry(pool, owner)
    assert await recorded(owner, locked) == ["w1", "w2"]
    assert await stuck(owner) == []


async def test_what_meta_tells_of_accounts_is_tried_again_too(pool: Pool, owner: Conn) -> None:
    await make_tenant(owner)
    await owner.execute("UPDATE chatbots SET waba_id = '440011'")
    await owner.execute(
        RAISES.format(when="NEW.field = 'account_alerts'", code="P0001", table="account_events")
    )
    bodies = [
        body(change({"alert_info": {"alert_type": "X"}}, field="account_alerts")),
        body(change({"event": "Y"}, field="account_update")),
    ]
    await take_others(pool, bodies)
    assert [kind for kind, *_ in await stuck(owner)] == ["other"]
    await owner.execute(MENDED)
    await retry(pool, owner)
    fields = await owner.fetch("SELECT field FROM account_events ORDER BY field")
    assert [row["field"] for row in fields] == ["account_alerts", "account_update"]
    assert await stuck(owner) == []


async def test_another_tenant_s_stuck_items_are_left_alone(pool: Pool, owner: Conn) -> None:
    """A row that cannot be handled at all is logged, and the next one is tried."""
    tenant = await make_tenant(owner)
    await owner.execute(
        RAISES.format(when="NEW.message_id = 'bad'", code="P0001", table="messages")
    )
    await record_batch(pool, [to(tenant, wrote("bad"), wrote("w1"))], DEBOUNCE)
    await owner.execute(MENDED)
    await owner.execute(
        "INSERT INTO stuck_items (user_id, item_key, kind, raw, error, retry_at)"
        " VALUES ($1, sha256('x'), 'message', 'no JSON', 'x', now() - interval '1 h')",
        tenant.user_id,
    )
    await retry(pool, owner)
    assert await recorded(owner, tenant) == ["w1", "bad"]
    assert len(await stuck(owner)) == 1


async def test_work_goes_on_while_some_of_it_is_aside(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    await owner.execute(
        RAISES.format(when="NEW.message_id = 'bad'", code="P0001", table="messages")
    )
    await record_batch(pool, [to(tenant, wrote("bad"), wrote("w1", "13035550122"))], DEBOUNCE)
    await owner.execute("UPDATE conversations SET ready_at = now()")
    async with pool.acquire() as conn:
        assert len(await claim_conversations(conn, WorkerId(1), 10, 10)) == 1


async def test_a_chatbot_that_stays_locked_is_bound_by_a_later_webhook(
    pool: Pool, owner: Conn
) -> None:
    new, other = await make_tenant(owner), await make_tenant(owner)
    await owner.execute("UPDATE chatbots SET phone_number_id = NULL WHERE id = $1", new.chatbot_id)
    bound = "SELECT phone_number_id IS NOT NULL FROM chatbots WHERE id = $1"
    async with owner.transaction():
        await owner.execute("SELECT FROM chatbots WHERE id = $1 FOR NO KEY UPDATE", new.chatbot_id)
        await record_batch(pool, [to(other, wrote("b1")), to(new, wrote("a1"))], DEBOUNCE)
        assert await recorded(owner, other) == ["b1"]
        assert await recorded(owner, new) == ["a1"]
        assert not await owner.fetchval(bound, new.chatbot_id)
    await record_batch(pool, [to(new, wrote("a2"))], DEBOUNCE)
    assert await owner.fetchval(bound, new.chatbot_id)
