"""/v1/api-keys: keys that keys make, which can never do more nor last longer."""

import asyncio
import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from cli.api_keys import apikey_revoke
from db.pool import Conn, Pool
from handlers.api_keys import PERMISSIONS, Form, form_of, new_key
from handlers.process.configuration import Environment
from tests.api import Client, make_key
from tests.api.conftest import Connect
from tests.conftest import Database
from tests.e2e.conftest import until
from tests.factories import Tenant, make_tenant
from tests.ingress import DEAD_BROKER, DEAD_DATABASE, Door, door

READS = [one for one in PERMISSIONS if one.endswith(":read")]
MAKER = ("api-keys:read", "api-keys:write", "chatbots:read")


def asked(*permissions: str, **more: Any) -> dict[str, Any]:
    return {"key_name": "till", "permissions": list(permissions), **more}


def with_key(client: Client, made: Any) -> Client:
    return Client(client.url, client.http, made.json["api_key"])


async def test_a_key_is_made_shown_once_used_listed_and_revoked(
    owner: Conn, client: Client
) -> None:
    made = await client.post("/api-keys", asked("chatbots:read", "chatbots:read"))
    assert made.status == 201
    row = dict(made.json)
    key = row.pop("api_key")
    assert form_of(key) is Form.VALID
    assert key.startswith(row["key_prefix"])
    assert row["permissions"] == ["chatbots:read"]
    assert (row["usable"], row["last_used"], row["expires_at"]) == (True, None, None)
    maker = await owner.fetchval("SELECT min(id) FROM api_keys")
    assert row["created_by"] == maker
    path = f"/api-keys/{row['id']}"
    read = await client.get(path)
    assert read.json == row
    assert read.headers["ETag"] == made.headers["ETag"]
    assert [one["id"] for one in (await client.get("/api-keys")).json["data"]] == [row["id"], maker]
    till = with_key(client, made)
    assert (await till.get("/chatbots")).status == 200
    assert (await till.get("/api-keys")).problem == "permission_missing"
    assert (await client.delete(path, If_Match='"99"')).problem == "precondition_failed"
    assert (await till.get("/chatbots")).status == 200
    assert (await client.delete(path, If_Match=read.headers["ETag"])).status == 204
    assert (await till.get("/chatbots")).problem == "not_authenticated"
    assert (await client.get(path)).problem == "not_found"
    assert (await client.delete(path)).problem == "not_found"
    assert [one["id"] for one in (await client.get("/api-keys")).json["data"]] == [maker]


async def test_pages_are_stable_while_keys_come_and_go(client: Client) -> None:
    ids = [(await client.post("/api-keys", asked("usage:read"))).json["id"] for _ in range(5)]
    first = (await client.get("/api-keys", limit=2)).json
    assert [one["id"] for one in first["data"]] == [ids[4], ids[3]]
    await client.post("/api-keys", asked("usage:read"))
    await client.delete(f"/api-keys/{ids[3]}")
    second = (await client.get("/api-keys", limit=2, after=first["next"])).json
    assert [one["id"] for one in second["data"]] == [ids[2], ids[1]]


async def test_a_repeated_request_makes_one_key_and_shows_it_no_more(
    owner: Conn, client: Client
) -> None:
    answers = await asyncio.gather(
        *(client.post("/api-keys", asked("usage:read"), Idempotency_Key="one") for _ in range(6))
    )
    assert {answer.status for answer in answers} <= {201, 409}
    again = await client.post("/api-keys", asked("usage:read"), Idempotency_Key="one")
    assert again.status == 201
    assert "api_key" not in again.json
    shown = [answer for answer in answers if answer.status == 201 and "api_key" in answer.json]
    assert len(shown) == 1
    assert await owner.fetchval("SELECT count(*) FROM api_keys") == 2
    kept = await owner.fetchval("SELECT string_agg(k::text, '') FROM idempotency_keys k")
    assert shown[0].json["api_key"] not in kept
    other = await client.post("/api-keys", asked("events:read"), Idempotency_Key="one")
    assert (other.status, other.problem) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"key_name", "permissions"}),
        ({"key_name": "", "permissions": []}, {"key_name", "permissions"}),
        ({"key_name": " ", "permissions": None}, {"key_name", "permissions"}),
        ({"key_name": "x" * 101, "permissions": "usage:read"}, {"key_name", "permissions"}),
        ({"key_name": 7, "permissions": [7]}, {"key_name", "permissions.0"}),
        (asked("usage:all", "*"), {"permissions"}),
        (asked("usage:read", key_name="a\0b"), {"key_name"}),
        (asked("usage:read", expires_at="2020-01-01T00:00:00Z"), {"expires_at"}),
        (asked("usage:read", expires_at="tomorrow", is_active=True), {"expires_at", "is_active"}),
        (asked("webhooks:write"), {"permissions"}),
        (asked("exports:write", *READS[1:]), {"permissions"}),
    ],
)
async def test_what_is_wrong_is_told_all_at_once(
    owner: Conn, client: Client, body: dict[str, Any], fields: set[str]
) -> None:
    answer = await client.post("/api-keys", body)
    assert (answer.status, answer.problem) == (400, "invalid_request")
    assert {one["field"] for one in answer.json["errors"]} == fields
    assert await owner.fetchval("SELECT count(*) FROM api_keys") == 1


async def test_who_is_told_everything_may_read_everything(client: Client) -> None:
    for permission in ("webhooks:write", "exports:write"):
        assert (await client.post("/api-keys", asked(permission, *READS))).status == 201


# ---- no more, and no longer ----------------------------------------------------------------------


@pytest.mark.parametrize("beyond", [one for one in PERMISSIONS if one not in MAKER])
async def test_a_key_gives_nothing_that_it_has_not(
    owner: Conn, connect: Connect, ours: Tenant, beyond: str
) -> None:
    client = await connect(ours, *MAKER)
    granted = [*READS, beyond] if beyond in ("webhooks:write", "exports:write") else [beyond]
    answer = await client.post("/api-keys", asked("chatbots:read", *granted))
    assert (answer.status, answer.problem) == (403, "permission_missing")
    assert beyond in answer.json["detail"]
    assert await owner.fetchval("SELECT count(*) FROM api_keys") == 1
    assert (await client.post("/api-keys", asked(*MAKER))).status == 201


async def test_a_key_ends_with_its_maker_at_the_latest(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    made = await client.post("/api-keys", asked(*MAKER, expires_at=ends.isoformat()))
    maker = with_key(client, made)
    later = (ends + timedelta(seconds=1)).isoformat()
    answer = await maker.post("/api-keys", asked("chatbots:read", expires_at=later))
    assert [one["field"] for one in answer.json["errors"]] == ["expires_at"]
    for given in ({}, {"expires_at": None}, {"expires_at": ends.isoformat()}):
        inherits = await maker.post("/api-keys", asked("chatbots:read", **given))
        assert datetime.fromisoformat(inherits.json["expires_at"]) == ends
    # And the database says so to whoever forgets.
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute(
            "INSERT INTO api_keys (user_id, key_name, api_key_hash, created_by)"
            " VALUES ($1, 'k', 'h', $2)",
            *(ours.user_id, made.json["id"]),
        )


async def test_a_key_that_has_expired_is_refused_and_makes_none(
    owner: Conn, client: Client
) -> None:
    maker = with_key(client, await client.post("/api-keys", asked(*MAKER)))
    made = await maker.post("/api-keys", asked("chatbots:read"))
    await owner.execute(
        "UPDATE api_keys SET expires_at = now() WHERE id = $1", made.json["created_by"]
    )
    for one in (maker, with_key(client, made)):
        assert (await one.get("/chatbots")).problem == "not_authenticated"
    row = (await client.get(f"/api-keys/{made.json['id']}")).json
    assert row["usable"] is False


@pytest.mark.parametrize("way", ["itself", "another", "command", "row"])
async def test_what_a_revoked_key_made_is_revoked(
    owner: Conn, client: Client, database: Database, way: str
) -> None:
    """A key that leaked may have made others, and those again."""
    chain = [client]
    ids = []
    for _ in range(4):
        made = await chain[-1].post("/api-keys", asked(*MAKER))
        chain.append(with_key(client, made))
        ids.append(made.json["id"])
    beside = with_key(client, await client.post("/api-keys", asked(*MAKER)))
    first = f"/api-keys/{ids[0]}"
    if way == "itself":
        assert (await chain[1].delete(first)).status == 204
    elif way == "another":
        assert (await beside.delete(first)).status == 204
    elif way == "row":
        await owner.execute("DELETE FROM api_keys WHERE id = $1", ids[0])
    else:
        urls = {
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
        }
        await apikey_revoke(Environment(urls), key_id=ids[0])
    for revoked in chain[1:]:
        assert (await revoked.get("/chatbots")).problem == "not_authenticated"
    for there in (client, beside):
        assert (await there.get("/chatbots")).status == 200


async def test_a_key_is_made_while_its_maker_is_revoked(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    """Whoever is second sees what the first did: nothing outlives its maker."""
    for _ in range(10):
        made = await client.post("/api-keys", asked(*MAKER))
        maker = with_key(client, made)
        answers, *_ = await asyncio.gather(
            asyncio.gather(*(maker.post("/api-keys", asked("chatbots:read")) for _ in range(3))),
            client.delete(f"/api-keys/{made.json['id']}"),
        )
        assert {answer.status for answer in answers} <= {201, 401}
        assert await owner.fetchval("SELECT count(*) FROM api_keys WHERE is_active") == 1


async def test_who_waited_for_a_place_looks_at_its_maker_again(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    made = await client.post("/api-keys", asked(*MAKER))
    maker = with_key(client, made)
    async with owner.transaction():
        await owner.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", ours.user_id)
        making = asyncio.create_task(maker.post("/api-keys", asked("chatbots:read")))

        async def waits() -> bool:
            await owner.execute("SELECT pg_stat_clear_snapshot()")
            return bool(
                await owner.fetchval(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            )

        await until(waits, bool)
        assert (await client.delete(f"/api-keys/{made.json['id']}")).status == 204
    answer = await making
    assert (answer.status, answer.problem) == (401, "not_authenticated")
    assert await owner.fetchval("SELECT count(*) FROM api_keys") == 2


# ---- the plan ------------------------------------------------------------------------------------


async def test_the_plan_bounds_keys_exactly(owner: Conn, connect: Connect) -> None:
    tenant = await make_tenant(owner, config='{"limits": {"max_api_keys": 4}}')
    client = await connect(tenant)
    answers = await asyncio.gather(
        *(client.post("/api-keys", asked("usage:read")) for _ in range(9))
    )
    assert sorted(answer.status for answer in answers) == [201] * 3 + [409] * 6
    refused = next(answer for answer in answers if answer.status == 409)
    assert refused.problem == "limit_reached"
    assert (refused.json["limit"], refused.json["allowed"]) == ("limits.max_api_keys", 4)
    made = next(answer for answer in answers if answer.status == 201)
    assert (await client.delete(f"/api-keys/{made.json['id']}")).status == 204
    assert (await client.post("/api-keys", asked("usage:read"))).status == 201


async def test_the_plan_may_leave_keys_out_and_they_can_be_revoked_all_the_same(
    owner: Conn, connect: Connect
) -> None:
    tenant = await make_tenant(owner, config='{"permissions": {"configure_integrations": false}}')
    client = await connect(tenant)
    answer = await client.post("/api-keys", asked("usage:read"))
    assert (answer.status, answer.problem) == (403, "not_in_plan")
    listed = (await client.get("/api-keys")).json["data"]
    assert (await client.delete(f"/api-keys/{listed[0]['id']}")).status == 204
    assert (await client.get("/api-keys")).problem == "not_authenticated"


# ---- the key itself ------------------------------------------------------------------------------


async def test_a_mistyped_key_is_refused_without_a_look_up() -> None:
    async with door(DEAD_BROKER, DEAD_DATABASE) as opened:
        key = new_key()
        swapped = key[:10] + ("a" if key[10] != "a" else "b") + key[11:]
        for given, status in ((swapped, 401), (key[:-1], 401), (key, 503)):
            answer = await Client(opened.url, opened.http, given).get("/chatbots")
            assert answer.status == status


async def test_a_key_of_before_goes_on(owner: Conn, api: Door, pool: Pool, ours: Tenant) -> None:
    _, key_id = await make_key(pool, ours)
    old = f"sr_{secrets.token_urlsafe(32)}"
    await owner.execute(
        "UPDATE api_keys SET api_key_hash = $2 WHERE id = $1",
        *(key_id, hashlib.sha256(old.encode()).hexdigest()),
    )
    assert (await Client(api.url, api.http, old).get("/chatbots")).status == 200
