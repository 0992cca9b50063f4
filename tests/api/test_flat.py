"""Lists read what they show and little more, however much their tenant has."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from db.actions import WantedActions, list_query
from db.delivery_reports import _SQL as DELIVERIES
from db.pool import Conn, Pool, tenant
from db.webhooks import MISSED_MAX
from tests.api import Client, make_webhook
from tests.factories import Tenant, make_conversation

MANY = 20_000
PAGE = 50


async def looked_at(conn: Conn, query: str, *parameters: Any) -> int:
    """Rows that some part of the plan gave, or threw away, at most."""
    plan = json.dumps(await conn.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *parameters))
    counts = re.findall(r'"(?:Actual Rows|Rows Removed by [\w ]+)": (\d+)', plan)
    return max(map(int, counts))


@pytest.mark.parametrize(
    "wanted",
    [
        WantedActions(auto_approve_similar=True),
        WantedActions(auto_approve_similar=False),
        WantedActions(auto_approve_similar=True, status="approved"),
        WantedActions(auto_approve_similar=False, status="pending"),
        WantedActions(),
    ],
    ids=str,
)
async def test_a_page_of_actions(
    owner: Conn, pool: Pool, ours: Tenant, wanted: WantedActions
) -> None:
    contact, _ = await make_conversation(owner, ours)
    await owner.execute(
        "INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details,"
        "                     status, auto_approve_similar, expires_at)"
        " SELECT $1, $2, $3, 'refund', n, CASE WHEN n % 2 = 1 THEN 'approved' ELSE 'pending' END,"
        "        n = 7, now() + interval '1 d' FROM generate_series(1, $4::int) n",
        *(ours.user_id, ours.chatbot_id, contact, MANY),
    )
    await owner.execute("VACUUM ANALYZE actions")
    sql, asked = list_query(wanted)
    async with tenant(pool, ours.user_id) as conn:
        assert await looked_at(conn, sql, ours.user_id, 10**18, PAGE, 10**6, *asked) < 200


@pytest.fixture
async def resting(owner: Conn, ours: Tenant) -> int:
    """A webhook that has much kept, and much that waits for another try."""
    webhook = await make_webhook(owner, ours)
    await owner.execute(
        "INSERT INTO webhook_events (id, user_id, type, body)"
        " SELECT n, $1, 'ping', '{}' FROM generate_series(1, $2::int) n",
        *(ours.user_id, MANY),
    )
    await owner.execute(
        "INSERT INTO webhook_deliveries (user_id, webhook_id, event_id, order_key, due_at)"
        " SELECT $1, $2, n, -n, CASE WHEN n % 2 = 1 THEN now() + interval '1 h' END"
        "   FROM generate_series(1, $3::int) n",
        *(ours.user_id, webhook, MANY),
    )
    await owner.execute("VACUUM ANALYZE webhook_deliveries")
    return webhook


async def test_a_page_of_what_waits(pool: Pool, ours: Tenant, resting: int) -> None:
    sql = DELIVERIES["list_deliveries"]
    asked = (ours.user_id, resting, "pending", 10**18, PAGE, 10**6, 50, timedelta(days=30))
    async with tenant(pool, ours.user_id) as conn:
        assert await looked_at(conn, sql, *asked) <= 2 * 201


async def test_what_was_missed_is_counted_up_to_a_bound(client: Client, resting: int) -> None:
    assert (await client.get(f"/webhooks/{resting}")).json["missed"] == MISSED_MAX < MANY / 2
    (listed,) = (await client.get("/webhooks")).json["data"]
    assert listed["missed"] == MISSED_MAX
