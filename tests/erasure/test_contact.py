"""A contact is erased."""

import asyncio
import json
import time
from collections.abc import Iterator

import asyncpg
import pytest

from db.deliveries import settle_deliveries
from db.erasures import due_erasures, lock_erasure
from db.ids import ContactId
from db.pool import Conn, Pool, tenant
from db.reconcile import recount
from handlers.erasure.begin import erase_contact
from handlers.erasure.marks import Marker
from handlers.erasure.work import step
from handlers.ingest.others import take_others
from handlers.ingest.recording import record_batch
from handlers.ingest.statuses import merge_batch, park_dead
from handlers.media_store.port import NoStore
from handlers.process import telemetry
from tests.conftest import Database
from tests.erasure import MARKER, begin, contact_ids, due, finish, found_in, only
from tests.erasure.person import ADA, BEN, Person, answered, lives, park_together, updates_of
from tests.factories import make_conversation, make_message, make_tenant
from tests.recording import DEBOUNCE, body, plainly_logged, recorded, statuses_for, to
from tests.unit.payloads import change, status, text, value


@pytest.fixture(autouse=True, scope="module")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


async def soon(owner: Conn) -> None:
    """As if the erasures had begun a minute ago; what was kept as it came stays before."""
    await owner.execute("UPDATE erasures SET created_at = created_at - interval '1 minute'")


def dropped(kind: str) -> float:
    value_ = telemetry.ERASED.labels(kind)._value.get()
    return float(value_)


# ---- nothing is left ---------------------------------------------------------------------------


async def test_nothing_of_them_is_in_any_table_and_of_others_everything(
    pool: Pool, owner: Conn
) -> None:
    ours, theirs = await make_tenant(owner), await make_tenant(owner)
    ada = await lives(pool, owner, ours, ADA)
    await lives(pool, owner, ours, BEN)
    await lives(pool, owner, theirs, ADA)  # the same person writes to another tenant
    await park_together(pool, ours, ADA, BEN)
    before = await found_in(owner, ADA.needles)
    assert set(before) >= {
        *("contacts", "messages", "actions", "orders", "order_items", "conversation_instructions"),
        *("facts", "unanswered_questions", "quotes", "tool_calls"),
        *("analytics_events", "conversation_events", "dead_sends", "idempotency_keys"),
        *("parked_items", "stuck_items", "orphan_statuses", "account_events", "checkpoints"),
        *("checkpoint_blobs", "webhook_events", "webhook_attempts"),
    }
    of_ben = await rows_of(owner, BEN)
    (in_hand,) = await owner.fetch(
        "SELECT max(d.id) AS id FROM webhook_deliveries d JOIN webhook_events e"
        " ON e.id = d.event_id WHERE e.contact_id = $1",
        int(ada),
    )
    assert await begin(pool, ours, ada)
    await finish(pool, owner)
    async with pool.acquire() as conn:  # a program that took its time
        await settle_deliveries(conn, ours.user_id, [answered(in_hand["id"], ADA)])
    await owner.execute("DELETE FROM users WHERE id = $1", int(theirs.user_id))
    await owner.execute("DELETE FROM webhook_events WHERE user_id = $1", int(theirs.user_id))
    parked = [r["raw"] for r in await owner.fetch("SELECT raw FROM parked_items")]
    theirs_parked = [raw for raw in parked if theirs.phone_number_id.encode() in raw]
    assert len(theirs_parked) == 1, "another tenant's is another tenant's"
    await owner.execute(
        "DELETE FROM parked_items WHERE phone_number_id = $1", theirs.phone_number_id
    )
    assert await found_in(owner, ADA.needles) == {}
    assert await rows_of(owner, BEN) == of_ben
    (together,) = [raw for raw in parked if b'"updates"' in raw]
    assert [u["raw"]["from"] for u in updates_of(together)] == [BEN.number]


async def rows_of(owner: Conn, who: Person) -> dict[str, int]:
    found = await found_in(owner, who.needles)
    return {
        table: await owner.fetchval(
            f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%' || $1 || '%'"
            " OR t::text LIKE '%' || encode(convert_to($1, 'UTF8'), 'hex') || '%'",
            who.word,
        )
        for table in found
    }


async def test_what_stays_is_that_it_happened(pool: Pool, owner: Conn) -> None:
    of = await make_tenant(owner)
    ada = await lives(pool, owner, of, ADA)
    received = await owner.fetchval("SELECT sum(daily_messages_received) FROM usage_tracking")
    await begin(pool, of, ada)
    await finish(pool, owner)
    row = await only(owner, "SELECT * FROM erasures")
    assert (row["contact_id"], row["phase"], row["numbers"], row["bsuids"]) == (ada, "done", [], [])
    marks = {r["mark"] for r in await owner.fetch("SELECT mark FROM erased_people")}
    assert marks == {
        MARKER.mark(of.user_id, "number", f"+{ADA.number}"),
        MARKER.mark(of.user_id, "bsuid", ADA.bsuid),
    }
    told = await owner.fetch(
        "SELECT event_type, contact_id, event_data::text FROM analytics_events"
    )
    assert [tuple(r) for r in told] == [("contact.erased", None, f'{{"contact_id": {ada}}}')]
    body = await owner.fetchval("SELECT body FROM webhook_events WHERE contact_id IS NULL")
    assert json.loads(body)["data"] == {"user_id": of.user_id, "contact_id": ada}
    assert received == await owner.fetchval(
        "SELECT sum(daily_messages_received) FROM usage_tracking"
    )
    assert await owner.fetchval("SELECT conversation_id FROM takeovers") is None
    found = await recount(owner, of.user_id)
    assert [one for one in found if one.what.why is None] == [], "the counters stay"
    assert ("daily_messages_received", "rows were removed") in {
        (one.what.counter, one.what.why) for one in found
    }


async def test_it_goes_in_bounded_steps_and_on_where_it_died(pool: Pool, owner: Conn) -> None:
    of = await make_tenant(owner)
    contact_id, conversation_id = await make_conversation(owner, of)
    await owner.execute(
        "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction, status)"
        " SELECT $1, $2, $3, $4, 'inbound', 'received' FROM generate_series(1, 2500)",
        *(of.user_id, of.chatbot_id, contact_id, conversation_id),
    )
    await begin(pool, of, contact_id)
    (one,) = await due(owner)
    left = []
    for _ in range(4):  # each is a transaction, and a worker may die after any of them
        assert await step(pool, MARKER, NoStore(), one)
        left.append(await owner.fetchval("SELECT count(*) FROM messages"))
    assert left == [2500, 1500, 500, 0]
    assert not await step(pool, MARKER, NoStore(), one), "what was in flight has its time"
    phase = "SELECT phase FROM erasures"
    assert await owner.fetchval(phase) == "traces"
    await finish(pool, owner)
    assert await owner.fetchval(phase) == "done"
    assert await owner.fetchval("SELECT count(*) FROM contacts") == 0


async def test_one_worker_at_a_time(pool: Pool, owner: Conn) -> None:
    of = await make_tenant(owner)
    await begin(pool, of, await lives(pool, owner, of, ADA))
    (one,) = await due(owner)
    async with tenant(pool, of.user_id) as conn:
        assert await lock_erasure(conn, of.user_id, one.id) is not None
        assert not await step(pool, MARKER, NoStore(), one)
    assert await step(pool, MARKER, NoStore(), one)


async def test_people_go_before_tenants(pool: Pool, owner: Conn) -> None:
    of = await make_tenant(owner)
    await owner.execute(
        "INSERT INTO erasures (user_id, contact_id, due_at)"
        " SELECT $1, CASE n WHEN 9 THEN 1 END, now() - make_interval(secs => 100 - n)"
        "   FROM generate_series(1, 9) n",
        of.user_id,
    )
    async with pool.acquire() as conn:
        (first,) = await due_erasures(conn, 1)
    assert await owner.fetchval("SELECT contact_id FROM erasures WHERE id = $1", first.id) == 1


async def test_twice_is_once(pool: Pool, owner: Conn) -> None:
    of = await make_tenant(owner)
    ada = await lives(pool, owner, of, ADA)
    assert sorted(await asyncio.gather(begin(pool, of, ada), begin(pool, of, ada))) == [False, True]
    await finish(pool, owner)
    assert not await begin(pool, of, ada)


async def test_another_tenant_erases_nobody(pool: Pool, owner: Conn) -> None:
    ours, theirs = await make_tenant(owner), await make_tenant(owner)
    ada = await lives(pool, owner, ours, ADA)
    assert not await begin(pool, theirs, ada)
    assert await contact_ids(owner, ours) == [ada]


# ---- what is going on --------------------------------------------------------------------------


async def test_a_turn_that_runs_writes_nothing_and_its_unit_goes_back(
    pool: Pool, owner: Conn
) -> None:
    of = await make_tenant(owner)
    contact_id, conversation_id = await make_conversation(owner, of)
    await owner.execute("UPDATE conversations SET lease_owner = 1, epoch = 7")
    async with tenant(pool, of.user_id) as conn:
        outcome = await conn.fetchval(
            "SELECT outcome FROM reserve_messages($1, $2, 1)", of.user_id, conversation_id
        )
        assert outcome == "granted"
    held = "SELECT sum(messages_reserved) FROM usage_tracking"
    assert await owner.fetchval(held) == 1
    await begin(pool, of, contact_id)
    assert await owner.fetchval(held) == 0
    async with tenant(pool, of.user_id) as conn:
        fenced = await conn.fetchval(
            "SELECT fence_turn($1, $2, 1, 7, 1)", of.user_id, conversation_id
        )
    assert fenced is None


async def test_what_waits_to_be_sent_does_not_leave_and_is_given_back(
    pool: Pool, owner: Conn
) -> None:
    of = await make_tenant(owner)
    contact_id, conversation_id = await make_conversation(owner, of)
    message_id = await make_message(owner, of, contact_id, conversation_id)
    await owner.execute("UPDATE messages SET usage_day = CURRENT_DATE")
    await owner.execute(
        f"SELECT lock_usage({of.user_id:d}, ARRAY[CURRENT_DATE]),"
        f" count_messages({of.user_id:d}, CURRENT_DATE, 1, 0, 0)"
    )
    await begin(pool, of, contact_id)
    row = await only(owner, "SELECT status FROM messages WHERE id = $1", int(message_id))
    assert row["status"] == "cancelled"
    assert await owner.fetchval("SELECT daily_messages_sent FROM usage_tracking") == 0
    assert await owner.fetchval("SELECT total_messages_sent FROM monthly_usage_summary") == 0


async def test_what_is_recorded_meanwhile_is_a_new_contact_s(
    pool: Pool, owner: Conn, database: Database
) -> None:
    """The recording has found the contact, and waits for it; then it looks again."""
    of = await make_tenant(owner)
    ada = await lives(pool, owner, of, ADA)
    holder = await asyncpg.connect(database.owner_url)
    await holder.execute("BEGIN")
    await holder.execute("SELECT FROM contacts WHERE id = $1 FOR UPDATE", int(ada))
    erasing = asyncio.create_task(begin(pool, of, ada))
    await waiting(owner, 1)
    later = ADA.wrote(200, int(time.time()) + 60)
    recording = asyncio.create_task(record_batch(pool, [to(of, later)], DEBOUNCE, MARKER))
    await waiting(owner, 2)
    await holder.close()
    assert await erasing
    await recording
    await finish(pool, owner)
    assert await recorded(owner, of) == [ADA.wamid(200)]
    (new,) = await contact_ids(owner, of)
    assert new != ada


async def waiting(owner: Conn, sessions: int) -> None:
    async with asyncio.timeout(10):
        while (
            await owner.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            < sessions
        ):
            await asyncio.sleep(0.02)


# ---- what comes again --------------------------------------------------------------------------


@pytest.mark.parametrize("done", [False, True], ids=["while it is done", "afterwards"])
async def test_what_meta_repeats_is_dropped_and_counted(
    pool: Pool, owner: Conn, done: bool
) -> None:
    of = await make_tenant(owner)
    ada = await lives(pool, owner, of, ADA)
    at = int(time.time()) - 60
    await begin(pool, of, ada)
    if done:
        await finish(pool, owner)
    messages, statuses = dropped("message"), dropped("status")
    by_number = {k: v for k, v in ADA.wrote(3, at).items() if k != "from_user_id"}
    by_bsuid = {k: v for k, v in ADA.wrote(2, at).items() if k != "from"}
    echo = text(1, **{"from": of.number, "to": ADA.number, "id": "wamid.x", "timestamp": str(at)})
    del echo["from_user_id"]
    echoes = change(
        value(of.phone_number_id, of.number, message_echoes=[echo]), "smb_message_echoes"
    )
    again = [to(of, ADA.wrote(1, at), by_number, by_bsuid, contacts=[ADA.contact]), body(echoes)]
    await record_batch(pool, again, DEBOUNCE, MARKER)
    await record_batch(pool, [to(of, reaction_of(ADA, at))], DEBOUNCE, MARKER)
    late = status("read", 1, id=ADA.wamid(50), recipient_id=ADA.number, timestamp=str(at))
    await merge_batch(pool, [statuses_for(of, late)], MARKER)
    ours = status("read", 1, id="wamid.y", recipient_id=ADA.number, timestamp=str(at + 3_600))
    ours["biz_opaque_callback_data"] = "sr:99999999:1"
    await merge_batch(pool, [statuses_for(of, ours)], MARKER)
    called = {"calls": [{"from": ADA.number, "id": "c", "timestamp": str(at)}]}
    await take_others(
        pool, [body(change(value(of.phone_number_id, of.number, **called), "calls"))], MARKER
    )
    await park_dead(pool, [to(of, ADA.wrote(70, at), BEN.wrote(70, at))], MARKER)
    await finish(pool, owner)
    assert await found_in(owner, ADA.needles) == {}
    assert dropped("message") - messages == 4
    assert dropped("status") - statuses == (2 if done else 1)  # one message is still there
    assert await contact_ids(owner, of) == []
    (left,) = await owner.fetch("SELECT raw FROM parked_items")
    assert [u["raw"]["from"] for u in updates_of(left["raw"])] == [BEN.number]


def reaction_of(who: Person, at: int) -> object:
    item = text(1, **{"from": who.number, "from_user_id": who.bsuid, "timestamp": str(at)})
    del item["text"]
    return item | {"type": "reaction", "reaction": {"message_id": who.wamid(1), "emoji": "y"}}


async def test_an_edit_brings_no_message_back(pool: Pool, owner: Conn) -> None:
    of = await make_tenant(owner)
    await begin(pool, of, await lives(pool, owner, of, ADA))
    await finish(pool, owner)
    item = text(1, **{"from": ADA.number, "from_user_id": ADA.bsuid, "id": ADA.wamid(9)})
    del item["text"]
    new = {"type": "text", "text": {"body": ADA.word}}
    item |= {"timestamp": str(int(time.time()) + 60), "type": "edit"}
    item["edit"] = {"original_message_id": ADA.wamid(1), "message": new}
    await record_batch(pool, [to(of, item)], DEBOUNCE, MARKER)
    assert await found_in(owner, ADA.needles) == {}


async def test_who_writes_again_is_somebody_new(pool: Pool, owner: Conn) -> None:
    of = await make_tenant(owner)
    ada = await lives(pool, owner, of, ADA)
    await owner.execute(
        "UPDATE contacts SET marketing_choice = 'stop',"
        " marketing_choice_at = now() - interval '9 d'"
    )
    await begin(pool, of, ada)
    await finish(pool, owner)
    now = int(time.time())
    batch = to(of, ADA.wrote(1, now - 60), ADA.wrote(300, now + 60), contacts=[ADA.contact])
    await record_batch(pool, [batch], DEBOUNCE, MARKER)
    assert await recorded(owner, of) == [ADA.wamid(300)]
    row = await only(owner, "SELECT id, name, marketing_choice FROM contacts")
    assert row["id"] != ada
    assert (row["name"], row["marketing_choice"]) == (ADA.name, "stop"), "that they chose, holds"
    # Known again, and the old ones still come.
    await record_batch(pool, [to(of, ADA.wrote(2, now - 60))], DEBOUNCE, MARKER)
    assert await recorded(owner, of) == [ADA.wamid(300)]


async def test_another_spelling_of_the_number_is_the_same_person(pool: Pool, owner: Conn) -> None:
    of = await make_tenant(owner)
    brazil = Person("5511987654321", "BR.1", "Caio", "brigadeiro")
    now = int(time.time())
    await record_batch(pool, [to(of, brazil.wrote(1, now - 9))], DEBOUNCE)
    (contact_id,) = await contact_ids(owner, of)
    await begin(pool, of, contact_id)
    await finish(pool, owner)
    older = Person("551187654321", "BR.2", "Caio", "brigadeiro").wrote(2, now - 60)
    del older["from_user_id"]
    await record_batch(pool, [to(of, older)], DEBOUNCE, MARKER)
    assert await recorded(owner, of) == []


async def test_marks_hold_while_the_key_is_rotated(pool: Pool, owner: Conn) -> None:
    of = await make_tenant(owner)
    await begin(pool, of, await lives(pool, owner, of, ADA))
    await finish(pool, owner)
    rotated = Marker(("a new key that is long enough", "a key that is long enough"))
    await record_batch(pool, [to(of, ADA.wrote(1, int(time.time()) - 60))], DEBOUNCE, rotated)
    assert await recorded(owner, of) == []


async def test_a_conversation_of_theirs_is_not_there_for_people(pool: Pool, owner: Conn) -> None:
    from db.takeovers import lock_conversation

    of = await make_tenant(owner)
    contact_id, conversation_id = await make_conversation(owner, of)
    await begin(pool, of, contact_id)
    async with tenant(pool, of.user_id) as conn:
        assert await lock_conversation(conn, of.user_id, conversation_id) is None
        assert not await erase_contact(conn, of.user_id, ContactId(contact_id))
