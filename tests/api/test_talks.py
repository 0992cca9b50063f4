"""Conversations are opened and listed, messages read, actions listed, by whatever is asked for;
who is blocked gets no answer."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

from db.ids import ChatbotId, ContactId
from db.pool import Conn, Pool
from db.talks import Wanted, statement
from handlers.plans import Feature, Permission
from tests.api import Client, make_action, make_open_conversation
from tests.api.conftest import Connect
from tests.api.test_contacts import blocks_read, made
from tests.api.test_plan import give, plan_with
from tests.factories import Tenant, make_conversation, make_conversations, make_tenant
from tests.plan import House


async def found(client: Client, path: str, **query: Any) -> list[int]:
    """All pages of it, three rows each."""
    ids: list[int] = []
    after: dict[str, str] = {}
    while True:
        page = (await client.get(path, limit="3", **query, **after)).json
        ids += [row["id"] for row in page["data"]]
        if page["next"] is None:
            return ids
        after = {"after": page["next"]}


def queries(some: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each of these values, and none, with each of the others."""
    for chosen in itertools.product(*((None, *values) for values in some.values())):
        yield {name: one for name, one in zip(some, chosen, strict=True) if one is not None}


async def second_chatbot(owner: Conn, of: Tenant) -> int:
    chatbot_id: int = await owner.fetchval(
        "INSERT INTO chatbots (user_id, name) VALUES ($1, 'second') RETURNING id", of.user_id
    )
    return chatbot_id


# ---- opened --------------------------------------------------------------------------------------


async def test_a_conversation_is_opened_once(owner: Conn, client: Client, ours: Tenant) -> None:
    contact_id = (await made(client))["id"]
    pair = {"chatbot_id": ours.chatbot_id, "contact_id": contact_id}
    answers = await asyncio.gather(*(client.post("/conversations", pair) for _ in range(8)))
    assert Counter(a.status for a in answers) == {201: 1, 200: 7}
    assert len({a.json["id"] for a in answers}) == 1
    row = next(a.json for a in answers if a.status == 201)
    assert (row["status"], row["unanswered"], row["last_inbound_at"]) == ("bot", False, None)
    thread = await owner.fetchval("SELECT thread_id FROM conversations")
    assert thread == await owner.fetchval("SELECT thread_id FROM contacts")
    # WhatsApp takes no free text of whom has not written.
    sent = await client.post(f"/conversations/{row['id']}/messages", {"content_text": "hi"})
    assert sent.problem == "window_closed"
    other = await client.post(
        "/conversations", pair | {"chatbot_id": await second_chatbot(owner, ours)}
    )
    assert other.status == 201
    keys = [await client.post("/conversations", pair, Idempotency_Key="k") for _ in range(2)]
    assert [a.status for a in keys] == [200, 200]
    assert keys[0].json == keys[1].json == row
    assert (await client.delete(f"/contacts/{contact_id}")).status == 204
    assert await owner.fetchval("SELECT count(*) FROM idempotency_keys") == 0
    gone = await client.post("/conversations", pair, Idempotency_Key="k")
    assert [e["field"] for e in gone.json["errors"]] == ["contact_id"]


async def test_a_first_message_finds_the_conversation_that_is_opened(
    house: House, client: Client, ours: Tenant
) -> None:
    for n in range(8):
        contact_id = (await made(client, f"+120255502{n:02d}"))["id"]
        pair = {"chatbot_id": ours.chatbot_id, "contact_id": contact_id}
        opened, _ = await asyncio.gather(
            client.post("/conversations", pair), house.write(ours, f"w{n}", f"120255502{n:02d}")
        )
        assert opened.status in (200, 201)
        assert await found(client, "/conversations", contact_id=contact_id) == [opened.json["id"]]
    await house.turns()
    assert set((await house.became(ours)).values()) == {"answered"}


async def test_what_is_anothers_is_as_what_is_not_there(
    owner: Conn, client: Client, connect: Connect, ours: Tenant, theirs: Tenant
) -> None:
    mine = (await made(client))["id"]
    their = (await made(await connect(theirs)))["id"]
    told = []
    for chatbot_id, contact_id in (
        (theirs.chatbot_id, their),
        (7_777_777, 8_888_888),
        (10**17, 10**17),
    ):
        pair = {"chatbot_id": chatbot_id, "contact_id": contact_id}
        told.append((await client.post("/conversations", pair)).json)
        half = await client.post("/conversations", pair | {"contact_id": mine})
        assert [e["field"] for e in half.json["errors"]] == ["chatbot_id"]
    assert told[0] == told[1] == told[2]
    assert told[0]["errors"] == [
        {"field": "chatbot_id", "detail": "you have no chatbot with this id"},
        {"field": "contact_id", "detail": "you have no contact with this id"},
    ]
    assert await owner.fetchval("SELECT count(*) FROM conversations") == 0
    await make_action(owner, theirs)
    for path in ("/conversations", "/actions"):
        for query in ({"chatbot_id": theirs.chatbot_id}, {"contact_id": their}):
            assert await found(client, path, **query) == []
    for bad in ({"contact_id": None}, {"contact_id": "1"}, {"contact_id": -1}, {"who": 1}):
        answer = await client.post("/conversations", {"chatbot_id": 1, "contact_id": 1} | bad)
        assert [e["field"] for e in answer.json["errors"]] == list(bad)


# ---- listed --------------------------------------------------------------------------------------


async def test_conversations_by_all_that_is_asked(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    second = await second_chatbot(owner, ours)
    rows: list[dict[str, Any]] = []
    moments = {
        "bot": "NULL",
        "past": "now() - interval '1 h'",
        "until": "now() + interval '1 h'",
        "ever": "'infinity'",
    }
    for n in range(24):
        contact_id, conversation_id = await make_conversation(owner, ours, input_seq=1)
        held = list(moments)[n % 4]
        row = {
            "id": conversation_id,
            "contact_id": contact_id,
            "chatbot_id": second if n % 3 == 0 else ours.chatbot_id,
            "unanswered": "true" if n % 2 else "false",
            "status": "taken_over" if held in ("until", "ever") else "bot",
        }
        if n % 5 == 0:
            await owner.execute(
                "UPDATE contacts SET conversation_paused = true WHERE id = $1", contact_id
            )
            row["status"] = "paused" if row["status"] == "bot" else "taken_over"
        await owner.execute(
            "UPDATE conversations SET chatbot_id = $2, answered_seq = $3,"
            f" taken_over_until = {moments[held]},"
            " taken_over_at = CASE WHEN $4 THEN now() END,"
            " taken_over_by = CASE WHEN $4 THEN 'human' END WHERE id = $1",
            *(conversation_id, row["chatbot_id"], 0 if n % 2 else 1, held != "bot"),
        )
        rows.append(row)
    some = {
        "status": ("bot", "taken_over", "paused"),
        "unanswered": ("true", "false"),
        "chatbot_id": (second, ours.chatbot_id),
        "contact_id": (rows[1]["contact_id"], rows[6]["contact_id"]),
    }
    for query in queries(some):
        wanted = [r["id"] for r in rows if query.items() <= r.items()]
        assert await found(client, "/conversations", **query) == wanted[::-1], query
    for bad in ({"unanswered": "yes"}, {"contact_id": "x"}, {"status": "open"}, {"tag": "x"}):
        answer = await client.get("/conversations", **bad)
        assert [e["field"] for e in answer.json["errors"]] == list(bad)


async def test_actions_by_all_that_is_asked(owner: Conn, client: Client, ours: Tenant) -> None:
    second = await second_chatbot(owner, ours)
    rows: list[dict[str, Any]] = []
    for n in range(18):
        chatbot_id = second if n % 3 == 0 else ours.chatbot_id
        status = ("pending", "approved")[n % 2]
        action_id, _ = await make_action(owner, ours, chatbot_id=chatbot_id, status=status)
        contact_id = await owner.fetchval("SELECT contact_id FROM actions WHERE id = $1", action_id)
        rows.append(
            {
                "id": action_id,
                "chatbot_id": chatbot_id,
                "contact_id": contact_id,
                "status": status,
            }
        )
    some = {
        "status": ("pending", "approved", "denied"),
        "chatbot_id": (second, ours.chatbot_id),
        "contact_id": (rows[4]["contact_id"],),
    }
    for query in queries(some):
        wanted = [r["id"] for r in rows if query.items() <= r.items()]
        assert await found(client, "/actions", **query) == wanted[::-1], query


async def test_lists_read_no_more_among_many(
    owner: Conn, pool: Pool, ours: Tenant, theirs: Tenant
) -> None:
    """The first page of each way in, with as many rows of others and of other kinds beside it."""
    second = await second_chatbot(owner, ours)
    reads: list[dict[str, int]] = []
    few: list[int] = []
    for size in (100, 3_000):
        await owner.execute("DELETE FROM contacts")
        for of in (theirs, ours):
            ids = await make_conversations(owner, of, size)
            # Once the product had given up on all of them; the oldest few are what is asked for.
            await owner.execute(
                "UPDATE conversations SET taken_over_at = now() - interval '2 h', input_seq = 1,"
                " answered_seq = 1, taken_over_by = 'product',"
                " taken_over_until = now() - interval '1 h' WHERE user_id = $1",
                of.user_id,
            )
            few = [int(one) for one in ids[:9]]
            await owner.execute(
                "UPDATE conversations SET answered_seq = 0 WHERE id = ANY ($1);", few[:3]
            )
            await owner.execute(
                "UPDATE conversations SET taken_over_until = 'infinity', taken_over_by = 'human'"
                " WHERE id = ANY ($1)",
                few[3:6],
            )
            await owner.execute(
                "UPDATE contacts SET conversation_paused = true WHERE id IN"
                " (SELECT contact_id FROM conversations WHERE id = ANY ($1))",
                few[6:],
            )
            if of is ours:
                await owner.execute(
                    "UPDATE conversations SET chatbot_id = $2 WHERE id = ANY ($1)", few[:3], second
                )
        await owner.execute("VACUUM ANALYZE conversations")
        await owner.execute("VACUUM ANALYZE contacts")
        contact_id = await owner.fetchval(
            "SELECT contact_id FROM conversations WHERE id = $1", few[0]
        )
        asked = {
            "contact": Wanted(contact_id=ContactId(contact_id)),
            "unanswered": Wanted(unanswered=True),
            "unanswered of a chatbot": Wanted(unanswered=True, chatbot_id=ChatbotId(second)),
            "taken over": Wanted(status="taken_over"),
            "taken over and answered": Wanted(status="taken_over", unanswered=False),
            "paused": Wanted(status="paused"),
            "chatbot": Wanted(chatbot_id=ChatbotId(second)),
            "bot": Wanted(status="bot"),
            "all": Wanted(),
        }
        found: dict[str, int] = {}
        for name, wanted in asked.items():
            sql, args = statement(ours.user_id, wanted, 10**17, 20)
            found[name] = await blocks_read(pool, ours, sql, *args)
        reads.append(found)
    small, large = reads
    assert {name: large[name] for name in small if large[name] > 3 * small[name] + 60} == {}


# ---- messages ------------------------------------------------------------------------------------


async def test_a_message_by_itself(owner: Conn, connect: Connect) -> None:
    user = await make_tenant(owner)
    client = await connect(user)
    conversation, message = await make_open_conversation(owner, user)
    await owner.execute(
        "UPDATE messages SET confidence_score = 0.8125,"
        """ metadata = '{"kind": "reply", "errors": []}' WHERE id = $1""",
        message,
    )
    path = f"/messages/{message}"
    (listed,) = (await client.get(f"/conversations/{conversation}/messages")).json["data"]
    read = (await client.get(path)).json
    assert read == listed
    assert (read["confidence_score"], read["metadata"]) == (0.8125, {"kind": "reply"})
    raw = (await client.get(path, raw="true")).json
    assert raw == read | {"metadata": {"kind": "reply", "errors": []}}
    await give(owner, user, plan_with(Permission.ACCESS_RAW_LOGS, "false"))
    assert (await client.get(path)).status == 200
    assert (await client.get(path, raw="true")).problem == "not_in_plan"
    await give(owner, user, plan_with(Feature.MESSAGE_HISTORY, "false"))
    assert (await client.get(path)).problem == "not_in_plan"
    await give(owner, user, "{}")
    assert (await client.get(path, raw="yes")).status == 400
    contact_id = await owner.fetchval("SELECT contact_id FROM messages WHERE id = $1", message)
    assert (await client.delete(f"/contacts/{contact_id}")).status == 204
    assert (await client.get(path)).problem == "not_found"


async def test_a_repeated_message_is_answered_as_it_was_first(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    conversation, _ = await make_open_conversation(owner, ours)
    path = f"/conversations/{conversation}/messages"
    first = await client.post(path, {"content_text": "hi"}, Idempotency_Key="k")
    await owner.execute(
        "UPDATE messages SET status = 'read', message_id = 'wamid.x' WHERE id = $1",
        first.json["id"],
    )
    assert (await client.get(f"/messages/{first.json['id']}")).json["status"] == "read"
    again = await client.post(path, {"content_text": "hi"}, Idempotency_Key="k")
    assert (again.status, again.json) == (201, first.json)


# ---- who is blocked ------------------------------------------------------------------------------


async def test_who_is_blocked_is_recorded_and_not_answered(
    house: House, client: Client, ours: Tenant
) -> None:
    await house.write(ours, "before")
    await house.turns()
    (row,) = (await client.get("/contacts")).json["data"]
    path = f"/contacts/{row['id']}"
    await client.patch(path, {"contact_status": "blocked"})
    await house.write(ours, "meanwhile")
    await house.turns()
    became = {"before": "answered", "meanwhile": "blocked"}
    assert await house.became(ours) == became
    (conversation,) = await found(
        client, "/conversations", contact_id=row["id"], unanswered="false"
    )
    last = (await client.get(f"/conversations/{conversation}/messages", limit="1")).json["data"]
    assert (last[0]["direction"], last[0]["metadata"]["reason"]) == ("inbound", "blocked")
    # What was said meanwhile stays unanswered; what comes now is not.
    await client.patch(path, {"contact_status": "active"})
    await house.scheduler()
    await house.turns()
    assert await house.became(ours) == became
    await house.write(ours, "after")
    await house.turns()
    assert await house.became(ours) == became | {"after": "answered"}


async def test_pausing_silences_all_conversations(
    owner: Conn, house: House, client: Client, ours: Tenant
) -> None:
    await house.write(ours, "w1")
    (row,) = (await client.get("/contacts")).json["data"]
    await client.patch(f"/contacts/{row['id']}", {"conversation_paused": True})
    await house.turns()
    assert await house.became(ours) == {"w1": "conversation_paused"}
    (talk,) = (await client.get("/conversations", status="paused")).json["data"]
    assert talk["contact_id"] == row["id"]
