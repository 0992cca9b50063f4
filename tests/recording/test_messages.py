"""Messages into the record: once, in order, each with its tenant."""

import asyncio
import json
import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from db.conversations import Debounce
from db.pool import UNAVAILABLE, Conn, Pool, create_pool
from handlers.ingest.recording import record_batch
from tests.conftest import Database
from tests.factories import Tenant, make_tenant
from tests.recording import (
    DEBOUNCE,
    TRACE,
    body,
    parked,
    parked_item,
    plainly_logged,
    received,
    recorded,
    to,
    wrote,
)
from tests.unit.payloads import ADA, ADA_BSUID, change, contact, text, value, without


@pytest.fixture(autouse=True, scope="module")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


async def one(owner: Conn, query: str, *args: Any) -> dict[str, Any]:
    (row,) = await owner.fetch(query, *args)
    return dict(row)


# ---- what is written ---------------------------------------------------------------------------


async def test_a_message_is_written_with_all_that_is_known(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    item = text(context={"id": "wamid.QUOTED"})
    await record_batch(pool, [to(tenant, item, contacts=[contact()])], DEBOUNCE)
    message = await one(owner, "SELECT * FROM messages")
    customer = await one(owner, "SELECT * FROM contacts")
    conversation = await one(owner, "SELECT * FROM conversations")
    assert message["user_id"] == customer["user_id"] == conversation["user_id"] == tenant.user_id
    assert message["chatbot_id"] == conversation["chatbot_id"] == tenant.chatbot_id
    assert message["contact_id"] == conversation["contact_id"] == customer["id"]
    assert message["conversation_id"] == conversation["id"]
    assert (message["message_id"], message["direction"], message["status"]) == (
        *("wamid.ADA1", "inbound", "received"),
    )
    assert message["content_text"] == ("[in reply to an earlier message]\nDo you bake rye bread?")
    assert message["message_type"] == "text"
    assert message["sent_at"].timestamp() == 1_795_000_001
    assert json.loads(message["metadata"]) == {"trace_id": TRACE, "replies_to": "wamid.QUOTED"}
    assert (message["input_seq"], message["usage_day"]) == (1, None)
    assert (customer["phone_number"], customer["wa_id"], customer["bsuid"], customer["name"]) == (
        *(f"+{ADA}", ADA, ADA_BSUID, "Ada Brook"),
    )
    assert conversation["thread_id"] == customer["thread_id"]
    assert (conversation["input_seq"], conversation["answered_seq"]) == (1, 0)
    assert conversation["last_inbound_at"] == customer["last_interaction"] == message["sent_at"]
    assert await received(owner, tenant) == 1
    assert await parked(owner) == []


async def test_a_batch_keeps_its_order(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    # WhatsApp's own timestamps have seconds and come in any order; arrival is what counts here.
    items = [wrote(f"w{n}", f"1303555{n % 4:04d}", at=1_795_000_000 - n) for n in range(40)]
    bodies = [to(tenant, *items[start : start + 7]) for start in range(0, 40, 7)]
    await record_batch(pool, bodies, DEBOUNCE)
    assert await recorded(owner, tenant) == [f"w{n}" for n in range(40)]
    for n in range(4):
        rows = await owner.fetch(
            "SELECT m.input_seq, m.message_id FROM messages m JOIN contacts c ON c.id = contact_id"
            " WHERE c.phone_number = $1 ORDER BY m.id",
            f"+1303555{n:04d}",
        )
        assert [(r[0], r[1]) for r in rows] == [(i + 1, f"w{n + 4 * i}") for i in range(10)]
    assert await received(owner, tenant) == 40


async def test_a_tenant_that_is_locked_holds_up_no_other(
    pool: Pool, owner: Conn, database: Database
) -> None:
    busy, free = await make_tenant(owner), await make_tenant(owner)
    assert busy.user_id < free.user_id
    await record_batch(pool, [to(busy, wrote("before")), to(free, wrote("before"))], DEBOUNCE)
    other = await asyncpg.connect(database.owner_url)
    await other.execute("BEGIN")
    await other.execute(
        "SELECT FROM conversations WHERE user_id = $1 FOR UPDATE", int(busy.user_id)
    )
    batch = asyncio.create_task(
        record_batch(pool, [to(busy, wrote("late")), to(free, wrote("soon"))], DEBOUNCE)
    )
    async with asyncio.timeout(10):
        while await recorded(owner, free) != ["before", "soon"]:
            await asyncio.sleep(0.01)
    assert not batch.done()  # acknowledged when all of it is recorded
    await other.close()
    await batch
    assert await recorded(owner, busy) == ["before", "late"]


# ---- once --------------------------------------------------------------------------------------


async def test_a_message_is_recorded_once(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    twice = to(tenant, wrote("w1"), wrote("w2"), wrote("w1"))
    await record_batch(pool, [twice, to(tenant, wrote("w2"), wrote("w3"))], DEBOUNCE)
    await record_batch(pool, [twice], DEBOUNCE)
    await record_batch(pool, [to(tenant, wrote("w3")), to(tenant, wrote("w4"))], DEBOUNCE)
    assert await recorded(owner, tenant) == ["w1", "w2", "w3", "w4"]
    assert await received(owner, tenant) == 4
    row = await one(owner, "SELECT input_seq, answered_seq FROM conversations")
    assert (row["input_seq"], row["answered_seq"]) == (4, 0)


async def test_a_repeated_message_wakes_nobody(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    await record_batch(pool, [to(tenant, wrote("w1"))], DEBOUNCE)
    await owner.execute("UPDATE conversations SET ready_at = NULL, pending_since = NULL")
    await record_batch(pool, [to(tenant, wrote("w1"))], DEBOUNCE)
    row = await one(owner, "SELECT ready_at, pending_since FROM conversations")
    assert (row["ready_at"], row["pending_since"]) == (None, None)


async def test_at_once_from_everywhere_is_still_once(pool: Pool, owner: Conn) -> None:
    one_, two = await make_tenant(owner), await make_tenant(owner)
    dice = random.Random(7)
    items = [wrote(f"w{n}", f"1303555{n % 5:04d}") for n in range(30)]

    async def deliver() -> None:
        mine = [dice.choice(items) for _ in range(20)]
        tenants = [dice.choice([one_, two]) for _ in mine]
        bodies = [to(t, i) for t, i in zip(tenants, mine, strict=True)]
        await record_batch(pool, bodies, DEBOUNCE)

    await asyncio.gather(*(deliver() for _ in range(24)))
    await record_batch(pool, [to(one_, *items), to(two, *items)], DEBOUNCE)
    for tenant in (one_, two):
        wamids = await recorded(owner, tenant)
        assert sorted(wamids) == sorted(f"w{n}" for n in range(30))
        assert await received(owner, tenant) == 30
    assert await owner.fetchval("SELECT count(*) FROM contacts") == 10
    seqs = await owner.fetch(
        "SELECT v.input_seq, count(m.*) AS messages, count(DISTINCT m.input_seq) AS places,"
        " max(m.input_seq) AS last FROM conversations v JOIN messages m"
        " ON m.conversation_id = v.id GROUP BY v.id"
    )
    assert [tuple(r) for r in seqs] == [(6, 6, 6, 6)] * 10
    assert await parked(owner) == []


# ---- who wrote ---------------------------------------------------------------------------------


async def contacts(owner: Conn, tenant: Tenant) -> list[tuple[Any, ...]]:
    rows = await owner.fetch(
        "SELECT phone_number, wa_id, bsuid, name FROM contacts WHERE user_id = $1 ORDER BY id",
        tenant.user_id,
    )
    return [tuple(row) for row in rows]


async def test_a_contact_is_found_by_number_and_learns_its_bsuid(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    await record_batch(pool, [to(tenant, wrote("w1", ADA))], DEBOUNCE)
    assert await contacts(owner, tenant) == [(f"+{ADA}", ADA, None, None)]
    await record_batch(pool, [to(tenant, text(2), contacts=[contact()])], DEBOUNCE)
    assert await contacts(owner, tenant) == [(f"+{ADA}", ADA, ADA_BSUID, "Ada Brook")]
    only_bsuid = without(text(3), "from")
    await record_batch(pool, [to(tenant, only_bsuid)], DEBOUNCE)
    assert await contacts(owner, tenant) == [(f"+{ADA}", ADA, ADA_BSUID, "Ada Brook")]
    assert await owner.fetchval("SELECT count(*) FROM conversations") == 1


async def test_all_forms_of_one_customer_in_one_batch_are_one(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    forms = [wrote("w1", ADA), text(2), without(text(3), "from"), wrote("w4", f"+{ADA}")]
    await record_batch(pool, [to(tenant, *forms)], DEBOUNCE)
    (customer,) = await contacts(owner, tenant)
    assert (customer[0], customer[2]) == (f"+{ADA}", ADA_BSUID)
    assert await recorded(owner, tenant) == ["w1", "wamid.ADA2", "wamid.ADA3", "w4"]


async def test_a_customer_may_have_no_number(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    items = [without(text(n, from_user_id=f"US.{n % 2}"), "from") for n in range(4)]
    await record_batch(pool, [to(tenant, *items)], DEBOUNCE)
    assert await contacts(owner, tenant) == [(None, None, "US.0", None), (None, None, "US.1", None)]


async def test_a_number_that_went_to_somebody_else_is_a_new_customer(
    pool: Pool, owner: Conn
) -> None:
    tenant = await make_tenant(owner)
    before = text(1, from_user_id="US.before")
    after = text(2, from_user_id="US.after")
    await record_batch(pool, [to(tenant, before)], DEBOUNCE)
    await record_batch(pool, [to(tenant, after)], DEBOUNCE)
    assert await contacts(owner, tenant) == [
        (None, None, "US.before", None),
        (f"+{ADA}", ADA, "US.after", None),
    ]
    threads = await owner.fetch("SELECT DISTINCT thread_id FROM conversations")
    assert len(threads) == 2


async def test_both_in_one_batch_are_two_customers(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    items = [text(1, from_user_id="US.before"), text(2, from_user_id="US.after")]
    await record_batch(pool, [to(tenant, *items)], DEBOUNCE)
    assert await parked(owner) == []
    assert await recorded(owner, tenant) == ["wamid.ADA1", "wamid.ADA2"]
    assert [c[2] for c in await contacts(owner, tenant)] == ["US.before", "US.after"]


async def test_metas_spelling_is_kept_beside_the_number(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    await record_batch(pool, [to(tenant, wrote("w1", "+1 (303) 555-0111"))], DEBOUNCE)
    assert await contacts(owner, tenant) == [("+13035550111", "+1 (303) 555-0111", None, None)]


async def test_two_bots_of_a_tenant_share_the_contact_and_not_the_thread(
    pool: Pool, owner: Conn
) -> None:
    first = await make_tenant(owner)
    bot = await owner.fetchval(
        "INSERT INTO chatbots (user_id, name, whatsapp_phone_number, phone_number_id)"
        " VALUES ($1, 'second', '+12025559999', '7777') RETURNING id",
        first.user_id,
    )
    second = Tenant(first.user_id, bot, "+12025559999", "7777")
    await record_batch(pool, [to(second, wrote("w1")), to(first, wrote("w1"))], DEBOUNCE)
    await record_batch(pool, [to(first, wrote("w2")), to(second, wrote("w2"))], DEBOUNCE)
    customer = await one(owner, "SELECT id, thread_id FROM contacts")
    rows = await owner.fetch(
        "SELECT v.chatbot_id, v.thread_id, v.input_seq, array_agg(m.message_id ORDER BY m.id) AS w"
        " FROM conversations v JOIN messages m ON m.conversation_id = v.id"
        " GROUP BY v.id ORDER BY v.chatbot_id"
    )
    assert [(r["chatbot_id"], r["input_seq"], r["w"]) for r in rows] == [
        (first.chatbot_id, 2, ["w1", "w2"]),
        (bot, 2, ["w1", "w2"]),
    ]
    threads = [r["thread_id"] for r in rows]
    assert len(set(threads)) == 2
    assert customer["thread_id"] in threads
    assert await received(owner, first) == 4


async def test_tenants_are_never_mixed(pool: Pool, owner: Conn) -> None:
    tenants = [await make_tenant(owner) for _ in range(3)]
    changes = [
        change(value(t.phone_number_id, t.number, messages=[text(n), wrote(f"own{t.user_id}")]))
        for n, t in enumerate(tenants)
        for _ in range(2)
    ]
    await record_batch(pool, [body(*changes)], DEBOUNCE)
    for tenant in tenants:
        assert f"own{tenant.user_id}" in await recorded(owner, tenant)
        assert await received(owner, tenant) == len(await recorded(owner, tenant))
    crossed = await owner.fetchval(
        "SELECT count(*) FROM messages m JOIN contacts c ON c.id = m.contact_id"
        " JOIN conversations v ON v.id = m.conversation_id JOIN chatbots b ON b.id = m.chatbot_id"
        " WHERE m.user_id <> ALL (ARRAY[c.user_id, b.user_id]) OR v.user_id <> m.user_id"
    )
    assert crossed == 0
    assert await owner.fetchval("SELECT count(*) FROM contacts") == 3
    threads = await owner.fetch("SELECT thread_id FROM contacts")
    assert len({t[0] for t in threads}) == 3


# ---- whose number ------------------------------------------------------------------------------


async def test_a_chatbot_without_an_id_takes_the_first_that_comes(
    pool: Pool, owner: Conn, caplog: pytest.LogCaptureFixture
) -> None:
    tenant = await make_tenant(owner, phone_number_id=None)
    meta = Tenant(tenant.user_id, tenant.chatbot_id, tenant.number.lstrip("+"), "888001")
    await record_batch(pool, [to(meta, wrote("w1")), to(meta, wrote("w2"))], DEBOUNCE)
    assert await recorded(owner, tenant) == ["w1", "w2"]
    held = "SELECT phone_number_id FROM chatbots WHERE id = $1"
    assert await owner.fetchval(held, tenant.chatbot_id) == "888001"
    events = [r.msg for r in caplog.records if isinstance(r.msg, dict)]
    bound = [e["chatbot_id"] for e in events if e["event"] == "chatbot.number_bound"]
    assert bound == [tenant.chatbot_id]
    # Another id for the same number is a mistake or an attack: parked, and nothing changes.
    other = Tenant(tenant.user_id, tenant.chatbot_id, tenant.number, "888002")
    await record_batch(pool, [to(other, wrote("w3")), to(meta, wrote("w4"))], DEBOUNCE)
    assert await recorded(owner, tenant) == ["w1", "w2", "w4"]
    assert await owner.fetchval(held, tenant.chatbot_id) == "888001"
    (row,) = await parked(owner)
    assert (row["reason"], row["phone_number_id"], row["display_number"]) == (
        *("phone_number_id_of_another", "888002", tenant.number),
    )
    assert parked_item(row) == wrote("w3")


async def test_two_ids_for_one_number_in_one_batch_bind_one(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner, phone_number_id=None)
    ids = [Tenant(tenant.user_id, tenant.chatbot_id, tenant.number, p) for p in ("88", "77")]
    await record_batch(pool, [to(ids[0], wrote("w88")), to(ids[1], wrote("w77"))], DEBOUNCE)
    assert len(await recorded(owner, tenant)) == 1
    assert [row["reason"] for row in await parked(owner)] == ["phone_number_id_of_another"]


async def test_an_id_that_another_held_is_not_bound(pool: Pool, owner: Conn) -> None:
    before = await make_tenant(owner, phone_number_id="999001")
    await owner.execute(
        "UPDATE chatbots SET phone_number_id = '999002' WHERE id = $1", before.chatbot_id
    )
    thief = await make_tenant(owner, phone_number_id=None)
    claimed = Tenant(thief.user_id, thief.chatbot_id, thief.number, "999001")
    await record_batch(pool, [to(claimed, wrote("w1"))], DEBOUNCE)
    assert await recorded(owner, thief) == await recorded(owner, before) == []
    assert [row["reason"] for row in await parked(owner)] == ["phone_number_id_of_another"]
    bound = await owner.fetchval(
        "SELECT phone_number_id FROM chatbots WHERE id = $1", thief.chatbot_id
    )
    assert bound is None


async def test_binding_at_once_from_everywhere_binds_once(pool: Pool, owner: Conn) -> None:
    tenants = [await make_tenant(owner, phone_number_id=None) for _ in range(4)]
    metas = [Tenant(t.user_id, t.chatbot_id, t.number, f"66{n}") for n, t in enumerate(tenants)]

    async def deliver(n: int) -> None:
        order = metas if n % 2 else metas[::-1]
        await record_batch(pool, [to(m, wrote(f"w{n}")) for m in order], DEBOUNCE)

    await asyncio.gather(*(deliver(n) for n in range(12)))
    for tenant in tenants:
        assert sorted(await recorded(owner, tenant)) == sorted(f"w{n}" for n in range(12))
    assert await owner.fetchval("SELECT count(*) FROM chatbot_phone_numbers") == 4
    assert await parked(owner) == []


async def test_an_unknown_number_is_parked_whole(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    stranger = change(value("404", "49155500001", contacts=[contact()], messages=[text()]))
    nameless = change(value("", "", messages=[wrote("w2")]))
    await record_batch(pool, [body(stranger), to(tenant, wrote("w1")), body(nameless)], DEBOUNCE)
    assert await recorded(owner, tenant) == ["w1"]
    first, second = await parked(owner)
    assert (first["reason"], first["kind"], first["phone_number_id"], first["display_number"]) == (
        *("unknown_number", "message", "404", "49155500001"),
    )
    assert first["trace_id"] == TRACE
    whole = json.loads(first["raw"])
    assert (whole["item"], whole["contact"]) == (text(), contact())
    assert (second["reason"], second["phone_number_id"]) == ("unknown_number", None)


async def test_the_same_item_of_two_unknown_numbers_is_parked_twice(
    pool: Pool, owner: Conn
) -> None:
    for _ in range(2):
        bodies = [body(change(value(p, "1", messages=[wrote("w1")]))) for p in ("41", "42")]
        await record_batch(pool, bodies, DEBOUNCE)
    assert [row["phone_number_id"] for row in await parked(owner)] == ["41", "42"]


# ---- what cannot be recorded -------------------------------------------------------------------

UNSTORABLE_TYPES = ["\0", "\ud83c", "x" * 5_000]


@pytest.mark.parametrize("kind", ["hologram", *UNSTORABLE_TYPES])
async def test_a_type_that_nobody_told_us_of_is_an_honest_note(
    pool: Pool, owner: Conn, kind: str
) -> None:
    tenant = await make_tenant(owner)
    odd = without(text(1), "text") | {"type": kind}
    await record_batch(pool, [to(tenant, odd, wrote("w1"))], DEBOUNCE)
    assert await recorded(owner, tenant) == ["wamid.ADA1", "w1"]
    assert await parked(owner) == []
    row = await one(owner, "SELECT * FROM messages WHERE message_id = 'wamid.ADA1'")
    assert row["content_text"].startswith("[a message of a kind that cannot be shown here")
    metadata = json.loads(row["metadata"])
    assert metadata["opaque"] is True
    assert json.loads(metadata["details"]["raw"]) == odd


async def test_a_message_of_any_size_is_kept_whole(pool: Pool, owner: Conn) -> None:
    """Up to what a webhook holds."""
    tenant = await make_tenant(owner)
    odd = without(text(1), "text") | {"type": "hologram", "hologram": "x" * 1_000_000}
    words = "long " * 200_000 + "and where is it?"
    items = [odd, wrote("w1", text={"body": words}), wrote("w2")]
    await record_batch(pool, [to(tenant, *items)], DEBOUNCE)
    assert await recorded(owner, tenant) == ["wamid.ADA1", "w1", "w2"]
    assert await parked(owner) == []
    kept = await one(owner, "SELECT metadata FROM messages WHERE message_id = 'wamid.ADA1'")
    assert json.loads(json.loads(kept["metadata"])["details"]["raw"]) == odd
    said = await one(owner, "SELECT content_text FROM messages WHERE message_id = 'w1'")
    assert said["content_text"] == words


async def test_poison_is_taken_out_alone(pool: Pool, owner: Conn) -> None:
    tenant, other = await make_tenant(owner), await make_tenant(owner)
    poison = wrote("w" * 300)  # longer than the column
    # Longer than an index takes, and nothing that PostgreSQL could compress.
    bsuid = random.Random(1).randbytes(5_000).hex()
    items = [wrote("w1"), poison, wrote("w2"), wrote("w3", "1" * 21, from_user_id=bsuid)]
    await record_batch(
        pool, [to(tenant, *items), to(other, wrote("o1")), to(tenant, wrote("w4"))], DEBOUNCE
    )
    assert await recorded(owner, tenant) == ["w1", "w2", "w4"]
    assert await recorded(owner, other) == ["o1"]
    assert await received(owner, tenant) == 3
    rows = await parked(owner)
    assert [row["reason"] for row in rows] == ["poison", "poison"]
    assert parked_item(rows[0]) == poison
    assert rows[0]["detail"] == "StringDataRightTruncationError"
    assert (
        await owner.fetchval(
            "SELECT input_seq FROM conversations WHERE user_id = $1"
            " ORDER BY input_seq DESC LIMIT 1",
            tenant.user_id,
        )
        == 3
    )


async def test_what_collides_is_taken_out_alone(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    await owner.execute("CREATE UNIQUE INDEX one_of_each ON messages (md5(content_text))")
    twin = wrote("w2", text={"body": "text of w1"})
    await record_batch(pool, [to(tenant, wrote("w1"), twin, wrote("w3"))], DEBOUNCE)
    assert await recorded(owner, tenant) == ["w1", "w3"]
    assert [row["detail"] for row in await parked(owner)] == ["UniqueViolationError"]
    assert await received(owner, tenant) == 2


@pytest.mark.parametrize("bad", ["\0", "\ud83c"])
async def test_any_text_can_be_recorded(pool: Pool, owner: Conn, bad: str) -> None:
    tenant = await make_tenant(owner)
    spoilt = f"a{bad}b"
    item = wrote(spoilt, from_user_id=spoilt, text={"body": spoilt}, context={"id": spoilt})
    named = contact(user_id=spoilt, profile={"name": spoilt})
    await record_batch(pool, [to(tenant, item, contacts=[named])], DEBOUNCE)
    assert await parked(owner) == []
    row = await one(owner, "SELECT content_text, metadata FROM messages")
    assert row["content_text"] == "[in reply to an earlier message]\na\ufffdb"
    assert json.loads(row["metadata"])["replies_to"] == "a\ufffdb"


@pytest.mark.parametrize("pnid", ["\0", "a\0b", "\ud83c", "x" * 100_000])
async def test_any_phone_number_id_can_be_parked(pool: Pool, owner: Conn, pnid: str) -> None:
    tenant = await make_tenant(owner, phone_number_id=None)
    odd = Tenant(tenant.user_id, tenant.chatbot_id, "4", pnid)
    await record_batch(pool, [to(odd, wrote("w1")), to(odd, wrote("w2"))], DEBOUNCE)
    assert [row["reason"] for row in await parked(owner)] == ["unknown_number"] * 2


async def test_what_is_no_envelope_is_parked_as_it_is(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    strange = [b"", b"\xff\x00", b"{}", b'{"v":1}', b"x" * 100_000]
    await record_batch(pool, [*strange, to(tenant, wrote("w1"))], DEBOUNCE)
    await record_batch(pool, [*strange, to(tenant, wrote("w1"))], DEBOUNCE)
    assert await recorded(owner, tenant) == ["w1"]
    rows = await parked(owner)
    assert [row["raw"] for row in rows] == strange
    assert {(row["reason"], row["kind"]) for row in rows} == {("undecodable", "envelope")}


NOTES: dict[str, tuple[Any, ...]] = {
    "trace_id": (None, 5, [], "\0\ud800", "x" * 100_000),
    "received_at": (None, 5, {}, "soon", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
    "tenants": (None, 5, [], {"a": []}),
    "accounts": (None, 5, {}, [5], [["\0", 2**70]], [["a", "b"]], [[None]], [[None, None]] * 9),
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in NOTES.items() for v in vs])
async def test_a_note_that_is_spoilt_costs_no_message(
    pool: Pool, owner: Conn, name: str, value: Any
) -> None:
    """What stands beside the updates decides nothing."""
    tenant = await make_tenant(owner)
    envelope = json.loads(to(tenant, wrote("w1")))
    without = {key: one for key, one in envelope.items() if key != name}
    bodies = [json.dumps({**without, name: value}).encode(), json.dumps(without).encode()]
    for body_ in bodies:
        await record_batch(pool, [body_, to(tenant, wrote("w2"))], DEBOUNCE)
    assert await recorded(owner, tenant) == ["w1", "w2"]
    assert await parked(owner) == []


@pytest.mark.parametrize(
    "spoilt",
    [
        None,
        5,
        "x",
        [],
        {},
        {"kind": "gossip"},
        {"more": 1},
        {"field": None},
        {"phone_number_id": 5},
    ],
)
async def test_an_update_that_is_none_leaves_its_neighbours(
    pool: Pool, owner: Conn, spoilt: Any
) -> None:
    """It is kept as an envelope of its own: a later release may know how to read it."""
    tenant = await make_tenant(owner)
    envelope = json.loads(to(tenant, wrote("w1"), wrote("w2"), wrote("w3")))
    updates = envelope["updates"]
    updates[1] = {**updates[1], **spoilt} if spoilt and isinstance(spoilt, dict) else spoilt
    for _ in range(2):
        await record_batch(pool, [json.dumps(envelope).encode()], DEBOUNCE)
    assert await recorded(owner, tenant) == ["w1", "w3"]
    (row,) = await parked(owner)
    assert (row["reason"], row["kind"]) == ("undecodable", "envelope")
    alone = json.loads(row["raw"])
    assert alone["updates"] == [updates[1]]
    assert alone["trace_id"] == envelope["trace_id"]
    assert alone["accounts"] == [envelope["accounts"][1]]


async def test_the_reason_of_a_strange_version_is_short(pool: Pool, owner: Conn) -> None:
    await record_batch(pool, [json.dumps({"v": "text of w1" * 100}).encode()], DEBOUNCE)
    (row,) = await parked(owner)
    assert len(row["detail"]) < 40


async def test_redelivered_items_are_parked_once(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    bodies = [
        body(change(value("404", "1", messages=[wrote("w1"), wrote("w2")]))),
        to(tenant, wrote("w" * 300), "no message"),
        b"no envelope",
    ]
    for _ in range(3):
        await record_batch(pool, bodies, DEBOUNCE)
    await asyncio.gather(*(record_batch(pool, bodies[::-1], DEBOUNCE) for _ in range(6)))
    assert len(await parked(owner)) == 5


async def test_nothing_is_a_batch_too(pool: Pool, owner: Conn) -> None:
    await record_batch(pool, [], DEBOUNCE)
    await record_batch(pool, [body()], DEBOUNCE)
    assert await parked(owner) == []


# ---- readiness ---------------------------------------------------------------------------------


async def readiness(owner: Conn) -> tuple[float, float]:
    """Seconds from now to ready_at, and since pending_since."""
    row = await one(
        owner,
        "SELECT extract(epoch FROM ready_at - clock_timestamp())::float8 AS ready,"
        " extract(epoch FROM clock_timestamp() - pending_since)::float8 AS pending"
        " FROM conversations",
    )
    return row["ready"], row["pending"]


async def test_a_burst_is_ready_after_its_last_message_and_never_too_late(
    pool: Pool, owner: Conn
) -> None:
    tenant = await make_tenant(owner)
    patience = Debounce(quiet=timedelta(seconds=20), longest=timedelta(seconds=60))
    await record_batch(pool, [to(tenant, wrote("w1"))], patience)
    ready, _ = await readiness(owner)
    assert 15 < ready <= 20

    shift = (
        "UPDATE conversations SET ready_at = ready_at - $1::interval,"
        " pending_since = pending_since - $1"
    )
    await owner.execute(shift, timedelta(seconds=15))
    await record_batch(pool, [to(tenant, wrote("w2"))], patience)
    ready, pending = await readiness(owner)
    assert 15 < ready <= 20
    assert pending >= 15

    await owner.execute(shift, timedelta(seconds=30))
    await record_batch(pool, [to(tenant, wrote("w3"))], patience)
    ready, pending = await readiness(owner)
    assert ready <= 15  # sixty seconds after the first, at the latest
    assert 45 <= pending < 60

    await owner.execute(shift, timedelta(seconds=100))
    await record_batch(pool, [to(tenant, wrote("w4"))], patience)
    ready, _ = await readiness(owner)
    assert ready < -50


async def test_after_an_answer_the_next_burst_counts_anew(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    await record_batch(pool, [to(tenant, wrote("w1"))], DEBOUNCE)
    await owner.execute(
        "UPDATE conversations SET ready_at = NULL, pending_since = NULL, answered_seq = 1"
    )
    await record_batch(pool, [to(tenant, wrote("w2"))], DEBOUNCE)
    ready, pending = await readiness(owner)
    assert 0 < ready <= 2
    assert pending < 2


async def test_a_late_message_does_not_close_the_window(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    await record_batch(pool, [to(tenant, wrote("w1", at=1_795_000_100))], DEBOUNCE)
    await record_batch(pool, [to(tenant, wrote("w0", at=1_795_000_000))], DEBOUNCE)
    row = await one(owner, "SELECT last_inbound_at, input_seq FROM conversations")
    assert row["last_inbound_at"].timestamp() == 1_795_000_100
    assert row["input_seq"] == 2


# ---- a database that is away -------------------------------------------------------------------


async def test_away_is_said_and_nothing_is_half_written(database: Database, owner: Conn) -> None:
    tenant, other = await make_tenant(owner), await make_tenant(owner)
    bodies = [to(tenant, *(wrote(f"w{n}") for n in range(50))), to(other, wrote("o1"))]
    refusing = await create_pool("postgresql://x@127.0.0.1:1/x", size=2, name="tests")
    with pytest.raises(UNAVAILABLE):
        await record_batch(refusing, bodies, DEBOUNCE)
    refusing.terminate()

    pool = await create_pool(database.runtime_url, size=4, name="victim")
    killed = 0
    for _ in range(200):
        recording = asyncio.create_task(record_batch(pool, bodies, DEBOUNCE))
        await asyncio.sleep(random.random() * 0.02)
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'victim' AND datname = current_database()"
        )
        try:
            await recording
        except UNAVAILABLE:
            killed += 1
        for one_tenant in (tenant, other):
            wamids = await recorded(owner, one_tenant)
            assert len(wamids) in (0, 1 if one_tenant is other else 50)
            assert await received(owner, one_tenant) == len(wamids)
        assert await parked(owner) == []
        if killed >= 5 and await recorded(owner, other):
            break
        if await recorded(owner, other) and killed < 5:
            await owner.execute(
                "TRUNCATE messages, conversations, contacts, usage_tracking CASCADE"
            )
    assert killed >= 5
    await pool.expire_connections()  # those that were idle may be about to hear of their end
    await record_batch(pool, bodies, DEBOUNCE)
    assert await recorded(owner, tenant) == [f"w{n}" for n in range(50)]
    assert await received(owner, tenant) == 50
    pool.terminate()
