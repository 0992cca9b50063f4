"""DELETE /v1/contacts: from the answer on the person is in no other one."""

import json
from typing import Any

import pytest

from db.deliveries import FIRST_KEY, ClaimedWebhook, next_deliveries
from db.ids import WorkerId
from db.pool import Conn, Pool
from ingress.api.endpoints import ENDPOINTS
from tests.api import Client, make_key
from tests.api.conftest import Connect
from tests.erasure import finish
from tests.erasure.person import ADA, BEN, Person, lives
from tests.factories import Tenant, make_tenant
from tests.ingress import Door


async def lists(client: Client) -> dict[str, Any]:
    """Everything that can be listed, also by later endpoints."""
    paths = [e.path for e in ENDPOINTS if e.method == "GET" and not e.path_names]
    assert len(paths) >= 5
    answers = {path: await client.get(path) for path in paths}
    assert {answer.status for answer in answers.values()} <= {200}
    return {
        path: {"file": answer.json.decode()} if isinstance(answer.json, bytes) else answer.json
        for path, answer in answers.items()
    }


async def test_at_204_they_are_in_no_answer(
    pool: Pool, owner: Conn, client: Client, ours: Tenant
) -> None:
    ada = await lives(pool, owner, ours, ADA)
    await lives(pool, owner, ours, BEN)
    conversation = await owner.fetchval("SELECT id FROM conversations WHERE contact_id = $1", ada)
    action = await owner.fetchval("SELECT id FROM actions WHERE contact_id = $1", ada)
    deliveries = await deliveries_of(owner, ADA)
    replays = f"/conversations/{conversation}/messages", {"content_text": "hello"}
    key = {"Idempotency_Key": "first"}
    assert (await client.post(*replays, **key)).status == 201
    before = json.dumps(await lists(client))
    assert ADA.number in before
    assert ADA.word in before
    answer = await client.send("DELETE", f"/contacts/{ada}")
    assert (answer.status, answer.json) == (204, None)
    # Nobody has swept yet.
    assert await owner.fetchval("SELECT count(*) FROM messages WHERE contact_id = $1", ada) > 0
    after = await lists(client)
    told = json.dumps(after)
    for needle in ADA.needles:
        assert needle not in told
    contacts = {row["contact_id"] for page in after.values() for row in rows(page)}
    assert ada not in contacts
    assert BEN.word in told
    for path in (
        f"/conversations/{conversation}",
        f"/conversations/{conversation}/messages",
        f"/actions/{action}",
    ):
        assert (await client.get(path)).status == 404
    for path, body in (
        (f"/conversations/{conversation}/takeover", {}),
        (f"/conversations/{conversation}/messages", {"content_text": "hi"}),
        (f"/actions/{action}/approve", {}),
    ):
        assert (await client.post(path, body)).status == 404
    assert (await client.post(*replays, **key)).problem == "not_found"
    for _, delivery_id in deliveries:
        told = (await client.get(f"/deliveries/{delivery_id}")).json
        assert (told["payload"], told["attempts"]) == (None, [])
    listed = (await client.get(f"/webhooks/{deliveries[0][0]}/deliveries")).json
    assert not any(needle in json.dumps(listed) for needle in ADA.needles)
    assert await posted(pool, owner, ours, ADA) == []
    assert await posted(pool, owner, ours, BEN) != []
    assert (await client.send("DELETE", f"/contacts/{ada}")).problem == "not_found"
    await finish(pool, owner)
    assert (await client.send("DELETE", f"/contacts/{ada}")).problem == "not_found"


async def deliveries_of(owner: Conn, who: Person) -> list[tuple[int, int]]:
    rows = await owner.fetch(
        "SELECT d.webhook_id, d.id FROM webhook_deliveries d"
        "  JOIN webhook_events e ON e.id = d.event_id WHERE position($1 IN e.body) > 0",
        who.word,
    )
    assert len(rows) >= 3
    return [(row["webhook_id"], row["id"]) for row in rows]


async def posted(pool: Pool, owner: Conn, of: Tenant, who: Person) -> list[str]:
    """What a worker that holds the webhook would post of somebody."""
    webhook_id = await owner.fetchval("SELECT id FROM webhooks WHERE user_id = $1", of.user_id)
    await owner.execute("UPDATE webhook_states SET lease_owner = 1")
    async with pool.acquire() as conn:
        claimed = ClaimedWebhook(user_id=of.user_id, id=webhook_id)
        found = await next_deliveries(conn, claimed, WorkerId(1), [], 1000, FIRST_KEY)
    assert found is not None
    return [due.body for due in found.due if who.word in due.body]


def rows(page: Any) -> list[Any]:
    return [row for row in page.get("data", []) if "contact_id" in row]


async def test_it_is_for_who_may(
    pool: Pool, owner: Conn, api: Door, connect: Connect, ours: Tenant, theirs: Tenant
) -> None:
    ada = await lives(pool, owner, ours, ADA)
    stranger = await connect(theirs)
    assert (await stranger.send("DELETE", f"/contacts/{ada}")).problem == "not_found"
    reader = await connect(ours, "conversations:read")
    assert (await reader.send("DELETE", f"/contacts/{ada}")).problem == "permission_missing"
    bound = await make_tenant(owner, config='{"permissions": {"delete_conversations": false}}')
    key, _ = await make_key(pool, bound)
    not_theirs = Client(api.url, api.http, key)
    ben = await lives(pool, owner, bound, BEN)
    assert (await not_theirs.send("DELETE", f"/contacts/{ben}")).problem == "not_in_plan"
    assert await owner.fetchval("SELECT count(*) FROM contacts WHERE erased_at IS NULL") == 2


@pytest.mark.parametrize("contact_id", ["x", "-1", "9" * 30])
async def test_what_is_no_id_is_nobody_s(client: Client, contact_id: str) -> None:
    assert (await client.send("DELETE", f"/contacts/{contact_id}")).problem == "not_found"
