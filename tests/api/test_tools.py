"""A chatbot's own tools are made, changed, given new secrets; what is wrong is told in words."""

import asyncio
import json
from typing import Any

import pytest

from db.pool import Conn
from handlers.process.secrets import Vault, tool_secret_of
from handlers.rules.tools import ALL_CHARS, TOOLS_MAX
from tests.api import GOOD, Client
from tests.api.conftest import Connect
from tests.factories import Tenant, make_conversation
from tests.ingress import SECRETS_KEY

NEW = GOOD["create_tool"]


async def made(client: Client, of: Tenant, **more: Any) -> dict[str, Any]:
    answer = await client.post(f"/chatbots/{of.chatbot_id}/tools", NEW | more)
    assert answer.status == 201, answer
    return dict(answer.json)


async def test_a_tool_from_its_making_to_its_end(owner: Conn, client: Client, ours: Tenant) -> None:
    answer = await client.post(f"/chatbots/{ours.chatbot_id}/tools", NEW)
    row = dict(answer.json)
    assert answer.headers["ETag"] == '"1"'
    secret = row.pop("secret_token")
    assert secret.startswith("whsec_")
    stored = await owner.fetchval("SELECT secret_token FROM tools WHERE id = $1", row["id"])
    assert secret not in stored
    assert Vault((SECRETS_KEY,)).decrypt(stored, tool_secret_of(row["id"])) == secret
    path = f"/tools/{row['id']}"
    read = await client.get(path)
    assert (read.json, read.headers["ETag"]) == (row, '"1"')
    assert row == NEW | {
        "id": row["id"],
        "chatbot_id": ours.chatbot_id,
        "effect": "once",
        "needs_approval": False,
        "timeout_ms": 5_000,
        "is_active": True,
        "prev_secret_until": None,
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
    assert (await client.get(f"/chatbots/{ours.chatbot_id}/tools")).json["data"] == [row]
    changed = await client.patch(path, {"effect": "none", "is_active": False}, If_Match='"1"')
    assert (changed.json["effect"], changed.json["is_active"]) == ("none", False)
    assert changed.headers["ETag"] == '"2"'
    assert (await client.patch(path, {"effect": "once"}, If_Match='"1"')).status == 412
    rotated = await client.post(f"{path}/rotate")
    assert rotated.json["secret_token"] not in (secret, None)
    assert rotated.json["prev_secret_until"] is not None
    assert (await client.delete(path)).status == 204
    assert (await client.get(path)).status == 404


async def test_a_secret_is_shown_once(client: Client, ours: Tenant) -> None:
    path = f"/chatbots/{ours.chatbot_id}/tools"
    first = await client.post(path, NEW, Idempotency_Key="k")
    second = await client.post(path, NEW, Idempotency_Key="k")
    assert second.status == 201
    assert second.json == {k: v for k, v in first.json.items() if k != "secret_token"}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"name": "calculate"}, "the product uses"),
        ({"name": "Book Table"}, "small letters"),
        ({"description": " "}, ""),
        ({"parameters": {"type": "array"}}, '"object"'),
        ({"parameters": {"type": "object", "properties": {"x": {"$ref": "#"}}}}, "$ref"),
        ({"url": "http://shop.example/x"}, "https"),
        ({"url": "https://127.0.0.1/x"}, "no public address"),
        ({"url": "https://169.254.169.254/latest"}, "no public address"),
        ({"url": "https://metadata.internal/"}, "inner network"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "no public address"),
        ({"effect": "twice"}, ""),
        ({"timeout_ms": 60_000}, ""),
    ],
)
async def test_what_is_wrong_is_told(
    client: Client, ours: Tenant, wrong: dict[str, Any], says: str
) -> None:
    answer = await client.post(f"/chatbots/{ours.chatbot_id}/tools", NEW | wrong)
    (error,) = answer.json["errors"]
    assert (answer.status, error["field"].partition(".")[0]) == (400, next(iter(wrong)))
    assert says in error["detail"]
    tool = await made(client, ours)
    changed = await client.patch(f"/tools/{tool['id']}", wrong)
    assert changed.status == 400
    assert changed.json["errors"] == answer.json["errors"]


async def test_a_name_is_taken_once_a_chatbot(client: Client, ours: Tenant) -> None:
    await made(client, ours)
    again = await client.post(f"/chatbots/{ours.chatbot_id}/tools", NEW)
    assert (again.status, again.problem) == (409, "already_exists")
    other = await made(client, ours, name="other")
    renamed = await client.patch(f"/tools/{other['id']}", {"name": NEW["name"]})
    assert (renamed.status, renamed.problem) == (409, "already_exists")


async def test_no_more_than_there_may_be_whoever_makes_them_at_once(
    client: Client, ours: Tenant
) -> None:
    answers = await asyncio.gather(
        *(
            client.post(f"/chatbots/{ours.chatbot_id}/tools", NEW | {"name": f"t{n}"})
            for n in range(TOOLS_MAX + 4)
        )
    )
    assert sum(answer.status == 201 for answer in answers) == TOOLS_MAX
    refused = next(answer for answer in answers if answer.status != 201)
    assert (refused.problem, refused.json["limit"]) == ("limit_reached", "tools")


async def test_what_is_in_each_prompt_is_bounded(client: Client, ours: Tenant) -> None:
    long = {"type": "object", "properties": {"x": {"type": "string", "description": "y" * 2_800}}}
    fits = ALL_CHARS // 2_900
    for n in range(fits):
        await made(client, ours, name=f"t{n}", parameters=long)
    more = NEW | {"name": "more", "parameters": long}
    path = f"/chatbots/{ours.chatbot_id}/tools"
    refused = await client.post(path, more)
    assert (refused.problem, refused.json["limit"]) == ("limit_reached", "tool_characters")
    rests = await client.post(path, more | {"is_active": False})
    assert rests.status == 201
    woken = await client.patch(f"/tools/{rests.json['id']}", {"is_active": True})
    assert (woken.problem, woken.json["limit"]) == ("limit_reached", "tool_characters")


async def test_another_tenant_s_are_not_there(
    connect: Connect, client: Client, ours: Tenant, theirs: Tenant
) -> None:
    tool = await made(client, ours)
    stranger = await connect(theirs)
    path = f"/tools/{tool['id']}"
    assert (await stranger.get(path)).status == 404
    assert (await stranger.patch(path, {"effect": "none"})).status == 404
    assert (await stranger.post(f"{path}/rotate")).status == 404
    assert (await stranger.delete(path)).status == 404
    for of in (f"/chatbots/{ours.chatbot_id}/tools", f"/chatbots/{ours.chatbot_id}/tool-calls"):
        assert (await stranger.get(of)).status == 404
    assert (await stranger.post(f"/chatbots/{ours.chatbot_id}/tools", NEW)).status == 404
    assert (await client.get(path)).status == 200


async def test_what_was_called_can_be_looked_up(owner: Conn, client: Client, ours: Tenant) -> None:
    """By the key that the endpoint was sent, also when the tool is gone."""
    tool = await made(client, ours)
    contact_id, conversation_id = await make_conversation(owner, ours)
    for n, status in enumerate(("done", "unknown")):
        await owner.execute(
            "INSERT INTO tool_calls (user_id, chatbot_id, contact_id, conversation_id, tool_id,"
            " tool_name, effect, input_seq, arguments_hash, arguments, status, result)"
            " VALUES ($1, $2, $3, $4, $5, 'book_table', 'once', $6, 'x', $7, $8, 'r')",
            *(ours.user_id, ours.chatbot_id, contact_id, conversation_id, tool["id"], n),
            *(json.dumps({"day": "Friday"}), status),
        )
    assert (await client.delete(f"/tools/{tool['id']}")).status == 204
    path = f"/chatbots/{ours.chatbot_id}/tool-calls"
    listed = (await client.get(path)).json["data"]
    assert [row["status"] for row in listed] == ["unknown", "done"]
    (row,) = (await client.get(path, status="unknown")).json["data"]
    assert row["idempotency_key"] == f"call_{row['id']}"
    assert (row["arguments"], row["tool_id"]) == ({"day": "Friday"}, None)
    page = (await client.get(path, limit=1)).json
    last = (await client.get(path, limit=1, after=page["next"])).json
    assert [one["status"] for one in page["data"] + last["data"]] == ["unknown", "done"]
