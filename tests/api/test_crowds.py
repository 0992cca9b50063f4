"""Many at once: keys that there are not, and answers that are large."""

import asyncio
import json
from typing import Any

import pytest

from db.actions import WantedActions, list_actions
from db.api_keys import recent_api_keys
from db.pages import PAGE_BYTES
from db.pool import Conn, Pool, tenant
from handlers.api_keys import new_key
from ingress.api.encoding import STRIDE_BYTES, encoded, pieces
from ingress.api.keys import LATELY
from ingress.api.places import LARGE_BYTES, pause_s
from tests.api import Client, make_action, make_key, make_open_conversation
from tests.conftest import Database
from tests.factories import Tenant
from tests.ingress import DEAD_BROKER, DEAD_DATABASE, Door, door

LARGE = 126_000  # a burst of 30 messages as long as they may be


# ---- keys ----------------------------------------------------------------------------------------


async def flood(opened: Door, over: asyncio.Event) -> None:
    """64 who send well formed keys as fast as they are answered."""

    async def ask() -> None:
        while not over.is_set():
            client = Client(opened.url, opened.http, new_key())
            assert (await client.get("/chatbots")).status in (401, 503)

    await asyncio.gather(*(ask() for _ in range(64)))


async def test_keys_that_there_are_not_shut_nobody_out(
    database: Database, owner: Conn, pool: Pool, ours: Tenant, theirs: Tenant
) -> None:
    """After a restart: one key was used lately, the other is long forgotten."""
    lately, _ = await make_key(pool, ours)
    forgotten, key_id = await make_key(pool, theirs)
    await owner.execute("UPDATE api_keys SET created_at = '2020-01-01' WHERE id = $1", key_id)
    over = asyncio.Event()
    async with door(DEAD_BROKER, database.runtime_url) as opened:
        flooding = asyncio.create_task(flood(opened, over))
        await asyncio.sleep(0.5)
        loop = asyncio.get_running_loop()
        for key in (lately, forgotten, lately, forgotten):
            client = Client(opened.url, opened.http, key)
            started = loop.time()
            assert (await client.get("/chatbots")).status == 200
            assert loop.time() - started < 2
        over.set()
        await flooding


async def test_keys_in_use_are_known_before_the_door_opens(
    database: Database, owner: Conn, pool: Pool, ours: Tenant
) -> None:
    key, _ = await make_key(pool, ours)
    async with door(DEAD_BROKER, database.runtime_url) as opened:
        await owner.execute("ALTER FUNCTION find_usable_keys(text[]) RENAME TO hidden")
        assert (await Client(opened.url, opened.http, key).get("/chatbots")).status == 200
        unknown = await Client(opened.url, opened.http, new_key()).get("/chatbots")
        assert (unknown.status, unknown.problem) == (503, "unavailable")
        await owner.execute("ALTER FUNCTION hidden(text[]) RENAME TO find_usable_keys")
        made_now, _ = await make_key(pool, ours)
        assert (await Client(opened.url, opened.http, made_now).get("/chatbots")).status == 200


async def test_the_keys_that_are_known_are_the_last_used(
    owner: Conn, pool: Pool, ours: Tenant, theirs: Tenant
) -> None:
    async def made(of: Tenant, used: str, created: str = "400 days") -> int:
        _, key_id = await make_key(pool, of)
        await owner.execute(
            "UPDATE api_keys SET last_used = now() - $2::text::interval,"
            " created_at = now() - $3::text::interval WHERE id = $1",
            key_id,
            used,
            created,
        )
        return key_id

    yesterday, revoked = await made(ours, "1 day"), await made(ours, "1 hour")
    await owner.execute("UPDATE api_keys SET is_active = false WHERE id = $1", revoked)
    await made(theirs, "31 days")
    new = await made(theirs, "400 days", "2 days")
    now = await made(theirs, "1 second")
    async with pool.acquire() as conn:
        for limit in (10, 2):
            found = await recent_api_keys(conn, LATELY, limit)
            assert [one.id for one in found] == [now, yesterday, new][:limit]


async def test_the_door_opens_without_a_database() -> None:
    async with door(DEAD_BROKER, DEAD_DATABASE) as opened:
        answer = await Client(opened.url, opened.http, new_key()).get("/chatbots")
        assert (answer.status, answer.problem) == (503, "unavailable")


# ---- answers -------------------------------------------------------------------------------------


async def large_actions(owner: Conn, of: Tenant, count: int, chars: int = LARGE) -> list[int]:
    action, _ = await make_action(owner, of)
    await owner.execute(
        "UPDATE actions SET context_data = jsonb_build_object('wrote', repeat('x', $2))"
        " WHERE id = $1",
        action,
        chars,
    )
    others = await owner.fetch(
        "INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details,"
        " context_data) SELECT user_id, chatbot_id, contact_id, request_type, request_details,"
        " context_data FROM actions, generate_series(2, $2) WHERE id = $1 RETURNING id",
        action,
        count,
    )
    return [action, *(row["id"] for row in others)]


async def all_pages(client: Client, path: str, **query: Any) -> list[list[Any]]:
    """Each with its size, which is bounded."""
    pages: list[list[Any]] = []
    after: dict[str, str] = {}
    while True:
        answer = await client.get(path, **query, **after)
        assert answer.status == 200
        size = len(json.dumps(answer.json))
        assert size < PAGE_BYTES * 1.5 or len(answer.json["data"]) == 1, size
        pages.append(answer.json["data"])
        if answer.json["next"] is None:
            return pages
        after = {"after": answer.json["next"]}


async def test_a_page_of_large_rows_ends_early_and_loses_none(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    ids = await large_actions(owner, ours, 40)
    pages = await all_pages(client, "/actions", limit=200, status="pending")
    assert [len(page) for page in pages] == [2] * 20
    found = [row for page in pages for row in page]
    assert [row["id"] for row in found] == sorted(ids, reverse=True)
    assert {len(row["context_data"]["wrote"]) for row in found} == {LARGE}


async def test_rows_larger_than_a_page_come_one_by_one(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    ids = await large_actions(owner, ours, 3, PAGE_BYTES + 1)
    pages = await all_pages(client, "/actions")
    assert [[row["id"] for row in page] for page in pages] == [[i] for i in sorted(ids)[::-1]]


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
async def test_small_rows_are_paged_by_their_number(
    owner: Conn, client: Client, ours: Tenant, limit: int
) -> None:
    ids = await large_actions(owner, ours, 6, 10)
    pages = await all_pages(client, "/actions", limit=limit)
    assert [row["id"] for page in pages for row in page] == sorted(ids)[::-1]
    assert len(pages) == -(-6 // limit)
    await owner.execute("DELETE FROM actions")
    assert await all_pages(client, "/actions", limit=limit) == [[]]


async def test_messages_chatbots_and_conversations_are_bounded_too(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    conversation, message = await make_open_conversation(owner, ours)
    copies = await owner.fetch(
        "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction,"
        " message_type, content_text, status, metadata) SELECT user_id, chatbot_id, contact_id,"
        " conversation_id, direction, message_type, repeat('y', 60000), status,"
        " jsonb_build_object('n', n, 'z', repeat('z', 60000))"
        " FROM messages, generate_series(1, 30) n WHERE id = $1 RETURNING id",
        message,
    )
    path = f"/conversations/{conversation}/messages"
    found = [row for page in await all_pages(client, path) for row in page]
    assert [row["id"] for row in found] == [*(r["id"] for r in copies[::-1]), message]
    assert [row["metadata"]["n"] for row in found[:-1]] == [*range(30, 0, -1)]
    last = (await client.get(f"/conversations/{conversation}")).json["messages"]
    assert [row["id"] for row in last] == [r["id"] for r in copies][-2:]  # as many as fit
    await owner.execute(
        "INSERT INTO chatbots (user_id, name, general_instructions)"
        " SELECT $1, 'c' || n, repeat('i', 100000) FROM generate_series(1, 9) n",
        ours.user_id,
    )
    assert len(await all_pages(client, "/chatbots")) == 5
    assert len(await all_pages(client, "/conversations")) == 1


async def test_what_is_not_on_a_page_is_not_read(owner: Conn, pool: Pool, ours: Tenant) -> None:
    """200 packed rows of 1 MB each, of which a page has one: unpacking all took a second of the
    database's, and of each of 16 at once."""
    await large_actions(owner, ours, 200, 1_000_000)
    loop = asyncio.get_running_loop()
    async with tenant(pool, ours.user_id) as conn:
        await list_actions(conn, ours.user_id, WantedActions(), None, 1)
        started = loop.time()
        page = await list_actions(conn, ours.user_id, WantedActions(), None, 200)
        assert (len(page.rows), page.more) == (1, True)
        assert loop.time() - started < 0.3


async def test_a_large_answer_is_written_in_turns(owner: Conn, pool: Pool, ours: Tenant) -> None:
    await large_actions(owner, ours, 20)
    async with tenant(pool, ours.user_id) as conn:
        page = await list_actions(conn, ours.user_id, WantedActions(), None, 20, 100 * PAGE_BYTES)
    others = 0
    ended = False

    async def other() -> None:
        nonlocal others
        while not ended:
            others += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    await asyncio.sleep(0)
    body = await encoded(page)
    ended = True
    await beside
    assert others >= len(body) // STRIDE_BYTES - 20
    assert json.loads(body)["rows"][0]["context_data"] == {"wrote": "x" * LARGE}
    assert b"".join(pieces(page)) == body


async def test_large_answers_have_a_pace_and_others_none(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    """2 MiB a second on each of a tenant's connections, and what is free of each."""
    size = 4_000_000
    await large_actions(owner, ours, 1, size)
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert (await client.get("/actions")).status == 200
    assert loop.time() - started > pause_s(size) > 1.8
    assert pause_s(LARGE_BYTES) == 0


async def test_stored_json_goes_out_as_it_is(owner: Conn, client: Client, ours: Tenant) -> None:
    action, _ = await make_action(owner, ours)
    for stored in ('{"a": [1, "\\"]}", null], "é": {"😀": 1.5}}', "{}", "null", "[1]"):
        await owner.execute(
            "UPDATE actions SET context_data = $2::text::jsonb WHERE id = $1", action, stored
        )
        for answer in (
            (await client.get(f"/actions/{action}")).json,
            (await client.get("/actions")).json["data"][0],
        ):
            assert answer["context_data"] == json.loads(stored)
    await owner.execute("UPDATE actions SET context_data = NULL")
    assert (await client.get(f"/actions/{action}")).json["context_data"] is None
    await client.post(f"/actions/{action}/approve")
    refused = await client.post(f"/actions/{action}/deny")
    assert refused.json["action"]["id"] == action
    assert refused.json["action"]["context_data"] is None
