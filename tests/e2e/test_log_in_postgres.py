"""The product with INGEST_LOG=postgres, and no broker anywhere."""

import time
from collections.abc import AsyncIterator

import pytest

from handlers.ingest.envelope import Envelope, encode
from handlers.whatsapp.cloud_api.wire import split
from local.servers.postgres import Postgres
from tests.e2e.conftest import Product, started, until
from tests.e2e.test_conversation import NOOR, quiet, say

CUSTOMERS = [f"+1202555{n:04d}" for n in range(12)]


@pytest.fixture(scope="module")
async def product(postgres_server: Postgres) -> AsyncIterator[Product]:
    log = {"INGEST_LOG": "postgres", "AMQP_URL": ""}
    async with started(postgres_server, "e2e_postgres", log) as product:
        yield product


async def test_a_conversation(product: Product) -> None:
    bot = await product.bot()
    told = await say(product, bot, "Hello", "Is the lemon cake available?")
    assert {answer["status"] for answer in told["answers"]} == {200}
    assert len(await product.replies(bot, 1)) == 1
    await until(
        lambda: product.rows(bot, "SELECT status FROM messages WHERE user_id = $1 ORDER BY id"),
        lambda rows: rows[-1]["status"] == "delivered",
    )
    await say(product, bot, "Hello", wamids=told["wamids"][:1])
    await quiet()
    await product.replies(bot, 1)
    assert await product.counters_equal_rows(bot) == (1, 2)


async def test_a_worker_killed_while_messages_come_in_loses_and_doubles_nothing(
    product: Product,
) -> None:
    bot = await product.bot()
    victim = next(p for p in product.stack.processes if p.name == "worker")
    for n, customer in enumerate(CUSTOMERS):
        await say(product, bot, f"first of {n}", sender=customer)
        if n == len(CUSTOMERS) // 2:
            victim.kill()
    for n, customer in enumerate(CUSTOMERS):
        await say(product, bot, f"second of {n}", sender=customer)
    recorded = await until(
        lambda: product.rows(
            bot,
            "SELECT contact_id, array_agg(content_text ORDER BY id) AS texts FROM messages"
            " WHERE user_id = $1 AND direction = 'inbound' GROUP BY contact_id",
        ),
        lambda rows: sum(len(row["texts"]) for row in rows) == 2 * len(CUSTOMERS),
    )
    assert sorted(row["texts"] for row in recorded) == sorted(
        [f"first of {n}", f"second of {n}"] for n in range(len(CUSTOMERS))
    )
    await product.settled(bot)
    await quiet()
    sent, received = await product.counters_equal_rows(bot)
    assert received == 2 * len(CUSTOMERS)
    assert len(await product.sends(bot)) == sent
    assert await product.owner.fetchval("SELECT count(*) FROM ingest_entries") == 0
    product.stack.processes.remove(victim)
    await product.stack.start_worker()


async def test_a_send_that_nobody_ever_heard_of_goes_once_more(product: Product) -> None:
    """Which needs a mark that went through the statuses' lane."""
    bot = await product.bot()
    await product.simulator.faults(
        {"kind": "timeout_before_accept", "phone_number_id": bot.phone_number_id}
    )
    await say(product, bot, "anybody?")
    assert await product.replies(bot, 1) == ["Re: anybody?"]
    await product.settled(bot)
    (row,) = await product.rows(
        bot, "SELECT send_attempts FROM messages WHERE user_id = $1 AND direction = 'outbound'"
    )
    assert row["send_attempts"] == 2


async def test_what_came_before_its_chatbot_is_replayed_without_a_broker(product: Product) -> None:
    stamp = product.stamp()
    await product.simulator.config(
        numbers=[{"phone_number_id": f"40{stamp}", "display_phone_number": f"1{stamp}"}]
    )
    await product.simulator.say(f"40{stamp}", NOOR, "too early?")
    await until(
        lambda: product.owner.fetchval(
            "SELECT count(*) FROM parked_items WHERE phone_number_id = $1", f"40{stamp}"
        ),
        lambda count: count == 1,
    )
    bot = await product.bot(stamp=stamp)
    assert await product.replies(bot, 1) == ["Re: too early?"]


async def test_an_entry_in_a_dead_lane_is_parked_and_replayed(product: Product) -> None:
    bot = await product.bot()
    text = {"from": NOOR[1:], "id": f"wamid.{bot.chatbot_id}", "type": "text"}
    text |= {"timestamp": str(int(time.time()))}
    number = {"display_phone_number": bot.number[1:], "phone_number_id": bot.phone_number_id}
    value = {
        "messaging_product": "whatsapp",
        "metadata": number,
        "messages": [{**text, "text": {"body": "too heavy?"}}],
    }
    change = {"field": "messages", "value": value}
    payload = {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}
    envelope = Envelope("trace-of-it", "2026-11-22T10:00:00+00:00", tuple(split(payload)))
    await product.owner.execute(
        "INSERT INTO ingest_entries (lane, body) VALUES ('dead-inbound', $1)", encode(envelope)
    )
    parked = await until(
        lambda: product.owner.fetchval("SELECT id FROM parked_items WHERE trace_id='trace-of-it'"),
        lambda found: found is not None,
    )
    await product.stack.command("dead", "replay", str(parked))
    assert await product.replies(bot, 1) == ["Re: too heavy?"]


async def test_the_doctor_looks_at_the_table(product: Product) -> None:
    report = await product.stack.command("doctor")
    assert "a table of the database" in report
    assert "rabbitmq" not in report
