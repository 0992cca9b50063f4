"""Webhooks while the door is attacked by people without a key, and by one tenant with one. Floor:
the same process, the same webhooks, and nobody else there. The attackers (`bench/attackers.py`) are
a process of their own on the servers' core; what they burn there is not the product's."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from bench.attackers import ATTACKS
from bench.client import Client
from bench.harness import Figures, Result, in_turns, percentile, tested, usage
from bench.ingress import COMMAND, SECRET, purge_lanes, register_number, signed
from db.api_keys import NewApiKey, create_api_key
from db.migrate import migrate
from db.pool import connect_owner
from handlers.api_keys import PERMISSIONS, hash_of, new_key
from handlers.ingest_log.rabbitmq.topology import declare_topology
from local.processes import Process
from local.servers.daemon import free_ports
from local.servers.postgres import postgres
from local.servers.rabbitmq import rabbitmq
from local.stack import until_ready

ROUNDS, POSTS, PER_S, CONNECTIONS = 5, 1_200, 300, 32
ACTIONS, ACTION_CHARS = 200, 126_000  # a burst of 30 messages as long as they may be
LOOK_S = 0.02
MAY_TAKE_MS, TIMES_IDLE = 50.0, 2.0
MAY_HOLD_MB = 48.0  # 32 MiB of what has arrived, and what it takes to hold it


async def run(quick: bool) -> list[Result]:
    rounds, posts = (1, 300) if quick else (ROUNDS, POSTS)
    async with AsyncExitStack() as ending:
        database = await ending.enter_async_context(postgres())
        broker = await ending.enter_async_context(rabbitmq())
        await migrate(database.url, database.url, lambda _: None)
        await declare_topology(broker.url)
        await register_number(database.url)
        key = await _tenant_with_large_actions(database.url)
        (port,) = free_ports(1)
        environment = {
            "DATABASE_URL": database.url,
            "AMQP_URL": broker.url,
            "WHATSAPP_APP_SECRET": SECRET,
            "WHATSAPP_VERIFY_TOKEN": "bench",
            "SECRETS_KEY": "bench" * 8,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "API_CALLS_PER_MINUTE": "1000000",
        }
        process = await ending.enter_async_context(
            tested("ingress", [COMMAND, "ingress"], environment)
        )
        await until_ready(process, f"http://127.0.0.1:{port}/readyz")
        client = Client(f"http://127.0.0.1:{port}", CONNECTIONS)
        purge = partial(purge_lanes, broker.url)

        async def side(attack: str | None) -> Figures:
            async with _attacked(attack, port, key):
                figures = await _measured(process, client, posts)
            await purge()
            return figures

        result = Result("door", f"Webhooks at {PER_S} a second while the door is attacked")
        sides = {"idle": partial(side, None)} | {name: partial(side, name) for name in ATTACKS}
        await in_turns(result, sides, rounds)
    for name in ATTACKS:
        _judge(result, name)
    return [result]


def _judge(result: Result, name: str) -> None:
    idle, attacked = result.sides["idle"], result.sides[name]
    result.compare("ack_p99_ms", name, "idle")
    said = name.replace("_", " ")
    allowed = max(MAY_TAKE_MS, TIMES_IDLE * idle["ack_p99_ms"].median)
    result.goal(f"{said}: p99, ms", attacked["ack_p99_ms"].median, allowed, at_least=False)
    more = attacked["rss_mb_most"].high - idle["rss_mb_most"].median
    result.goal(f"{said}: MB more than idle", more, MAY_HOLD_MB, at_least=False)


async def _measured(process: Process, client: Client, posts: int) -> Figures:
    most = 0.0
    before = usage(process.pid)

    async def look() -> None:
        nonlocal most
        while True:
            most = max(most, usage(process.pid).rss_mb)
            await asyncio.sleep(LOOK_S)

    looking = asyncio.create_task(look())
    took = await client.at_rate([signed(1) for _ in range(posts)], PER_S)
    looking.cancel()
    after = usage(process.pid)
    return {
        "ack_p50_ms": percentile(took, 0.5),
        "ack_p99_ms": percentile(took, 0.99),
        "core": (after.cpu_s - before.cpu_s) / (after.at_s - before.at_s),
        "rss_mb_most": most,
    }


@asynccontextmanager
async def _attacked(attack: str | None, port: int, key: str) -> AsyncIterator[None]:
    if attack is None:
        yield
        return
    nice = ["nice", "-n", "19"]  # they have machines of their own
    arguments = [*nice, sys.executable, "-m", "bench.attackers", attack, str(port), key]
    with tempfile.TemporaryDirectory(prefix="swiftreplies-bench-") as directory:
        process = await Process.start(attack, arguments, {**os.environ}, Path(directory) / "log")
        try:
            await process.first_line(60)
            yield
        finally:
            process.terminate()
            await process.ended()


async def _tenant_with_large_actions(url: str) -> str:
    key = new_key()
    hashed = hash_of(key)
    assert hashed is not None
    conn = await connect_owner(url)
    user_id = await conn.fetchval("SELECT id FROM users")
    new = NewApiKey("bench", hashed, key[:10], dict.fromkeys(PERMISSIONS, True))
    await create_api_key(conn, user_id, new)
    await conn.execute(
        "INSERT INTO contacts (user_id, chatbot_id, phone_number, thread_id)"
        " SELECT user_id, id, '+12025550199', '1:thread' FROM chatbots"
    )
    await conn.execute(
        "INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details,"
        " context_data) SELECT k.user_id, k.chatbot_id, k.id, 'refund', 'of all of it',"
        " jsonb_build_object('customer_wrote', (SELECT jsonb_agg(left(repeat(md5(t::text || n), 200"
        "), $2 / 30)) FROM generate_series(1, 30) t)) FROM contacts k, generate_series(1, $1) n",
        ACTIONS,
        ACTION_CHARS,
    )
    await conn.execute("ANALYZE actions")
    await conn.close()
    return key
