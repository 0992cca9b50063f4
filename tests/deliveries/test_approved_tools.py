"""The role `webhooks` calls tools that a person has approved: once, of several workers, and on
after one was killed."""

import asyncio
import json
from dataclasses import replace
from typing import Any

from handlers.deliveries.signing import new_secret
from handlers.process.secrets import Vault, tool_secret_of
from tests.deliveries.conftest import KEY, House
from tests.factories import Tenant, make_conversation, make_tenant
from worker.tools import OF_ONE_TENANT


async def approved(house: House, of: Tenant, count: int, **mode: Any) -> None:
    """So many calls are due, at an endpoint named after the tenant."""
    name = f"tools-{of.user_id}"
    secret = new_secret()
    tool_id = await house.owner.fetchval(
        "INSERT INTO tools (user_id, chatbot_id, name, description, parameters, url, timeout_ms)"
        " VALUES ($1, $2, 'book', 'Books.', '{\"type\": \"object\"}', $3, 10000) RETURNING id",
        *(of.user_id, of.chatbot_id, house.simulator.endpoint_url(name)),
    )
    sealed = Vault((KEY,)).encrypt(secret, tool_secret_of(tool_id))
    await house.owner.execute("UPDATE tools SET secret_token = $2 WHERE id = $1", tool_id, sealed)
    await house.simulator.endpoint(name, secrets=[secret], **mode)
    contact, conversation = await make_conversation(house.owner, of)
    for n in range(count):
        await house.owner.execute(
            "WITH a AS (INSERT INTO actions (user_id, chatbot_id, contact_id, request_type,"
            " request_details, status) VALUES ($1, $2, $3, 'tool:book', 'x', 'approved')"
            " RETURNING id) INSERT INTO tool_calls (user_id, chatbot_id, contact_id,"
            " conversation_id, tool_id, tool_name, effect, action_id, arguments_hash, arguments,"
            " status, told, due_at) SELECT $1, $2, $3, $4, $5, 'book', 'once', a.id, 'x', $6,"
            " 'due', true, now() FROM a",
            *(of.user_id, of.chatbot_id, contact, conversation, tool_id, json.dumps({"n": n})),
        )


async def arrived(house: House, of: Tenant) -> list[dict[str, Any]]:
    return await house.simulator.deliveries(f"tools-{of.user_id}")


async def statuses(house: House, of: Tenant) -> list[str]:
    rows = await house.owner.fetch(
        "SELECT status FROM tool_calls WHERE user_id = $1 ORDER BY id", of.user_id
    )
    return [row[0] for row in rows]


async def until_all(house: House, of: Tenant, status: str) -> None:
    async with asyncio.timeout(60):
        while set(await statuses(house, of)) != {status}:
            await asyncio.sleep(0.1)


async def test_two_workers_call_each_once(house: House) -> None:
    ours = await make_tenant(house.owner)
    await approved(house, ours, 20)
    await house.worker()
    await house.worker()
    await until_all(house, ours, "done")
    came = await arrived(house, ours)
    assert len(came) == len({one["webhook_id"] for one in came}) == 20
    assert all(one["verified"] for one in came)
    events = await house.owner.fetch("SELECT data FROM conversation_events")
    assert len(events) == 20
    assert {json.loads(row["data"])["tool"]["status"] for row in events} == {"done"}


async def test_a_tenant_whose_endpoint_hangs_holds_up_nobody_else(house: House) -> None:
    slow, quick = await make_tenant(house.owner), await make_tenant(house.owner)
    await approved(house, slow, 40, mode="hang")
    await approved(house, quick, 5)
    await house.worker()
    await until_all(house, quick, "done")
    assert len(await arrived(house, slow)) <= OF_ONE_TENANT


async def test_a_chatbot_that_is_being_deleted_holds_up_no_other(house: House) -> None:
    """Its calls are due and hidden until they are gone, which takes a while."""
    ours = await make_tenant(house.owner)
    await approved(house, ours, OF_ONE_TENANT)
    await house.owner.execute(
        "INSERT INTO chatbot_deletions (user_id, chatbot_id, due_at) VALUES ($1, $2, 'infinity')",
        *(ours.user_id, ours.chatbot_id),
    )
    other = await house.owner.fetchval(
        "INSERT INTO chatbots (user_id, name) VALUES ($1, 'other') RETURNING id", ours.user_id
    )
    await approved(house, replace(ours, chatbot_id=other), 1)
    await house.worker()
    async with asyncio.timeout(20):
        while (await statuses(house, ours))[-1] != "done":
            await asyncio.sleep(0.1)
    assert set((await statuses(house, ours))[:-1]) == {"due"}


async def test_what_a_killed_worker_was_calling_is_not_called_again(house: House) -> None:
    ours = await make_tenant(house.owner)
    await approved(house, ours, 1, mode="hang")
    worker = await house.worker()
    async with asyncio.timeout(60):
        while not await arrived(house, ours):
            await asyncio.sleep(0.05)
    await worker.kill()
    assert await statuses(house, ours) == ["calling"]
    await house.worker()
    await asyncio.sleep(1.5)
    assert len(await arrived(house, ours)) == 1
