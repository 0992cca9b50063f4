"""Messages, by message_history_days of the plan."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from db.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from db.ids import ContactId, ConversationId, UserId
from db.pool import Conn, Pool, tenant
from db.reconcile import recount
from handlers.ingest.recording import record_batch
from handlers.process.sweeps import Sweep
from handlers.retention.sweep import forget_histories, history_step
from tests.conftest import Database
from tests.erasure import only
from tests.factories import Tenant, make_conversation, make_message, make_tenant
from tests.recording import DEBOUNCE, plainly_logged, recorded, to, wrote


@pytest.fixture(autouse=True, scope="module")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


def plan(days: object) -> str:
    import json

    return json.dumps({"limits": {"message_history_days": days}})


async def kept(owner: Conn, of: Tenant) -> list[str]:
    rows = await owner.fetch(
        "SELECT content_text FROM messages WHERE user_id = $1 ORDER BY id", of.user_id
    )
    return [row["content_text"] for row in rows]


async def sweep(pool: Pool, of: Tenant) -> None:
    while await history_step(pool, of.user_id, 500):
        pass


async def said(
    owner: Conn,
    of: Tenant,
    who: tuple[ContactId, ConversationId],
    text: str,
    days: float,
    **columns: Any,
) -> int:
    columns = {"direction": "inbound", "status": "received"} | columns
    extra = {k: columns.pop(k) for k in ("input_seq", "wamid") if k in columns}
    message_id = await make_message(owner, of, who[0], who[1], text=text, **columns, **extra)
    await owner.execute(
        "UPDATE messages SET created_at = now() - $2::interval WHERE id = $1",
        *(int(message_id), timedelta(days=days)),
    )
    return int(message_id)


async def test_what_is_older_goes_and_what_hangs_on_it_stays(pool: Pool, owner: Conn) -> None:
    of, other = await make_tenant(owner, config=plan(30)), await make_tenant(owner)
    who, theirs = await make_conversation(owner, of), await make_conversation(owner, other)
    old = await said(owner, of, who, "old", 30.1)
    await said(owner, of, who, "young", 29.9)
    await said(owner, other, theirs, "another's", 900)
    await owner.execute("UPDATE messages SET received_day = created_at::date WHERE id = $1", old)
    await owner.execute(
        "SELECT count_received($1, (now() - interval '30.1 days')::date, 1)", of.user_id
    )
    await owner.execute(
        "INSERT INTO orders (user_id, chatbot_id, contact_id, message_id) VALUES ($1, $2, $3, $4)",
        *(of.user_id, of.chatbot_id, who[0], old),
    )
    await owner.execute(
        "INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details)"
        " VALUES ($1, $2, $3, 'x', 'x')",
        *(of.user_id, of.chatbot_id, who[0]),
    )
    await forget_histories(pool, Sweep[UserId]("test"))
    assert await kept(owner, of) == ["young"]
    assert await kept(owner, other) == ["another's"]
    for table in ("contacts", "conversations", "orders", "actions"):
        count = f"SELECT count(*) FROM {table} WHERE user_id = $1"
        assert await owner.fetchval(count, of.user_id) == 1
    assert await owner.fetchval("SELECT message_id FROM orders") is None
    gaps = await owner.fetch("SELECT source, CURRENT_DATE - usage_day AS ago FROM usage_gaps")
    assert [row["source"] for row in gaps] == ["received"]
    assert gaps[0]["ago"] in (30, 31)
    named = {
        f.what.counter
        for f in await recount(owner, of.user_id)
        if f.what.why == "rows were removed"
    }
    assert named == {"daily_messages_received"}


@pytest.mark.parametrize("status", ["queued", "sending", "unknown"])
async def test_what_is_on_its_way_stays(pool: Pool, owner: Conn, status: str) -> None:
    of = await make_tenant(owner, config=plan(1))
    who = await make_conversation(owner, of)
    await said(owner, of, who, "out", 9, direction="outbound", status=status)
    await said(owner, of, who, "sent", 9, direction="outbound", status="read")
    await sweep(pool, of)
    assert await kept(owner, of) == ["out"]


async def test_what_is_unanswered_stays_until_it_is(pool: Pool, owner: Conn) -> None:
    of = await make_tenant(owner, config=plan(1))
    who = await make_conversation(owner, of, input_seq=2)
    await said(owner, of, who, "one", 9, input_seq=1)
    await said(owner, of, who, "two", 9, input_seq=2)
    await owner.execute("UPDATE conversations SET answered_seq = 1")
    await sweep(pool, of)
    assert await kept(owner, of) == ["two"]
    await owner.execute("UPDATE conversations SET answered_seq = 2")
    await sweep(pool, of)
    assert await kept(owner, of) == []


async def test_a_conversation_that_is_being_answered_is_left(pool: Pool, owner: Conn) -> None:
    """Its turn would write the copies back."""
    of = await make_tenant(owner, config=plan(1))
    who = await make_conversation(owner, of, lease_owner=1)
    await said(owner, of, who, "old", 9)
    await sweep(pool, of)
    assert await kept(owner, of) == ["old"]
    await owner.execute("UPDATE conversations SET lease_owner = NULL")
    await sweep(pool, of)
    assert await kept(owner, of) == []


async def test_copies_in_the_thread_go_along(pool: Pool, owner: Conn) -> None:
    of = await make_tenant(owner, config=plan(30))
    short, long = await make_conversation(owner, of), await make_conversation(owner, of)
    for who in (short, long):
        await said(owner, of, who, "old", 40)
    for _ in range(40):
        await said(owner, of, long, "young", 1)
    threads = {}
    async with tenant(pool, of.user_id) as conn:
        for who in (short, long):
            thread = await owner.fetchval(
                "SELECT thread_id FROM conversations WHERE id = $1", who[1]
            )
            threads[who] = thread
            held = Checkpoint(
                checkpoint_id="1",
                checkpoint={"said": "old"},
                metadata={},
                channels=["messages"],
                versions=["1"],
                types=["json"],
                blobs=[b"old"],
            )
            await save_checkpoint(conn, thread, held)
    await sweep(pool, of)
    async with tenant(pool, of.user_id) as conn:
        assert await load_checkpoint(conn, threads[short]) is None
        assert await load_checkpoint(conn, threads[long]) is not None, "it has 40 younger ones"
    rebuild = "SELECT rebuild_thread FROM conversations WHERE id = $1"
    assert await owner.fetchval(rebuild, short[1]) is True
    assert await owner.fetchval(rebuild, long[1]) is False
    assert await owner.fetchval("SELECT count(*) FROM checkpoint_blobs") == 1


async def test_a_message_that_went_is_not_recorded_when_it_comes_again(
    pool: Pool, owner: Conn
) -> None:
    of = await make_tenant(owner, config=plan(1))
    batch = [to(of, wrote("w1"), wrote("w2"))]
    await record_batch(pool, batch, DEBOUNCE)
    await owner.execute("UPDATE conversations SET answered_seq = input_seq, lease_owner = NULL")
    await owner.execute(
        "UPDATE messages SET created_at = now() - CASE message_id WHEN 'w1' THEN interval '2 days'"
        " ELSE interval '9 days' END"
    )
    await sweep(pool, of)
    assert await recorded(owner, of) == []
    rows = await owner.fetch("SELECT wamid FROM gone_messages")
    assert [row["wamid"] for row in rows] == ["w1"], "Meta does not repeat for 9 days"
    await record_batch(pool, [to(of, wrote("w1"))], DEBOUNCE)
    assert await recorded(owner, of) == []


async def test_an_answer_that_may_be_asked_for_again_stays(pool: Pool, owner: Conn) -> None:
    of = await make_tenant(owner, config=plan(0))
    who = await make_conversation(owner, of)
    message_id = await said(owner, of, who, "by hand", 0.5, direction="outbound", status="read")
    await said(owner, of, who, "just sent", 0.01, direction="outbound", status="accepted")
    await owner.execute(
        "INSERT INTO idempotency_keys (user_id, idempotency_key, request_hash, message_id)"
        " VALUES ($1, 'k', sha256('x'), $2)",
        *(of.user_id, message_id),
    )
    await sweep(pool, of)
    assert await kept(owner, of) == ["by hand", "just sent"]
    await owner.execute("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    await sweep(pool, of)
    assert await kept(owner, of) == ["just sent"]


async def test_a_lower_value_begins_after_a_week_and_a_higher_at_once(
    pool: Pool, owner: Conn
) -> None:
    of = await make_tenant(owner, config=plan(90))
    who = await make_conversation(owner, of)
    await said(owner, of, who, "old", 60)
    change = (
        "UPDATE user_subscriptions SET subscription_config = $2::text::jsonb WHERE user_id = $1"
    )
    await owner.execute(change, of.user_id, plan(30))
    await sweep(pool, of)
    row = await only(owner, "SELECT * FROM retention")
    assert (row["days"], row["lower_days"]) == (90, 30)
    assert await kept(owner, of) == ["old"]
    await owner.execute(change, of.user_id, plan(30))  # the same again begins no new week
    assert (await only(owner, "SELECT * FROM retention"))["lower_from"] == row["lower_from"]
    await owner.execute(change, of.user_id, plan(120))
    row = await only(owner, "SELECT * FROM retention")
    assert (row["days"], row["lower_days"]) == (120, None)
    await owner.execute(change, of.user_id, plan(30))
    await owner.execute("UPDATE retention SET lower_from = now()")
    await sweep(pool, of)
    assert await kept(owner, of) == []


@pytest.mark.parametrize("value", ["30", None, True, -1, 30.5, {}, []])
async def test_what_is_no_number_of_days_deletes_nothing(
    pool: Pool, owner: Conn, value: object
) -> None:
    of = await make_tenant(owner, config=plan(value))
    who = await make_conversation(owner, of)
    await said(owner, of, who, "old", 9_000)
    await forget_histories(pool, Sweep[UserId]("test"))
    assert await kept(owner, of) == ["old"]


async def test_a_plan_that_follows_another_begins_no_week_anew(owner: Conn) -> None:
    of = await make_tenant(owner, config=plan(30))
    await owner.execute("UPDATE user_subscriptions SET is_active = false")
    await owner.execute(
        "INSERT INTO user_subscriptions (user_id, subscription_name, subscription_config,"
        " contract_start_date) VALUES ($1, 'x', $2::text::jsonb, CURRENT_DATE)",
        *(of.user_id, plan(30)),
    )
    row = await only(owner, "SELECT * FROM retention")
    assert (row["days"], row["lower_days"]) == (30, None)


async def test_it_goes_in_bounded_steps_by_one_worker_and_past_what_is_locked(
    pool: Pool, owner: Conn, database: Database
) -> None:
    of = await make_tenant(owner, config=plan(30))
    who = await make_conversation(owner, of)
    await owner.execute(
        "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction, status,"
        " created_at) SELECT $1, $2, $3, $4, 'inbound', 'received', now() - interval '31 days'"
        " FROM generate_series(1, 1200)",
        *(of.user_id, of.chatbot_id, *who),
    )
    locked = await owner.fetchval("SELECT min(id) + 7 FROM messages")
    other = await asyncpg.connect(database.owner_url)
    async with other.transaction():
        await other.execute("SELECT FROM messages WHERE id = $1 FOR UPDATE", locked)
        first, second = await asyncio.gather(
            history_step(pool, of.user_id, 500), history_step(pool, of.user_id, 500)
        )
        assert first or second
        left = await owner.fetchval("SELECT count(*) FROM messages")
        assert left >= 201
        await sweep(pool, of)
        rows = await owner.fetch("SELECT id FROM messages")
        assert [row["id"] for row in rows] == [locked]
    await other.close()
    await sweep(pool, of)
    assert await kept(owner, of) == []


async def test_what_webhooks_were_told_goes_at_the_same_age(pool: Pool, owner: Conn) -> None:
    of = await make_tenant(owner, config=plan(2))
    await owner.execute(
        "INSERT INTO webhooks (user_id, url, events) VALUES ($1, 'https://x.example/', '[\"*\"]')",
        of.user_id,
    )
    await record_batch(pool, [to(of, wrote("w1"))], DEBOUNCE)
    bodies = "SELECT count(*) FROM webhook_events WHERE position('text of w1' IN body) > 0"
    assert await owner.fetchval(bodies) == 1
    await sweep(pool, of)
    assert await owner.fetchval(bodies) == 1
    await owner.execute("UPDATE webhook_events SET created_at = now() - interval '3 days'")
    await sweep(pool, of)
    assert await owner.fetchval(bodies) == 0


async def test_calls_of_tools_go_as_messages_do(pool: Pool, owner: Conn) -> None:
    """What a person is still to decide stays."""
    of, other = await make_tenant(owner, config=plan(7)), await make_tenant(owner)
    for tenant_ in (of, other):
        contact_id, conversation_id = await make_conversation(owner, tenant_)
        for n, (status, days) in enumerate((("done", 8), ("done", 6), ("proposed", 8))):
            await owner.execute(
                "INSERT INTO tool_calls (user_id, chatbot_id, contact_id, conversation_id,"
                " tool_name, effect, input_seq, arguments_hash, arguments, status, created_at)"
                " VALUES ($1, $2, $3, $4, 'x', 'once', $5, 'x', '{}', $6, now() - $7::interval)",
                *(tenant_.user_id, tenant_.chatbot_id, contact_id, conversation_id, n, status),
                timedelta(days=days),
            )
    await forget_histories(pool, Sweep[UserId]("test"))
    rows = await owner.fetch("SELECT user_id, input_seq FROM tool_calls ORDER BY user_id, id")
    assert [tuple(row) for row in rows] == [
        *((of.user_id, n) for n in (1, 2)),
        *((other.user_id, n) for n in (0, 1, 2)),
    ]
