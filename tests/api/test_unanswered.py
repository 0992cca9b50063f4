"""The list of what a bot did not know: each question once, answered into a row."""

from typing import Any

from db.pool import Conn
from tests.api import Client, make_knowledge, make_unanswered
from tests.api.conftest import Connect
from tests.factories import Tenant, make_conversation, make_message


async def asked(owner: Conn, of: Tenant, *questions: tuple[str, int]) -> list[int]:
    """Each by another person, with the number of its group."""
    made = []
    for text, group in questions:
        who = await make_conversation(owner, of)
        message = await make_message(
            *(owner, of, *who), direction="inbound", status="received", text=text
        )
        made.append(await make_unanswered(owner, of, message, group))
    return made


async def listed(client: Client, of: Tenant, query: str = "") -> list[dict[str, Any]]:
    answer = await client.get(f"/chatbots/{of.chatbot_id}/unanswered{query}")
    assert answer.status == 200, answer
    return list(answer.json["data"])


async def test_each_question_is_there_once(owner: Conn, client: Client, ours: Tenant) -> None:
    first, second, _, _ = await asked(
        owner, ours, ("roses?", 1), ("tulips?", 2), ("Roses?", 1), ("red roses?", 1)
    )
    rows = await listed(client, ours)
    assert [(r["id"], r["question"], r["count"], r["people"]) for r in rows] == [
        (second, "tulips?", 1, 1),
        (first, "red roses?", 3, 3),
    ]
    assert rows[1]["first_asked_at"] <= rows[1]["last_asked_at"]
    message = await client.get(f"/messages/{rows[1]['message_id']}")
    assert message.json["content_text"] == "red roses?"
    page = await client.get(f"/chatbots/{ours.chatbot_id}/unanswered?limit=1")
    assert [r["id"] for r in page.json["data"]] == [second]
    assert [r["id"] for r in await listed(client, ours, f"?after={page.json['next']}")] == [first]


async def test_an_answer_is_a_row_and_clears_it(owner: Conn, client: Client, ours: Tenant) -> None:
    first, _, other = await asked(owner, ours, ("roses?", 1), ("Roses?", 1), ("tulips?", 2))
    path = f"/chatbots/{ours.chatbot_id}/unanswered/{first}/knowledge"
    body = {"question": "Do you sell roses?", "answer": "Yes.", "alternatives": ["roses?"]}
    made = await client.post(path, body)
    assert made.status == 201, made
    assert (await client.get(f"/knowledge/{made.json['id']}")).json["answer"] == "Yes."
    assert [r["id"] for r in await listed(client, ours)] == [other]
    assert (await client.post(path, body | {"question": "again?"})).status == 404
    assert await owner.fetchval("SELECT count(*) FROM bot_knowledge_base") == 1


async def test_a_question_that_there_is_clears_nothing(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    (first,) = await asked(owner, ours, ("roses?", 1))
    known = await make_knowledge(owner, ours, question="Do you sell roses?")
    refused = await client.post(
        f"/chatbots/{ours.chatbot_id}/unanswered/{first}/knowledge",
        {"question": "Do you sell roses?", "answer": "Yes."},
    )
    assert (refused.status, refused.json["knowledge_id"]) == (409, known)
    assert [r["id"] for r in await listed(client, ours)] == [first]
    gone = await client.send("DELETE", f"/chatbots/{ours.chatbot_id}/unanswered/{first}")
    assert gone.status == 204
    assert await listed(client, ours) == []


async def test_of_who_is_erased_nothing_is_listed_from_then_on(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    await asked(owner, ours, ("my name is Ada Lovelace?", 1), ("name?", 1))
    ada = await owner.fetchval("SELECT min(contact_id) FROM unanswered_questions")
    assert (await client.send("DELETE", f"/contacts/{ada}")).status == 204
    assert [(r["question"], r["count"]) for r in await listed(client, ours)] == [("name?", 1)]


async def test_who_may_what(owner: Conn, connect: Connect, ours: Tenant, theirs: Tenant) -> None:
    (first,) = await asked(owner, ours, ("roses?", 1))
    path = f"/chatbots/{ours.chatbot_id}/unanswered"
    reads = await connect(ours, "chatbots:read", "knowledge:read")
    assert (await reads.get(path)).status == 200
    body = {"question": "roses?", "answer": "Yes."}
    assert (await reads.post(f"{path}/{first}/knowledge", body)).status == 403
    stranger = await connect(theirs)
    assert (await stranger.get(path)).status == 404
    assert (await stranger.post(f"{path}/{first}/knowledge", body)).status == 404
    mine = f"/chatbots/{theirs.chatbot_id}/unanswered/{first}"
    assert (await stranger.send("DELETE", mine)).status == 404
