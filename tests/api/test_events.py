"""What was told, as it is kept."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.pool import Conn
from handlers.deliveries.catalogue import CATALOGUE
from tests.api import Client, make_action, make_webhook, tell
from tests.factories import Tenant


async def walked(client: Client, **query: Any) -> list[Any]:
    rows: list[Any] = []
    while True:
        page = (await client.get("/events", **query)).json
        assert len(page["data"]) <= int(query["limit"])
        rows += page["data"]
        if page["next"] is None:
            return rows
        query["after"] = page["next"]


async def test_newest_first_or_since_then_oldest_first(
    owner: Conn, client: Client, ours: Tenant, theirs: Tenant
) -> None:
    told = []
    for hours in (30, 20, 10, 5, 1):
        for kind in ("bot.failing", "bot.recovered"):
            told.append(await tell(owner, ours, kind, ago=timedelta(hours=hours)))
            await tell(owner, theirs, kind)
    names = [f"evt_{event}" for event in told]
    assert [row["id"] for row in await walked(client, limit="3")] == names[::-1]
    recovered = [row["id"] for row in await walked(client, limit="2", type="bot.recovered")]
    assert recovered == names[1::2][::-1]
    since = (datetime.now(UTC) - timedelta(hours=15)).isoformat()
    assert [row["id"] for row in await walked(client, limit="4", since=since)] == names[4:]
    both = await walked(client, limit="1", since=since, type="bot.failing")
    assert [row["id"] for row in both] == names[4::2]


async def test_an_event_says_what_the_webhook_said(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    await make_webhook(owner, ours)
    action, conversation = await make_action(owner, ours)
    data = json.dumps({"action_id": action, "request_type": "refund", "status": "pending"})
    await tell(owner, ours, "action.created", data)
    (row,) = (await client.get("/events")).json["data"]
    body = json.loads(await owner.fetchval("SELECT body FROM webhook_events"))
    assert row.keys() == {"id", "type", "timestamp", "data"}
    assert (row["type"], row["data"]) == (body["type"], body["data"])
    assert row["data"]["conversation_id"] == conversation
    assert row["data"]["request_details"] == "of 12 EUR"


async def test_a_page_of_large_events_ends_early(owner: Conn, client: Client, ours: Tenant) -> None:
    text = json.dumps({"detail": "x" * 100_000})
    told = [await tell(owner, ours, "account.event", text) for _ in range(7)]
    first = (await client.get("/events")).json
    assert 1 <= len(first["data"]) < 7
    assert first["next"]
    names = [f"evt_{event}" for event in told]
    assert [row["id"] for row in await walked(client, limit="50")] == names[::-1]
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert [row["id"] for row in await walked(client, limit="50", since=since)] == names


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"type": "message.recieved"}, "is it message.received"),
        ({"type": "bot.*"}, "no event has this name"),
        ({"since": "yesterday"}, "not a date and time"),
        ({"after": "evt_7"}, "not the `next`"),
    ],
)
async def test_what_is_wrong_is_told(client: Client, query: dict[str, str], said: str) -> None:
    answer = await client.get("/events", **query)
    assert (answer.status, answer.problem) == (400, "invalid_request")
    assert said in answer.json["errors"][0]["detail"]


async def test_the_catalogue_has_all_that_there_is(client: Client) -> None:
    answer = (await client.get("/events/catalogue")).json
    assert {one["type"] for one in answer["data"]} == CATALOGUE.keys()
    assert answer["next"] is None
    for one in answer["data"]:
        assert one["description"]
        assert one["schema"]["type"] == "object"
        assert one["sample"]["type"] == one["type"]
