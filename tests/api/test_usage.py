"""What a tenant reads of its days and months."""

from datetime import date, timedelta

import pytest

from db.pool import Conn
from tests.api import Client
from tests.api.conftest import Connect
from tests.factories import Tenant, make_tenant


async def add_day(owner: Conn, user: Tenant, day: date, sent: int) -> None:
    await owner.execute(
        "INSERT INTO usage_tracking (user_id, tracking_date, daily_messages_sent)"
        " VALUES ($1, $2, $3)",
        *(user.user_id, day, sent),
    )


async def test_days_come_without_gaps_and_by_the_tenants_own_clock(
    owner: Conn, connect: Connect
) -> None:
    user = await make_tenant(owner, timezone="Pacific/Kiritimati")
    client = await connect(user)
    today: date = await owner.fetchval("SELECT (now() AT TIME ZONE 'Pacific/Kiritimati')::date")
    for day, sent in ((today - timedelta(3), 7), (today - timedelta(31), 9)):
        await add_day(owner, user, day, sent)
    answer = (await client.get("/usage/days")).json
    assert answer["timezone"] == "Pacific/Kiritimati"
    sent_on = {d["tracking_date"]: d["daily_messages_sent"] for d in answer["data"]}
    days = [(today - timedelta(n)).isoformat() for n in range(30, -1, -1)]
    assert list(sent_on) == days
    assert {day for day, n in sent_on.items() if n} == {(today - timedelta(3)).isoformat()}
    assert set(answer["data"][0]) == {
        *("tracking_date", "daily_messages_sent", "daily_messages_received"),
        *("daily_overage_messages", "daily_campaigns_sent", "daily_campaign_messages"),
        *("live_takeovers_used", "actions_created", "api_calls_made", "test_tokens_used"),
    }


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ({"from": "2026-01-31", "to": "2026-03-01"}, "2026-01-31", "2026-03-01"),
        ({"to": "2026-03-01"}, "2026-01-30", "2026-03-01"),
        ({"from": "2024-02-29"}, "2024-02-29", "2025-02-28"),  # as many as there may be
        ({"from": "2024-03-01", "to": "2025-03-01"}, "2024-03-01", "2025-03-01"),
        ({"to": "1900-01-01"}, "1899-12-02", "1900-01-01"),
        ({"from": "8999-12-31", "to": "8999-12-31"}, "8999-12-31", "8999-12-31"),
    ],
)
async def test_a_range_has_both_its_ends(
    client: Client, query: dict[str, str], first: str, last: str
) -> None:
    days = [d["tracking_date"] for d in (await client.get("/usage/days", **query)).json["data"]]
    assert (days[0], days[-1]) == (first, last)
    assert days == sorted(set(days))
    assert len(days) <= 366


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({"from": "2026-02-30"}, "not a date, like 2030-01-31"),
        ({"to": "1700000000"}, "not a date, like 2030-01-31"),
        ({"to": "2026-01-01T00:00:00Z"}, "not a date, like 2030-01-31"),
        ({"from": "2026-01-02", "to": "2026-01-01"}, "before `from`"),
        ({"from": "2025-01-01", "to": "2026-01-02"}, "more than 366 days with `from`"),
        ({"from": "0001-01-01"}, "not within 1900 to 8999"),
        ({"from": "9999-12-31"}, "not within 1900 to 8999"),
        ({"to": "0001-01-02"}, "not within 1900 to 8999"),
        ({"to": "9999-12-31"}, "not within 1900 to 8999"),
        ({"from_": "2026-01-01"}, "no such parameter; there are: from, to"),
    ],
)
async def test_a_range_that_is_none_is_refused(
    client: Client, query: dict[str, str], detail: str
) -> None:
    answer = await client.get("/usage/days", **query)
    assert answer.status == 422 or answer.status == 400
    assert [e["detail"] for e in answer.json["errors"]] == [detail]


async def test_months_are_the_tenants_own_and_amounts_are_texts(
    owner: Conn, client: Client, ours: Tenant, theirs: Tenant
) -> None:
    for user, month, cost in ((ours, 1, "0.50"), (ours, 2, "12.00"), (theirs, 2, "99")):
        await owner.execute(
            "INSERT INTO monthly_usage_summary (user_id, year, month, total_messages_sent,"
            " overage_cost, avg_daily_messages) VALUES ($1, 2026, $2, 31, $3::text::numeric, 1)",
            *(user.user_id, month, cost),
        )
    months = (await client.get("/usage/months")).json["data"]
    assert [(m["year"], m["month"], m["overage_cost"]) for m in months] == [
        (2026, 2, "12.00"),
        (2026, 1, "0.50"),
    ]
    assert months[0] == {
        "year": 2026,
        "month": 2,
        "total_messages_sent": 31,
        "total_campaigns_sent": 0,
        "total_orders_created": 0,
        "total_revenue": "0.00",
        "overage_messages": 0,
        "overage_campaigns": 0,
        "overage_cost": "12.00",
        "avg_daily_messages": "1.00",
        "avg_conversion_rate": None,
    }


async def test_a_key_needs_the_permission(connect: Connect, ours: Tenant) -> None:
    client = await connect(ours, "chatbots:read")
    for path in ("/usage/days", "/usage/months"):
        assert (await client.get(path)).status == 403
