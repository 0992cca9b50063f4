"""A tenant's own program makes the webhook, and watches what becomes of its events."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from handlers.outbound.addresses import read_allow
from tests.api import Client, make_key
from tests.deliveries.conftest import KEY, House
from tests.e2e.conftest import until
from tests.factories import Tenant, make_tenant
from tests.ingress import DEAD_BROKER, door


@pytest.fixture
async def ours(house: House) -> Tenant:
    return await make_tenant(house.owner)


@pytest.fixture
async def client(house: House, ours: Tenant) -> AsyncIterator[Client]:
    allow, _ = read_allow(house.simulator.url.removeprefix("http://"))
    key, _ = await make_key(house.pool, ours)
    async with door(
        DEAD_BROKER, house.database.runtime_url, secrets_key=KEY, outbound_allow=allow
    ) as opened:
        yield Client(opened.url, opened.http, key)


async def made(house: House, client: Client) -> tuple[str, str]:
    """Path and secret of a webhook to the simulator's endpoint `ours`."""
    url = house.simulator.endpoint_url("ours")
    answer = await client.post("/webhooks", {"url": url, "events": ["*"]})
    assert answer.status == 201, answer
    return f"/webhooks/{answer.json['id']}", answer.json["secret_token"]


async def settled(client: Client, delivery: int, attempts: int) -> Any:
    async def look() -> Any:
        return (await client.get(f"/deliveries/{delivery}")).json

    return await until(look, lambda row: len(row["attempts"]) >= attempts)


async def verified(house: House, client: Client, path: str, secret: str) -> bool:
    """Does a receiver that knows this secret take what is sent now?"""
    await house.simulator.endpoint("ours", secrets=[secret])
    sent = (await client.post(f"{path}/test")).json
    await settled(client, sent["id"], 1)
    got = await house.simulator.deliveries("ours", sent["event_id"])
    return all(one["verified"] is True for one in got) and bool(got)


async def test_what_the_api_makes_is_signed_by_what_it_showed(house: House, client: Client) -> None:
    path, first = await made(house, client)
    await house.worker()
    assert await verified(house, client, path, first)
    second = (await client.post(f"{path}/rotate")).json["secret_token"]
    assert await verified(house, client, path, first), "for 24 hours"
    assert await verified(house, client, path, second)
    third = (await client.post(f"{path}/rotate")).json["secret_token"]
    assert await verified(house, client, path, second)
    assert await verified(house, client, path, third)
    assert not await verified(house, client, path, first)
    await house.owner.execute("UPDATE webhooks SET prev_secret_until = now()")
    assert (await client.get(path)).json["prev_secret_until"] is None
    assert not await verified(house, client, path, second)


async def test_a_delivery_is_watched_and_sent_again(
    house: House, client: Client, ours: Tenant
) -> None:
    path, secret = await made(house, client)
    await house.simulator.endpoint("ours", secrets=[secret])
    await house.worker()
    await house.tell(ours)

    async def look() -> Any:
        return (await client.get(f"{path}/deliveries", status="delivered")).json["data"]

    (row,) = await until(look, bool)
    assert [one["status_code"] for one in row["attempts"]] == [200]
    assert row["next_attempt_at"] is None
    assert (await client.post(f"/deliveries/{row['id']}/replay")).status == 202
    again = await settled(client, row["id"], 2)
    got = await house.simulator.deliveries("ours")
    assert {one["webhook_id"] for one in got} == {row["event_id"]} == {again["event_id"]}
    assert len(got) == 2


async def test_switched_off_nothing_comes_and_recovery_brings_it(
    house: House, client: Client, ours: Tenant
) -> None:
    path, secret = await made(house, client)
    await house.simulator.endpoint("ours", secrets=[secret])
    assert (await client.patch(path, {"is_active": False})).status == 200
    await house.worker()
    for _ in range(3):
        await house.tell(ours)

    async def missed() -> int:
        count: int = (await client.get(path)).json["missed"]
        return count

    assert await until(missed, lambda count: count == 3) == 3
    assert await house.simulator.deliveries("ours") == []
    on = await client.patch(path, {"is_active": True})
    assert on.json["missed"] == 3
    done = await client.post(f"{path}/recover", {"since": on.json["created_at"]})
    assert (done.json["deliveries"], done.json["more"]) == (3, False)

    async def arrived() -> list[Any]:
        return await house.simulator.deliveries("ours")

    got = await until(arrived, lambda found: len(found) == 3)
    listed = (await client.get("/events", since=on.json["created_at"])).json["data"]
    assert sorted(one["webhook_id"] for one in got) == sorted(one["id"] for one in listed)
    assert all(one["verified"] for one in got)
