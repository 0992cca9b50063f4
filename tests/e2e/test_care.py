"""A chatbot's own model, words against advertising and loops with other bots, through the whole
product."""

import json
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from handlers.fixed.texts import Kind, fixed_text
from tests.e2e.conftest import Product, until
from tests.e2e.test_asks import connected, reconciled
from tests.e2e.test_conversation import say


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_another_model_answers_within_seconds_of_the_change(
    product: Product, http: aiohttp.ClientSession
) -> None:
    bot = await product.bot(instructions="marker-own-model")
    client = await connected(product, bot, http)
    await say(product, bot, "One")
    await product.replies(bot, 1)
    changed = time.monotonic()
    model = {"name": "theirs", "base_url": f"{product.stack.simulator_url}/v1", "api_key": "sk-1"}
    answer = await client.patch(f"/chatbots/{bot.chatbot_id}", {"model": model})
    assert answer.status == 200, answer
    await say(product, bot, "Two")
    await product.replies(bot, 2)
    assert time.monotonic() - changed < 30
    asked = [one["model"] for one in await product.prompts("marker-own-model")]
    assert asked == ["simulated-model", "theirs"]
    rows = await product.rows(
        bot,
        "SELECT metadata FROM messages WHERE user_id = $1 AND direction = 'outbound' ORDER BY id",
    )
    assert [json.loads(row[0])["model"] for row in rows] == asked
    used = await product.rows(bot, "SELECT model FROM model_usage WHERE user_id = $1 ORDER BY 1")
    assert [row[0] for row in used] == ["own/theirs", "simulated-model"]
    await reconciled(product, bot)


async def test_stop_is_heard_at_once_and_confirmed_once(product: Product) -> None:
    bot = await product.bot(instructions="marker-stop")
    await say(product, bot, "¡Baja!")
    assert await product.replies(bot, 1) == [fixed_text(Kind.OPTED_OUT, "es")]
    (row,) = await product.rows(bot, "SELECT marketing_choice FROM contacts WHERE user_id = $1")
    assert row[0] == "stop"
    assert await product.prompts("marker-stop") == []
    assert await product.counters_equal_rows(bot) == (0, 1)


async def test_a_bot_that_answers_everything_at_once_is_stopped(product: Product) -> None:
    bot = await product.bot(instructions="marker-loop")
    said = "Thank you for contacting us!"
    for count in range(1, 10):
        await say(product, bot, said)
        replies = await product.replies(bot, count)
        if replies[-1] == fixed_text(Kind.LOOP, "en"):
            break
        await until(
            lambda: product.rows(
                bot,
                "SELECT status FROM messages WHERE user_id = $1 AND direction = 'outbound'",
            ),
            lambda rows: all(row[0] in ("accepted", "sent", "delivered", "read") for row in rows),
        )
    else:
        pytest.fail("it goes on")
    assert count == 9
    told = await product.rows(
        bot,
        "SELECT event_data FROM analytics_events WHERE user_id = $1"
        " AND event_type = 'bot.loop_stopped'",
    )
    assert len(told) == 1
    assert len(await product.prompts("marker-loop")) == 8
    await reconciled(product, bot)
