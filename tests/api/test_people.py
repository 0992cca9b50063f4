"""What people do through the API: decide, take over, write, hand back, look."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.pool import Conn, Pool, tenant
from tests.api import Client, make_action, make_open_conversation
from tests.api.conftest import Connect
from tests.db.units import reserve_messages
from tests.factories import Tenant, make_conversation, make_message, make_tenant

# ---- actions -------------------------------------------------------------------------------------


async def test_a_decision_is_made_once_and_may_be_repeated(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    action, conversation = await make_action(owner, ours)
    first = await client.post(
        f"/actions/{action}/approve", {"user_response": "Done.", "auto_approve_similar": True}
    )
    assert first.status == 200
    assert (first.json["status"], first.json["user_response"]) == ("approved", "Done.")
    assert first.json["auto_approve_similar"] is True
    again = await client.post(f"/actions/{action}/approve", {"user_response": "Other words."})
    assert (again.status, again.json) == (200, first.json)
    other = await client.post(f"/actions/{action}/deny")
    assert (other.status, other.problem) == (409, "already_decided")
    assert other.json["action"] == first.json == (await client.get(f"/actions/{action}")).json
    events = await owner.fetch("SELECT conversation_id, kind FROM conversation_events")
    assert [tuple(e) for e in events] == [(conversation, "action_decided")]


async def test_of_many_deciders_one_decides(owner: Conn, client: Client, ours: Tenant) -> None:
    action, _ = await make_action(owner, ours)
    verdicts = ["approve", "deny"] * 7
    answers = await asyncio.gather(*(client.post(f"/actions/{action}/{v}") for v in verdicts))
    status = await owner.fetchval("SELECT status FROM actions WHERE id = $1", action)
    winner = {"approved": "approve", "denied": "deny"}[status]
    assert [a.status for a in answers] == [200 if v == winner else 409 for v in verdicts]
    assert await owner.fetchval("SELECT count(*) FROM conversation_events") == 1


async def test_what_time_decided_is_told(owner: Conn, client: Client, ours: Tenant) -> None:
    action, _ = await make_action(owner, ours, status="expired", resolved_at=datetime.now(UTC))
    answer = await client.post(f"/actions/{action}/approve")
    assert answer.problem == "already_decided"
    assert answer.json["action"]["status"] == "expired"


async def test_actions_are_listed_page_by_page(owner: Conn, client: Client, ours: Tenant) -> None:
    made = [(await make_action(owner, ours))[0] for _ in range(5)]
    await owner.execute("UPDATE actions SET status = 'denied' WHERE id = $1", made[2])
    pages: list[list[int]] = []
    query: dict[str, Any] = {"limit": "2", "status": "pending"}
    while True:
        page = (await client.get("/actions", **query)).json
        pages.append([row["id"] for row in page["data"]])
        if page["next"] is None:
            break
        query["after"] = page["next"]
    assert pages == [[made[4], made[3]], [made[1], made[0]]]
    assert len((await client.get("/actions")).json["data"]) == 5


# ---- takeover ------------------------------------------------------------------------------------


async def takeovers(owner: Conn, of: Tenant) -> int:
    used: int = await owner.fetchval(
        "SELECT coalesce(sum(live_takeovers_used), 0)::int FROM usage_tracking WHERE user_id = $1",
        of.user_id,
    )
    return used


async def test_taken_over_and_handed_back(owner: Conn, client: Client, ours: Tenant) -> None:
    conversation, _ = await make_open_conversation(owner, ours)
    path = f"/conversations/{conversation}"
    taken = (await client.post(f"{path}/takeover")).json
    assert (taken["status"], taken["taken_over_by"], taken["taken_over_until"]) == (
        "taken_over",
        "human",
        None,
    )
    assert await owner.fetchval("SELECT taken_over_until = 'infinity' FROM conversations")
    until = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)
    again = (
        await client.post(f"{path}/takeover", {"reason": "Ada", "until": until.isoformat()})
    ).json
    assert again["taken_over_reason"] == "Ada"
    assert datetime.fromisoformat(again["taken_over_until"]) == until
    assert again["taken_over_at"] == taken["taken_over_at"]
    assert await takeovers(owner, ours) == 1  # one, however often it is changed
    listed = (await client.get("/conversations", status="taken_over")).json["data"]
    assert [c["id"] for c in listed] == [conversation]
    back = (await client.post(f"{path}/handback")).json
    assert (back["status"], back["taken_over_by"]) == ("bot", None)
    # Whether it has to say something is the next turn's to see.
    assert await owner.fetchval("SELECT array_agg(kind) FROM conversation_events") == [
        "handed_back"
    ]
    assert (await client.post(f"{path}/handback")).status == 200
    assert await owner.fetchval("SELECT count(*) FROM conversation_events") == 1
    assert (await client.get("/conversations", status="bot")).json["data"] != []
    await client.post(f"{path}/takeover")
    assert await takeovers(owner, ours) == 2


async def test_a_person_takes_over_what_the_product_gave_up(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    _, conversation = await make_conversation(owner, ours)
    await owner.execute(
        "UPDATE conversations SET taken_over_at = now(), taken_over_by = 'product',"
        " taken_over_until = now() + interval '30 min', taken_over_reason = 'turn_failed'"
    )
    path = f"/conversations/{conversation}"
    assert (await client.get(path)).json["conversation"]["taken_over_by"] == "product"
    assert (await client.post(f"{path}/takeover")).json["taken_over_by"] == "human"
    assert await takeovers(owner, ours) == 1
    assert (await client.post(f"{path}/handback")).json["status"] == "bot"


@pytest.mark.parametrize("value", ["false", "0", "null", '"no"', '""', "[]"])
async def test_the_plan_may_leave_takeovers_out(owner: Conn, connect: Connect, value: str) -> None:
    config = f'{{"features": {{"advanced_features": {{"live_chat_takeover": {value}}}}}}}'
    without = await make_tenant(owner, config=config)
    conversation, _ = await make_open_conversation(owner, without)
    client = await connect(without)
    path = f"/conversations/{conversation}"
    for answer in (
        await client.post(f"{path}/takeover"),
        await client.post(f"{path}/messages", {"content_text": "hi"}),
    ):
        assert (answer.status, answer.problem) == (403, "not_in_plan")
        assert "live_chat_takeover" in answer.json["detail"]
    assert (await client.get(path)).json["conversation"]["status"] == "bot"


async def test_takeovers_at_once_are_one(owner: Conn, client: Client, ours: Tenant) -> None:
    conversation, _ = await make_open_conversation(owner, ours)
    path = f"/conversations/{conversation}/takeover"
    answers = await asyncio.gather(*(client.post(path) for _ in range(12)))
    assert {a.status for a in answers} == {200}
    assert await takeovers(owner, ours) == 1


# ---- a person writes -----------------------------------------------------------------------------


async def counters(owner: Conn, of: Tenant) -> tuple[int, int, int]:
    """Sent today, sent this month, reserved; after comparing with the rows."""
    row = await owner.fetchrow(
        "SELECT coalesce(sum(daily_messages_sent), 0)::int AS day,"
        " (SELECT coalesce(sum(total_messages_sent), 0)::int FROM monthly_usage_summary"
        "   WHERE user_id = $1) AS month,"
        " coalesce(sum(messages_reserved), 0)::int AS reserved,"
        " (SELECT count(*)::int FROM messages WHERE user_id = $1 AND usage_day IS NOT NULL"
        "   AND NOT overage) AS rows FROM usage_tracking WHERE user_id = $1",
        of.user_id,
    )
    assert row is not None
    assert row["day"] == row["month"] == row["rows"]
    return row["day"], row["month"], row["reserved"]


async def test_a_persons_message_is_queued_counted_and_silences_the_bot(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    conversation, _ = await make_open_conversation(owner, ours)
    path = f"/conversations/{conversation}/messages"
    answer = await client.post(path, {"content_text": "I am Ada. \U0001f642"})
    assert answer.status == 201
    said = answer.json
    assert (said["direction"], said["status"], said["is_from_human"]) == (
        "outbound",
        "queued",
        True,
    )
    assert (said["content_text"], said["message_id"]) == ("I am Ada. \U0001f642", None)
    assert await counters(owner, ours) == (1, 1, 0)
    seen = (await client.get(f"/conversations/{conversation}")).json
    assert seen["conversation"]["taken_over_reason"] == "human_message"
    assert [m["content_text"] for m in seen["messages"]] == ["hello?", "I am Ada. \U0001f642"]
    assert await takeovers(owner, ours) == 1
    await client.post(path, {"content_text": "And again."})
    assert await takeovers(owner, ours) == 1
    assert await counters(owner, ours) == (2, 2, 0)


async def test_a_repeated_key_makes_one_message(owner: Conn, client: Client, ours: Tenant) -> None:
    conversation, _ = await make_open_conversation(owner, ours)
    path = f"/conversations/{conversation}/messages"
    answers = await asyncio.gather(
        *(client.post(path, {"content_text": "once"}, Idempotency_Key="k-1") for _ in range(10))
    )
    assert {a.status for a in answers} <= {201, 409}
    assert {a.problem for a in answers if a.status == 409} <= {"idempotency_in_progress"}
    first = next(a for a in answers if a.status == 201)
    assert all(a.json == first.json for a in answers if a.status == 201)
    await owner.execute("UPDATE messages SET content_text = 'changed since'")
    again = await client.post(path, {"content_text": "once"}, Idempotency_Key="k-1")
    assert (again.status, again.json) == (201, first.json)
    assert await counters(owner, ours) == (1, 1, 0)
    other = await client.post(path, {"content_text": "twice"}, Idempotency_Key="k-1")
    assert (other.status, other.problem) == (422, "idempotency_key_reused")
    assert (await client.post(path, {"content_text": "x"}, Idempotency_Key="\xe9")).status == 400


async def test_a_request_is_the_same_however_it_is_spelt(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    conversation, _ = await make_open_conversation(owner, ours)
    headers = {"Content-Type": "application/json", "Idempotency-Key": "k-1"}
    answers = [
        await client.send("POST", f"/conversations/{row_id}/messages", data=body, headers=headers)
        for row_id, body in (
            (str(conversation), b'{"content_text": "caf\xc3\xa9"}'),
            (f"0{conversation}", b'{ "content_text":\n"caf\\u00e9" }'),
        )
    ]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].json == answers[1].json


async def test_a_key_that_two_conversations_share_at_once_is_one_request(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    paths = [
        f"/conversations/{(await make_open_conversation(owner, ours))[0]}/messages"
        for _ in range(6)
    ]
    answers = await asyncio.gather(
        *(client.post(path, {"content_text": "hi"}, Idempotency_Key="same") for path in paths)
    )
    said = [a.status if a.status == 201 else a.problem for a in answers]
    assert said.count(201) == 1
    assert set(said) <= {201, "idempotency_key_reused", "idempotency_in_progress"}
    assert await counters(owner, ours) == (1, 1, 0)


async def test_two_tenants_may_use_one_idempotency_key(
    owner: Conn, connect: Connect, ours: Tenant, theirs: Tenant
) -> None:
    for side in (ours, theirs):
        conversation, _ = await make_open_conversation(owner, side)
        path = f"/conversations/{conversation}/messages"
        client = await connect(side)
        assert (await client.post(path, {"content_text": "x"}, Idempotency_Key="k")).status == 201


@pytest.mark.parametrize(
    ("daily", "monthly", "limit"),
    [(3, 100, "daily_message_limit"), (100, 3, "monthly_message_limit")],
)
async def test_the_limit_holds_for_people_too(
    owner: Conn, connect: Connect, daily: int, monthly: int, limit: str
) -> None:
    tenant_ = await make_tenant(owner, daily=daily, monthly=monthly)
    client = await connect(tenant_)
    paths = [
        f"/conversations/{(await make_open_conversation(owner, tenant_))[0]}/messages"
        for _ in range(8)
    ]
    answers = await asyncio.gather(*(client.post(path, {"content_text": "x"}) for path in paths))
    assert sorted(a.status for a in answers) == [201] * 3 + [429] * 5
    refused = next(a for a in answers if a.status == 429)
    assert (refused.problem, refused.json["limit"]) == ("message_limit", limit)
    assert 0 < int(refused.headers["Retry-After"]) <= 31 * 86_400
    assert await counters(owner, tenant_) == (3, 3, 0)
    # Who was refused has taken nothing over.
    assert await takeovers(owner, tenant_) == 3
    assert len((await client.get("/conversations", status="bot")).json["data"]) == 5


async def test_a_unit_that_a_turn_holds_is_not_taken_twice(
    owner: Conn, pool: Pool, connect: Connect
) -> None:
    tenant_ = await make_tenant(owner, daily=1)
    conversation, _ = await make_open_conversation(owner, tenant_)
    async with tenant(pool, tenant_.user_id) as conn:
        assert (await reserve_messages(conn, tenant_.user_id, conversation, 1)).outcome == "granted"
    path = f"/conversations/{conversation}/messages"
    client = await connect(tenant_)
    assert (await client.post(path, {"content_text": "instead of the bot"})).status == 201
    assert await counters(owner, tenant_) == (1, 1, 0)
    assert (await client.post(path, {"content_text": "too much"})).problem == "message_limit"


async def test_what_cannot_leave_is_refused(owner: Conn, client: Client, ours: Tenant) -> None:
    conversation, _ = await make_open_conversation(owner, ours)
    path = f"/conversations/{conversation}/messages"
    too_long = await client.post(path, {"content_text": "\U0001f642" * 2_049})
    assert too_long.json["errors"][0]["field"] == "content_text"
    for bad in ({}, {"content_text": "  "}, {"content_text": None}, {"content_text": ["x"]}):
        assert (await client.post(path, bad)).status == 400
    assert (await client.post(path, {"content_text": "\U0001f642" * 2_048})).status == 201
    await owner.execute("UPDATE conversations SET last_inbound_at = now() - interval '24 h'")
    assert (await client.post(path, {"content_text": "x"})).problem == "window_closed"
    await owner.execute("UPDATE conversations SET last_inbound_at = now()")
    await owner.execute("UPDATE chatbots SET is_active = false WHERE id = $1", ours.chatbot_id)
    assert (await client.post(path, {"content_text": "x"})).problem == "chatbot_inactive"
    await owner.execute("UPDATE chatbots SET is_active = true")
    await owner.execute("UPDATE user_subscriptions SET is_active = false")
    assert (await client.post(path, {"content_text": "x"})).problem == "not_in_plan"
    assert await owner.fetchval("SELECT count(*) FROM messages WHERE is_from_human") == 1


# ---- looking -------------------------------------------------------------------------------------


async def test_messages_page_by_page(owner: Conn, client: Client, ours: Tenant) -> None:
    contact, conversation = await make_conversation(owner, ours)
    made = [
        await make_message(owner, ours, contact, conversation, status="sent", text=f"m{n}")
        for n in range(25)
    ]
    seen = (await client.get(f"/conversations/{conversation}")).json
    assert [m["id"] for m in seen["messages"]] == made[-20:]
    first = (await client.get(f"/conversations/{conversation}/messages", limit="10")).json
    rest = await client.get(
        f"/conversations/{conversation}/messages", limit="15", after=first["next"]
    )
    assert [m["id"] for m in first["data"] + rest.json["data"]] == made[::-1]
    assert rest.json["next"] is None


async def test_chatbots_are_shown_without_their_tokens(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    await owner.execute("UPDATE chatbots SET access_token = 'enc:v1:secret'")
    answer = await client.get("/chatbots")
    assert [c["whatsapp_phone_number"] for c in answer.json["data"]] == [ours.number]
    assert "enc:v1" not in str(answer.json)


async def test_usage_is_of_the_tenants_own_day(owner: Conn, connect: Connect) -> None:
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):  # never on the same day
        tenant_ = await make_tenant(owner, daily=7, monthly=9, timezone=zone)
        conversation, _ = await make_open_conversation(owner, tenant_)
        client = await connect(tenant_)
        await client.post(f"/conversations/{conversation}/messages", {"content_text": "x"})
        usage = (await client.get("/usage")).json
        today = await owner.fetchval("SELECT (now() AT TIME ZONE $1)::date", zone)
        assert usage["timezone"] == zone
        assert usage["today"]["tracking_date"] == today.isoformat()
        assert (usage["today"]["daily_messages_sent"], usage["today"]["daily_message_limit"]) == (
            1,
            7,
        )
        assert (usage["month"]["total_messages_sent"], usage["month"]["month"]) == (1, today.month)
        ends = datetime.fromisoformat(usage["today"]["ends_at"])
        assert timedelta(0) < ends - datetime.now(UTC) <= timedelta(days=1)
