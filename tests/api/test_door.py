"""Who gets in, how much at once, and what is said to those who do not."""

import asyncio
import json
import typing
from typing import Any

import pytest

from db.pool import Conn, Pool
from handlers.api_keys import PERMISSIONS
from ingress.api.door import MAX_BODY_BYTES
from ingress.api.endpoints import ENDPOINTS
from ingress.api.places import TENANT_CALLS
from ingress.api.table import AnyEndpoint, Page
from tests.api import Answer, Client, called, make_key, make_open_conversation, make_rows, spelt
from tests.api.conftest import Connect
from tests.conftest import Database
from tests.e2e.conftest import until
from tests.factories import Tenant, make_tenant
from tests.ingress import DEAD_BROKER, DEAD_DATABASE, Door, door
from tests.plans import ODD

# ---- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer sr_tooshort",
        f"Bearer sr_{'A' * 43}",
        f"Basic sr_{'A' * 43}",
        "Bearer \udcff",
        f"Bearer {'x' * 8000}",
    ],
)
async def test_without_a_key_nobody_gets_in(api: Door, authorization: str) -> None:
    client = Client(api.url, api.http, "")
    for endpoint in ENDPOINTS:
        headers = {
            "Authorization": authorization.encode("utf-8", "surrogateescape").decode("latin-1")
        }
        answer = await client.send(endpoint.method, spelt(endpoint, 1), headers=headers)
        assert (answer.status, answer.problem) == (401, "not_authenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE api_keys SET is_active = false WHERE id = $1",
        "UPDATE api_keys SET expires_at = now() WHERE id = $1",
        "UPDATE users u SET is_active = false FROM api_keys k WHERE k.id = $1 AND u.id = k.user_id",
        "DELETE FROM api_keys WHERE id = $1",
    ],
)
async def test_a_key_that_ends_is_refused_with_the_next_request(
    api: Door, pool: Pool, owner: Conn, ours: Tenant, change: str
) -> None:
    key, key_id = await make_key(pool, ours)
    client = Client(api.url, api.http, key)
    assert (await client.get("/chatbots")).status == 200  # and is remembered from here on
    await owner.execute(change, key_id)
    answer = await client.get("/chatbots", limit="what else is wrong is not said")
    assert (answer.status, answer.problem) == (401, "not_authenticated")


@pytest.mark.parametrize(
    "endpoint", [e for e in ENDPOINTS if e.permission], ids=lambda e: f"{e.method} {e.path}"
)
async def test_each_endpoint_wants_its_permission(
    connect: Connect, ours: Tenant, endpoint: AnyEndpoint
) -> None:
    assert endpoint.permission is not None
    others = {*PERMISSIONS} - {endpoint.permission}
    answer = await (await connect(ours, *others)).send(endpoint.method, spelt(endpoint, 1))
    assert (answer.status, answer.problem) == (403, "permission_missing")
    assert answer.json["permission"] == endpoint.permission
    answer = await (await connect(ours, endpoint.permission)).send(
        endpoint.method, spelt(endpoint, 1)
    )
    assert answer.status in (200, 204, 400, 404, 415)  # 415: a form is wanted


async def test_a_key_made_by_hand_without_permissions_opens_nothing(
    owner: Conn, connect: Connect, ours: Tenant
) -> None:
    client = await connect(ours)
    await owner.execute("UPDATE api_keys SET permissions = DEFAULT")
    assert (await client.get("/chatbots")).problem == "permission_missing"


async def test_the_plan_may_leave_the_api_out(owner: Conn, connect: Connect) -> None:
    tenant = await make_tenant(owner)
    client = await connect(tenant)
    for value in (None, *ODD):
        api_access = {} if value is None else {"api_access": json.loads(value)}
        await owner.execute(
            "UPDATE user_subscriptions SET subscription_config = $1::text::jsonb",
            json.dumps({"features": {"premium_features": api_access}}),
        )
        answer = await client.get("/chatbots")
        assert answer.status == (200 if value in (None, "true") else 403), value
        if answer.status == 403:
            assert answer.problem == "not_in_plan"
            assert "features.premium_features.api_access" in answer.json["detail"]


async def test_without_a_plan_in_force_the_api_is_there(owner: Conn, connect: Connect) -> None:
    tenant = await make_tenant(owner)
    await owner.execute("UPDATE user_subscriptions SET is_active = false")
    assert (await (await connect(tenant)).get("/chatbots")).status == 200


# ---- isolation -----------------------------------------------------------------------------------


async def test_another_tenants_rows_are_not_there(
    owner: Conn, connect: Connect, ours: Tenant, theirs: Tenant
) -> None:
    rows = await make_rows(owner, ours)
    tables = ("actions", "conversations", "webhooks", "webhook_deliveries", "webhook_events")
    before = [await owner.fetch(f"SELECT * FROM {table} ORDER BY id") for table in tables]
    stranger = await connect(theirs)
    own_key = await owner.fetchval("SELECT max(id) FROM api_keys")
    for endpoint in ENDPOINTS:
        if endpoint.path_names:
            answers = []
            for asked in (rows[endpoint.path_names[0]], 999_999_999_999):
                answer = await stranger.send(
                    endpoint.method, spelt(endpoint, asked), **called(endpoint)
                )
                answers.append((answer.status, answer.problem, answer.json["detail"]))
            # What is another's looks like what is not there at all.
            assert answers[0] == answers[1] == (404, "not_found", answers[0][2])
        elif typing.get_origin(endpoint.answers) is Page and endpoint.path != "/events/catalogue":
            listed = (await stranger.get(endpoint.path)).json["data"]
            own = {"/chatbots": [theirs.chatbot_id], "/api-keys": [own_key]}
            assert [row["id"] for row in listed] == own.get(endpoint.path, [])
    after = [await owner.fetch(f"SELECT * FROM {table} ORDER BY id") for table in tables]
    assert after == before
    assert not await owner.fetchval("SELECT count(*) FROM api_keys WHERE NOT is_active")
    assert await owner.fetchval("SELECT count(*) FROM messages WHERE is_from_human") == 0


# ---- abuse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (b"{", [("", "not JSON in UTF-8")]),
        (b"\xff\xfe", [("", "not JSON in UTF-8")]),
        (b"[" * 30_000, [("", "not JSON in UTF-8")]),
        (b"[]", [("", "not a JSON object")]),
        (b'"text"', [("", "not a JSON object")]),
        (
            b'{"reason": 7, "until": "tomorrow", "who": 1}',
            [
                ("who", "no such field; there are: reason, until"),
                ("reason", "not a text"),
                ("until", "not a date and time with its zone, like 2030-01-31T17:00:00Z"),
            ],
        ),
        (
            b'{"reason": "\\u0000", "until": "2020-01-01T00:00:00Z"}',
            [
                (
                    "reason",
                    "has a character that cannot be stored: NUL, or half of a surrogate pair",
                ),
                ("until", "in the past"),
            ],
        ),
        (b'{"reason": "' + b"x" * 201 + b'"}', [("reason", "has 201 characters, 200 at most")]),
        (
            b'{"until": "9999-12-31T23:59:59-23:00"}',
            [("until", "not a date and time with its zone, like 2030-01-31T17:00:00Z")],
        ),
        (b'{"until": "9999-01-01T00:00:00Z"}', [("until", "more than ten years away")]),
    ],
)
async def test_a_bad_body_is_told_everything_that_is_wrong(
    owner: Conn, client: Client, ours: Tenant, body: bytes, errors: list[tuple[str, str]]
) -> None:
    conversation, _ = await make_open_conversation(owner, ours)
    answer = await client.send(
        "POST",
        f"/conversations/{conversation}/takeover",
        data=body,
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status, answer.problem) == (400, "invalid_request")
    assert [(e["field"], e["detail"]) for e in answer.json["errors"]] == errors


async def test_bad_parameters_are_told_too(client: Client) -> None:
    answer = await client.get("/actions", status="open", limit="0", after="x", sort="id")
    assert answer.problem == "invalid_request"
    assert {e["field"] for e in answer.json["errors"]} == {"status", "limit", "after", "sort"}
    for limit in ("201", "-1", "1e2", "\u0661", "9" * 50):
        assert (await client.get("/actions", limit=limit)).status == 400


@pytest.mark.parametrize(
    "path",
    [
        *("/conversations/x", "/conversations/-1", "/actions/1%2F2", "/no"),
        *("/conversations/%00", "/conversations/%ED%A0%80", "/%FF"),
    ],
)
async def test_what_is_no_address_is_not_found(client: Client, path: str) -> None:
    assert (await client.get(path)).problem == "not_found"


async def test_an_id_too_large_is_not_found(client: Client) -> None:
    assert (await client.get(f"/actions/{2**63}")).problem == "not_found"
    assert (await client.get(f"/actions/{10**17}")).problem == "not_found"


async def test_another_method_is_told_which_there_are(client: Client) -> None:
    answer = await client.send("DELETE", "/chatbots")
    assert (answer.status, answer.problem) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, HEAD, POST"


async def test_a_huge_body_is_refused_before_it_is_read(client: Client) -> None:
    async def endless() -> Any:
        while True:
            yield b" " * 10_000

    for data in (b" " * (MAX_BODY_BYTES + 1), endless()):
        answer = await client.send(
            "POST",
            "/actions/1/approve",
            data=data,
            headers={"Content-Type": "application/json"},
        )
        assert (answer.status, answer.problem) == (413, "too_large")


async def test_a_form_is_not_json(client: Client) -> None:
    answer = await client.send("POST", "/actions/1/approve", data={"user_response": "yes"})
    assert (answer.status, answer.problem) == (415, "unsupported_media_type")


# ---- bounds and outages --------------------------------------------------------------------------


async def test_one_tenant_takes_its_places_and_no_more(
    owner: Conn, connect: Connect, ours: Tenant, theirs: Tenant
) -> None:
    conversation, _ = await make_open_conversation(owner, ours)
    client, neighbour = await connect(ours), await connect(theirs)
    assert (await client.get("/chatbots")).status == 200
    path = f"/conversations/{conversation}/takeover"
    async with owner.transaction():
        await owner.execute("SELECT FROM conversations WHERE id = $1 FOR UPDATE", conversation)
        waiting = {asyncio.create_task(client.post(path)) for _ in range(TENANT_CALLS + 3)}
        refused: set[asyncio.Task[Answer]] = set()
        while len(refused) < 3:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            refused |= done
        for full in (task.result() for task in refused):
            assert (full.status, full.problem) == (429, "too_many_requests")
            assert full.headers["Retry-After"] == "1"
        # The neighbour finds connections free, although ours would take them all.
        assert (await asyncio.wait_for(neighbour.get("/chatbots"), 5)).status == 200
    assert {answer.status for answer in await asyncio.gather(*waiting)} == {200}
    assert (await client.get("/chatbots")).status == 200


async def test_without_postgresql_it_is_503() -> None:
    async with door(DEAD_BROKER, DEAD_DATABASE) as opened:
        client = Client(opened.url, opened.http, f"sr_{'A' * 43}")
        answer = await client.get("/usage")
        assert (answer.status, answer.problem) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert (await client.get("/openapi.json")).status == 200


async def test_a_connection_that_dies_is_503_and_the_next_call_works(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    conversation, _ = await make_open_conversation(owner, ours)
    path = f"/conversations/{conversation}/takeover"
    async with owner.transaction():
        await owner.execute("SELECT FROM conversations WHERE id = $1 FOR UPDATE", conversation)
        waiting = asyncio.create_task(client.post(path))

        async def kill() -> int:
            await owner.execute("SELECT pg_stat_clear_snapshot()")  # else it stays the first look's
            return int(
                await owner.fetchval(
                    "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name LIKE 'swiftreplies api%' AND wait_event_type = 'Lock'"
                    " AND datname = current_database()) k"
                )
            )

        await until(kill, bool)
        assert (await waiting).problem == "unavailable"
    assert (await client.post(path)).status == 200


# ---- what is counted -----------------------------------------------------------------------------


async def test_calls_are_counted_and_the_key_is_marked(
    owner: Conn, api: Door, pool: Pool, ours: Tenant
) -> None:
    key, key_id = await make_key(pool, ours)
    client = Client(api.url, api.http, key)
    answers: list[Answer] = await asyncio.gather(*(client.get("/chatbots") for _ in range(12)))
    await client.get("/nowhere")  # nobody's call
    await client.get("/actions/1")
    assert [a.status for a in answers] == [200] * 12

    async def counted() -> int:
        calls: int = await owner.fetchval(
            "SELECT coalesce(sum(api_calls_made), 0) FROM usage_tracking WHERE user_id = $1",
            ours.user_id,
        )
        return calls

    assert await until(counted, lambda n: n >= 13) == 13
    used = await owner.fetchval("SELECT last_used FROM api_keys WHERE id = $1", key_id)
    assert used is not None
    await client.get("/chatbots")
    await until(counted, lambda n: n == 14)
    assert used == await owner.fetchval("SELECT last_used FROM api_keys WHERE id = $1", key_id)
    await owner.execute("UPDATE api_keys SET last_used = now() - interval '61 s'")
    await client.get("/chatbots")
    await until(counted, lambda n: n == 15)
    assert used < await owner.fetchval("SELECT last_used FROM api_keys WHERE id = $1", key_id)


async def test_calls_before_the_end_of_the_process_are_counted(
    owner: Conn, database: Database, pool: Pool, ours: Tenant
) -> None:
    key, _ = await make_key(pool, ours)
    async with door(DEAD_BROKER, database.runtime_url) as opened:
        await Client(opened.url, opened.http, key).get("/chatbots")
    assert await owner.fetchval("SELECT api_calls_made FROM usage_tracking") == 1
