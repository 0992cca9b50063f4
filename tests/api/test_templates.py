"""Templates: made, edited, deleted and listed at Meta; what it says is told, and what comes late is
not taken."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from db.pool import Conn, Pool, tenant
from db.templates import DueSync, claim_template_syncs
from handlers.process.secrets import Vault, access_token_of
from handlers.process.sweeps import Sweep
from handlers.sends.tokens import Tokens
from handlers.templates import sync
from handlers.templates.account import Meta
from handlers.templates.listing import page_of
from handlers.whatsapp.cloud_api.graph_api import GraphApi
from simulator.app import create_app
from simulator.client import Simulator
from tests.api import GOOD, ORDER_READY, Client
from tests.api.conftest import Connect
from tests.api.test_claims import served
from tests.conftest import Database
from tests.factories import Tenant, make_tenant
from tests.ingress import DEAD_BROKER, SECRETS_KEY, Door, door

WABA, TOKEN = "330021987654321", "token-of-the-account"
OTHER_WABA, OTHER_TOKEN = "330099", "token-of-another"
VAULT = Vault((SECRETS_KEY,))


@dataclass(frozen=True, slots=True)
class World:
    meta: Meta
    simulator: Simulator
    pool: Pool

    async def sync(self) -> None:
        """As the scheduler does."""
        await sync.sync_due(self.pool, self.meta, Sweep[DueSync]("template_sync"))

    async def calls(self) -> list[tuple[str, int | None]]:
        return [(one["method"], one["code"]) for one in await self.simulator.log("template")]


@pytest.fixture
async def world(pool: Pool) -> AsyncIterator[World]:
    numbers = [
        {"phone_number_id": i, "display_phone_number": n, "token": t, "account_id": account}
        for i, n, t, account in (
            ("1", "12025550777", TOKEN, WABA),
            ("2", "12025550888", OTHER_TOKEN, OTHER_WABA),
        )
    ]
    async with (
        served(create_app()) as url,
        Simulator(url) as simulator,
        aiohttp.ClientSession() as http,
    ):
        await simulator.config(numbers=numbers, template_review="never")
        tokens = Tokens(VAULT, None)
        yield World(Meta(GraphApi(http, url, "v25.0"), tokens), simulator, pool)


@pytest.fixture
async def api(database: Database, world: World) -> AsyncIterator[Door]:
    async with door(DEAD_BROKER, database.runtime_url, graph_url=world.simulator.url) as opened:
        yield opened


@pytest.fixture
async def ours(owner: Conn) -> Tenant:
    return await with_account(owner, await make_tenant(owner), WABA, TOKEN)


@pytest.fixture
async def theirs(owner: Conn) -> Tenant:
    return await with_account(owner, await make_tenant(owner), OTHER_WABA, OTHER_TOKEN)


async def with_account(owner: Conn, of: Tenant, waba_id: str | None, token: str) -> Tenant:
    await owner.execute(
        "UPDATE chatbots SET waba_id = $2, access_token = $3 WHERE id = $1",
        *(of.chatbot_id, waba_id, VAULT.encrypt(token, access_token_of(of.chatbot_id))),
    )
    return of


def wanted(of: Tenant, **more: Any) -> dict[str, Any]:
    return GOOD["create_template"] | {"chatbot_id": of.chatbot_id} | more


async def made(client: Client, of: Tenant, **more: Any) -> Any:
    answer = await client.post("/templates", wanted(of, **more))
    assert answer.status == 201, answer
    return answer.json


def kept(**more: Any) -> dict[str, Any]:
    one = {"name": "order_ready", "language": "en_US", "category": "UTILITY"}
    return one | {"components": ORDER_READY} | more


async def named(client: Client, name: str) -> Any:
    (row,) = (await client.get("/templates", name=name)).json["data"]
    return row


# ---- by the API ----------------------------------------------------------------------------------


async def test_a_template_from_its_making_to_its_end(
    client: Client, ours: Tenant, world: World
) -> None:
    row = await made(client, ours)
    assert (row["status"], row["category"], row["waba_id"]) == ("PENDING", "UTILITY", WABA)
    assert row["components"] == ORDER_READY
    path = f"/templates/{row['id']}"
    assert (await client.get(path)).json == row
    await world.simulator.template(name="order_sent", language="en_US", event="REJECTED")
    await client.post("/templates/sync", {"chatbot_id": ours.chatbot_id})
    assert (await client.get(path)).json["status"] == "REJECTED"
    other = [ORDER_READY[0] | {"text": "Dear {{1}}, order {{2}} left today."}]
    changed = await client.patch(path, {"components": other})
    assert (changed.status, changed.json["status"]) == (200, "PENDING")
    assert changed.json["components"] == other
    assert (await client.delete(path)).status == 204
    assert (await client.get(path)).status == 404
    done = await client.post("/templates/sync", {"chatbot_id": ours.chatbot_id})
    assert done.json == {"new": 0, "changed": 0, "gone": 0}
    assert [m for m, _ in await world.calls()] == ["POST", "GET", "POST", "DELETE", "GET"]


async def test_what_is_mechanically_wrong_is_refused_here(
    client: Client, ours: Tenant, world: World
) -> None:
    text = "{{1}} {{3}} is ready"
    body = wanted(ours, components=[{"type": "BODY", "text": text}, {"type": "FOOTER"}])
    answer = await client.post("/templates", body)
    assert (answer.status, answer.problem) == (400, "invalid_request")
    assert len(answer.json["errors"]) >= 4
    assert await world.calls() == []


@pytest.mark.parametrize(
    "components", ["x", [], [1], [None], [{"type": "BODY", "text": "a\x00b"}], [[[]]], {"a": 1}]
)
async def test_components_of_any_kind_are_an_answer(
    client: Client, ours: Tenant, components: Any
) -> None:
    answer = await client.post("/templates", wanted(ours, components=components))
    assert answer.status == 400, answer


async def test_meta_s_refusal_is_told_word_for_word(
    client: Client, ours: Tenant, world: World
) -> None:
    await world.simulator.template(templates=[kept(name="order_sent")])
    answer = await client.post("/templates", wanted(ours))
    assert (answer.status, answer.problem) == (422, "refused_by_meta")
    assert "Content in This Language Already Exists" in answer.json["detail"]
    assert (answer.json["code"], answer.json["subcode"]) == (100, 2388024)
    # It is there all the same: a listing is due, and brings it.
    await world.sync()
    await client.post("/templates/sync", {"chatbot_id": ours.chatbot_id})
    again = await client.post("/templates", wanted(ours))
    assert (again.status, again.problem) == (409, "already_exists")
    assert again.json["template_id"] == (await named(client, "order_sent"))["id"]


async def test_a_repeated_request_asks_meta_once(
    client: Client, ours: Tenant, world: World
) -> None:
    first = await client.post("/templates", wanted(ours), Idempotency_Key="k")
    again = await client.post("/templates", wanted(ours), Idempotency_Key="k")
    assert (first.status, again.status, again.json) == (201, 201, first.json)
    assert await world.calls() == [("POST", None)]
    other = await client.post("/templates", wanted(ours, name="x"), Idempotency_Key="k")
    assert other.problem == "idempotency_key_reused"


async def test_of_many_at_once_one_is_made(owner: Conn, client: Client, ours: Tenant) -> None:
    answers = await asyncio.gather(*(client.post("/templates", wanted(ours)) for _ in range(4)))
    said = sorted(a.status for a in answers)
    assert said[0] == 201
    assert set(said[1:]) <= {409, 422}
    assert await owner.fetchval("SELECT count(*) FROM message_templates") == 1


async def test_without_an_account_or_a_token(owner: Conn, client: Client, ours: Tenant) -> None:
    await with_account(owner, ours, None, TOKEN)
    # A claim is no account.
    await owner.execute("UPDATE chatbots SET claimed_waba_id = $1", WABA)
    for path, body in (
        ("/templates", wanted(ours)),
        ("/templates/sync", {"chatbot_id": ours.chatbot_id}),
    ):
        answer = await client.post(path, body)
        assert (answer.status, answer.problem) == (409, "no_account")
    unknown = await client.post("/templates/sync", {"chatbot_id": 999_999})
    assert (unknown.status, unknown.json["errors"][0]["field"]) == (400, "chatbot_id")


async def test_meta_away_or_at_its_limit(client: Client, ours: Tenant, world: World) -> None:
    await world.simulator.config(template_calls=0)
    limited = await client.post("/templates", wanted(ours))
    assert (limited.status, limited.problem) == (429, "meta_limit")
    assert "too many calls" in limited.json["detail"]
    await world.simulator.config(template_calls=1_000)
    await fault(world, 503, 2)
    away = await client.post("/templates", wanted(ours))
    assert (away.status, away.problem) == (503, "unavailable")
    assert "perhaps" in away.json["detail"]


async def fault(world: World, status: int, code: int, account: str = WABA) -> None:
    one = {"kind": "error", "status": status, "code": code, "message": "x", "times": 1}
    await world.simulator.faults(one | {"phone_number_id": account})


async def test_they_are_listed_by_what_they_are(
    owner: Conn, client: Client, ours: Tenant, connect: Connect, theirs: Tenant
) -> None:
    for n, (status, category) in enumerate(
        [("APPROVED", "UTILITY"), ("APPROVED", "MARKETING"), ("PAUSED", "MARKETING")]
    ):
        await owner.execute(
            "INSERT INTO message_templates (user_id, waba_id, meta_id, name, language, status,"
            " category) VALUES ($1, $2, 'm', $3, 'en', $4, $5)",
            *(ours.user_id, WABA, f"t{n}", status, category),
        )

    async def names(**query: Any) -> list[str]:
        return [row["name"] for row in (await client.get("/templates", **query)).json["data"]]

    assert await names() == ["t2", "t1", "t0"]
    assert await names(status="APPROVED") == ["t1", "t0"]
    assert await names(category="MARKETING", status="PAUSED") == ["t2"]
    assert await names(name="t1") == ["t1"]
    assert await names(chatbot_id=ours.chatbot_id) == ["t2", "t1", "t0"]
    assert await names(chatbot_id=theirs.chatbot_id) == []
    first = (await client.get("/templates", limit=2)).json
    assert first["next"] is not None
    assert await names(after=first["next"]) == ["t0"]
    stranger = await connect(theirs)
    assert (await stranger.get("/templates")).json["data"] == []


# ---- listings ------------------------------------------------------------------------------------


async def due(owner: Conn) -> None:
    await owner.execute("UPDATE template_syncs SET due_at = now()")


async def test_an_account_is_listed_hourly(
    owner: Conn, client: Client, ours: Tenant, world: World
) -> None:
    many = [kept(name=f"t{n}") for n in range(250)]
    await world.simulator.template(templates=[*many, kept(name="es", language="es_MX")])
    await world.sync()
    assert await owner.fetchval("SELECT count(*) FROM message_templates") == 251
    assert len(await world.calls()) == 3, "pages of a hundred"
    wait = await owner.fetchval("SELECT due_at - now() FROM template_syncs")
    assert timedelta(minutes=53) < wait < timedelta(minutes=67)
    await world.sync()
    assert len(await world.calls()) == 3, "not due"
    before = await owner.fetch("SELECT id, version FROM message_templates ORDER BY id")
    await due(owner)
    await world.sync()
    assert await owner.fetch("SELECT id, version FROM message_templates ORDER BY id") == before


async def test_what_changed_and_what_is_gone_is_told(
    owner: Conn, client: Client, ours: Tenant, world: World
) -> None:
    await world.simulator.template(templates=[kept(), kept(name="old"), kept(name="same")])
    await world.sync()
    await world.simulator.template(name="order_ready", language="en_US", event="PAUSED")
    await world.simulator.template(name="old", language="en_US", event="DELETED")
    done = await client.post("/templates/sync", {"chatbot_id": ours.chatbot_id})
    assert done.json == {"new": 0, "changed": 1, "gone": 1}
    rows = await owner.fetch(
        "SELECT event_data FROM analytics_events WHERE event_type = 'template.updated' ORDER BY id"
    )
    told = [json.loads(row["event_data"]) for row in rows]
    assert [(one["name"], one["status"]) for one in told] == [
        ("order_ready", "PAUSED"),
        ("old", "DELETED"),
    ]
    assert (await named(client, "old"))["status"] == "DELETED"
    again = await client.post("/templates/sync", {"chatbot_id": ours.chatbot_id})
    assert again.json == {"new": 0, "changed": 0, "gone": 0}
    await world.simulator.template(templates=[kept(name="old")])
    await client.post("/templates/sync", {"chatbot_id": ours.chatbot_id})
    assert (await named(client, "old"))["status"] == "APPROVED", "made anew, and the same row"


async def test_a_webhook_that_is_newer_than_the_listing_stays(
    owner: Conn, pool: Pool, ours: Tenant, world: World
) -> None:
    await world.simulator.template(templates=[kept()])
    await world.sync()
    await owner.execute(
        "UPDATE message_templates SET status = 'PAUSED', status_at = now() + interval '1 min'"
    )
    await due(owner)
    await world.sync()
    assert await owner.fetchval("SELECT status FROM message_templates") == "PAUSED"
    await owner.execute("UPDATE message_templates SET status_at = now() - interval '1 min'")
    await due(owner)
    await world.sync()
    assert await owner.fetchval("SELECT status FROM message_templates") == "APPROVED"


async def test_a_listing_of_before_replaces_none_of_later(
    owner: Conn, pool: Pool, ours: Tenant
) -> None:
    now = await owner.fetchval("SELECT now()")
    async with tenant(pool, ours.user_id) as conn:
        assert await sync.store(conn, ours.user_id, WABA, [], now) == sync.Synced(0, 0, 0)
        older = now - timedelta(seconds=1)
        assert await sync.store(conn, ours.user_id, WABA, [], older) is None
        assert await sync.store(conn, ours.user_id, "unknown", [], now) is None


async def test_one_account_that_refuses_takes_no_other_along(
    owner: Conn, ours: Tenant, theirs: Tenant, world: World
) -> None:
    await world.simulator.template(templates=[kept()], account_id=OTHER_WABA)
    await with_account(owner, ours, WABA, "a wrong token")
    await world.sync()
    assert await owner.fetchval("SELECT count(*) FROM message_templates") == 1
    rows = await owner.fetch("SELECT waba_id, problem FROM template_syncs")
    problems = {row["waba_id"]: row["problem"] for row in rows}
    assert problems[OTHER_WABA] is None
    assert "does not let the access_token read" in problems[WABA]
    await due(owner)
    await world.sync()
    assert await owner.fetchval("SELECT tries FROM template_syncs WHERE waba_id = $1", WABA) == 2


async def test_with_a_wrong_token_the_next_chatbot_s_is_tried(
    owner: Conn, pool: Pool, ours: Tenant, world: World
) -> None:
    await world.simulator.template(templates=[kept()])
    second = await owner.fetchval(
        "INSERT INTO chatbots (user_id, name, waba_id) VALUES ($1, 'B', $2) RETURNING id",
        *(ours.user_id, WABA),
    )
    await owner.execute(
        "UPDATE chatbots SET access_token = $2 WHERE id = $1",
        *(second, VAULT.encrypt(TOKEN, access_token_of(second))),
    )
    await with_account(owner, ours, WABA, "a wrong token")
    await world.sync()
    assert await owner.fetchval("SELECT count(*) FROM message_templates") == 1


async def test_half_a_listing_is_none(owner: Conn, ours: Tenant, world: World) -> None:
    """What stands on the second page is not gone because it cannot be had."""
    await world.simulator.template(templates=[kept(name=f"t{n}") for n in range(150)])
    await world.sync()
    await due(owner)
    await world.simulator.config(template_calls=3)
    await world.sync()
    assert await owner.fetchval("SELECT count(*) FROM message_templates") == 150
    assert (
        await owner.fetchval("SELECT count(*) FROM message_templates WHERE status = 'APPROVED'")
        == 150
    )
    assert "no more calls" in await owner.fetchval("SELECT problem FROM template_syncs")


async def test_who_dies_lets_others_have_it(owner: Conn, pool: Pool, ours: Tenant) -> None:
    async with pool.acquire() as conn:
        (claim,) = await claim_template_syncs(conn, 8, timedelta(seconds=0))
        (again,) = await claim_template_syncs(conn, 8, timedelta(minutes=5))
        assert again.epoch == claim.epoch + 1
        assert await claim_template_syncs(conn, 8, timedelta(minutes=5)) == []


async def test_many_workers_list_each_account_once(
    owner: Conn, ours: Tenant, theirs: Tenant, world: World
) -> None:
    await asyncio.gather(*(world.sync() for _ in range(6)))
    assert len(await world.calls()) == 2


async def test_an_account_that_no_chatbot_has_is_forgotten(
    owner: Conn, client: Client, ours: Tenant, world: World
) -> None:
    await world.simulator.template(templates=[kept()])
    await world.sync()
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204
    await world.sync()
    assert await owner.fetchval("SELECT count(*) FROM message_templates") == 0
    assert await owner.fetchval("SELECT count(*) FROM template_syncs") == 0


async def test_whatever_a_listing_has_is_stored_or_left_out(
    owner: Conn, pool: Pool, ours: Tenant
) -> None:
    odd = [
        7,
        {},
        {"name": "x"},
        {"id": "1", "name": "a\x00", "language": "en-US", "status": "NEW_WORD", "category": None},
        {"id": "2", "name": "b", "language": "en", "status": "APPROVED", "components": "x"},
        {
            "id": "3",
            "name": "c",
            "language": "en",
            "status": "APPROVED",
            "quality_score": "GREEN",
            "message_send_ttl_seconds": 10**12,
            "components": [{"type": "BODY", "text": "Hi {{first}} \x00", "n": 10**30}],
        },
    ]
    told, after = page_of({"data": odd, "paging": {"cursors": {"after": "x"}}})
    assert (len(told), after) == (3, None)
    now = await owner.fetchval("SELECT now()")
    async with tenant(pool, ours.user_id) as conn:
        assert await sync.store(conn, ours.user_id, WABA, told, now) == sync.Synced(3, 0, 0)
    row = await owner.fetchrow("SELECT * FROM message_templates WHERE name = 'c'")
    assert row is not None
    assert (row["quality_score"], row["parameter_format"]) == ("GREEN", "NAMED")
