"""Message limits through the whole product: what the plan chooses, and that N means N."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from tests.e2e.conftest import Bot, Product, until
from tests.e2e.test_conversation import quiet, say

NOTICE = "We have answered as much as we can today. Write again tomorrow!"


async def all_settled(product: Product, bot: Bot, received: int) -> None:
    """So many messages are recorded, and there is nothing left to do about them."""
    inbound = "SELECT 1 FROM messages WHERE user_id = $1 AND direction = 'inbound'"
    await until(lambda: product.rows(bot, inbound), lambda rows: len(rows) == received)
    await product.settled(bot)


async def test_refused_customers_are_told_once_and_the_tenant_too(product: Product) -> None:
    bot = await product.bot(
        daily=2, limits={"on_message_limit": "refuse", "message_limit_notice": NOTICE}
    )
    early = [f"+1202555010{n}" for n in range(2)]
    late = [f"+1202555011{n}" for n in range(3)]
    for customer in early:
        await say(product, bot, "hello", sender=customer)
    await product.replies(bot, 2)
    for customer in late:
        await say(product, bot, "and I?", "please", sender=customer)
    await product.replies(bot, 5)
    for customer in late:  # told already
        await say(product, bot, "really not?", sender=customer)
    await all_settled(product, bot, 11)
    await quiet()
    sends = await product.sends(bot)
    assert sorted((s["to"], s["text"]) for s in sends) == [
        *((customer, "Re: hello") for customer in early),
        *((customer, NOTICE) for customer in late),
    ]
    refused = await product.rows(
        bot,
        "SELECT metadata ->> 'reason' FROM messages"
        " WHERE user_id = $1 AND direction = 'inbound' AND NOT ai_processed",
    )
    assert [r[0] for r in refused] == ["daily_message_limit"] * 9
    told = await product.rows(
        bot,
        "SELECT event_data ->> 'limit', (event_data ->> 'value')::int FROM analytics_events"
        " WHERE user_id = $1 AND event_type = 'limit.reached'",
    )
    assert [tuple(r) for r in told] == [("daily_message_limit", 2)]
    assert await product.counters_equal_rows(bot) == (2, 11)


async def test_with_overage_everybody_is_answered(product: Product) -> None:
    bot = await product.bot(
        daily=2, limits={"on_message_limit": "overage", "message_limit_notice": NOTICE}
    )
    await product.simulator.faults(
        *(_undeliverable(bot.phone_number_id, f"+1202555010{n}") for n in (1, 3))
    )
    for n in range(6):
        await say(product, bot, "hello", sender=f"+1202555010{n}")
        # One after the other, so that it is known who is beyond the limit: 0 and 2 are within, and
        # 1 and 3 give their units back.
        await all_settled(product, bot, n + 1)
    assert await product.replies(bot, 4) == ["Re: hello"] * 4
    rows = await product.rows(
        bot,
        "SELECT phone_number, overage, usage_day IS NOT NULL FROM messages m"
        " JOIN contacts c ON c.id = m.contact_id"
        " WHERE m.user_id = $1 AND direction = 'outbound' ORDER BY phone_number",
    )
    assert [tuple(r) for r in rows] == [
        ("+12025550100", False, True),
        ("+12025550101", False, False),
        ("+12025550102", False, True),
        ("+12025550103", True, False),
        ("+12025550104", True, True),
        ("+12025550105", True, True),
    ]
    assert await product.counters_equal_rows(bot) == (2, 6)
    over = await product.rows(
        bot, "SELECT daily_overage_messages FROM usage_tracking WHERE user_id = $1"
    )
    assert [r[0] for r in over] == [2]


# ---- 64 customers against N, while workers are killed -------------------------------------------

N = 40
CUSTOMERS = [f"+1202556{n:04d}" for n in range(64)]
EVERYBODY = 2 * len(CUSTOMERS)  # messages, when everybody writes


async def everybody(product: Product, bot: Bot, text: str) -> None:
    """All of them at the same moment, in any order, each in two posts."""
    async with asyncio.TaskGroup() as group:
        for customer in random.sample(CUSTOMERS, len(CUSTOMERS)):
            group.create_task(say(product, bot, text, "please", sender=customer, one_post=False))


async def strike(product: Product, bot: Bot, *, kill: bool) -> None:
    """Ends a worker, of those that run turns of the tenant's if there are any, and puts another in
    its place; everybody writes meanwhile."""
    living = {p.pid: p for p in product.stack.processes if p.returncode is None}
    rows = await product.rows(
        bot,
        "SELECT w.name FROM conversations c JOIN workers w ON w.id = c.lease_owner"
        " WHERE c.user_id = $1",
    )
    holding = Counter(int(r["name"].rpartition(":")[2]) for r in rows)
    victim = max((p for p in living.values() if p.name == "worker"), key=lambda p: holding[p.pid])
    if kill:
        victim.kill()
    else:
        victim.terminate()
    async with asyncio.TaskGroup() as group:
        group.create_task(victim.ended())
        group.create_task(product.stack.start_worker())
        group.create_task(everybody(product, bot, "and now?"))


async def running(product: Product, bot: Bot, turns: int) -> None:
    leased = "SELECT 1 FROM conversations WHERE user_id = $1 AND lease_owner IS NOT NULL"
    await until(lambda: product.rows(bot, leased), lambda rows: len(rows) >= turns)


@asynccontextmanager
async def watched(product: Product, bot: Bot) -> AsyncIterator[list[tuple[int, int]]]:
    """What the day's and the month's counters say, sent and reserved together, all the while."""
    seen: list[tuple[int, int]] = []

    async def look(conn: Any) -> None:
        while True:
            row = await conn.fetchrow(
                "SELECT d.daily_messages_sent + d.messages_reserved,"
                " m.total_messages_sent + m.messages_reserved"
                " FROM usage_tracking d JOIN monthly_usage_summary m USING (user_id)"
                " WHERE user_id = $1",
                bot.user_id,
            )
            if row is not None:
                seen.append(tuple(row))
            await asyncio.sleep(0.02)

    conn = await asyncpg.connect(product.owner_url)
    looking = asyncio.create_task(look(conn))
    try:
        yield seen
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await conn.close()


async def assert_exactly_n(product: Product, bot: Bot, seen: list[tuple[int, int]]) -> None:
    """N replies reached their customers, N are counted, and everybody else knows why not."""
    sends = await product.sends(bot)
    rows = {int(s["biz_opaque_callback_data"].split(":")[1]) for s in sends}
    assert (len(sends), len(rows)) == (N, N)
    metered = await product.rows(
        bot, "SELECT id FROM messages WHERE user_id = $1 AND usage_day IS NOT NULL"
    )
    assert {r["id"] for r in metered} == rows
    sent, received = await product.counters_equal_rows(bot)
    assert sent == N
    held = "SELECT 1 FROM usage_reservations WHERE user_id = $1"
    assert await product.rows(bot, held) == []
    inbound = await product.rows(
        bot,
        "SELECT ai_processed, metadata ->> 'reason' AS reason FROM messages"
        " WHERE user_id = $1 AND direction = 'inbound'",
    )
    ended = Counter((r["ai_processed"], r["reason"]) for r in inbound)
    assert ended.keys() == {(True, None), (False, "daily_message_limit")}
    assert ended.total() == received
    assert max(seen) == (N, N)
    assert max(daily for daily, _ in seen) == max(monthly for _, monthly in seen) == N
    told = await product.rows(
        bot, "SELECT 1 FROM analytics_events WHERE user_id = $1 AND event_type = 'limit.reached'"
    )
    assert len(told) == 1


async def test_64_customers_against_40_while_workers_are_killed(
    product: Product, workers: None
) -> None:
    bot = await product.bot(daily=N)
    await product.simulator.config(model_latency_ms=1_500)
    async with watched(product, bot) as seen:
        await everybody(product, bot, "the first time")
        # What the killed one held is taken over after about five seconds, and its turns run again.
        await running(product, bot, N // 2)
        await strike(product, bot, kill=True)
        await strike(product, bot, kill=False)
        await strike(product, bot, kill=True)
        await all_settled(product, bot, 4 * EVERYBODY)
    assert (
        await product.rows(bot, "SELECT 1 FROM messages WHERE user_id=$1 AND status='failed'") == []
    )
    await assert_exactly_n(product, bot, seen)


async def test_units_that_come_back_are_used_again_and_never_twice(
    product: Product, workers: None
) -> None:
    bot = await product.bot(daily=N)
    await product.simulator.config(model_latency_ms=300)
    await product.simulator.faults(_undeliverable(bot.phone_number_id, times=25))
    async with watched(product, bot) as seen:
        await everybody(product, bot, "are you there?")
        await running(product, bot, 1)
        await strike(product, bot, kill=True)
        await strike(product, bot, kill=False)
        await all_settled(product, bot, 3 * EVERYBODY)
        # By now 25 units at least were given back; whoever writes may have what is left.
        await everybody(product, bot, "and now?")
        await all_settled(product, bot, 4 * EVERYBODY)
    failed = await product.rows(
        bot,
        "SELECT usage_day FROM messages WHERE user_id = $1 AND status = 'failed'"
        " AND metadata #>> '{errors,0,code}' = '131026'",
    )
    assert [r[0] for r in failed] == [None] * 25
    await assert_exactly_n(product, bot, seen)


def _undeliverable(phone_number_id: str, to: str | None = None, **more: Any) -> dict[str, Any]:
    """Meta's refusal for good."""
    return {
        "kind": "error",
        "status": 400,
        "code": 131026,
        "message": "Message undeliverable",
        "phone_number_id": phone_number_id,
        **({"to": to} if to else {}),
        **more,
    }
