"""What came of deliveries, and how they come again."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.pool import Conn, Pool
from db.webhooks import WebhookOf
from handlers.deliveries import webhooks
from handlers.process.sweeps import Sweep
from tests.api import Client, make_delivery, make_webhook, tell
from tests.factories import Tenant

DAY = timedelta(days=1)


async def attempt(
    owner: Conn, of: Tenant, delivery: int, ago: timedelta, status: int | None, response: str = ""
) -> None:
    await owner.execute(
        "INSERT INTO webhook_attempts (user_id, delivery_id, at, part, duration_ms, status_code,"
        " error, response) SELECT $1, $2, t.at, attempts_part(t.at), 12, $4, $5, $6"
        " FROM (SELECT now() - $3::interval AS at) t",
        of.user_id,
        delivery,
        ago,
        status,
        None if status else "timeout",
        response,
    )


async def rows(owner: Conn, webhook: int) -> list[tuple[Any, ...]]:
    """(event, status, tries, is it due) in the order in which they are due."""
    found = await owner.fetch(
        "SELECT event_id, status, tries, due_at <= clock_timestamp() + interval '1 s' AS due"
        " FROM webhook_deliveries WHERE webhook_id = $1 ORDER BY due_at, event_id",
        webhook,
    )
    return [tuple(row) for row in found]


async def since(client: Client, webhook: int, ago: timedelta) -> Any:
    at = (datetime.now(UTC) - ago).isoformat()
    answer = await client.post(f"/webhooks/{webhook}/recover", {"since": at})
    assert answer.status == 200, answer
    return answer.json


# ---- looked at -----------------------------------------------------------------------------------


async def test_a_delivery_has_its_attempts_and_what_is_sent(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    webhook, delivery = await make_delivery(owner, ours)
    for ago, status in ((31 * DAY, 500), (DAY, None), (timedelta(hours=1), 503)):
        await attempt(owner, ours, delivery, ago, status, "later, please" if status else "")
    event, body = await owner.fetchrow("SELECT id, body FROM webhook_events")  # type: ignore[misc]
    (listed,) = (await client.get(f"/webhooks/{webhook}/deliveries")).json["data"]
    read = (await client.get(f"/deliveries/{delivery}")).json
    assert read == listed | {"payload": json.loads(body)}
    assert read["event_id"] == f"evt_{event}"
    assert (read["type"], read["status"], read["webhook_id"]) == (
        "bot.recovered",
        "pending",
        webhook,
    )
    assert read["next_attempt_at"]
    assert [one["status_code"] for one in read["attempts"]] == [None, 503]
    assert [one["error"] for one in read["attempts"]] == ["timeout", None]
    assert read["attempts"][1]["response"] == "later, please"
    assert all(one["at"].endswith("Z") for one in read["attempts"])


async def test_a_delivery_of_a_webhook_that_is_gone_is_not_there(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    webhook, delivery = await make_delivery(owner, ours)
    assert (await client.get(f"/deliveries/{delivery}")).status == 200
    assert (await client.delete(f"/webhooks/{webhook}")).status == 204
    assert (await client.get(f"/deliveries/{delivery}")).status == 404
    assert (await client.post(f"/deliveries/{delivery}/replay")).status == 404


async def test_the_last_fifty_attempts_are_shown(owner: Conn, client: Client, ours: Tenant) -> None:
    _, delivery = await make_delivery(owner, ours)
    for n in range(60):
        await attempt(owner, ours, delivery, timedelta(minutes=60 - n), 500 + n)
    shown = (await client.get(f"/deliveries/{delivery}")).json["attempts"]
    assert [one["status_code"] for one in shown] == list(range(510, 560))


async def test_deliveries_page_by_page_and_by_status(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    webhook = await make_webhook(owner, ours)
    await make_webhook(owner, ours)  # has as many, which are not among these
    events = [await tell(owner, ours, "bot.recovered") for _ in range(12)]
    for n, event in enumerate(events):
        status, due = (
            ("pending", "now()"),
            ("pending", "NULL"),
            ("delivered", "NULL"),
            ("failed", "NULL"),
        )[n % 4]
        await owner.execute(
            f"UPDATE webhook_deliveries SET status = $2, due_at = {due} WHERE event_id = $1",
            event,
            status,
        )
    path = f"/webhooks/{webhook}/deliveries"
    asked: tuple[tuple[str | None, tuple[int, ...]], ...] = (
        (None, (0, 1, 2, 3)),
        ("pending", (0, 1)),
        ("delivered", (2,)),
        ("failed", (3,)),
    )
    for wanted_status, places in asked:
        query = {"status": wanted_status} if wanted_status else {}
        seen: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = (await client.get(path, limit="2", **query, **after)).json
            assert len(page["data"]) <= 2
            seen += [one["event_id"] for one in page["data"]]
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        wanted = [e for n, e in enumerate(events) if n % 4 in places]
        assert seen == [f"evt_{event}" for event in reversed(wanted)], wanted_status
    kept = (await client.get(path, status="pending")).json["data"]
    assert [one["next_attempt_at"] is None for one in kept] == [True, False] * 3


async def test_a_page_of_large_attempts_ends_early_and_loses_none(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    webhook = await make_webhook(owner, ours)
    events = [await tell(owner, ours, "bot.recovered") for _ in range(12)]
    await owner.execute(
        "INSERT INTO webhook_attempts (user_id, delivery_id, at, part, duration_ms, response)"
        " SELECT d.user_id, d.id, now(), attempts_part(now()), 1, repeat('x', 1024)"
        "   FROM webhook_deliveries d, generate_series(1, 50)"
    )
    seen: list[str] = []
    after: dict[str, str] = {}
    pages = 0
    while after or not pages:
        page = (await client.get(f"/webhooks/{webhook}/deliveries", **after)).json
        seen += [one["event_id"] for one in page["data"]]
        after = {"after": page["next"]} if page["next"] else {}
        pages += 1
    assert seen == [f"evt_{event}" for event in reversed(events)]
    assert pages >= 3


# ---- again ---------------------------------------------------------------------------------------


async def test_a_ping_is_for_this_webhook_alone(owner: Conn, client: Client, ours: Tenant) -> None:
    webhook = await make_webhook(owner, ours, events='["order.created"]')
    await make_webhook(owner, ours)
    answer = await client.post(f"/webhooks/{webhook}/test")
    assert (answer.status, answer.json["type"], answer.json["webhook_id"]) == (201, "ping", webhook)
    read = (await client.get(f"/deliveries/{answer.json['id']}")).json
    assert read["payload"]["type"] == "ping"
    assert read["payload"]["data"] == {"webhook_id": webhook, "user_id": ours.user_id}
    assert await owner.fetchval("SELECT count(*) FROM webhook_deliveries") == 1
    assert await owner.fetchval("SELECT count(*) FROM analytics_events") == 0


@pytest.mark.parametrize("was", ["delivered", "failed", "kept"])
async def test_a_replay_is_the_same_delivery_due_now(
    owner: Conn, client: Client, ours: Tenant, was: str
) -> None:
    webhook, delivery = await make_delivery(owner, ours)
    await owner.execute(
        "UPDATE webhook_deliveries SET status = $1, due_at = NULL, tries = 9, ended_at = now()",
        "pending" if was == "kept" else was,
    )
    before = (await client.get(f"/deliveries/{delivery}")).json
    assert before["next_attempt_at"] is None
    for _ in range(2):
        answer = await client.post(f"/deliveries/{delivery}/replay")
        assert answer.status == 202
        assert answer.json["next_attempt_at"]
        assert answer.json == before | {
            "status": "pending",
            "next_attempt_at": answer.json["next_attempt_at"],
        }
    event = int(before["event_id"].removeprefix("evt_"))
    assert await rows(owner, webhook) == [(event, "pending", 0, True)]
    assert await owner.fetchval("SELECT ended_at FROM webhook_deliveries") is None


async def test_what_rests_is_not_tried(owner: Conn, client: Client, ours: Tenant) -> None:
    webhook, delivery = await make_delivery(owner, ours)
    await owner.execute("UPDATE webhooks SET is_active = false")
    await owner.execute("UPDATE webhook_deliveries SET due_at = NULL")
    for answer in (
        await client.post(f"/webhooks/{webhook}/test"),
        await client.post(f"/webhooks/{webhook}/recover", {"since": "2026-01-01T00:00:00Z"}),
        await client.post(f"/deliveries/{delivery}/replay"),
    ):
        assert (answer.status, answer.problem) == (409, "webhook_rests")
        assert "is_active" in answer.json["detail"]
    assert [row[3] for row in await rows(owner, webhook)] == [None]


# ---- recovery ------------------------------------------------------------------------------------


async def test_recovery_brings_what_was_not_delivered_in_order(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    early = await tell(owner, ours, "bot.failing", ago=3 * DAY)  # nobody wanted to hear it
    webhook = await make_webhook(owner, ours)
    other = await make_webhook(owner, ours, events='["ping"]')
    old = await tell(owner, ours, "bot.recovered", ago=2 * DAY)
    told = [await tell(owner, ours, "bot.recovered", ago=timedelta(hours=h)) for h in (5, 4, 3, 2)]
    delivered, failed, kept, due = told
    for event, status, due_at in (
        (old, "failed", "NULL"),
        (delivered, "delivered", "NULL"),
        (failed, "failed", "NULL"),
        (kept, "pending", "NULL"),
        (due, "pending", "now() + interval '1 hour'"),
    ):
        await owner.execute(
            f"UPDATE webhook_deliveries SET status = $2, due_at = {due_at}, tries = 5"
            " WHERE event_id = $1",
            event,
            status,
        )
    report = await since(client, webhook, DAY)
    assert (report["deliveries"], report["more"]) == (2, False)
    assert await rows(owner, webhook) == [
        (failed, "pending", 0, True),
        (kept, "pending", 0, True),
        (due, "pending", 5, False),
        (old, "failed", 5, None),
        (delivered, "delivered", 5, None),
    ]
    assert (await since(client, webhook, DAY))["deliveries"] == 0, "safe to repeat"
    assert (await since(client, webhook, 10 * DAY))["deliveries"] == 2
    by_time = [row[0] for row in await rows(owner, webhook) if row[3]]
    assert by_time == [failed, kept, early, old], "what is asked for later comes after"
    assert await rows(owner, other) == []
    assert await owner.fetchval("SELECT count(*) FROM webhook_recoveries") == 0
    body = json.loads(await owner.fetchval("SELECT body FROM webhook_events WHERE id = $1", early))
    happened = await owner.fetchval("SELECT created_at FROM analytics_events WHERE id = $1", early)
    assert datetime.fromisoformat(body["timestamp"]) == happened
    assert body["data"] == {"user_id": ours.user_id, "chatbot_id": ours.chatbot_id}


async def test_recovery_brings_what_is_wanted_by_now(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    webhook = await make_webhook(owner, ours, events='["order.created"]')
    wide = await make_webhook(owner, ours)
    event = await tell(owner, ours, "bot.recovered")
    await owner.execute("DELETE FROM analytics_events")  # as what is only told
    assert (await client.post(f"/webhooks/{wide}/test")).status == 201
    await client.patch(f"/webhooks/{webhook}", {"events": ["bot.*", "ping"]})
    assert (await since(client, webhook, DAY))["deliveries"] == 1
    assert await rows(owner, webhook) == [(event, "pending", 0, True)], "no ping of another"
    await client.patch(f"/webhooks/{webhook}", {"chatbot_id": ours.chatbot_id})
    await owner.execute("DELETE FROM webhook_deliveries WHERE webhook_id = $1", webhook)
    await owner.execute("UPDATE webhook_events SET chatbot_id = NULL")
    assert (await since(client, webhook, DAY))["deliveries"] == 0, "of this chatbot alone"


async def test_events_of_more_than_thirty_days_ago_stay(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    webhook = await make_webhook(owner, ours)
    await tell(owner, ours, "bot.recovered", ago=31 * DAY)
    last = await tell(owner, ours, "bot.recovered", ago=29 * DAY)
    await owner.execute("UPDATE webhook_deliveries SET due_at = NULL")
    report = await since(client, webhook, 300 * DAY)
    assert report["deliveries"] == 1
    begins = datetime.now(UTC) - datetime.fromisoformat(report["since"])
    assert timedelta(days=29) < begins < timedelta(days=31)
    assert (last, "pending", 0, True) in await rows(owner, webhook)
    later = (datetime.now(UTC) + DAY).isoformat()
    answer = await client.post(f"/webhooks/{webhook}/recover", {"since": later})
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "since")


async def test_a_large_recovery_goes_on_by_itself_from_where_it_was(
    owner: Conn, pool: Pool, client: Client, ours: Tenant, theirs: Tenant
) -> None:
    """5,000 events, of which the request does 2,000; a batch that dies is done again."""
    webhook = await make_webhook(owner, ours)
    foreign = await make_webhook(owner, theirs)
    for of in (ours, theirs):
        await owner.execute(
            "INSERT INTO analytics_events (user_id, event_type)"
            " SELECT $1, 'bot.recovered' FROM generate_series(1, $2)",
            of.user_id,
            5_000 if of is ours else 10,
        )
    await owner.execute("UPDATE webhook_deliveries SET due_at = NULL")
    report = await since(client, webhook, DAY)
    assert (report["deliveries"], report["more"]) == (webhooks.RECOVER_BATCH, True)
    meanwhile = await tell(owner, ours, "bot.recovered")
    died = await pool.acquire()
    transaction = died.transaction()
    await transaction.start()
    await died.execute("SELECT set_config('app.user_id', $1, true)", str(ours.user_id))
    await died.execute("SELECT recover_deliveries($1, $2, 2000)", ours.user_id, webhook)
    died.terminate()
    await pool.release(died)
    assert await owner.fetchval("SELECT count(*) FROM webhook_recoveries") == 1
    sweep: Sweep[WebhookOf] = Sweep("recovery")
    await webhooks.go_on_recovering(pool, sweep)
    assert await owner.fetchval("SELECT count(*) FROM webhook_recoveries") == 0
    due = [row[0] for row in await rows(owner, webhook) if row[3]]
    assert len(due) == 5_001
    due.remove(meanwhile)
    assert due == sorted(due), "in order, over all batches"
    assert not any(row[3] for row in await rows(owner, foreign))


async def test_a_recovery_goes_with_its_webhook(owner: Conn, client: Client, ours: Tenant) -> None:
    webhook = await make_webhook(owner, ours)
    await owner.execute(
        "INSERT INTO analytics_events (user_id, event_type)"
        " SELECT $1, 'bot.recovered' FROM generate_series(1, 3000)",
        ours.user_id,
    )
    assert (await since(client, webhook, DAY))["more"] is True
    assert (await client.delete(f"/webhooks/{webhook}")).status == 204
    assert await owner.fetchval("SELECT count(*) FROM webhook_recoveries") == 0


async def test_where_a_recovery_begins_is_found_among_many(owner: Conn, ours: Tenant) -> None:
    """Every event of the time asked for has a higher number, and hardly any other."""
    await make_webhook(owner, ours)
    await owner.execute(
        "INSERT INTO webhook_events (id, user_id, type, body, created_at)"
        " SELECT n * 7, $1, 'message.sent', '{}', now() - (5000 - n) * interval '1 min'"
        "   FROM generate_series(1, 5000) n",
        ours.user_id,
    )
    for minutes in (0, 5, 700, 4_000, 4_989, 4_999, 9_000):
        found = await owner.fetchval(
            "SELECT events_before($1, now() - $2 * interval '1 min')", ours.user_id, minutes
        )
        older = 5_000 - minutes - 10  # but for ten minutes of transactions
        assert found == max(0, older * 7), minutes
