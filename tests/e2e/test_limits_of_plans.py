"""A tenant's life through the whole product, by the operator's commands."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from cli.tenant_lives import tenant_switch
from cli.tenant_plans import Terms, tenant_plan
from handlers.process.configuration import Environment
from tests.e2e.conftest import Bot, Product, until
from tests.e2e.test_conversation import quiet, say
from tests.e2e.test_limits import CUSTOMERS, EVERYBODY, all_settled, everybody, running, strike

ROOM, AT_ONCE = 20, 5


async def why(product: Product, bot: Bot) -> Counter[str]:
    rows = await product.rows(
        bot,
        "SELECT coalesce(metadata ->> 'reason', 'answered') AS what FROM messages"
        " WHERE user_id = $1 AND direction = 'inbound'",
    )
    return Counter(row["what"] for row in rows)


async def test_what_was_written_while_suspended_is_answered_when_resumed(product: Product) -> None:
    bot = await product.bot()
    environment = Environment(product.stack.environment)
    await tenant_switch(environment, bot.user_id, active=False)
    await say(product, bot, "is anybody there?")
    await all_settled(product, bot, 1)
    assert await why(product, bot) == {"tenant_inactive": 1}
    await quiet()
    await product.replies(bot, 0)
    await tenant_switch(environment, bot.user_id, active=True)
    assert await product.replies(bot, 1) == ["Re: is anybody there?"]
    await product.settled(bot)
    assert await product.counters_equal_rows(bot) == (1, 1)


async def test_room_and_places_are_exact_while_workers_are_killed(
    product: Product, workers: None
) -> None:
    """64 new customers against room for 20, of whom 5 are answered at once; then room for all."""
    limits = {"max_contacts": ROOM, "max_concurrent_conversations": AT_ONCE}
    bot = await product.bot(limits=limits)
    await product.simulator.config(model_latency_ms=700)
    async with watched(product, bot) as seen:
        await everybody(product, bot, "hello")
        await running(product, bot, 1)
        await strike(product, bot, kill=True)
        await all_settled(product, bot, 2 * EVERYBODY)
        assert (await why(product, bot)).keys() == {"answered", "contact_limit"}
        assert len({send["to"] for send in await product.sends(bot)}) == ROOM
        terms = Terms({"limits": limits | {"max_contacts": len(CUSTOMERS)}}, {})
        await tenant_plan(Environment(product.stack.environment), bot.user_id, terms)
        await until(lambda: why(product, bot), lambda found: found.keys() == {"answered"})
        await product.settled(bot)
    sends = await product.sends(bot)
    assert len({send["to"] for send in sends}) == len(CUSTOMERS)
    assert max(seen) == AT_ONCE
    await product.counters_equal_rows(bot)


@asynccontextmanager
async def watched(product: Product, bot: Bot) -> AsyncIterator[list[int]]:
    """How many of the tenant's turns run, again and again."""
    seen: list[int] = []

    async def look(conn: asyncpg.Connection) -> None:
        while True:
            count = "SELECT count(*) FROM conversations WHERE user_id = $1 AND lease_owner > 0"
            seen.append(await conn.fetchval(count, bot.user_id))
            await asyncio.sleep(0.02)

    conn = await asyncpg.connect(product.owner_url)
    looking = asyncio.create_task(look(conn))
    try:
        yield seen
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await conn.close()
