"""The least that a door with the same promise does: check the HMAC, parse, publish each item with
its confirm, answer 200. `python -m bench.floors.ingress PORT`; AMQP_URL and SECRET."""

import asyncio
import hashlib
import hmac
import json
import os
import sys
import zlib

import aio_pika
import uvloop
from aiohttp import web

PARTITIONS = 16


async def application() -> web.Application:
    secret = os.environ["SECRET"].encode()
    connection = await aio_pika.connect(os.environ["AMQP_URL"])
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    exchange = await channel.get_exchange("wa.in")

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        signature = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(signature, request.headers.get("X-Hub-Signature-256", "")):
            return web.Response(status=401)
        await asyncio.gather(
            *(
                exchange.publish(
                    aio_pika.Message(
                        json.dumps(message).encode(),
                        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    ),
                    routing_key=f"p{zlib.crc32(message['from'].encode()) % PARTITIONS:02d}",
                    mandatory=True,
                )
                for entry in json.loads(body)["entry"]
                for change in entry["changes"]
                for message in change["value"]["messages"]
            )
        )
        return web.Response(text="durable")

    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.add_routes([web.post("/webhooks/whatsapp", receive), web.get("/readyz", _ready)])
    return app


async def _ready(_: web.Request) -> web.Response:
    return web.Response(text="ready")


async def main() -> None:
    runner = web.AppRunner(await application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1])).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
