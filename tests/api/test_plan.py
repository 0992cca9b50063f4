"""What a plan opens in the API, on and off, and what it says of itself."""

import json
from typing import Any

import pytest

from db.pool import Conn
from handlers.plans import Feature, Limit, Permission
from tests.api import make_open_conversation
from tests.api.conftest import Connect
from tests.factories import Tenant, make_conversation, make_tenant
from tests.plans import ODD


def plan_with(key: Feature | Permission, value: str) -> str:
    for name in reversed(key.split(".")):
        value = f'{{"{name}": {value}}}'
    return value


async def give(owner: Conn, of: Tenant, config: str) -> None:
    await owner.execute(
        "UPDATE user_subscriptions SET subscription_config = $2::text::jsonb"
        " WHERE user_id = $1 AND is_active",
        *(of.user_id, config),
    )


@pytest.mark.parametrize(
    ("key", "path"),
    [
        (Feature.MESSAGE_HISTORY, "/conversations/{id}/messages"),
        (Feature.BASIC_ANALYTICS, "/usage"),
        (Permission.ACCESS_RAW_LOGS, "/conversations/{id}/messages?raw=true"),
    ],
)
async def test_a_key_opens_and_closes(
    owner: Conn, connect: Connect, key: Feature | Permission, path: str
) -> None:
    """With the next call, whatever the value is that should have been true or false."""
    user = await make_tenant(owner)
    conversation, _ = await make_open_conversation(owner, user)
    client = await connect(user)
    asked = path.replace("{id}", str(conversation))
    assert (await client.get(asked)).status == 200  # it is missing
    for value in ODD:
        await give(owner, user, plan_with(key, value))
        answer = await client.get(asked)
        assert answer.status == (200 if value == "true" else 403), value
        if answer.status == 403:
            assert answer.problem == "not_in_plan"
            assert key in answer.json["detail"]


async def test_without_history_a_conversation_has_no_messages(
    owner: Conn, connect: Connect
) -> None:
    user = await make_tenant(owner)
    conversation, message = await make_open_conversation(owner, user)
    client = await connect(user)
    found = (await client.get(f"/conversations/{conversation}")).json
    assert [one["id"] for one in found["messages"]] == [message]
    await give(owner, user, plan_with(Feature.MESSAGE_HISTORY, "false"))
    found = (await client.get(f"/conversations/{conversation}")).json
    assert (found["conversation"]["id"], found["messages"]) == (conversation, None)


async def test_raw_is_the_metadata_whole(owner: Conn, connect: Connect) -> None:
    user = await make_tenant(owner)
    conversation, message = await make_open_conversation(owner, user)
    whole = {"trace_id": "t", "details": {"raw": 1}, "reason": "stale", "statuses": {"sent": 1}}
    await owner.execute("UPDATE messages SET metadata = $1::text::jsonb", json.dumps(whole))
    client = await connect(user)
    path = f"/conversations/{conversation}/messages"
    for query, metadata in (
        ({}, {"reason": "stale"}),
        ({"raw": "false"}, {"reason": "stale"}),
        ({"raw": "true"}, whole),
    ):
        (row,) = (await client.get(path, **query)).json["data"]
        assert (row["id"], row["metadata"]) == (message, metadata)
    assert (await client.get(path, raw="yes")).problem == "invalid_request"


async def test_the_subscription_says_every_key(owner: Conn, connect: Connect) -> None:
    config: dict[str, Any] = {
        "features": {"premium_features": {"webhooks": False}},
        "limits": {"max_chatbots": 3, "max_contacts": 1, "max_webhooks": "two"},
        "permissions": {"export_data": False},
        "custom_settings": {"integrations": ["stripe"], "custom_fields": {"industry": "cake"}},
    }
    user = await make_tenant(owner, daily=7, config=json.dumps(config))
    await make_conversation(owner, user)
    client = await connect(user)
    found = (await client.get("/subscription")).json
    assert found["in_force"] is True
    assert {f"features.{g}.{name}" for g, names in found["features"].items() for name in names} == {
        *Feature
    }
    assert {f"permissions.{name}" for name in found["permissions"]} == {*Permission}
    assert found["limits"].keys() >= {key.rsplit(".", 1)[-1] for key in Limit}
    assert found["features"]["premium_features"]["webhooks"] is False
    assert found["features"]["premium_features"]["api_access"] is True
    assert found["permissions"]["export_data"] is False
    assert found["limits"]["max_chatbots"] == {"limit": 3, "used": 1}
    assert found["limits"]["max_contacts"] == {"limit": 1, "used": 1}
    assert found["limits"]["max_webhooks"] == {"limit": 0, "used": 0}
    assert found["limits"]["max_api_keys"] == {"limit": None, "used": 1}
    assert found["limits"]["daily_message_limit"] == {"limit": 7, "used": 0}
    assert found["settings"]["on_message_limit"] == "refuse"
    assert found["custom_settings"] == config["custom_settings"]


async def test_what_it_costs_is_for_who_manages_billing(owner: Conn, connect: Connect) -> None:
    user = await make_tenant(owner)
    await owner.execute(
        "UPDATE user_subscriptions SET billing_amount = 38.5, billing_cycle = 'yearly'"
    )
    client = await connect(user)
    billing = ("billing_amount", "billing_currency", "billing_cycle", "overage_message_price")
    priced = '"limits": {"overage_message_price": "0.05"}'
    for allowed, costs in (
        ("true", ["38.50", "USD", "yearly", "0.05"]),
        ("false", [None] * 4),
    ):
        await give(owner, user, f'{{"permissions": {{"manage_billing": {allowed}}}, {priced}}}')
        found = (await client.get("/subscription")).json
        assert [found[name] for name in billing] == costs


async def test_without_a_subscription_there_is_none_to_show(owner: Conn, connect: Connect) -> None:
    user = await make_tenant(owner)
    client = await connect(user)
    await owner.execute("UPDATE user_subscriptions SET is_active = false")
    assert (await client.get("/subscription")).problem == "not_found"
