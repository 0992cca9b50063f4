"""A tenant asks their bot, through a real ingress and real workers."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.api import Client
from tests.e2e.conftest import Bot, Product, until

RESULTS = (
    *("messages", "conversations", "contacts", "actions", "orders", "analytics_events"),
    *("usage_reservations", "conversation_events", "webhook_events", "dead_sends"),
)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def connected(product: Product, bot: Bot, http: aiohttp.ClientSession) -> Client:
    made = await product.stack.command(
        *("apikey", "create", "--user", str(bot.user_id), "--name", "desk", "--json")
    )
    return Client(product.stack.ingress_url, http, made["api_key"])


async def rows_of(product: Product, bot: Bot) -> dict[str, int]:
    found = {}
    for table in RESULTS:
        found[table] = await product.owner.fetchval(
            f"SELECT count(*) FROM {table} WHERE user_id = $1", bot.user_id
        )
    found["checkpoints"] = await product.owner.fetchval("SELECT count(*) FROM checkpoints")
    return found


async def reconciled(product: Product, bot: Bot) -> None:
    await product.stack.command("usage", "reconcile", "--user", str(bot.user_id))


async def test_an_answer_with_a_tool_leaves_no_trace_but_its_tokens(
    product: Product, http: aiohttp.ClientSession
) -> None:
    bot = await product.bot(knowledge="When are you open?,From 7 to 18.\n")
    client = await connected(product, bot, http)
    before = await rows_of(product, bot)
    arguments = {"type": "refund", "details": "12 EUR"}
    await product.simulator.rules(
        {
            "match": "money back",
            "tool_calls": [{"name": "request_human_action", "arguments": arguments}],
            "times": 1,
        },
        {"tool_match": "^pending", "reply": "A person will decide."},
    )
    path = f"/chatbots/{bot.chatbot_id}/ask"
    answer = await client.post(path, {"question": "money back!"}, Idempotency_Key="k")
    assert (answer.status, answer.json["answer"]) == (200, "A person will decide.")
    assert answer.json["tools"] == [{"name": "request_human_action", "arguments": arguments}]
    assert (await client.post(path, {"question": "money back!"}, Idempotency_Key="k")).json == (
        answer.json
    )
    assert await rows_of(product, bot) == before
    assert await product.counters_equal_rows(bot) == (0, 0)
    assert len(await product.prompts("From 7 to 18.")) == 2
    await reconciled(product, bot)


async def test_a_worker_killed_while_it_answers_is_replaced(
    product: Product, workers: None, http: aiohttp.ClientSession
) -> None:
    bot = await product.bot(instructions="marker-killed-ask")
    client = await connected(product, bot, http)
    await product.simulator.config(model_latency_ms=2_000)
    path = f"/chatbots/{bot.chatbot_id}/ask"
    asking = asyncio.create_task(client.post(path, {"question": "who answers?"}))
    await until(lambda: product.prompts("marker-killed-ask"), lambda seen: len(seen) == 1)
    name = await product.owner.fetchval(
        "SELECT w.name FROM asks a JOIN workers w ON w.id = a.lease_owner WHERE a.user_id = $1",
        bot.user_id,
    )
    os.kill(int(name.rpartition(":")[2]), signal.SIGKILL)
    killed = time.monotonic()
    answer = await asking
    assert (answer.status, answer.json["answer"]) == (200, "Re: who answers?")
    assert time.monotonic() - killed < 15
    assert len(await product.prompts("marker-killed-ask")) == 2
    held = "SELECT sum(reserved_tokens) FROM asks WHERE user_id = $1"
    assert await product.owner.fetchval(held, bot.user_id) == 0
    await reconciled(product, bot)


async def test_customers_are_answered_beside_a_crowd_of_asks(
    product: Product, http: aiohttp.ClientSession
) -> None:
    """Asks that take long keep neither the tenant's own customers waiting nor another's."""
    bot, other = await product.bot(), await product.bot()
    client = await connected(product, bot, http)
    await product.simulator.rules({"match": "^slow", "latency_ms": 12_000})
    path = f"/chatbots/{bot.chatbot_id}/ask"
    stop = asyncio.Event()
    statuses: set[int] = set()

    async def crowd() -> None:
        while not stop.is_set():
            answer: Any = await client.post(path, {"question": "slow?"})
            statuses.add(answer.status)
            await asyncio.sleep(0.05)

    crowding = [asyncio.create_task(crowd()) for _ in range(30)]
    try:
        running = "SELECT count(*) FROM asks WHERE lease_owner IS NOT NULL AND settled_at IS NULL"
        await until(lambda: product.owner.fetchval(running), lambda n: n >= 4)
        began = time.monotonic()
        for one in (bot, other):
            for n in range(3):
                await product.simulator.say(one.phone_number_id, f"130355501{n:02d}", "hello?")
        for one in (bot, other):
            assert await product.replies(one, 3) == ["Re: hello?"] * 3
        assert time.monotonic() - began < 12, "no customer waited for an ask"
        assert await product.owner.fetchval(running) <= 4
    finally:
        stop.set()
        await asyncio.gather(*crowding)
    assert statuses <= {200, 429}
    await product.settled(bot)
    assert await product.counters_equal_rows(bot) == (3, 3)
