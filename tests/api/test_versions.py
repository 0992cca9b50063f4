"""What people change by a POST has an ETag too: who has a conversation, and what was decided."""

import asyncio
from collections import Counter
from typing import Any

from db.pool import Conn, Pool
from tests.api import Client, make_action, make_open_conversation
from tests.factories import Tenant
from tests.plan import House


async def test_a_conversation_s_tag_is_of_who_has_it(
    house: House, client: Client, ours: Tenant
) -> None:
    await house.write(ours, "w1")
    (row,) = (await client.get("/conversations")).json["data"]
    path = f"/conversations/{row['id']}"
    first = (await client.get(path)).headers["ETag"]
    await house.write(ours, "w2")
    await house.turns()
    assert (await client.get(path)).headers["ETag"] == first, "a message is no change of it"
    taken = await client.post(f"{path}/takeover", {"reason": "Ada"}, If_Match=first)
    assert taken.status == 200
    read = await client.get(path)
    assert read.headers["ETag"] == taken.headers["ETag"] != first
    for name, body in (("takeover", {"reason": "Ben"}), ("handback", None)):
        stale = await client.post(f"{path}/{name}", body, If_Match=first)
        assert (stale.status, stale.problem) == (412, "precondition_failed")
        assert stale.headers["ETag"] == taken.headers["ETag"]
    assert (await client.get(path)).json["conversation"]["taken_over_reason"] == "Ada"
    again = await client.post(f"{path}/takeover", {"reason": "Ben"}, If_Match=read.headers["ETag"])
    assert again.headers["ETag"] not in (first, taken.headers["ETag"])
    back = await client.post(f"{path}/handback", None, If_Match=again.headers["ETag"])
    assert (back.status, back.headers["ETag"]) == (200, first)
    gone = await client.post("/conversations/7777777/handback", None, If_Match="*")
    assert gone.problem == "not_found"


async def test_of_many_who_saw_it_free_one_takes_it(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    conversation, _ = await make_open_conversation(owner, ours)
    path = f"/conversations/{conversation}"
    tag = (await client.get(path)).headers["ETag"]
    answers = await asyncio.gather(
        *(
            client.post(f"{path}/takeover", {"reason": f"person {n}"}, If_Match=tag)
            for n in range(8)
        )
    )
    assert Counter(a.status for a in answers) == {200: 1, 412: 7}


async def test_opening_tells_the_tag(owner: Conn, client: Client, ours: Tenant) -> None:
    contact = (await client.post("/contacts", {"phone_number": "+12025550143"})).json
    body = {"chatbot_id": ours.chatbot_id, "contact_id": contact["id"]}
    made = await client.post("/conversations", body)
    there = await client.post("/conversations", body)
    assert (made.status, there.status) == (201, 200)
    read = await client.get(f"/conversations/{made.json['id']}")
    assert made.headers["ETag"] == there.headers["ETag"] == read.headers["ETag"]


async def test_an_action_s_tag_is_of_its_decision(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    action, _ = await make_action(owner, ours)
    path = f"/actions/{action}"
    tag = (await client.get(path)).headers["ETag"]
    done = await client.post(f"{path}/approve", None, If_Match=tag)
    assert done.status == 200
    assert (await client.get(path)).headers["ETag"] == done.headers["ETag"] != tag
    for verdict in ("approve", "deny"):
        stale = await client.post(f"{path}/{verdict}", None, If_Match=tag)
        assert (stale.status, stale.problem) == (412, "precondition_failed")
    assert (await client.post(f"{path}/approve")).status == 200, "without it, safe to repeat"
    other = await client.post(f"{path}/deny", None, If_Match=done.headers["ETag"])
    assert other.problem == "already_decided"


async def test_of_many_who_saw_it_pending_one_decides(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    action, _ = await make_action(owner, ours)
    tag = (await client.get(f"/actions/{action}")).headers["ETag"]
    answers = await asyncio.gather(
        *(client.post(f"/actions/{action}/approve", None, If_Match=tag) for _ in range(8))
    )
    assert Counter(a.status for a in answers) == {200: 1, 412: 7}


async def test_another_s_has_no_tag(
    owner: Conn, pool: Pool, client: Client, theirs: Tenant
) -> None:
    action, conversation = await make_action(owner, theirs)
    for path in (f"/actions/{action}/approve", f"/conversations/{conversation}/takeover"):
        body: Any = {} if "actions" in path else {"reason": "x"}
        answer = await client.post(path, body, If_Match='"1"')
        assert (answer.status, answer.problem) == (404, "not_found")
        assert "ETag" not in answer.headers
