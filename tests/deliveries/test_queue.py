"""What a worker has in memory of a webhook is bounded, however slow its endpoint is."""

import asyncio

from db.deliveries import ClaimedWebhook
from db.ids import WebhookId, WorkerId
from handlers.deliveries.catalogue import BotRecovered
from handlers.deliveries.deliver import BATCH, FRESH_S, Courier, _Serving
from handlers.outbound.addresses import read_allow
from handlers.outbound.guard import Outbound
from handlers.process.secrets import Vault
from tests.deliveries.conftest import KEY, House
from tests.e2e.conftest import until


async def test_a_slow_endpoint_does_not_fill_the_memory(house: House) -> None:
    hook = await house.hook(mode={"mode": "slow", "delay_ms": 400})
    event = BotRecovered(chatbot_id=hook.tenant.chatbot_id)
    await house.tell(hook.tenant, *[event] * (3 * BATCH))
    worker_id: int = await house.owner.fetchval(
        "INSERT INTO workers (name) VALUES ('slow') RETURNING id"
    )
    await house.owner.execute("UPDATE webhook_states SET lease_owner = $1", worker_id)
    allow, _ = read_allow(house.simulator.url.removeprefix("http://"))
    async with Outbound(allow, connections=8, seconds=10) as outbound:
        courier = Courier(house.pool, outbound, Vault((KEY,)), asyncio.Event())
        claimed = ClaimedWebhook(user_id=hook.tenant.user_id, id=WebhookId(hook.id))
        serving = _Serving(courier, WorkerId(worker_id), claimed)
        running = asyncio.create_task(serving.run())
        await until(lambda: house.rows(hook), lambda rows: rows[0]["attempts"] > 0)
        first = serving.read_at
        longest = 0

        async def read_twice() -> bool:
            nonlocal longest
            longest = max(longest, len(serving.queue))
            return serving.read_at > first + 2 * FRESH_S

        await until(read_twice, bool)
        assert 0 < longest <= BATCH
        courier.stop.set()
        await running
    left = [row for row in await house.rows(hook) if row["status"] == "pending"]
    assert len(left) > BATCH, "what was not begun stays due"


async def test_what_is_read_while_others_are_written_goes_once(house: House) -> None:
    hook = await house.hook()
    event = BotRecovered(chatbot_id=hook.tenant.chatbot_id)
    await house.tell(hook.tenant, *[event] * (4 * BATCH))
    await house.worker()
    rows = await until(
        lambda: house.rows(hook), lambda rows: all(r["status"] == "delivered" for r in rows)
    )
    assert {row["attempts"] for row in rows} == {1}
    assert len(await house.got(hook)) == 4 * BATCH
