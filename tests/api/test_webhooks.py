"""Webhooks are made, changed, deleted, rotated; what is wrong is told in words."""

import asyncio
import base64
import json
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from db.pool import Conn, Pool
from handlers.process.secrets import Vault, webhook_secret_of
from tests.api import Answer, Client, make_delivery, make_key, make_webhook, tell
from tests.api.conftest import Connect
from tests.conftest import Database
from tests.factories import Tenant, make_tenant
from tests.ingress import DEAD_BROKER, SECRETS_KEY, door

NEW = {"url": "https://shop.example/hook", "events": ["message.*", "action.created"]}


async def made(client: Client, **more: Any) -> Any:
    answer = await client.post("/webhooks", NEW | more)
    assert answer.status == 201, answer
    return answer.json


# ---- made, read, changed, deleted ----------------------------------------------------------------


async def test_a_webhook_from_its_making_to_its_end(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    answer = await client.post("/webhooks", NEW | {"chatbot_id": ours.chatbot_id})
    row = dict(answer.json)
    assert (answer.status, answer.headers["ETag"]) == (201, '"1"')
    assert row.pop("secret_token").startswith("whsec_")
    path = f"/webhooks/{row['id']}"
    read = await client.get(path)
    assert (read.json, read.headers["ETag"]) == (row, '"1"')
    assert row.pop("created_at")
    assert row.pop("updated_at")
    assert row == NEW | {
        "id": row["id"],
        "chatbot_id": ours.chatbot_id,
        "ordered": False,
        "is_active": True,
        "missed": 0,
        **dict.fromkeys(("disabled_reason", "disabled_at", "prev_secret_until")),
        **dict.fromkeys(("failing_since", "last_success_at")),
    }
    other = await made(client, is_active=False, ordered=True)
    listed = (await client.get("/webhooks")).json
    assert [one["id"] for one in listed["data"]] == [other["id"], row["id"]]
    page = (await client.get("/webhooks", limit=1)).json
    last = (await client.get("/webhooks", limit=1, after=page["next"])).json
    assert [one["id"] for one in page["data"] + last["data"]] == [other["id"], row["id"]]
    assert last["next"] is None
    gone = await client.delete(path)
    assert (gone.status, gone.json) == (204, None)
    for again in (await client.get(path), await client.delete(path), await client.patch(path, {})):
        assert (again.status, again.problem) == (404, "not_found")


async def test_a_patch_changes_what_is_given(client: Client, ours: Tenant) -> None:
    row = await made(client, chatbot_id=ours.chatbot_id)
    path = f"/webhooks/{row['id']}"
    nothing = await client.patch(path, {})
    assert (nothing.status, nothing.headers["ETag"]) == (200, '"1"')
    same = await client.patch(path, {"url": row["url"], "ordered": False})
    assert same.headers["ETag"] == '"1"', "nothing was changed"
    url = "https://other.example/"
    changed = await client.patch(path, {"url": url, "chatbot_id": None, "events": ["*"]})
    assert changed.headers["ETag"] == '"2"'
    assert {**changed.json, "updated_at": None} == {
        **{name: value for name, value in row.items() if name != "secret_token"},
        "url": url,
        "chatbot_id": None,
        "events": ["*"],
        "updated_at": None,
    }
    headers = {"Content-Type": "application/merge-patch+json"}
    body = json.dumps({"ordered": True})
    merged = await client.send("PATCH", path, data=body, headers=headers)
    assert (merged.status, merged.json["ordered"]) == (200, True)
    null = await client.patch(path, {"url": None, "events": None, "is_active": None})
    assert {one["field"] for one in null.json["errors"]} == {"url", "events", "is_active"}
    refused = await client.send("POST", "/webhooks", data=body, headers=headers)
    assert (refused.status, refused.problem) == (415, "unsupported_media_type")


async def test_of_two_changes_of_one_version_one_is_made(client: Client) -> None:
    row = await made(client)
    path = f"/webhooks/{row['id']}"
    for version in range(1, 6):
        urls = [f"https://{version}.{n}.example/" for n in range(4)]
        answers = await asyncio.gather(
            *(client.patch(path, {"url": url}, If_Match=f'"{version}"') for url in urls)
        )
        assert Counter(a.status for a in answers) == {200: 1, 412: 3}
        (won,) = (a for a in answers if a.status == 200)
        lost = next(a for a in answers if a.status == 412)
        assert lost.problem == "precondition_failed"
        assert lost.headers["ETag"] == won.headers["ETag"] == f'"{version + 1}"'
        assert (await client.get(path)).json == won.json


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ('"1"', 200),
        ("*", 200),
        ('"7", "1"', 200),
        (',"7" ,, "1",', 200),
        ('"7"', 412),
        ('W/"1"', 412),
        ('W/"1", "2"', 412),
        ("1", 400),
        ("", 400),
        ('"1', 400),
        ('"1" "2"', 400),
        ("*, *", 400),
        (",".join(['"7"'] * 51), 400),
    ],
)
async def test_if_match_is_read_as_http_has_it(client: Client, given: str, status: int) -> None:
    path = f"/webhooks/{(await made(client))['id']}"
    changed = await client.patch(path, {"ordered": True}, If_Match=given)
    assert changed.status == status
    if status == 400:
        assert [one["field"] for one in changed.json["errors"]] == ["If-Match"]
    gone = await client.delete(path, If_Match='"2"' if status == 200 else given)
    assert gone.status == (204 if status == 200 else status)


# ---- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"url": "http://shop.example/"}, {"url": "http://, which anybody on the way can read"}),
        ({"url": "https://127.0.0.1/"}, {"url": "no public address"}),
        ({"url": "https://0x7f.1/"}, {"url": "no public address"}),
        ({"url": "https://me:pw@shop.example/"}, {"url": "user name or password"}),
        ({"url": f"https://shop.example/{'x' * 500}"}, {"url": "521 characters"}),
        ({"events": []}, {"events": "empty"}),
        ({"events": ["message.recieved"]}, {"events": "is it message.received"}),
        ({"events": ["messages.*"]}, {"events": "message.*"}),
        ({"events": ["ping", "ping"]}, {"events": "given more than once"}),
        ({"events": ["x" * 70_00]}, {"events": "no event has this name"}),
        ({"events": ["ping"] * 51}, {"events": "51 entries, 50 at most"}),
        ({"events": "ping"}, {"events": "not a list"}),
        ({"events": [1], "ordered": "yes"}, {"events.0": "not a text", "ordered": "not true"}),
        ({"secret_token": "mine"}, {"secret_token": "no such field"}),
        ({"chatbot_id": 0}, {"chatbot_id": "you have no chatbot with this id"}),
    ],
)
async def test_what_is_wrong_is_told(
    owner: Conn, client: Client, wrong: dict[str, Any], said: dict[str, str]
) -> None:
    path = f"/webhooks/{(await made(client))['id']}"
    for answer in (
        await client.post("/webhooks", NEW | wrong),
        await client.patch(path, wrong),
    ):
        assert (answer.status, answer.problem) == (400, "invalid_request"), answer
        told = {one["field"]: one["detail"] for one in answer.json["errors"]}
        assert told.keys() == said.keys()
        assert all(said[name] in told[name] for name in said), told
    assert await owner.fetchval("SELECT count(*) FROM webhooks WHERE version = 1") == 1


async def test_a_chatbot_is_ones_own(client: Client, theirs: Tenant) -> None:
    path = f"/webhooks/{(await made(client))['id']}"
    for answer in (
        await client.post("/webhooks", NEW | {"chatbot_id": theirs.chatbot_id}),
        await client.patch(path, {"chatbot_id": theirs.chatbot_id}),
    ):
        assert answer.json["errors"] == [
            {"field": "chatbot_id", "detail": "you have no chatbot with this id"}
        ]


# ---- the plan ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["premium_features.webhooks", "configure_integrations"])
async def test_without_it_in_the_plan_webhooks_are_read_only(
    owner: Conn, connect: Connect, key: str
) -> None:
    of = await make_tenant(owner)
    webhook, delivery = await make_delivery(owner, of)
    config = (
        {"permissions": {"configure_integrations": False}}
        if key == "configure_integrations"
        else {"features": {"premium_features": {"webhooks": False}}}
    )
    await owner.execute(
        "UPDATE user_subscriptions SET subscription_config = $2 WHERE user_id = $1",
        of.user_id,
        json.dumps(config),
    )
    client = await connect(of)
    path = f"/webhooks/{webhook}"
    for answer in (
        await client.post("/webhooks", NEW),
        await client.patch(path, {"ordered": True}),
        await client.delete(path),
        await client.post(f"{path}/rotate"),
        await client.post(f"{path}/test"),
        await client.post(f"{path}/recover", {"since": "2026-01-01T00:00:00Z"}),
        await client.post(f"/deliveries/{delivery}/replay"),
    ):
        assert (answer.status, answer.problem) == (403, "not_in_plan")
        assert key in answer.json["detail"]
    for readable in ("/webhooks", path, f"{path}/deliveries", f"/deliveries/{delivery}"):
        assert (await client.get(readable)).status == 200


@pytest.mark.parametrize("limit", [0, 3])
async def test_the_limit_is_exact_however_many_come_at_once(
    owner: Conn, pool: Pool, database: Database, limit: int
) -> None:
    """32 clients, at the doors of two processes."""
    of = await make_tenant(owner, config=f'{{"limits": {{"max_webhooks": {limit}}}}}')
    key, _ = await make_key(pool, of)
    async with (
        door(DEAD_BROKER, database.runtime_url) as one,
        door(DEAD_BROKER, database.runtime_url) as other,
    ):
        clients = [Client(at.url, at.http, key) for at in (one, other) for _ in range(16)]
        answers = await asyncio.gather(*(at.post("/webhooks", NEW) for at in clients))
    assert sorted(a.status for a in answers) == [201] * limit + [409] * (32 - limit)
    refused = next(a for a in answers if a.status == 409)
    assert refused.problem == "limit_reached"
    assert (refused.json["limit"], refused.json["allowed"], refused.json["count"]) == (
        "limits.max_webhooks",
        limit,
        limit,
    )
    assert await owner.fetchval("SELECT count(*) FROM webhooks") == limit


async def test_a_plan_that_names_no_number_allows_fifty(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    for _ in range(49):
        await make_webhook(owner, ours)
    await made(client)
    refused = await client.post("/webhooks", NEW)
    assert (refused.status, refused.problem, refused.json["allowed"]) == (409, "limit_reached", 50)


async def test_a_deleted_one_makes_room(owner: Conn, connect: Connect) -> None:
    client = await connect(await make_tenant(owner, config='{"limits": {"max_webhooks": 1}}'))
    row = await made(client)
    assert (await client.post("/webhooks", NEW)).problem == "limit_reached"
    assert (await client.delete(f"/webhooks/{row['id']}")).status == 204
    await made(client)


# ---- secrets -------------------------------------------------------------------------------------


async def secrets_of(owner: Conn, webhook: int) -> tuple[str | None, ...]:
    vault = Vault((SECRETS_KEY,))
    row = await owner.fetchrow(
        "SELECT secret_token, prev_secret_token FROM webhooks WHERE id = $1", webhook
    )
    assert row is not None
    belongs_to = webhook_secret_of(webhook)
    return tuple(None if one is None else vault.decrypt(one, belongs_to) for one in row)


async def test_a_secret_is_shown_once_and_rotates(
    owner: Conn, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    row = await made(client)
    first, path = row["secret_token"], f"/webhooks/{row['id']}"
    assert len(base64.b64decode(first.removeprefix("whsec_"), validate=True)) == 32
    assert await secrets_of(owner, row["id"]) == (first, None)
    rotated: list[Answer] = [await client.post(f"{path}/rotate") for _ in range(2)]
    second, third = (answer.json["secret_token"] for answer in rotated)
    assert len({first, second, third}) == 3
    assert [answer.headers["ETag"] for answer in rotated] == ['"2"', '"3"']
    assert await secrets_of(owner, row["id"]) == (third, second)
    ahead = datetime.fromisoformat(rotated[1].json["prev_secret_until"])
    left = await owner.fetchval("SELECT $1::timestamptz - now()", ahead)
    assert timedelta(hours=23, minutes=50) < left <= timedelta(hours=24)

    await client.patch(path, {"ordered": True})
    shown = [(await client.get(at)).json for at in ("/webhooks", path, f"{path}/deliveries")]
    out = capsys.readouterr()
    for text in (json.dumps(shown), out.out, out.err):
        assert "secret_token" not in text
        assert "whsec_" not in text
    stored = await owner.fetchval("SELECT w::text FROM webhooks w")
    for secret in (first, second, third):
        assert secret.removeprefix("whsec_") not in stored


async def test_a_repeated_rotation_with_its_key_rotates_once(owner: Conn, client: Client) -> None:
    row = await made(client)
    path = f"/webhooks/{row['id']}/rotate"
    answers = [await client.post(path, Idempotency_Key="k") for _ in range(3)]
    assert [a.status for a in answers] == [200] * 3
    assert ["secret_token" in a.json for a in answers] == [True, False, False]
    assert await secrets_of(owner, row["id"]) == (
        answers[0].json["secret_token"],
        row["secret_token"],
    )


# ---- off and on ----------------------------------------------------------------------------------


async def test_switched_on_it_is_as_if_it_had_never_failed(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    webhook = await make_webhook(owner, ours, is_active=False, disabled_reason="gone")
    await owner.execute(
        "UPDATE webhook_states SET failures = 30, timeouts = 4, opened = 7,"
        " failing_since = now() - interval '6 days', open_until = now() + interval '30 min'"
    )
    await owner.execute("UPDATE webhooks SET disabled_at = now()")
    for _ in range(3):
        await tell(owner, ours, "bot.recovered")
    await owner.execute("UPDATE webhook_deliveries SET due_at = NULL")
    path = f"/webhooks/{webhook}"
    off = (await client.get(path)).json
    assert (off["is_active"], off["disabled_reason"], off["missed"]) == (False, "gone", 3)
    assert off["failing_since"]
    on = await client.patch(path, {"is_active": True})
    assert (on.status, on.json["missed"], on.headers["ETag"]) == (200, 3, '"2"')
    for name in ("disabled_reason", "disabled_at", "failing_since"):
        assert on.json[name] is None, name
    (state,) = await owner.fetch(
        "SELECT failures, timeouts, opened, open_until FROM webhook_states"
    )
    assert tuple(state) == (0, 0, 0, None)


async def test_at_another_address_it_is_as_if_it_had_never_failed(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    webhook = await make_webhook(owner, ours)
    await owner.execute(
        "UPDATE webhook_states SET failures = 30, timeouts = 4, opened = 7,"
        " failing_since = now() - interval '4 days', open_until = now() + interval '30 min'"
    )
    look = "SELECT failures, timeouts, opened, failing_since, open_until FROM webhook_states"
    url = (await client.get(f"/webhooks/{webhook}")).json["url"]
    await client.patch(f"/webhooks/{webhook}", {"url": url, "ordered": True})
    (state,) = await owner.fetch(look)
    assert tuple(state)[:3] == (30, 4, 7), "nothing of it was changed"
    await client.patch(f"/webhooks/{webhook}", {"url": "https://mended.example/hook"})
    (state,) = await owner.fetch(look)
    assert tuple(state) == (0, 0, 0, None, None)
