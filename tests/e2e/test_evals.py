"""A tenant runs their bot's tests, through a real ingress and real workers."""

import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.api import Client
from tests.e2e.conftest import Product, until
from tests.e2e.test_asks import connected, reconciled, rows_of

SUITE = """
bot: killed
cases:
  - {name: quick, turns: [{say: marker-quick, expect: {contains_all: "Re: marker-quick"}}]}
  - {name: slow, turns: [{say: marker-slow, expect: {contains_all: "Re: marker-slow"}}]}
"""


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def ended(client: Client, eval_id: int) -> Any:
    async def look() -> Any:
        return (await client.get(f"/evals/{eval_id}")).json

    return await until(look, lambda run: run["settled_at"] is not None, patience_s=60)


async def test_a_run_outlives_the_worker_that_was_at_it(
    product: Product, workers: None, http: aiohttp.ClientSession
) -> None:
    bot = await product.bot(instructions="marker-killed-eval")
    client = await connected(product, bot, http)
    before = await rows_of(product, bot)
    await product.simulator.rules({"match": "marker-slow", "latency_ms": 8_000, "times": 1})
    begun = await client.post(f"/chatbots/{bot.chatbot_id}/evals", {"suite": SUITE})

    async def kept() -> int:
        found: int = await product.owner.fetchval(
            "SELECT count(*) FROM eval_cases WHERE user_id = $1", bot.user_id
        )
        return found

    async def asked() -> int:
        return len(await product.prompts("marker-killed-eval"))

    await until(kept, lambda n: n == 1, patience_s=60)
    await until(asked, lambda n: n == 2)
    name = await product.owner.fetchval(
        "SELECT w.name FROM jobs j JOIN workers w ON w.id = j.lease_owner WHERE j.user_id = $1",
        bot.user_id,
    )
    os.kill(int(name.rpartition(":")[2]), signal.SIGKILL)
    run = await ended(client, begun.json["id"])
    assert (run["status"], run["passed"], run["failed"]) == ("done", 2, 0)
    assert [case["name"] for case in run["cases"]] == ["quick", "slow"]
    calls = await product.owner.fetchval(
        "SELECT sum(calls)::int FROM model_calls WHERE user_id = $1 AND kind = 'eval'", bot.user_id
    )
    assert calls == await asked() == 3, "the slow one twice: what is kept is not run again"
    counted = await product.owner.fetchval(
        "SELECT sum(test_tokens_used)::bigint FROM usage_tracking WHERE user_id = $1", bot.user_id
    )
    assert run["tokens"] == counted
    held = "SELECT count(*) FROM eval_holds WHERE user_id = $1"
    assert await product.owner.fetchval(held, bot.user_id) == 0
    assert await rows_of(product, bot) == before
    await reconciled(product, bot)
