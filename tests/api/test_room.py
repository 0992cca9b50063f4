"""What the plan has no place for is refused, and the tenant hears of it, once a day."""

import json
from typing import Any

import pytest

from db.pool import Conn
from tests.api import Client
from tests.api.conftest import Connect
from tests.factories import make_tenant
from tests.plan import House

CHATBOT = {"name": "Bot", "whatsapp_phone_number": "+12025559{n:03d}", "access_token": "t"}
MAKES: dict[str, tuple[str, dict[str, Any]]] = {
    "max_chatbots": ("/chatbots", CHATBOT),
    "max_contacts": ("/contacts", {"phone_number": "+12025558{n:03d}"}),
    "max_webhooks": ("/webhooks", {"url": "https://shop.example/{n}", "events": ["*"]}),
    "max_api_keys": ("/api-keys", {"key_name": "k{n}", "permissions": ["contacts:read"]}),
}


async def make(client: Client, limit: str, n: int) -> Any:
    path, body = MAKES[limit]
    given = {k: v.format(n=n) if isinstance(v, str) else v for k, v in body.items()}
    return await client.post(path, given)


@pytest.mark.parametrize("limit", MAKES)
async def test_a_limit_that_is_met_is_told_once(
    house: House, owner: Conn, connect: Connect, limit: str
) -> None:
    of = await make_tenant(owner, config=json.dumps({"limits": {limit: 2}}))
    client = await connect(of)
    answers = [await make(client, limit, n) for n in range(5)]
    made = [a for a in answers if a.status == 201]
    refused = [a for a in answers if a.status != 201]
    assert len(made) == {"max_chatbots": 1, "max_api_keys": 1}.get(limit, 2)
    for answer in refused:
        assert (answer.status, answer.problem) == (409, "limit_reached")
        assert (answer.json["limit"], answer.json["allowed"]) == (f"limits.{limit}", 2)
    reached = await house.events(of, "limit.reached")
    assert [(one["limit"], one["value"]) for one in reached] == [(limit, 2)]


async def test_a_second_chatbot_that_the_plan_leaves_out_is_told(
    house: House, owner: Conn, connect: Connect
) -> None:
    plan = {"features": {"advanced_features": {"multi_chatbot": False}}}
    of = await make_tenant(owner, config=json.dumps(plan))
    answer = await make(await connect(of), "max_chatbots", 1)
    assert (answer.status, answer.problem) == (403, "not_in_plan")
    (reached,) = await house.events(of, "limit.reached")
    assert (reached["limit"], reached["value"]) == ("multi_chatbot", 1)


async def test_who_is_not_refused_is_not_told(house: House, owner: Conn, connect: Connect) -> None:
    of = await make_tenant(owner, config='{"limits": {"max_contacts": 1, "max_webhooks": 1}}')
    client = await connect(of)
    assert (await make(client, "max_contacts", 1)).status == 201
    assert (await make(client, "max_contacts", 1)).problem == "already_exists"
    assert await house.events(of, "limit.reached") == []
