"""How many calls a key and a tenant may make, over several processes, and how it is told."""

import asyncio
import re
from contextlib import AsyncExitStack
from typing import Any

import pytest

from db.pool import Conn, Pool
from ingress.api.pace import SLICES
from tests.api import Answer, Client, make_key
from tests.conftest import Database
from tests.factories import Tenant
from tests.ingress import DEAD_BROKER, door

POLICY = '"key";q={};w=60, "account";q={};w=60'


def told(answer: Answer) -> dict[str, tuple[int, int]]:
    """What is left, and the seconds until it is whole again."""
    items = answer.headers["RateLimit"].split(", ")
    found = [re.fullmatch(r'"(\w+)";r=(\d+);t=(\d+)', item) for item in items]
    return {item[1]: (int(item[2]), int(item[3])) for item in found if item}


async def exhaust(*clients: Client) -> list[Answer]:
    """All at once, until each was refused by the pace. 429 for too many in hand is no such."""
    answers: list[Answer] = []

    async def call(client: Client) -> None:
        while True:
            answer = await client.get("/chatbots")
            answers.append(answer)
            if answer.status == 429:
                return

    await asyncio.gather(*(call(client) for client in clients for _ in range(2)))
    return answers


def let_through(answers: list[Answer]) -> int:
    return sum(answer.status == 200 for answer in answers)


async def test_every_answer_to_a_known_key_tells_the_pace(
    database: Database, pool: Pool, ours: Tenant
) -> None:
    key, _ = await make_key(pool, ours, ["chatbots:read"])
    async with door(DEAD_BROKER, database.runtime_url, calls_per_minute=40) as opened:
        client = Client(opened.url, opened.http, key)
        sent: list[tuple[str, str, Any, int]] = [
            ("GET", "/chatbots", None, 200),
            ("GET", "/chatbots?limit=x", None, 400),
            ("GET", "/usage", None, 403),
            ("POST", "/api-keys", {}, 403),
            ("DELETE", "/api-keys/7", None, 403),
        ]
        for number, (method, path, body, status) in enumerate(sent, 1):
            answer = await client.send(method, path, json=body)
            assert answer.status == status
            assert answer.headers["RateLimit-Policy"] == POLICY.format(40, 80)
            left = told(answer)
            # One comes back in 1.5 s, and of all keys' in half of that.
            assert 40 - number <= left["key"][0] <= 41 - number
            assert 80 - number <= left["account"][0] <= 83 - number
            assert 0 < left["key"][1] <= 2 * number
        stranger = await Client(opened.url, opened.http, f"sr_{'A' * 43}").get("/chatbots")
        assert "RateLimit" not in stranger.headers
        assert "RateLimit" not in (await client.get("/openapi.json")).headers


async def test_who_is_too_fast_is_told_when_to_come_again(
    database: Database, pool: Pool, ours: Tenant, theirs: Tenant
) -> None:
    key, _ = await make_key(pool, ours)
    neighbour, _ = await make_key(pool, theirs)
    async with door(DEAD_BROKER, database.runtime_url, calls_per_minute=30) as opened:
        client = Client(opened.url, opened.http, key)
        answers = await exhaust(client)
        refused = answers[-1]
        assert refused.problem == "too_many_requests"
        assert told(refused)["key"][0] == 0
        assert 1 <= int(refused.headers["Retry-After"]) <= 3
        assert 30 <= let_through(answers) <= 32
        # Before the body is looked at, and before anything is asked of the database.
        assert (await client.post("/contacts", {"nonsense": 1})).status in (400, 429)
        assert (await Client(opened.url, opened.http, neighbour).get("/chatbots")).status == 200
        await asyncio.sleep(int(refused.headers["Retry-After"]))
        assert (await client.get("/chatbots")).status == 200


async def test_several_keys_share_what_the_account_has(
    database: Database, pool: Pool, ours: Tenant
) -> None:
    keys = [(await make_key(pool, ours))[0] for _ in range(4)]
    async with door(DEAD_BROKER, database.runtime_url, calls_per_minute=20) as opened:
        answers = await exhaust(*(Client(opened.url, opened.http, key) for key in keys))
        assert 40 <= let_through(answers) <= 43
        assert any(told(answer)["account"][0] == 0 for answer in answers if answer.status == 429)


async def test_several_processes_share_one_pace(
    database: Database, owner: Conn, pool: Pool, ours: Tenant
) -> None:
    """No more than a minute's calls, what becomes free meanwhile, and a slice for each process;
    and none of them was forgotten when they are started anew."""
    calls, processes = 60, 3
    key, _ = await make_key(pool, ours)
    loop = asyncio.get_running_loop()
    started = loop.time()
    through = 0
    for _ in range(2):
        async with AsyncExitStack() as running:
            doors = [
                await running.enter_async_context(
                    door(DEAD_BROKER, database.runtime_url, calls_per_minute=calls)
                )
                for _ in range(processes)
            ]
            answers = await exhaust(*(Client(one.url, one.http, key) for one in doors))
        through += let_through(answers)
    free = (loop.time() - started) * calls / 60
    slices = 2 * processes * (calls // SLICES)
    assert calls - 1 <= through <= calls + free + slices
    charged = await owner.fetch(
        "SELECT extract(epoch FROM ahead_to - now())::float8 AS ahead FROM api_pace"
        " WHERE user_id = $1 AND api_key_id <> 0",
        ours.user_id,
    )
    # Every call is in the row: what was too much is waited for.
    assert charged[0]["ahead"] == pytest.approx(through - free, abs=3)


async def test_slow_callers_cost_nothing_but_what_is_written_anyway(
    database: Database, owner: Conn, pool: Pool, ours: Tenant
) -> None:
    key, key_id = await make_key(pool, ours)
    async with door(DEAD_BROKER, database.runtime_url) as opened:
        await Client(opened.url, opened.http, key).get("/chatbots")
        assert await owner.fetchval("SELECT count(*) FROM api_pace") == 0
    rows = await owner.fetch("SELECT api_key_id FROM api_pace ORDER BY 1")
    assert [row["api_key_id"] for row in rows] == [0, key_id]


async def test_nobody_waits_for_the_row_of_another_tenant(
    database: Database, owner: Conn, pool: Pool, ours: Tenant, theirs: Tenant
) -> None:
    key, _ = await make_key(pool, ours)
    neighbour, _ = await make_key(pool, theirs)
    async with door(DEAD_BROKER, database.runtime_url, calls_per_minute=40) as opened:
        client = Client(opened.url, opened.http, key)
        await client.get("/chatbots")
        for _ in range(30):
            if await owner.fetchval("SELECT count(*) FROM api_pace"):
                break
            await asyncio.sleep(0.1)
        async with owner.transaction():
            await owner.execute("SELECT FROM api_pace WHERE user_id = $1 FOR UPDATE", ours.user_id)
            waiting = [asyncio.create_task(client.get("/chatbots")) for _ in range(6)]
            await asyncio.sleep(0.5)
            assert not all(task.done() for task in waiting)  # beyond a slice it asks first
            beside = Client(opened.url, opened.http, neighbour)
            for _ in range(10):
                answer = await asyncio.wait_for(beside.get("/chatbots"), 5)
                assert answer.status == 200
        assert {answer.status for answer in await asyncio.gather(*waiting)} == {200}


async def test_a_key_that_has_ended_takes_nothing_of_its_tenant_s(
    database: Database, owner: Conn, pool: Pool, ours: Tenant
) -> None:
    """It was revoked because others know it, and they go on."""
    keys = [await make_key(pool, ours) for _ in range(3)]
    async with door(DEAD_BROKER, database.runtime_url, calls_per_minute=40) as opened:
        mine, *leaked = (Client(opened.url, opened.http, key) for key, _ in keys)
        for client in leaked:
            assert (await client.get("/chatbots")).status == 200
        for _, key_id in keys[1:]:
            await owner.execute("UPDATE api_keys SET is_active = false WHERE id = $1", key_id)
        for client in leaked:
            assert (await client.get("/chatbots")).status == 401
        before = told(await mine.get("/chatbots"))["account"][0]
        answers = await asyncio.gather(*(one.get("/usage") for one in leaked for _ in range(60)))
        assert {answer.problem for answer in answers} == {"not_authenticated"}
        assert told(await mine.get("/chatbots"))["account"][0] >= before - 1


async def test_an_account_that_is_active_again_has_its_keys(
    owner: Conn, pool: Pool, client: Client, ours: Tenant
) -> None:
    for is_active, status in ((True, 200), (False, 401), (False, 401), (True, 200)):
        await owner.execute(
            "UPDATE users SET is_active = $2 WHERE id = $1", ours.user_id, is_active
        )
        assert (await client.get("/chatbots")).status == status
