"""DELETE /v1/chatbots/{id}: at once in no answer, soon in no row; counters and ids stay."""

import asyncio
import json
from typing import Any

import pytest

from db.conversations import Claim, claim_conversations, fence
from db.deletions import DueDeletion, due_deletions
from db.ids import ContactId
from db.parked import parked_of_number
from db.pool import Conn, Pool, tenant
from db.reconcile import recount
from handlers.deletion import work
from handlers.erasure.begin import erase_contact
from handlers.ingest.recording import record_batch
from handlers.process.sweeps import Sweep
from tests.api import Client, make_key
from tests.api.conftest import Connect
from tests.api.test_erasing import lists
from tests.deletion import due, finish
from tests.erasure import finish as finish_erasure
from tests.erasure import found_in
from tests.erasure.person import ADA, lives
from tests.factories import Tenant, make_conversation, make_conversations, make_message, make_tenant
from tests.ingress import Door
from tests.recording import DEBOUNCE, recorded, to, wrote

# What stays of a chatbot, besides the empty row.
STAYS = {
    *("chatbots", "chatbot_phone_numbers", "chatbot_deletions"),
    *("orders", "analytics_events", "model_calls", "model_usage", "webhook_events", "imports"),
}

COUNTERS = (
    "SELECT user_id, daily_messages_sent, daily_messages_received, messages_reserved,"
    " live_takeovers_used, actions_created FROM usage_tracking ORDER BY id"
)


async def tables_of(owner: Conn, chatbot_id: int) -> set[str]:
    """In which a row is of it, whatever the table."""
    names = await owner.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_attribute a"
        "    ON a.attrelid = c.oid AND a.attname = 'chatbot_id' AND NOT a.attisdropped"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
    )
    found = {
        row["name"]
        for row in names
        if await owner.fetchval(
            f"SELECT EXISTS (SELECT FROM {row['name']} WHERE chatbot_id = $1)", chatbot_id
        )
    }
    return found | {"chatbots"}


async def queue(owner: Conn, of: Tenant, *, counted: bool = True) -> tuple[int, int]:
    """A reply that waits to be sent, with its unit; and its conversation."""
    contact_id, conversation_id = await make_conversation(owner, of)
    message_id = await make_message(owner, of, contact_id, conversation_id)
    if counted:
        await owner.execute(
            "UPDATE messages SET usage_day = current_date WHERE id = $1", message_id
        )
        await owner.execute(
            f"SELECT lock_usage({of.user_id:d}, ARRAY[current_date]),"
            f" count_messages({of.user_id:d}, current_date, 1, 0, 0)"
        )
    return message_id, conversation_id


async def sent_today(owner: Conn, of: Tenant) -> tuple[int, int]:
    row = await owner.fetchrow(
        "SELECT daily_messages_sent, messages_reserved FROM usage_tracking WHERE user_id = $1",
        of.user_id,
    )
    return (row[0], row[1]) if row else (0, 0)


async def unexplained(owner: Conn, of: Tenant) -> list[Any]:
    """Counters that the rows do not come to, though none were removed of their days."""
    return [one for one in await recount(owner, of.user_id) if one.what.why is None]


# ---- at once ------------------------------------------------------------------------------------


async def test_at_204_it_is_in_no_answer_and_soon_in_no_row(
    pool: Pool, owner: Conn, client: Client, ours: Tenant, theirs: Tenant
) -> None:
    ada = await lives(pool, owner, ours, ADA)
    await lives(pool, owner, theirs, ADA)
    await owner.execute(
        "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
        " SELECT $1, $2, 'q' || n, 'sourdough' FROM generate_series(1, 2500) n",
        *(ours.user_id, ours.chatbot_id),
    )
    hook = (
        await client.post(
            "/webhooks",
            {"url": "https://a.example/", "events": ["*"], "chatbot_id": ours.chatbot_id},
        )
    ).json
    conversation = await owner.fetchval("SELECT id FROM conversations WHERE contact_id = $1", ada)
    action = await owner.fetchval("SELECT id FROM actions WHERE contact_id = $1", ada)
    usage = await owner.fetch(COUNTERS)
    told = json.dumps(await lists(client))
    assert ADA.word in told
    gone = await client.delete(f"/chatbots/{ours.chatbot_id}")
    assert (gone.status, gone.json) == (204, None)
    # Nobody has swept yet.
    assert await owner.fetchval("SELECT count(*) FROM messages WHERE contact_id = $1", ada) > 0
    after = await lists(client)
    assert after["/chatbots"]["data"] == []
    for path in ("/conversations", "/actions"):
        assert after[path]["data"] == [], path
    assert [one["id"] for one in after["/webhooks"]["data"]] != [hook["id"]]
    for path in (
        f"/conversations/{conversation}",
        f"/conversations/{conversation}/messages",
        f"/conversations/{conversation}/instructions",
        f"/actions/{action}",
        f"/webhooks/{hook['id']}",
    ):
        assert (await client.get(path)).problem == "not_found", path
    for path, body in (
        (f"/conversations/{conversation}/takeover", {}),
        (f"/conversations/{conversation}/messages", {"content_text": "hi"}),
        (f"/conversations/{conversation}/instructions", {"instruction_text": "hi"}),
        (f"/actions/{action}/approve", {}),
    ):
        assert (await client.post(path, body)).problem == "not_found", path
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).problem == "not_found"
    assert await finish(pool, owner) > 3
    assert await tables_of(owner, ours.chatbot_id) <= STAYS
    left = await found_in(owner, [f"of {ours.user_id}", "q2500"])
    assert left == {}
    assert await tables_of(owner, theirs.chatbot_id) > STAYS - {"chatbot_deletions", "imports"}
    assert await owner.fetch(COUNTERS) == usage
    assert await owner.fetchval("SELECT count(*) FROM contacts WHERE id = $1", ada) == 1
    assert await owner.fetchval("SELECT count(*) FROM orders WHERE contact_id = $1", ada) == 1
    for table in ("checkpoints", "checkpoint_blobs"):
        assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 1, "the other tenant's"
    held = await owner.fetchval(
        "SELECT phone_number_id FROM chatbot_phone_numbers WHERE user_id = $1", ours.user_id
    )
    assert held == ours.phone_number_id


async def test_what_waits_to_be_sent_is_cancelled_and_given_back(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    message_id, conversation_id = await queue(owner, ours)
    await queue(owner, ours, counted=False)
    await owner.execute(
        "INSERT INTO usage_reservations (user_id, conversation_id, usage_day, messages)"
        " VALUES ($1, $2, current_date, 1)",
        *(ours.user_id, conversation_id),
    )
    await owner.execute(f"SELECT count_messages({ours.user_id:d}, current_date, 0, 1, 0)")
    assert await sent_today(owner, ours) == (1, 1)
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204
    assert await owner.fetchval("SELECT array_agg(DISTINCT status) FROM messages") == ["cancelled"]
    assert await sent_today(owner, ours) == (0, 0)
    assert await unexplained(owner, ours) == []
    await finish(pool, owner)
    assert await sent_today(owner, ours) == (0, 0)
    assert await unexplained(owner, ours) == []
    assert await owner.fetchval("SELECT count(*) FROM messages WHERE id = $1", message_id) == 0


async def test_more_than_one_call_cancels_is_cancelled_and_given_back_in_batches(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    conversations = await make_conversations(owner, ours, 2_600)
    await owner.execute(
        "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction, status,"
        " content_text, usage_day) SELECT user_id, chatbot_id, contact_id, id, 'outbound',"
        " 'queued', 'x', current_date FROM conversations WHERE id = ANY ($1::bigint[])",
        [int(one) for one in conversations],
    )
    await owner.execute("UPDATE conversations SET ready_at = now(), input_seq = 1")
    await owner.execute(
        f"SELECT lock_usage({ours.user_id:d}, ARRAY[current_date]),"
        f" count_messages({ours.user_id:d}, current_date, 2600, 0, 0)"
    )
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204
    assert await sent_today(owner, ours) == (600, 0)
    (one,) = await due(owner)
    await work.step(pool, one)
    assert await sent_today(owner, ours) == (0, 0)
    await finish(pool, owner)
    assert await sent_today(owner, ours) == (0, 0)
    assert await tables_of(owner, ours.chatbot_id) <= STAYS


async def test_a_turn_that_runs_writes_nothing(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    await make_conversation(owner, ours, ready_at=None)
    worker = await owner.fetchval("INSERT INTO workers (name) VALUES ('w') RETURNING id")
    await owner.execute("UPDATE conversations SET ready_at = now() - interval '1 s', input_seq = 1")
    async with pool.acquire() as conn:
        (claim,) = await claim_conversations(conn, worker, 10, 10)
    assert isinstance(claim, Claim)
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204
    async with tenant(pool, ours.user_id) as conn:
        assert await fence(conn, claim, worker, 1) is None


# ---- what comes for its number ------------------------------------------------------------------


async def test_what_comes_for_its_number_is_parked_like_an_unknown_number_s(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    await record_batch(pool, [to(ours, wrote("wamid.1"))], DEBOUNCE)
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204
    await record_batch(pool, [to(ours, wrote("wamid.2"))], DEBOUNCE)
    await finish(pool, owner)
    await record_batch(pool, [to(ours, wrote("wamid.3"))], DEBOUNCE)
    assert await recorded(owner, ours) == []
    reasons = await owner.fetch("SELECT reason FROM parked_items")
    assert [row["reason"] for row in reasons] == ["unknown_number"] * 2
    assert len(await parked_of_number(owner, ours.phone_number_id, ours.number)) == 2


async def test_what_was_on_its_way_into_the_record_is_parked_too(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    """Its number is resolved, and then it waits for a lock while the chatbot is deleted."""
    await record_batch(pool, [to(ours, wrote("wamid.1"))], DEBOUNCE)
    for n, who in enumerate(("13035550111", "13035550112")):
        other = await make_tenant(owner) if n else ours
        if n:  # a new customer: there is no conversation yet
            ours = other
            client = Client(client.url, client.http, (await make_key(pool, ours))[0])
            await record_batch(pool, [to(ours, wrote("wamid.1", "13035550119"))], DEBOUNCE)
        transaction = owner.transaction()
        await transaction.start()
        await owner.execute("LOCK TABLE contacts IN SHARE ROW EXCLUSIVE MODE")
        recording = asyncio.create_task(
            record_batch(pool, [to(ours, wrote("wamid.2", who))], DEBOUNCE)
        )
        await asyncio.sleep(0.5)
        gone = await client.delete(f"/chatbots/{ours.chatbot_id}")
        assert gone.status == 204
        await transaction.rollback()
        await recording
        async with tenant(pool, ours.user_id) as conn:
            assert await conn.fetchval("SELECT count(*) FROM messages") == 0
        assert (
            await owner.fetchval(
                "SELECT count(*) FROM parked_items WHERE phone_number_id = $1", ours.phone_number_id
            )
            == 1
        )
    await finish(pool, owner)
    assert await owner.fetchval("SELECT count(*) FROM conversations") == 0


async def test_its_number_is_free_at_once(owner: Conn, client: Client, ours: Tenant) -> None:
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204
    again = await owner.fetchval(
        "INSERT INTO chatbots (user_id, name, whatsapp_phone_number, phone_number_id)"
        " VALUES ($1, 'x', $2, $3) RETURNING id",
        *(ours.user_id, ours.number, ours.phone_number_id),
    )
    assert [one["id"] for one in (await client.get("/chatbots")).json["data"]] == [again]


# ---- who may, and when --------------------------------------------------------------------------


async def test_it_is_for_who_may(
    owner: Conn, api: Door, pool: Pool, connect: Connect, ours: Tenant, theirs: Tenant
) -> None:
    path = f"/chatbots/{ours.chatbot_id}"
    assert (await (await connect(theirs)).delete(path)).problem == "not_found"
    reader = await connect(ours, "chatbots:read")
    assert (await reader.delete(path)).problem == "permission_missing"
    for config in (
        {"permissions": {"delete_conversations": False}},
        {"features": {"core_features": {"chatbot_management": False}}},
    ):
        bound = await make_tenant(owner, config=json.dumps(config))
        key, _ = await make_key(pool, bound)
        refused = await Client(api.url, api.http, key).delete(f"/chatbots/{bound.chatbot_id}")
        assert refused.problem == "not_in_plan"
    assert await owner.fetchval("SELECT count(*) FROM chatbots WHERE deleted_at IS NULL") == 4


@pytest.mark.parametrize("chatbot_id", ["x", "-1", "0", "9" * 30, "%00"])
async def test_what_is_no_id_is_nobody_s(client: Client, chatbot_id: str) -> None:
    assert (await client.delete(f"/chatbots/{chatbot_id}")).problem == "not_found"


async def test_not_while_a_campaign_of_it_runs(owner: Conn, client: Client, ours: Tenant) -> None:
    campaign = await owner.fetchval(
        "INSERT INTO campaigns (user_id, chatbot_id, name, status) VALUES ($1, $2, 'x', 'running')"
        " RETURNING id",
        *(ours.user_id, ours.chatbot_id),
    )
    message_id, _ = await queue(owner, ours)
    refused = await client.delete(f"/chatbots/{ours.chatbot_id}")
    assert (refused.status, refused.problem) == (409, "campaign_running")
    assert refused.json["campaign_id"] == campaign
    status = await owner.fetchval("SELECT status FROM messages WHERE id = $1", message_id)
    assert (status, await sent_today(owner, ours)) == ("queued", (1, 0))
    await owner.execute("UPDATE campaigns SET status = 'paused', held_reason = 'person'")
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204


async def test_only_the_version_that_was_read(owner: Conn, client: Client, ours: Tenant) -> None:
    path = f"/chatbots/{ours.chatbot_id}"
    version = await owner.fetchval("SELECT version FROM chatbots WHERE id = $1", ours.chatbot_id)
    old = await client.delete(path, If_Match=f'"{version + 1}"')
    assert (old.status, old.headers["ETag"]) == (412, f'"{version}"')
    assert (await client.delete(path, If_Match="x")).problem == "invalid_request"
    assert (await client.delete(path, If_Match=f'"{version}"')).status == 204
    assert (await client.delete(path, If_Match="*")).problem == "not_found"


async def test_of_many_at_once_one_deletes(owner: Conn, client: Client, ours: Tenant) -> None:
    await queue(owner, ours)
    answers = await asyncio.gather(
        *(client.delete(f"/chatbots/{ours.chatbot_id}") for _ in range(12))
    )
    assert sorted(a.status for a in answers) == [204] + [404] * 11
    assert await owner.fetchval("SELECT count(*) FROM chatbot_deletions") == 1
    assert await sent_today(owner, ours) == (0, 0)


async def test_a_deleted_one_makes_room(owner: Conn, pool: Pool, connect: Connect) -> None:
    of = await make_tenant(owner, config='{"limits": {"max_chatbots": 1}}')
    async with tenant(pool, of.user_id) as conn:
        assert await conn.fetchval("SELECT count(*) FROM chatbots") == 1
    assert (await (await connect(of)).delete(f"/chatbots/{of.chatbot_id}")).status == 204
    async with tenant(pool, of.user_id) as conn:
        assert await conn.fetchval("SELECT count(*) FROM chatbots") == 0


# ---- through a crash, and beside others ---------------------------------------------------------


async def test_it_goes_on_where_somebody_died_and_two_do_not_meet(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    conversations = await make_conversations(owner, ours, 700)
    await owner.execute(
        "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction, status,"
        " content_text) SELECT user_id, chatbot_id, contact_id, id, 'inbound', 'received', 'x'"
        " FROM conversations, generate_series(1, 5) WHERE id = ANY ($1::bigint[])",
        [int(one) for one in conversations],
    )
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204
    (one,) = await due(owner)
    for _ in range(3):  # killed in the middle of a transaction
        dying = asyncio.create_task(work.step(pool, one))
        await asyncio.sleep(0.01)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
    assert await owner.fetchval("SELECT count(*) FROM messages") > 0
    await asyncio.gather(*(work.step(pool, one) for _ in range(4)))
    await finish(pool, owner)
    assert await tables_of(owner, ours.chatbot_id) <= STAYS


async def test_it_is_not_over_while_somebody_still_writes_of_it(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    """Whoever began before, and writes later."""
    contact_id, conversation_id = await make_conversation(owner, ours)
    async with tenant(pool, ours.user_id) as conn:
        seen = await conn.fetchval("SELECT max(id) FROM conversations")
        assert seen == conversation_id
        assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204
        await conn.execute(
            "INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details)"
            " VALUES ($1, $2, $3, 'x', 'late')",
            *(ours.user_id, ours.chatbot_id, contact_id),
        )
        await owner.execute("UPDATE chatbot_deletions SET created_at = now() - interval '1 hour'")
        (one,) = await due(owner)
        while await work.step(pool, one):
            pass
        assert await due(owner) == [one]
    await finish(pool, owner)
    assert await due(owner) == []
    assert await owner.fetchval("SELECT count(*) FROM actions") == 0


async def test_whoever_writes_of_it_is_waited_for(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    contact_id, _ = await make_conversation(owner, ours)
    async with tenant(pool, ours.user_id) as conn:
        await conn.execute(
            "INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details)"
            " VALUES ($1, $2, $3, 'x', 'in time')",
            *(ours.user_id, ours.chatbot_id, contact_id),
        )
        deleting = asyncio.create_task(client.delete(f"/chatbots/{ours.chatbot_id}"))
        await asyncio.sleep(0.5)
        assert not deleting.done()
    assert (await deleting).status == 204
    assert (await client.get("/actions")).json["data"] == []
    await finish(pool, owner)
    assert await owner.fetchval("SELECT count(*) FROM actions") == 0


async def test_what_changes_its_knowledge_and_its_deletion_wait_in_one_order(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    async with tenant(pool, ours.user_id) as conn:
        await conn.execute(
            "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
            " VALUES ($1, $2, 'q', 'a')",
            *(ours.user_id, ours.chatbot_id),
        )
        deleting = asyncio.create_task(client.delete(f"/chatbots/{ours.chatbot_id}"))
        await asyncio.sleep(0.5)
        assert not deleting.done()
        # Of the COMMIT, which writes the chatbot's row; before the server sees a deadlock.
        await conn.execute("SET LOCAL lock_timeout = '200ms'")
    assert (await deleting).status == 204
    await finish(pool, owner)
    assert await owner.fetchval("SELECT count(*) FROM bot_knowledge_base") == 0


@pytest.mark.parametrize(
    ("what", "given", "waits_for"),
    [
        ("messages", {"content_text": "hi"}, "usage_tracking"),
        ("takeover", {}, "analytics_events"),
        ("instructions", {"instruction_text": "Be kind."}, "conversation_instructions"),
    ],
)
async def test_who_had_begun_in_a_conversation_hears_that_it_is_gone(
    owner: Conn, pool: Pool, client: Client, ours: Tenant, what: str, given: Any, waits_for: str
) -> None:
    """They hold its conversation, in which nothing is to be ended, and wait; nothing that they have
    written yet refers to the chatbot."""
    _, conversation_id = await make_conversation(owner, ours)
    if what == "messages":
        await client.post(f"/conversations/{conversation_id}/takeover")
    transaction = owner.transaction()
    await transaction.start()
    await owner.execute(f"LOCK TABLE {waits_for} IN SHARE ROW EXCLUSIVE MODE")
    begun = asyncio.create_task(client.post(f"/conversations/{conversation_id}/{what}", given))
    await asyncio.sleep(0.7)
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204
    await transaction.rollback()
    assert (await begun).status == 404
    await finish(pool, owner)
    assert await unexplained(owner, ours) == []
    assert await tables_of(owner, ours.chatbot_id) <= STAYS


async def test_who_is_erased_meanwhile_is_erased(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    ada = await lives(pool, owner, ours, ADA)
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204
    async with tenant(pool, ours.user_id) as conn:
        assert await erase_contact(conn, ours.user_id, ContactId(ada))
    await finish_erasure(pool, owner)
    left = await found_in(owner, [ADA.number, ADA.word])
    assert {k: v for k, v in left.items() if k not in ("parked_items", "stuck_items")} == {}
    await finish(pool, owner)


async def test_nothing_is_hidden_of_another_chatbot(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    other: Any = await owner.fetchval(
        "INSERT INTO chatbots (user_id, name) VALUES ($1, 'other') RETURNING id", ours.user_id
    )
    kept = Tenant(ours.user_id, other, "", "")
    _, conversation_id = await make_conversation(owner, kept)
    await make_conversation(owner, ours)
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204
    for _ in range(2):
        listed = (await client.get("/conversations")).json["data"]
        assert [one["id"] for one in listed] == [conversation_id]
        await finish(pool, owner)


async def test_the_scheduler_takes_what_is_due_and_rests_before_the_last_look(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    await record_batch(pool, [to(ours, wrote("wamid.1"))], DEBOUNCE)
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204
    sweep: Sweep[DueDeletion] = Sweep("deletion")
    for _ in range(3):
        await work.delete_due(pool, sweep)
    assert await tables_of(owner, ours.chatbot_id) <= STAYS
    async with pool.acquire() as conn:
        assert await due_deletions(conn, 10) == []
    assert await owner.fetchval(
        "SELECT due_at = created_at + $1 FROM chatbot_deletions WHERE settled_at IS NULL",
        work.LAST_AFTER,
    )
    await owner.execute(
        "UPDATE chatbot_deletions SET created_at = now() - interval '1 min', due_at = now()"
    )
    await work.delete_due(pool, sweep)
    assert await due(owner) == []


async def test_its_customers_write_to_another_chatbot_while_its_rows_go(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    """The thread of their first conversation is hidden, and not free."""
    contact_id, _ = await make_conversation(owner, ours)
    other = (await client.post("/chatbots", {"name": "Another"})).json["id"]
    third = (await client.post("/chatbots", {"name": "A third"})).json["id"]
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204
    asked = {"chatbot_id": other, "contact_id": contact_id}
    opened = await client.post("/conversations", asked)
    assert opened.status == 201, opened
    await finish(pool, owner)
    threads = await owner.fetch("SELECT thread_id FROM conversations")
    assert len(threads) == 1
    again = await client.post("/conversations", {**asked, "chatbot_id": third})
    assert again.status == 201, again
