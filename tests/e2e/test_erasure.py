"""A person is erased in the running product: no table, dead lane, export or log file has them."""

import asyncio
import time
from pathlib import Path

import aio_pika
import aiohttp

from handlers.ingest_log.rabbitmq.topology import QUEUES
from tests.api import Client
from tests.e2e.conftest import Product, until
from tests.e2e.test_conversation import say
from tests.erasure import found_in

NOOR = "+12025550155"
NAME, WORD = "Noor Quillfeather", "marzipanolive"


async def test_they_are_gone_and_do_not_come_back(product: Product, workers: None) -> None:
    bot = await product.bot()
    stack = product.stack
    made = await stack.command(
        *("apikey", "create", "--user", str(bot.user_id), "--name", "desk", "--json")
    )
    first = {"sender": NOOR, "name": NAME, "timestamp": str(int(time.time()))}
    told = await say(product, bot, f"Is there {WORD}?", **first)
    await product.replies(bot, 1)
    await product.settled(bot)
    needles = [NOOR.lstrip("+"), NAME, WORD, *told["wamids"]]
    sent = await product.sends(bot)
    needles += [send["wamid"] for send in sent]
    async with aiohttp.ClientSession() as http:
        client = Client(stack.ingress_url, http, made["api_key"])
        asked = (await client.post("/exports", {"what": "tenant"})).json
        path = f"/exports/{asked['id']}"
        await until(lambda: client.get(path), lambda a: a.json["status"] == "ready")
        files = Path(stack.environment["MEDIA_STORE"].removeprefix("file://"))
        assert len(list(files.rglob("*.zip"))) == 1
        (row,) = (await client.get("/conversations")).json["data"]
        assert (await client.send("DELETE", f"/contacts/{row['contact_id']}")).status == 204
        for process in stack.processes:  # in the middle of it
            if process.name == "worker":
                process.kill()
        assert (await client.get("/conversations")).json["data"] == []
        assert (await client.get(f"{path}/file")).status == 409
    for _ in range(2):
        await stack.start_worker()
    # Meta repeats what it sent, while it is done and afterwards.
    await say(product, bot, f"Is there {WORD}?", **first, wamids=told["wamids"])

    async def settled() -> int:
        found: int = await product.owner.fetchval(
            "SELECT count(*) FROM erasures WHERE user_id = $1 AND settled_at IS NULL", bot.user_id
        )
        return found

    await until(settled, lambda n: n == 0)
    await say(product, bot, f"Is there {WORD}?", **first, wamids=told["wamids"])
    await until(lambda: in_log(product), lambda n: n == 0)
    await asyncio.sleep(1.0)  # the last batch is written when its entries are acknowledged
    assert await found_in(product.owner, needles) == {}
    assert list(files.rglob("*.zip")) == []
    for log in stack.log_directory.glob("*.log"):
        text = log.read_text(errors="replace")
        if not log.name.startswith("simulator"):
            assert not [needle for needle in needles if needle in text], log.name
    # Who writes later is somebody new.
    await say(product, bot, "hello again", sender=NOOR)
    assert len(await product.replies(bot, 2)) == 2


async def in_log(product: Product) -> int:
    """Messages in any queue of the broker, dead lanes among them."""
    connection = await aio_pika.connect(product.stack.environment["AMQP_URL"])
    async with connection, connection.channel() as channel:
        found = [await channel.declare_queue(name, passive=True) for name in QUEUES.values()]
        return sum(queue.declaration_result.message_count or 0 for queue in found)
