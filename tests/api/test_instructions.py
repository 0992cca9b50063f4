"""Instructions of one conversation: written by the API, told to the bot, gone with it."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.conversations import claim_conversations, read_turn
from db.ids import ConversationId, UserId
from db.pool import Conn, Pool, tenant
from ingress.api.resources.instructions import INSTRUCTIONS_MAX, TEXT_CHARS
from tests.api import Answer, Client, make_instruction
from tests.api.conftest import Connect
from tests.factories import Tenant, make_conversation, make_tenant

TEXT = "Speak Basque."


@pytest.fixture
async def conversation(owner: Conn, ours: Tenant) -> ConversationId:
    _, conversation_id = await make_conversation(owner, ours)
    return conversation_id


async def made(client: Client, conversation: int, **fields: Any) -> dict[str, Any]:
    answer = await client.post(
        f"/conversations/{conversation}/instructions", {"instruction_text": TEXT} | fields
    )
    assert answer.status == 201, answer
    return dict(answer.json)


async def told(pool: Pool, owner: Conn, user_id: UserId, conversation: ConversationId) -> list[str]:
    """What a turn of now is instructed."""
    worker = await owner.fetchval("INSERT INTO workers (name) VALUES ('w') RETURNING id")
    await owner.execute(
        "UPDATE conversations SET ready_at = now() - interval '1 s', input_seq = input_seq + 1,"
        " lease_owner = NULL WHERE id = $1",
        conversation,
    )
    async with pool.acquire() as conn:
        (claim,) = await claim_conversations(conn, worker, 10, 10)
    async with tenant(pool, user_id) as conn:
        turn = await read_turn(conn, user_id, conversation, worker, claim.epoch)
    assert turn is not None
    return turn.instructions


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).isoformat()


# ---- from its making to its end ------------------------------------------------------------------


async def test_an_instruction_from_its_making_to_its_end(
    owner: Conn, pool: Pool, client: Client, ours: Tenant, conversation: ConversationId
) -> None:
    until = tomorrow()
    answer = await client.post(
        f"/conversations/{conversation}/instructions",
        {"instruction_text": TEXT, "expires_at": until},
    )
    row = dict(answer.json)
    assert (answer.status, answer.headers["ETag"]) == (201, '"1"')
    path = f"/instructions/{row['id']}"
    read = await client.get(path)
    assert (read.json, read.headers["ETag"]) == (row, '"1"')
    contact = await owner.fetchval("SELECT contact_id FROM conversations")
    assert datetime.fromisoformat(row.pop("expires_at")) == datetime.fromisoformat(until)
    assert row.pop("created_at")
    assert row.pop("updated_at")
    assert row == {
        "id": row["id"],
        "conversation_id": conversation,
        "chatbot_id": ours.chatbot_id,
        "contact_id": contact,
        "instruction_text": TEXT,
        "is_active": True,
    }
    assert await told(pool, owner, ours.user_id, conversation) == [TEXT]
    changed = await client.patch(path, {"instruction_text": "Be brief.", "expires_at": None})
    assert (changed.status, changed.headers["ETag"]) == (200, '"2"')
    assert (changed.json["instruction_text"], changed.json["expires_at"]) == ("Be brief.", None)
    assert await told(pool, owner, ours.user_id, conversation) == ["Be brief."]
    off = await client.patch(path, {"is_active": False})
    assert off.json == changed.json | {"is_active": False, "updated_at": off.json["updated_at"]}
    assert await told(pool, owner, ours.user_id, conversation) == []
    assert (await client.patch(path, {"is_active": False})).headers["ETag"] == '"3"', "the same"
    assert (await client.patch(path, {})).headers["ETag"] == '"3"'
    gone = await client.delete(path)
    assert (gone.status, gone.json) == (204, None)
    for again in (await client.get(path), await client.patch(path, {}), await client.delete(path)):
        assert again.problem == "not_found"


async def test_lists_are_pages_of_one_conversation(
    owner: Conn, client: Client, ours: Tenant, conversation: ConversationId
) -> None:
    _, other = await make_conversation(owner, ours)
    await made(client, other)
    ids = [(await made(client, conversation))["id"] for _ in range(5)][::-1]
    path = f"/conversations/{conversation}/instructions"
    seen: list[int] = []
    after = None
    while True:
        page = (await client.get(path, limit=2, **({"after": after} if after else {}))).json
        seen += [one["id"] for one in page["data"]]
        if after is None:  # one that is made meanwhile is on no page
            await make_instruction(owner, ours, conversation)
        after = page["next"]
        if after is None:
            break
    assert seen == ids
    assert {one["conversation_id"] for one in (await client.get(path)).json["data"]} == {
        conversation
    }


async def test_a_post_is_done_once(owner: Conn, client: Client, conversation: int) -> None:
    path = f"/conversations/{conversation}/instructions"
    body = {"instruction_text": TEXT}
    first: Answer = await client.post(path, body, Idempotency_Key="k")
    await client.patch(f"/instructions/{first.json['id']}", {"instruction_text": "x"})
    again = await client.post(path, body, Idempotency_Key="k")
    assert (again.status, again.json) == (201, first.json)
    assert again.headers["ETag"] == first.headers["ETag"]
    other = await client.post(path, {"instruction_text": "y"}, Idempotency_Key="k")
    assert other.problem == "idempotency_key_reused"
    assert await owner.fetchval("SELECT count(*) FROM conversation_instructions") == 1


async def test_of_two_changes_of_one_version_one_is_made(client: Client, conversation: int) -> None:
    path = f"/instructions/{(await made(client, conversation))['id']}"
    texts = [f"text {n}" for n in range(6)]
    answers = await asyncio.gather(
        *(client.patch(path, {"instruction_text": text}, If_Match='"1"') for text in texts)
    )
    assert Counter(a.status for a in answers) == {200: 1, 412: 5}
    assert (await client.delete(path, If_Match='"1"')).status == 412
    assert (await client.delete(path, If_Match='"2"')).status == 204


async def test_the_limit_is_exact_however_many_come_at_once(
    owner: Conn, client: Client, conversation: int
) -> None:
    path = f"/conversations/{conversation}/instructions"
    for _ in range(INSTRUCTIONS_MAX - 10):
        await made(client, conversation)
    answers = await asyncio.gather(
        *(client.post(path, {"instruction_text": TEXT}) for _ in range(16))
    )
    assert Counter(a.status for a in answers) == {201: 10, 409: 6}
    refused = next(a for a in answers if a.status == 409)
    assert (refused.problem, refused.json["count"]) == ("limit_reached", INSTRUCTIONS_MAX)
    gone = (await client.get(path)).json["data"][0]["id"]
    assert (await client.delete(f"/instructions/{gone}")).status == 204
    await made(client, conversation)


async def test_a_turn_is_told_a_bounded_part_of_what_was_written_before_there_was_a_bound(
    owner: Conn, pool: Pool, ours: Tenant, conversation: ConversationId
) -> None:
    for n in range(INSTRUCTIONS_MAX + 5):
        await make_instruction(
            owner, ours, conversation, instruction_text=f"{n} " + "x" * 2 * TEXT_CHARS
        )
    given = await told(pool, owner, ours.user_id, conversation)
    assert [one.split()[0] for one in given] == [str(n) for n in range(5, INSTRUCTIONS_MAX + 5)]
    assert {len(one) for one in given} == {TEXT_CHARS}


# ---- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"instruction_text": ""}, {"instruction_text": "empty"}),
        ({"instruction_text": " \n"}, {"instruction_text": "empty"}),
        ({"instruction_text": "x" * (TEXT_CHARS + 1)}, {"instruction_text": "2000 at most"}),
        ({"instruction_text": None}, {"instruction_text": "not a text"}),
        ({"instruction_text": ["x"]}, {"instruction_text": "not a text"}),
        ({"instruction_text": "a\0b"}, {"instruction_text": "NUL"}),
        ({"expires_at": "2020-01-01T00:00:00Z"}, {"expires_at": "in the past"}),
        ({"expires_at": "2030-01-01"}, {"expires_at": "not a date and time"}),
        ({"expires_at": 7}, {"expires_at": "not a date and time"}),
        ({"expires_at": "9999-01-01T00:00:00Z"}, {"expires_at": "ten years"}),
        ({"chatbot_id": 1, "is_active": "yes"}, {"chatbot_id": "no such", "is_active": ""}),
    ],
)
async def test_what_is_wrong_is_told(
    owner: Conn, client: Client, conversation: int, body: dict[str, Any], said: dict[str, str]
) -> None:
    path = f"/instructions/{(await made(client, conversation))['id']}"
    for answer in (
        await client.post(
            f"/conversations/{conversation}/instructions", {"instruction_text": TEXT} | body
        ),
        await client.patch(path, body),
    ):
        assert (answer.status, answer.problem) == (400, "invalid_request"), answer
        found = {one["field"]: one["detail"] for one in answer.json["errors"]}
        assert found.keys() == said.keys()
        assert all(said[name] in found[name] for name in said), found
    assert await owner.fetchval("SELECT count(*) FROM conversation_instructions") == 1


async def test_a_text_has_to_be_given(client: Client, conversation: int) -> None:
    answer = await client.post(f"/conversations/{conversation}/instructions", {})
    assert [one["field"] for one in answer.json["errors"]] == ["instruction_text"]


# ---- whose, and with which plan ------------------------------------------------------------------


async def test_it_is_there_where_its_conversation_is(
    owner: Conn, client: Client, connect: Connect, theirs: Tenant, ours: Tenant
) -> None:
    contact, conversation = await make_conversation(owner, ours)
    row = await made(client, conversation)
    path, listed = f"/instructions/{row['id']}", f"/conversations/{conversation}/instructions"
    stranger = await connect(theirs)
    for one in (stranger, client):
        if one is client:
            assert (await client.delete(f"/contacts/{contact}")).status == 204
        for answer in (
            await one.get(path),
            await one.patch(path, {"is_active": False}),
            await one.delete(path),
            await one.get(listed),
            await one.post(listed, {"instruction_text": TEXT}),
        ):
            assert (answer.status, answer.problem) == (404, "not_found")
        if one is stranger:
            assert (await client.get(path)).json == row


async def test_without_chatbot_management_instructions_are_read_only(
    owner: Conn, connect: Connect
) -> None:
    for allowed in (True, False):
        config = {"features": {"core_features": {"chatbot_management": allowed}}}
        of = await make_tenant(owner, config=json.dumps(config))
        _, conversation = await make_conversation(owner, of)
        row_id = await make_instruction(owner, of, conversation)
        client = await connect(of)
        path, listed = f"/instructions/{row_id}", f"/conversations/{conversation}/instructions"
        written = [
            await client.post(listed, {"instruction_text": TEXT}),
            await client.patch(path, {"is_active": False}),
        ]
        assert (await client.get(path)).status == (await client.get(listed)).status == 200
        written.append(await client.delete(path))
        if allowed:
            assert [a.status for a in written] == [201, 200, 204]
        else:
            assert {a.problem for a in written} == {"not_in_plan"}
