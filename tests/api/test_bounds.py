"""What an approval approves by itself is said, shown, listed and withdrawn by the API."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from db.pool import Conn
from tests.api import Client, make_action
from tests.factories import Tenant


async def of_money(owner: Conn, of: Tenant, amount: str = "12.00") -> int:
    action, _ = await make_action(owner, of)
    await owner.execute(
        "UPDATE actions SET amount = $2, currency = 'EUR' WHERE id = $1", action, Decimal(amount)
    )
    return action


async def test_a_bound_is_said_and_shown(owner: Conn, client: Client, ours: Tenant) -> None:
    action = await of_money(owner, ours)
    until = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    body: dict[str, Any] = {
        "auto_approve_similar": True,
        "max_amount": "15.50",
        "max_per_day": 100,
        "any_contact": True,
        "expires_at": until.isoformat(),
    }
    row = (await client.post(f"/actions/{action}/approve", body)).json
    shown = {name: row[name] for name in ("amount", "currency", "max_amount", "max_per_day")}
    assert shown == {
        "amount": "12.00",
        "currency": "EUR",
        "max_amount": "15.50",
        "max_per_day": "100.00",
    }
    assert (row["any_contact"], row["auto_approve_similar"], row["withdrawn_at"]) == (
        *(True, True),
        None,
    )
    assert datetime.fromisoformat(row["auto_approve_until"]) == until
    plain, _ = await make_action(owner, ours)
    await client.post(f"/actions/{plain}/approve", {"max_amount": "9"})  # not for others
    listed = (await client.get("/actions", auto_approve_similar="true")).json["data"]
    assert [one["id"] for one in listed] == [action]
    rest = (await client.get("/actions", auto_approve_similar="false")).json["data"]
    assert [one["id"] for one in rest] == [plain]

    ended = await client.post(f"/actions/{action}/withdraw")
    assert (ended.status, ended.json["auto_approve_similar"], ended.json["status"]) == (
        *(200, False),
        "approved",
    )
    assert ended.json["withdrawn_at"]
    again = await client.post(f"/actions/{action}/withdraw")
    assert (again.status, again.json) == (200, ended.json)
    assert (await client.get("/actions", auto_approve_similar="true")).json["data"] == []


async def test_missing_it_is_the_amount_for_thirty_days(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    action = await of_money(owner, ours)
    row = (await client.post(f"/actions/{action}/approve", {"auto_approve_similar": True})).json
    assert (row["max_amount"], row["max_per_day"], row["any_contact"]) == ("12.00", "12.00", False)
    ahead = datetime.fromisoformat(row["auto_approve_until"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < ahead <= timedelta(days=30)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        *(("max_amount", given) for given in (0, "-1", "1.234", "x", True, "0.00")),
        *(("max_per_day", given) for given in (0, "11.99")),
        ("any_contact", "yes"),
        *(("expires_at", given) for given in ("2020-01-01T00:00:00Z", "tomorrow")),
    ],
)
async def test_what_is_wrong_is_told_and_decides_nothing(
    owner: Conn, client: Client, ours: Tenant, field: str, given: Any
) -> None:
    action = await of_money(owner, ours)
    body = {"auto_approve_similar": True, field: given}
    answer = await client.post(f"/actions/{action}/approve", body)
    assert (answer.status, answer.problem) == (400, "invalid_request")
    assert [one["field"] for one in answer.json["errors"]] == [field]
    assert (await client.get(f"/actions/{action}")).json["status"] == "pending"


async def test_without_an_amount_there_is_none_to_bound(
    owner: Conn, client: Client, ours: Tenant
) -> None:
    action, _ = await make_action(owner, ours)
    body = {"auto_approve_similar": True, "max_amount": "5"}
    answer = await client.post(f"/actions/{action}/approve", body)
    assert [one["field"] for one in answer.json["errors"]] == ["max_amount"]
    assert (await client.post(f"/actions/{action}/deny", {"max_amount": "5"})).status == 400


async def test_another_s_is_not_withdrawn(
    owner: Conn, client: Client, ours: Tenant, theirs: Tenant
) -> None:
    action = await of_money(owner, theirs)
    await owner.execute(
        "UPDATE actions SET status = 'approved', auto_approve_similar = true WHERE id = $1", action
    )
    assert (await client.post(f"/actions/{action}/withdraw")).status == 404
    assert await owner.fetchval("SELECT auto_approve_similar FROM actions WHERE id = $1", action)
