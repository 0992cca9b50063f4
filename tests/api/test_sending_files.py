"""A person sends a file that was given, by POST /v1/conversations/{id}/messages."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from db.given_media import NewFile, give_file
from db.ids import ConversationId
from db.pool import Conn, Pool, tenant
from handlers.api_keys import PERMISSIONS
from tests.api import Client, make_key
from tests.conftest import Database
from tests.factories import Tenant, make_conversation, make_tenant
from tests.ingress import DEAD_BROKER, Door, door


@pytest.fixture
async def of(owner: Conn) -> Tenant:
    return await make_tenant(owner)


@pytest.fixture
async def api(database: Database, tmp_path: Path) -> AsyncIterator[Door]:
    opened = door(DEAD_BROKER, database.runtime_url, media_store=tmp_path.as_uri())
    async with opened as api:
        yield api


@pytest.fixture
async def ours(api: Door, pool: Pool, of: Tenant) -> Client:
    key, _ = await make_key(pool, of, PERMISSIONS)
    return Client(api.url, api.http, key)


async def given(pool: Pool, of: Tenant, **more: Any) -> int:
    columns: dict[str, Any] = {
        "kind": "document",
        "file": "media/1/x",
        "content_type": "application/pdf",
        "bytes": 7,
        "name": "menu.pdf",
        "title": None,
        "chatbot_id": None,
        "contact_id": None,
    }
    async with tenant(pool, of.user_id) as conn:
        made = await give_file(conn, of.user_id, NewFile(**columns | more))
    assert made is not None
    return made.id


def messages(conversation: ConversationId) -> str:
    return f"/conversations/{conversation}/messages"


async def test_it_is_a_message_that_brings_it(
    ours: Client, pool: Pool, owner: Conn, of: Tenant
) -> None:
    _, conversation = await make_conversation(owner, of)
    medium = await given(pool, of)
    body = {"media_id": medium, "caption": "The [menu]"}
    made = await ours.post(messages(conversation), body, Idempotency_Key="a")
    assert made.status == 201, made
    assert (made.json["message_type"], made.json["status"]) == ("document", "queued")
    assert made.json["content_url"] == f"/v1/media/{medium}"
    assert made.json["content_text"] == '[document "menu.pdf"] The (menu)'
    assert made.json["metadata"]["media"]["caption"] == "The [menu]"  # what the customer reads
    again = await ours.post(messages(conversation), body, Idempotency_Key="a")
    assert again.json["id"] == made.json["id"]
    assert await owner.fetchval("SELECT count(*) FROM messages") == 1
    counted = await owner.fetchval("SELECT usage_day IS NOT NULL FROM messages")
    assert counted
    taken = await owner.fetchval(
        "SELECT taken_over_by FROM conversations WHERE id = $1", conversation
    )
    assert taken == "human"


async def test_what_is_anothers_is_not_there(
    ours: Client, pool: Pool, owner: Conn, of: Tenant
) -> None:
    _, conversation = await make_conversation(owner, of)
    somebody, _ = await make_conversation(owner, of)
    stranger = await make_tenant(owner)
    for medium in (
        await given(pool, stranger),  # another tenant's
        await given(pool, of, contact_id=somebody),  # about another person
        999_999,
    ):
        answer = await ours.post(messages(conversation), {"media_id": medium})
        assert (answer.status, answer.problem) == (404, "not_found")
    assert await owner.fetchval("SELECT count(*) FROM messages") == 0


async def test_what_a_customer_sent_is_no_file_to_be_sent(
    ours: Client, owner: Conn, of: Tenant
) -> None:
    contact, conversation = await make_conversation(owner, of)
    message = await owner.fetchval(
        "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction, status)"
        " VALUES ($1, $2, $3, $4, 'inbound', 'received') RETURNING id",
        *(of.user_id, of.chatbot_id, contact, conversation),
    )
    medium = await owner.fetchval(
        "INSERT INTO media (user_id, chatbot_id, contact_id, conversation_id, message_id, kind,"
        " handle, sent_at) VALUES ($1, $2, $3, $4, $5, 'image', '1', now()) RETURNING id",
        *(of.user_id, of.chatbot_id, contact, conversation, message),
    )
    assert (await ours.post(messages(conversation), {"media_id": medium})).status == 404
    assert (await ours.delete(f"/media/{medium}")).status == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "content_text"),
        ({"caption": "hi"}, "content_text"),
        ({"content_text": "hi", "media_id": 1}, "media_id"),
        ({"content_text": "hi", "caption": "hi"}, "caption"),
        ({"media_id": "1"}, "media_id"),
        ({"media_id": None}, "media_id"),
        ({"media_id": 1, "caption": " "}, "caption"),
        ({"media_id": 1, "caption": "x" * 1_025}, "caption"),
    ],
)
async def test_what_is_wrong_is_told(
    ours: Client, owner: Conn, of: Tenant, body: dict[str, Any], field: str
) -> None:
    _, conversation = await make_conversation(owner, of)
    answer = await ours.post(messages(conversation), body)
    assert (answer.status, answer.problem) == (400, "invalid_request"), json.dumps(answer.json)
    assert [one["field"] for one in answer.json["errors"]] == [field]


async def test_captions_are_whatsapps(ours: Client, pool: Pool, owner: Conn, of: Tenant) -> None:
    _, conversation = await make_conversation(owner, of)
    sound = await given(pool, of, kind="audio", content_type="audio/ogg")
    answer = await ours.post(messages(conversation), {"media_id": sound, "caption": "Listen"})
    assert [one["field"] for one in answer.json["errors"]] == ["caption"]
    assert (await ours.post(messages(conversation), {"media_id": sound})).status == 201
    menu = await given(pool, of)
    long = "\U0001f370" * 600  # 1,200 UTF-16 units
    answer = await ours.post(messages(conversation), {"media_id": menu, "caption": long})
    assert [one["field"] for one in answer.json["errors"]] == ["caption"]
