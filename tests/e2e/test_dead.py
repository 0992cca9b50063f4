"""What could not be processed is kept, shown and replayed."""

import time
from typing import Any

import aio_pika

from handlers.ingest.envelope import Envelope, encode
from handlers.whatsapp.cloud_api.wire import split
from local.servers.rabbitmq import RabbitMQ
from tests.e2e.conftest import Product, until
from tests.e2e.test_conversation import NOOR, quiet, say


async def dead_of(product: Product, phone_number_id: str) -> list[dict[str, Any]]:
    found = await product.stack.command("dead", "list", "--json")
    return [i for i in found["items"] if i["phone_number_id"] == phone_number_id]


async def test_messages_wait_for_their_chatbot(product: Product) -> None:
    stamp = product.stamp()
    await product.simulator.config(
        numbers=[{"phone_number_id": f"40{stamp}", "display_phone_number": f"1{stamp}"}]
    )
    for text in ("is anybody there?", "hello?"):
        told = await product.simulator.say(f"40{stamp}", NOOR, text)
        assert told["answers"][0]["status"] == 200
    waiting = await until(lambda: dead_of(product, f"40{stamp}"), lambda items: len(items) == 2)
    assert {i["reason"] for i in waiting} == {"unknown_number"}
    shown = await product.stack.command("dead", "show", str(waiting[0]["id"]), "--json")
    assert shown["raw"]["item"]["text"]["body"] == "is anybody there?"
    assert shown["trace_id"]

    bot = await product.bot(stamp=stamp)
    assert await product.replies(bot, 1) == ["Re: is anybody there? | hello?"]
    assert await dead_of(product, f"40{stamp}") == []
    await quiet()
    assert await product.counters_equal_rows(bot) == (1, 2)


async def test_a_replay_is_harmless_and_keeps_what_is_not_understood(product: Product) -> None:
    bot = await product.bot()
    await say(product, bot, "recorded")
    await product.replies(bot, 1)
    value = {
        "messaging_product": "whatsapp",
        "metadata": {
            "display_phone_number": bot.number[1:],
            "phone_number_id": bot.phone_number_id,
        },
        "messages": [{"id": "wamid.odd", "timestamp": "1795338000", "type": "hologram"}],
    }
    change = {"field": "messages", "value": value}
    payload = {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}
    assert (await product.simulator.raw(payload=payload))["status"] == 200
    (odd,) = await until(
        lambda: dead_of(product, bot.phone_number_id), lambda items: len(items) == 1
    )
    assert (odd["reason"], odd["detail"]) == ("not_understood", "message_without_sender")
    for _ in range(2):
        done = await product.stack.command("dead", "replay", str(odd["id"]), "--json")
        assert done == {"replayed": 1, "missing": [], "refused": []}
        (odd,) = await until(
            lambda: dead_of(product, bot.phone_number_id), lambda items: len(items) == 1
        )
    await product.replies(bot, 1)
    assert await product.counters_equal_rows(bot) == (1, 1)


async def test_what_took_its_workers_down_is_on_the_list_and_can_be_tried_again(
    product: Product, rabbitmq_server: RabbitMQ
) -> None:
    """After 100 deliveries RabbitMQ puts an entry aside; here it is put there by hand."""
    bot = await product.bot()
    now = str(int(time.time()))
    text = {"from": NOOR[1:], "id": "wamid.heavy", "timestamp": now, "type": "text"}
    value = {
        "messaging_product": "whatsapp",
        "metadata": {
            "display_phone_number": bot.number[1:],
            "phone_number_id": bot.phone_number_id,
        },
        "messages": [{**text, "text": {"body": "too heavy?"}}],
    }
    change = {"field": "messages", "value": value}
    payload = {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}
    entry = encode(Envelope("trace-of-it", "2026-11-22T10:00:00+00:00", tuple(split(payload))))
    connection = await aio_pika.connect(rabbitmq_server.url)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("wa.dlx")
        for _ in range(2):
            await exchange.publish(aio_pika.Message(entry), "inbound")
    (dead,) = await until(lambda: dead_of(product, bot.phone_number_id), lambda i: len(i) == 1)
    assert (dead["reason"], dead["trace_id"]) == ("delivered_too_often", "trace-of-it")
    await product.stack.command("dead", "replay", dead["id"])
    assert await product.replies(bot, 1) == ["Re: too heavy?"]
    assert await dead_of(product, bot.phone_number_id) == []
