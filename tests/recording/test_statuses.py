"""Delivery statuses into the record, and what is neither a status nor a message."""

import asyncio
import json
import random
from collections.abc import Iterator
from datetime import date
from itertools import permutations
from typing import Any

import pytest

from db.ids import ContactId, ConversationId
from db.pool import UNAVAILABLE, Conn, Pool, create_pool
from handlers.delivery_status import merge_batch, park_batch
from handlers.envelope import Envelope, encode
from handlers.whatsapp.wire import callback_data, split
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


async def test_our_own_id_finds_a_send_without_a_wamid(pool: Pool, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    contact_id, conversation_id = await make_conversation(owner, tenant)
    message = await make_message(owner, tenant, contact_id, conversation_id, status="unknown")
    told = status("sent", 5, biz_opaque_callback_data=callback_data(message, 1))
    await merge_batch(pool, [statuses_for(tenant, told)])
    assert await state(owner, message) == "sent"
    wamid = await owner.fetchval("SELECT message_id FROM messages WHERE id = $1", message)
    assert wamid == "wamid.OURS5"


async def test_another_tenants_message_is_never_touched(pool: Pool, owner: Conn) -> None:
    mine, theirs = await make_tenant(owner), await make_tenant(owner)
    message = await accepted(owner, theirs, 1)
    stolen = status("failed", 1, biz_opaque_callback_data=callback_data(message, 1))
    await merge_batch(pool, [statuses_for(mine, stolen, status("read", 1))])
    assert await state(owner, message) == "accepted"
    assert [row["reason"] for row in await parked(owner)] == ["orphan_status"] * 2


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
    assert [row["reason"] for row in await parked(owner)] == ["orphan_status"]


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
        ("orphan_status", None),
        ("unknown_number", None),
        ("bindable", None),
        ("not_understood", "status_of_unknown_kind"),
        ("not_understood", "status_not_an_object"),
        ("not_understood", "status_without_timestamp"),
        ("undecodable", "JSONDecodeError"),
    }
    assert len(await parked(owner)) == 7
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
    assert [row["reason"] for row in await parked(owner)] == ["orphan_status"]


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
        await park_batch(pool, [body(change({}, "account_update"))])
    pool.terminate()


# ---- neither -----------------------------------------------------------------------------------


async def test_the_rest_is_kept_whole_and_once(pool: Pool, owner: Conn) -> None:
    bodies = [
        body(*payloads.ACCOUNT_UPDATE["entry"][0]["changes"]),
        body(*payloads.OUT_OF_BAND_ERRORS["entry"][0]["changes"]),
        b"\x00no envelope",
    ]
    for _ in range(2):
        await park_batch(pool, bodies)
    opaque, account, errors = await parked(owner)
    assert (account["reason"], account["detail"], account["kind"]) == (
        *("not_understood", "field:account_update", "other"),
    )
    assert parked_item(account) == payloads.ACCOUNT_UPDATE["entry"][0]["changes"][0]
    assert errors["phone_number_id"] == payloads.PNID
    assert opaque["raw"] == b"\x00no envelope"


@pytest.mark.parametrize("field", ["\0", "\ud83c", "x" * 100_000, ""])
async def test_any_field_can_be_parked(pool: Pool, owner: Conn, field: str) -> None:
    await park_batch(pool, [body(change({"a": 1}, field)), body(change({"a": 2}, "calls"))])
    assert len(await parked(owner)) == 2


@pytest.mark.parametrize("depth", [500, 700, 780])
async def test_deep_nesting_can_be_parked(pool: Pool, owner: Conn, depth: int) -> None:
    deep: Any = 1
    for _ in range(depth):
        deep = [deep]
    update = split({"object": "whatsapp_business_account", "entry": deep})
    await park_batch(pool, [encode(Envelope("t", "now", tuple(update)))])
    assert len(await parked(owner)) == 1
