"""A webhook may only speak for numbers of its own app, whatever it brings."""

import json
from typing import Any

import pytest

from db.ids import AppId
from db.pool import Conn, Pool
from handlers.ingest.envelope import Envelope, encode
from handlers.ingest.others import take_others
from handlers.ingest.parking import entry_of
from handlers.ingest.recording import record_batch
from handlers.ingest.statuses import merge_batch
from handlers.whatsapp.cloud_api.wire import split
from tests.factories import Tenant, make_conversation, make_message, make_tenant
from tests.recording import DEBOUNCE, TRACE, parked, recorded, wrote
from tests.unit import payloads
from tests.unit.payloads import change, value, webhook


async def make_app(owner: Conn, name: str) -> AppId:
    return AppId(
        await owner.fetchval(
            "INSERT INTO apps (name, app_secret, verify_token)"
            " VALUES ($1, 'enc:v1:x', 'enc:v1:x') RETURNING id",
            name,
        )
    )


async def put_on(owner: Conn, tenant: Tenant, app_id: AppId | None) -> None:
    await owner.execute("UPDATE chatbots SET app_id = $2 WHERE id = $1", tenant.chatbot_id, app_id)


def said(app_id: AppId | None, *changes: Any) -> bytes:
    updates = tuple(split(webhook(*changes)))
    return encode(Envelope(TRACE, "2026-11-22T10:00:00+00:00", updates, app_id=app_id))


def messages(tenant: Tenant, *wamids: str) -> Any:
    items = [wrote(wamid) for wamid in wamids]
    return change(value(tenant.phone_number_id, tenant.number, messages=items))


async def reasons(owner: Conn) -> list[str]:
    return [row["reason"] for row in await parked(owner)]


@pytest.fixture
async def apps(owner: Conn) -> list[AppId | None]:
    return [await make_app(owner, "one"), await make_app(owner, "other"), None]


@pytest.mark.parametrize("own", range(3))
async def test_only_the_number_s_own_app_is_heard(
    pool: Pool, owner: Conn, apps: list[AppId | None], own: int
) -> None:
    """The environment's is an app like the others."""
    tenant = await make_tenant(owner)
    await put_on(owner, tenant, apps[own])
    for number, app_id in enumerate(apps):
        await record_batch(pool, [said(app_id, messages(tenant, f"of-{number}"))], DEBOUNCE)
    assert await recorded(owner, tenant) == [f"of-{own}"]
    assert await reasons(owner) == ["number_of_another_app"] * 2


async def test_one_batch_with_several_apps_takes_nobody_along(
    pool: Pool, owner: Conn, apps: list[AppId | None]
) -> None:
    mine, other = await make_tenant(owner), await make_tenant(owner)
    await put_on(owner, mine, apps[0])
    await put_on(owner, other, apps[1])
    batch = [
        said(apps[0], messages(mine, "a"), messages(other, "forged")),
        said(apps[1], messages(mine, "forged too"), messages(other, "b")),
        said(apps[0], messages(mine, "c")),
    ]
    await record_batch(pool, batch, DEBOUNCE)
    assert await recorded(owner, mine) == ["a", "c"]
    assert await recorded(owner, other) == ["b"]
    assert await reasons(owner) == ["number_of_another_app"] * 2


async def test_a_number_is_never_bound_by_another_app(
    pool: Pool, owner: Conn, apps: list[AppId | None]
) -> None:
    tenant = await make_tenant(owner, phone_number_id=None)
    await put_on(owner, tenant, apps[0])
    claims = change(value("409800001111", tenant.number, messages=[wrote("x")]))
    for app_id in (apps[1], None):
        await record_batch(pool, [said(app_id, claims)], DEBOUNCE)
    bound = "SELECT phone_number_id FROM chatbots WHERE id = $1"
    assert await owner.fetchval(bound, tenant.chatbot_id) is None
    assert await owner.fetchval("SELECT count(*) FROM chatbot_phone_numbers") == 0
    await record_batch(pool, [said(apps[0], claims)], DEBOUNCE)
    assert await owner.fetchval(bound, tenant.chatbot_id) == "409800001111"
    assert await recorded(owner, tenant) == ["x"]


async def test_a_status_of_another_app_moves_nothing(
    pool: Pool, owner: Conn, apps: list[AppId | None]
) -> None:
    tenant = await make_tenant(owner)
    await put_on(owner, tenant, apps[0])
    ids = await make_conversation(owner, tenant)
    message = await make_message(owner, tenant, *ids, status="accepted", wamid="wamid.out")
    told = payloads.status("read", id="wamid.out")
    report = change(value(tenant.phone_number_id, tenant.number, statuses=[told]))
    status = "SELECT status FROM messages WHERE id = $1"
    await merge_batch(pool, [said(apps[1], report), said(None, report)])
    assert await owner.fetchval(status, message) == "accepted"
    assert await reasons(owner) == ["number_of_another_app"] * 2
    await merge_batch(pool, [said(apps[0], report)])
    assert await owner.fetchval(status, message) == "read"


async def test_an_account_s_events_are_told_to_those_in_its_app(
    pool: Pool, owner: Conn, apps: list[AppId | None]
) -> None:
    mine, other = await make_tenant(owner), await make_tenant(owner)
    await put_on(owner, mine, apps[0])
    await owner.execute("UPDATE chatbots SET waba_id = 'shared'")
    event = {"field": "account_update", "value": {"event": "DISABLED_UPDATE"}}

    async def told(app_id: AppId | None) -> None:
        payload = webhook(event)
        payload["entry"][0]["id"] = "shared"
        updates = tuple(split(payload))
        await take_others(pool, [encode(Envelope(TRACE, "now", updates, app_id=app_id))])

    who = "SELECT user_id FROM account_events ORDER BY id"
    await told(apps[1])
    assert await owner.fetch(who) == []
    assert await reasons(owner) == ["number_of_another_app"]
    await told(apps[0])
    assert [row["user_id"] for row in await owner.fetch(who)] == [mine.user_id]
    await told(None)
    assert [row["user_id"] for row in await owner.fetch(who)] == [mine.user_id, other.user_id]


async def test_what_was_parked_for_another_reason_keeps_its_app(
    pool: Pool, owner: Conn, apps: list[AppId | None]
) -> None:
    """Its number comes later, and then the app counts as on the first day."""
    nobodys = change(value("409800002222", "+12025550999", messages=[wrote("early")]))
    await record_batch(pool, [said(apps[0], nobodys), said(apps[1], nobodys)], DEBOUNCE)
    rows = await parked(owner)
    assert [row["reason"] for row in rows] == ["unknown_number"] * 2
    assert [json.loads(row["raw"])["app"] for row in rows] == apps[:2]
    tenant = await make_tenant(owner, phone_number_id="409800002222")
    await put_on(owner, tenant, apps[0])
    await owner.execute("DELETE FROM parked_items")
    for row in rows:
        again = {k: v for k, v in row.items() if k not in ("reason", "detail")}
        entry = entry_of(**again, now=await owner.fetchval("SELECT now()"))
        await record_batch(pool, [entry.body], DEBOUNCE)
    assert await recorded(owner, tenant) == ["early"]
    assert await reasons(owner) == ["number_of_another_app"]


async def test_an_app_that_is_none_of_ours_is_not_the_environment_s(
    pool: Pool, owner: Conn
) -> None:
    tenant = await make_tenant(owner)
    entry = json.loads(said(None, messages(tenant, "x")))
    values: list[Any] = [True, 0, -1, "1", [], 2**63]
    bodies = [json.dumps(entry | {"app": app}).encode() for app in values]
    await record_batch(pool, bodies, DEBOUNCE)
    assert await recorded(owner, tenant) == []
    assert await reasons(owner) == ["undecodable"] * len(bodies)
    gone = said(AppId(77), messages(tenant, "x"))
    await record_batch(pool, [gone], DEBOUNCE)
    assert await recorded(owner, tenant) == []
