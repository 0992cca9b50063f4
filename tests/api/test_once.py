"""An Idempotency-Key: done once, whatever dies, and the first answer for whoever repeats it."""

import asyncio
from typing import Any

import asyncpg
import pytest

from db.idempotency import hold_key
from db.pool import Conn, Pool, tenant
from tests.api import Client, make_open_conversation, make_webhook
from tests.api.conftest import Connect
from tests.conftest import Database
from tests.e2e.conftest import until
from tests.factories import Tenant

WEBHOOK = {"url": "https://shop.example/hook", "events": ["*"]}


async def webhooks(owner: Conn) -> int:
    count: int = await owner.fetchval("SELECT count(*) FROM webhooks")
    return count


async def test_twenty_at_once_are_one(owner: Conn, client: Client, connect: Connect) -> None:
    async def made() -> Any:
        while True:
            answer = await client.post("/webhooks", WEBHOOK, Idempotency_Key="k")
            if answer.status == 201:
                return answer
            assert answer.problem in ("idempotency_in_progress", "too_many_requests")
            await asyncio.sleep(0.02)

    answers = await asyncio.gather(*(made() for _ in range(20)))
    assert await webhooks(owner) == 1
    told = [answer.json.pop("secret_token", None) for answer in answers]
    assert sum(secret is not None for secret in told) == 1, "shown once"
    assert all(answer.json == answers[0].json for answer in answers)
    assert {answer.headers["ETag"] for answer in answers} == {'"1"'}


async def test_the_first_answer_stays_whatever_becomes_of_the_row(
    owner: Conn, client: Client
) -> None:
    first = await client.post("/webhooks", WEBHOOK, Idempotency_Key="k")
    path = f"/webhooks/{first.json['id']}"
    assert (await client.patch(path, {"events": ["ping"]})).status == 200
    again = await client.post("/webhooks", WEBHOOK, Idempotency_Key="k")
    del first.json["secret_token"]
    assert (again.status, again.json, again.headers["ETag"]) == (201, first.json, '"1"')
    assert (await client.delete(path)).status == 204
    assert (await client.post("/webhooks", WEBHOOK, Idempotency_Key="k")).json == first.json
    assert await webhooks(owner) == 0
    kept = await owner.fetchval("SELECT string_agg(i::text, '') FROM idempotency_keys i")
    assert "whsec_" not in kept


async def test_what_is_refused_leaves_the_key_free(owner: Conn, client: Client) -> None:
    bad = await client.post("/webhooks", {"url": "http://x", "events": []}, Idempotency_Key="k")
    assert bad.status == 400
    config = '{"limits": {"max_webhooks": 0}}'
    await owner.execute("UPDATE user_subscriptions SET subscription_config = $1", config)
    full = await client.post("/webhooks", WEBHOOK, Idempotency_Key="k")
    assert (full.status, full.problem) == (409, "limit_reached")
    await owner.execute("UPDATE user_subscriptions SET subscription_config = '{}'")
    assert (await client.post("/webhooks", WEBHOOK, Idempotency_Key="k")).status == 201


async def test_another_request_with_the_key_is_refused(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    assert (await client.post("/webhooks", WEBHOOK, Idempotency_Key="k")).status == 201
    hook = await make_webhook(owner, ours)
    for path, body in (
        ("/webhooks", WEBHOOK | {"ordered": True}),
        (f"/webhooks/{hook}/rotate", {}),
        (f"/webhooks/{hook}/test", {}),
    ):
        answer = await client.post(path, body, Idempotency_Key="k")
        assert (answer.status, answer.problem) == (422, "idempotency_key_reused"), path
    assert await owner.fetchval("SELECT count(*) FROM webhook_deliveries") == 0


async def test_while_the_first_is_in_hand_it_is_409_and_when_it_died_the_key_is_free(
    owner: Conn, database: Database, client: Client, ours: Tenant, theirs: Tenant, connect: Connect
) -> None:
    """The row that a call waits for, after it took the key, is another connection's."""
    webhook = await make_webhook(owner, ours)
    path = f"/webhooks/{webhook}/rotate"
    looking = await asyncpg.connect(database.owner_url)  # within a transaction it is one picture
    async with owner.transaction():
        await owner.execute("SELECT FROM webhooks WHERE id = $1 FOR UPDATE", webhook)
        first = asyncio.create_task(client.post(path, Idempotency_Key="k"))

        async def blocked() -> int | None:
            pid: int | None = await looking.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database()"
            )
            return pid

        pid = await until(blocked, lambda pid: pid is not None)
        again = await client.post(path, Idempotency_Key="k")
        assert (again.status, again.problem) == (409, "idempotency_in_progress")
        assert again.headers["Retry-After"] == "1"
        stranger = await connect(theirs)
        assert (await stranger.post("/webhooks", WEBHOOK, Idempotency_Key="k")).status == 201
        await looking.execute("SELECT pg_terminate_backend($1)", pid)
        assert (await first).status == 503
    await looking.close()
    repeated = await client.post(path, Idempotency_Key="k")
    assert repeated.status == 200
    assert await owner.fetchval("SELECT version FROM webhooks WHERE id = $1", webhook) == 2


async def test_the_key_is_held_as_long_as_its_transaction(pool: Pool, ours: Tenant) -> None:
    async with tenant(pool, ours.user_id) as one:
        assert await hold_key(one, ours.user_id, "k")
        async with tenant(pool, ours.user_id) as other:
            assert not await hold_key(other, ours.user_id, "k")
            assert await hold_key(other, ours.user_id, "another")
    async with tenant(pool, ours.user_id) as other:
        assert await hold_key(other, ours.user_id, "k")


async def test_of_two_keys_nobody_knows_which_is_meant(owner: Conn, client: Client) -> None:
    headers = [
        ("Authorization", f"Bearer {client.key}"),
        *(("Idempotency-Key", key) for key in ("k", "other")),
    ]
    async with client.http.post(
        f"{client.url}/v1/webhooks", json=WEBHOOK, headers=headers
    ) as answer:
        assert answer.status == 400
        (wrong,) = (await answer.json())["errors"]
    assert wrong == {"field": "Idempotency-Key", "detail": "given more than once"}
    assert await webhooks(owner) == 0


async def test_who_repeats_it_does_not_wait_for_another_who_does(
    pool: Pool, client: Client, ours: Tenant
) -> None:
    """The first is done: somebody else just reads its answer."""
    first = await client.post("/chatbots", {"name": "Bot"}, Idempotency_Key="k")
    async with tenant(pool, ours.user_id) as reading:
        assert await hold_key(reading, ours.user_id, "k")
        again = await client.post("/chatbots", {"name": "Bot"}, Idempotency_Key="k")
        assert (again.status, again.json) == (201, first.json)
        other = await client.post("/chatbots", {"name": "Other"}, Idempotency_Key="k")
        assert (other.status, other.problem) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("same", [True, False])
async def test_a_message_of_the_release_before_is_answered_as_it_is(
    owner: Conn, client: Client, ours: Tenant, same: bool
) -> None:
    """It wrote the message alone; and finds the message of what we wrote."""
    conversation, _ = await make_open_conversation(owner, ours)
    path = f"/conversations/{conversation}/messages"
    first = await client.post(path, {"content_text": "hi"}, Idempotency_Key="k")
    assert await owner.fetchval("SELECT message_id FROM idempotency_keys") == first.json["id"]
    await owner.execute("UPDATE idempotency_keys SET status = NULL, headers = NULL, body = NULL")
    again = await client.post(
        path, {"content_text": "hi" if same else "other"}, Idempotency_Key="k"
    )
    assert again.status == (201 if same else 422)
    assert not same or again.json == first.json


async def test_an_answer_with_a_customers_text_goes_with_its_message(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    conversation, _ = await make_open_conversation(owner, ours)
    path = f"/conversations/{conversation}/messages"
    assert (await client.post(path, {"content_text": "hi"}, Idempotency_Key="k")).status == 201
    await owner.execute("DELETE FROM messages")
    assert await owner.fetchval("SELECT count(*) FROM idempotency_keys") == 0


async def test_a_key_of_one_tenant_says_nothing_of_anothers(
    connect: Connect, ours: Tenant, theirs: Tenant
) -> None:
    made = [
        await (await connect(side)).post("/webhooks", WEBHOOK, Idempotency_Key="k")
        for side in (ours, theirs)
    ]
    assert [answer.status for answer in made] == [201, 201]
    assert made[0].json["id"] != made[1].json["id"]
