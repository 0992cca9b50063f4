"""Delivery statuses into the record, and what is neither a status nor a message."""

import asyncio
import json
import random
from collections.abc import Iterator
from datetime import date
from itertools import permutations
from typing import Any

import pytest

from db.ids import ContactId, ConversationId, Wamid
from db.pool import UNAVAILABLE, Conn, Pool, create_pool
from db.pool import tenant as tenant_of
from db.sends import mark_accepted
from handlers.ingest.envelope import Envelope, encode
from handlers.ingest.others import take_others
from handlers.ingest.statuses import forget_old_orphans, match_orphans, merge_batch
from handlers.process.sweeps import Sweep
from handlers.whatsapp.cloud_api.wire import callback_data, split
from tests.factories import Tenant, make_conversation, make_message, make_tenant
from tests.recording import body, parked, parked_item, plainly_logged, statuses_for
from tests.unit import payloads
from tests.unit.payloads import FAILURE, change, status, value


@pytest.fixture(autouse=True, scope="module")
def logs() -> Iterator[None]:
    with plainly_logged():
        yield


async def accepted(
    owner: Conn, tenant: Tenant, n: int, at: tuple[ContactId, ConversationId] | None = None
) -> int:
    """An outbound message that Meta took under the wamid of status(n=n)."""
    contact_id, conversation_id = at or await make_conversation(owner, tenant)
    return await make_message(
        owner, tenant, contact_id, conversation_id, status="accepted", wamid=f"wamid.OURS{n}"
    )


async def state(owner: Conn, message_id: int) -> str:
    found: str = await owner.fetchval("SELECT status FROM messages WHERE id = $1", message_id)
    return found


async def metadata(owner: Conn, message_id: int) -> Any:
    return json.loads(
        await owner.fetchval("SELECT metadata FROM messages WHERE id = $1", message_id)
    )


async def orphans(owner: Conn) -> list[tuple[str, str]]:
    rows = await owner.fetch("SELECT wamid, status FROM orphan_statuses ORDER BY wamid, status")
    return [(row["wamid"], row["status"]) for row in rows]


async def dead(owner: Conn) -> list[tuple[int, str, str | None]]:
    rows = await owner.fetch("SELECT message_id, reason, detail FROM dead_sends ORDER BY 1")
    return [(row["message_id"], row["reason"], row["detail"]) for row in rows]


@pytest.mark.parametrize("kind", ["sent", "delivered", "read", "played", "failed"])
async def test_a_status_reaches_its_message(pool: Pool, owner: Conn, kind: str) -> None:
    tenant = await make_tenant(owner)
    message = await accepted(owner, tenant, 1)
    other = await accepted(owner, tenant, 2)
    await merge_batch(pool, [statuses_for(tenant, status(kind, 1))])
    assert await state(owner, message) == kind
    assert await state(owner, other) == "accepted"
    assert await metadata(owner, message) == {"statuses": {kind: "2026-11-18T11:06:41+00:00"}}
    assert await parked(owner) == []


@pytest.mark.parametrize("order", list(permutations(["sent", "delivered", "read"])))
async def test_the_order_of_arrival_does_not_matter(
    pool: Pool, owner: Conn, order: tuple[str, ...]
) -> None:
    tenant = await make_tenant(owner)
    apart, together = await accepted(owner, tenant, 1), await accepted(owner, tenant, 2)
    for kind in order:
        await merge_batch(pool, [statuses_for(tenant, status(kind, 1))])
    await merge_batch(pool, [statuses_for(tenant, *(status(kind, 2) for kind in order))])
    for message in (apart, together):
        assert await state(owner, message) == "read"
        assert set((await metadata(owner, message))["statuses"]) == set(order)


async def test_what_was_delivered_has_not_failed(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    one, two = await accepted(owner, tenant, 1), await accepted(owner, tenant, 2)
    failed = [status("failed", n, errors=[FAILURE]) for n in (1, 2)]
    await merge_batch(pool, [statuses_for(tenant, status("delivered", 1), failed[0])])
    await merge_batch(pool, [statuses_for(tenant, failed[1])])
    await merge_batch(pool, [statuses_for(tenant, status("sent", 2))])
    assert [await state(owner, one), await state(owner, two)] == ["delivered", "failed"]
    assert (await metadata(owner, two))["errors"] == [
        {
            "code": 131026,
            "title": "Message undeliverable",
            "details": "The recipient cannot be reached.",
        }
    ]
    await merge_batch(pool, [statuses_for(tenant, status("delivered", 2))])
    assert await state(owner, two) == "delivered"


async def test_a_failure_gives_its_unit_back_once(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    message = await accepted(owner, tenant, 1)
    day = date(2026, 11, 18)
    await owner.execute("UPDATE messages SET usage_day = $1", day)
    await owner.execute(
        "INSERT INTO usage_tracking (user_id, tracking_date, daily_messages_sent)"
        " VALUES ($1, $2, 5)",
        tenant.user_id,
        day,
    )
    await owner.execute(
        "INSERT INTO monthly_usage_summary (user_id, year, month, total_messages_sent)"
        " VALUES ($1, 2026, 11, 5)",
        tenant.user_id,
    )
    failed = statuses_for(tenant, status("failed", 1), status("failed", 1))
    await asyncio.gather(*(merge_batch(pool, [failed, failed]) for _ in range(5)))
    sent = await owner.fetchval("SELECT daily_messages_sent FROM usage_tracking")
    assert sent == 4
    assert await owner.fetchval("SELECT total_messages_sent FROM monthly_usage_summary") == 4
    assert await owner.fetchval("SELECT usage_day FROM messages WHERE id = $1", message) is None
    assert await owner.fetchval("SELECT rebuild_thread FROM conversations") is True


async def test_a_failure_beyond_the_limit_is_given_back_there(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    day = date(2026, 11, 18)
    for n in (1, 2, 3):
        await accepted(owner, tenant, n)
    await owner.execute(
        "UPDATE messages SET usage_day = $1, overage = message_id <> 'wamid.OURS1'", day
    )
    await owner.execute("SELECT lock_usage($1, ARRAY[$2::date])", tenant.user_id, day)
    await owner.execute("SELECT count_messages($1, $2, 1, 0, 2)", tenant.user_id, day)
    failed = [status("failed", n) for n in (1, 2)]
    await merge_batch(pool, [statuses_for(tenant, *failed)])
    used = await owner.fetchrow(
        "SELECT daily_messages_sent, daily_overage_messages, total_messages_sent, overage_messages"
        " FROM usage_tracking JOIN monthly_usage_summary USING (user_id)"
    )
    assert tuple(used or ()) == (0, 1, 0, 1)


async def test_our_own_id_finds_a_send_without_a_wamid(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    contact_id, conversation_id = await make_conversation(owner, tenant)
    message = await make_message(owner, tenant, contact_id, conversation_id, status="unknown")
    told = status("sent", 5, biz_opaque_callback_data=callback_data(message, 1))
    await merge_batch(pool, [statuses_for(tenant, told)])
    assert await state(owner, message) == "sent"
    wamid = await owner.fetchval("SELECT message_id FROM messages WHERE id = $1", message)
    assert wamid == "wamid.OURS5"


async def test_of_a_status_told_again_the_first_time_counts(pool: Pool, owner: Conn) -> None:
    user = await make_tenant(owner)
    message = await accepted(owner, user, 1)
    for at in ("1795000100", "1795000200"):
        await merge_batch(pool, [statuses_for(user, status("sent", 1, timestamp=at))])
    assert (await metadata(owner, message))["statuses"] == {"sent": "2026-11-18T11:08:20+00:00"}


A, B = "wamid.OURS1", "wamid.OURS2"


@pytest.mark.parametrize(
    ("before", "told", "after"),
    [
        # (status, wamid, sends of it), (status, whose wamid, which send), (status, wamid)
        (("unknown", None, 1), ("delivered", 1, 1), ("delivered", A)),
        (("sending", None, 1), ("sent", 1, 1), ("sent", A)),
        (("sending", None, 1), ("failed", 1, 1), ("failed", A)),
        # A send before tells how far the message got, but not that it failed.
        (("queued", None, 1), ("failed", 1, 1), ("queued", None)),
        (("queued", None, 1), ("delivered", 1, 1), ("delivered", A)),
        (("sending", None, 2), ("failed", 1, 1), ("sending", None)),
        (("sending", None, 2), ("failed", 2, 2), ("failed", B)),
        (("accepted", B, 2), ("failed", 1, 1), ("accepted", B)),
        (("accepted", B, 2), ("failed", 2, 2), ("failed", B)),
        (("accepted", B, 2), ("read", 1, 1), ("read", B)),
        (("failed", B, 2), ("delivered", 1, 1), ("delivered", B)),
        # What went once has one wamid: another one's status is another message's.
        (("accepted", B, 1), ("delivered", 1, 1), ("accepted", B)),
        (("cancelled", None, 1), ("sent", 1, 1), ("sent", A)),
        (("cancelled", None, 1), ("failed", 1, 1), ("cancelled", A)),
    ],
)
async def test_what_a_status_says_of_which_send(
    pool: Pool,
    owner: Conn,
    before: tuple[str, str | None, int],
    told: tuple[str, int, int],
    after: tuple[str, str | None],
) -> None:
    user = await make_tenant(owner)
    status_, wamid, sends = before
    message = await make_message(
        owner, user, *await make_conversation(owner, user), status=status_, wamid=wamid
    )
    await owner.execute(
        "UPDATE messages SET send_attempts = $1, usage_day = current_date,"
        " send_owner = CASE WHEN status = 'sending' THEN 7 END, unknown_count = 0,"
        " unknown_at = CASE WHEN status = 'unknown' THEN now() END",
        sends,
    )
    await owner.execute(
        "INSERT INTO usage_tracking (user_id, tracking_date, daily_messages_sent)"
        " SELECT id, current_date, 1 FROM users;"
        "INSERT INTO monthly_usage_summary (user_id, year, month, total_messages_sent)"
        " SELECT id, extract(year FROM current_date), extract(month FROM current_date), 1"
        "   FROM users"
    )
    kind, whose, which = told
    item = status(kind, whose, biz_opaque_callback_data=callback_data(message, which))
    await merge_batch(pool, [statuses_for(user, item)])
    row = await owner.fetchrow(
        "SELECT status, message_id, send_owner, unknown_at, usage_day FROM messages"
    )
    assert row is not None
    assert tuple(row)[:2] == after
    # A worker still has what is still under way; a unit goes back with what failed.
    assert (row["send_owner"], row["unknown_at"]) == (7 if after[0] == "sending" else None, None)
    assert (row["usage_day"] is None) == (after[0] == "failed")


async def test_statuses_that_come_before_their_message_is_known_find_it_later(
    pool: Pool, owner: Conn
) -> None:
    """Without our id: Meta echoes it, but a status that does not have it must not be lost."""
    tenant = await make_tenant(owner)
    place = await make_conversation(owner, tenant)
    message = await make_message(owner, tenant, *place, status="sending")
    early = [statuses_for(tenant, status(kind, 5)) for kind in ("read", "sent", "read")]
    await merge_batch(pool, early)
    await match_orphans(pool, Sweep("test"))
    assert await state(owner, message) == "sending"
    assert len(await orphans(owner)) == 2
    async with tenant_of(pool, tenant.user_id) as conn:
        await mark_accepted(conn, tenant.user_id, message, Wamid("wamid.OURS5"))
    await asyncio.gather(*(match_orphans(pool, Sweep("test")) for _ in range(4)))
    assert await state(owner, message) == "read"
    assert set((await metadata(owner, message))["statuses"]) == {"sent", "read"}
    assert await orphans(owner) == []


async def test_an_orphan_that_tells_of_a_failure_does_all_that_a_failure_does(
    pool: Pool, owner: Conn
) -> None:
    tenant = await make_tenant(owner)
    message = await make_message(
        owner, tenant, *await make_conversation(owner, tenant), status="sending"
    )
    await merge_batch(pool, [statuses_for(tenant, status("failed", 5, errors=[FAILURE]))])
    await owner.execute("UPDATE messages SET message_id = 'wamid.OURS5', status = 'accepted'")
    await match_orphans(pool, Sweep("test"))
    assert await dead(owner) == [(message, "not_delivered", "131026 Message undeliverable")]
    assert await owner.fetchval("SELECT rebuild_thread FROM conversations") is True
    (event,) = await owner.fetch("SELECT event_type, event_data FROM analytics_events")
    assert event["event_type"] == "message.failed"
    assert json.loads(event["event_data"])["message_id"] == message


async def test_orphans_are_hoped_for_and_then_forgotten(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    await merge_batch(pool, [statuses_for(tenant, status("sent", 1), status("sent", 2))])
    await accepted(owner, tenant, 1)
    await owner.execute("UPDATE orphan_statuses SET parked_at = now() - interval '11 min'")
    await match_orphans(pool, Sweep("test"))
    await forget_old_orphans(pool)
    assert len(await orphans(owner)) == 2
    await owner.execute(
        "UPDATE orphan_statuses SET parked_at = now() - interval '25 h' WHERE wamid = 'wamid.OURS2'"
    )
    await forget_old_orphans(pool)
    assert await orphans(owner) == [("wamid.OURS1", "sent")]


async def test_a_message_that_arrived_after_all_leaves_the_dead_list(
    pool: Pool, owner: Conn
) -> None:
    tenant = await make_tenant(owner)
    message = await accepted(owner, tenant, 1)
    await merge_batch(pool, [statuses_for(tenant, status("failed", 1, errors=[FAILURE]))])
    assert [row[0] for row in await dead(owner)] == [message]
    await owner.execute("UPDATE conversations SET rebuild_thread = false")
    await merge_batch(pool, [statuses_for(tenant, status("delivered", 1))])
    assert await dead(owner) == []
    assert await owner.fetchval("SELECT rebuild_thread FROM conversations") is True


async def test_another_tenants_message_is_never_touched(pool: Pool, owner: Conn) -> None:
    mine, theirs = await make_tenant(owner), await make_tenant(owner)
    message = await accepted(owner, theirs, 1)
    stolen = status("failed", 1, biz_opaque_callback_data=callback_data(message, 1))
    await merge_batch(pool, [statuses_for(mine, stolen, status("read", 1))])
    assert await state(owner, message) == "accepted"
    assert await orphans(owner) == [("wamid.OURS1", "failed"), ("wamid.OURS1", "read")]


async def test_inbound_messages_have_no_status(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    contact_id, conversation_id = await make_conversation(owner, tenant)
    message = await make_message(
        owner,
        tenant,
        contact_id,
        conversation_id,
        direction="inbound",
        status="received",
        wamid="wamid.OURS1",
    )
    await merge_batch(pool, [statuses_for(tenant, status("read", 1))])
    assert await state(owner, message) == "received"
    assert await orphans(owner) == [("wamid.OURS1", "read")]
    await match_orphans(pool, Sweep("test"))
    assert await orphans(owner) == [("wamid.OURS1", "read")]


async def test_orphans_strangers_and_nonsense_are_parked_once(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    unbound = await make_tenant(owner, phone_number_id=None)
    message = await accepted(owner, tenant, 1)
    waiting = Tenant(unbound.user_id, unbound.chatbot_id, unbound.number, "5550009")
    bodies = [
        statuses_for(tenant, status("sent", 404)),
        body(change(value("404", "1", statuses=[status("sent", 1)]))),
        statuses_for(tenant, status("warmed_up"), "nonsense", status("sent", timestamp="\0")),
        statuses_for(waiting, status("sent", 7)),
        b"no envelope",
        statuses_for(tenant, status("read", 1)),
    ]
    for _ in range(2):
        await merge_batch(pool, bodies)
    rows = {(row["reason"], row["detail"]) for row in await parked(owner)}
    assert rows == {
        ("unknown_number", None),
        ("not_understood", "status_of_unknown_kind"),
        ("not_understood", "status_not_an_object"),
        ("not_understood", "status_without_timestamp"),
        ("undecodable", "JSONDecodeError"),
    }
    assert len(await parked(owner)) == 5
    assert await orphans(owner) == [("wamid.OURS404", "sent"), ("wamid.OURS7", "sent")]
    assert await state(owner, message) == "read"
    # A status speaks of what was sent from a bound number; it binds none.
    bound = await owner.fetchval(
        "SELECT phone_number_id FROM chatbots WHERE id = $1", unbound.chatbot_id
    )
    assert bound is None


@pytest.mark.parametrize("bad", ["\0", "\ud83c", "x" * 5_000])
async def test_any_text_may_be_in_a_status(pool: Pool, owner: Conn, bad: str) -> None:
    tenant = await make_tenant(owner)
    message = await accepted(owner, tenant, 1)
    odd = status(
        "failed",
        1,
        errors=[{"code": 2**40, "title": bad, "error_data": {"details": bad}}, bad, None],
        biz_opaque_callback_data=bad,
    )
    await merge_batch(pool, [statuses_for(tenant, status("sent", id=bad), odd)])
    assert await state(owner, message) == "failed"
    assert len(await orphans(owner)) == 1
    assert await parked(owner) == []


async def test_statuses_at_once_from_everywhere_end_the_same(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    places = [await make_conversation(owner, tenant) for _ in range(3)]
    messages = [await accepted(owner, tenant, n, places[n % 3]) for n in range(20)]
    told = [status(kind, n) for n in range(20) for kind in ("sent", "delivered", "read")]
    dice = random.Random(3)

    async def deliver() -> None:
        mine = dice.sample(told, len(told))
        halves = (mine[:30], mine[30:])
        await merge_batch(pool, [statuses_for(tenant, *half) for half in halves])

    await asyncio.gather(*(deliver() for _ in range(10)))
    assert {await state(owner, m) for m in messages} == {"read"}
    assert await parked(owner) == []


async def test_a_database_that_is_away_is_said(owner: Conn) -> None:
    tenant = await make_tenant(owner)
    pool = await create_pool("postgresql://x@127.0.0.1:1/x", size=2, name="tests")
    with pytest.raises(UNAVAILABLE):
        await merge_batch(pool, [statuses_for(tenant, status())])
    with pytest.raises(UNAVAILABLE):
        await take_others(pool, [body(change({}, "account_update"))])
    pool.terminate()


# ---- neither -----------------------------------------------------------------------------------


async def test_what_is_nobody_s_is_kept_whole_and_once(pool: Pool, owner: Conn) -> None:
    bodies = [
        body(*payloads.ACCOUNT_UPDATE["entry"][0]["changes"]),
        body(*payloads.OUT_OF_BAND_ERRORS["entry"][0]["changes"]),
        b"\x00no envelope",
    ]
    for _ in range(2):
        await take_others(pool, bodies)
    rows = {row["reason"]: row for row in await parked(owner)}
    account, errors, opaque = (
        rows[r] for r in ("unknown_account", "unknown_number", "undecodable")
    )
    assert (account["detail"], account["kind"]) == ("account_update", "other")
    assert parked_item(account) == payloads.ACCOUNT_UPDATE["entry"][0]["changes"][0]
    assert errors["phone_number_id"] == payloads.PNID
    assert opaque["raw"] == b"\x00no envelope"
    assert len(rows) == len(await parked(owner))


@pytest.mark.parametrize("field", ["\0", "\ud83c", "x" * 100_000, ""])
async def test_any_field_can_be_parked(pool: Pool, owner: Conn, field: str) -> None:
    await take_others(pool, [body(change({"a": 1}, field)), body(change({"a": 2}, "calls"))])
    assert len(await parked(owner)) == 2


@pytest.mark.parametrize("depth", [500, 700, 780])
async def test_deep_nesting_can_be_parked(pool: Pool, owner: Conn, depth: int) -> None:
    deep: Any = 1
    for _ in range(depth):
        deep = [deep]
    update = split({"object": "whatsapp_business_account", "entry": deep})
    await take_others(pool, [encode(Envelope("t", "now", tuple(update)))])
    assert len(await parked(owner)) == 1
