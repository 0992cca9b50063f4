"""The tenant API of a real ingress process, with real workers behind it."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.api import Client
from tests.e2e.conftest import Product, until


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_person_takes_over_in_mid_turn_writes_and_hands_back(
    product: Product, http: aiohttp.ClientSession
) -> None:
    bot = await product.bot(instructions="marker-takeover")
    made = await product.stack.command(
        *("apikey", "create", "--user", str(bot.user_id), "--name", "desk", "--json")
    )
    client = Client(product.stack.ingress_url, http, made["api_key"])
    await product.simulator.config(model_latency_ms=1_500)
    await product.simulator.say(bot.phone_number_id, "13035550177", "Is anybody there?")
    await until(lambda: product.prompts("marker-takeover"), lambda p: len(p) == 1)
    (conversation,) = (await client.get("/conversations")).json["data"]
    path = f"/conversations/{conversation['id']}"
    # The model is thinking; what it will say stays unsaid.
    said = await client.post(f"{path}/messages", {"content_text": "I am, says Ada."})
    assert said.status == 201
    assert await product.replies(bot, 1) == ["I am, says Ada."]
    await product.settled(bot)
    await until(
        lambda: client.get(path),
        lambda a: a.json["messages"][-1]["status"] == "read",
    )
    await product.simulator.say(bot.phone_number_id, "13035550177", "And who are you?")
    await product.settled(bot)
    assert await product.replies(bot, 1) == ["I am, says Ada."]
    # Handed back with the customer's question open: the bot takes it up.
    assert (await client.post(f"{path}/handback")).json["status"] == "bot"
    assert len(await product.replies(bot, 2)) == 2
    await product.settled(bot)
    assert await product.counters_equal_rows(bot) == (2, 2)
    usage = (await client.get("/usage")).json["today"]
    assert (usage["daily_messages_sent"], usage["live_takeovers_used"]) == (2, 1)


async def test_webhooks_stay_quick_beside_a_flood_of_api_calls(
    product: Product, http: aiohttp.ClientSession
) -> None:
    bot = await product.bot()
    flood = Client(product.stack.ingress_url, http, f"sr_{'A' * 43}")
    stop = asyncio.Event()
    seen: set[int] = set()

    async def hammer() -> None:
        while not stop.is_set():
            seen.add((await flood.get("/usage")).status)

    hammering = [asyncio.create_task(hammer()) for _ in range(40)]
    try:
        for n in range(3):
            await product.simulator.say(bot.phone_number_id, f"1303555018{n}", "Hello?")
        assert len(await product.replies(bot, 3)) == 3
    finally:
        stop.set()
        await asyncio.gather(*hammering)
    assert seen <= {401, 503}
