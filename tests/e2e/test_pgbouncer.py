"""The product behind PgBouncer in transaction mode: four connections of the server for all."""

from collections.abc import AsyncIterator, Mapping

import asyncpg
import pytest

from local.servers.pgbouncer import pgbouncer
from local.servers.postgres import Postgres
from local.servers.rabbitmq import RabbitMQ
from tests.conftest import (
    LOG_LOGIN,
    RUNTIME_LOGIN,
    RUNTIME_PASSWORD,
    log_url,
    runtime_url,
    with_database,
)
from tests.e2e.conftest import Product, started, until
from tests.e2e.test_conversation import NOOR, quiet, say
from tests.e2e.test_faults import worker_in_turn
from tests.poolers import NEW, give_settings

LOGINS = (RUNTIME_LOGIN, LOG_LOGIN)
LOGS = ("rabbitmq", "postgres")


@pytest.fixture(scope="module", params=LOGS)
async def pooled(
    request: pytest.FixtureRequest, postgres_server: Postgres, rabbitmq_server: RabbitMQ
) -> AsyncIterator[Product]:
    users = dict.fromkeys(LOGINS, RUNTIME_PASSWORD)
    async with pgbouncer(NEW.get(), postgres_server.url, users, pool_size=4) as port:
        server = f"postgresql://x@127.0.0.1:{port}/x"

        async def before(name: str) -> Mapping[str, str]:
            owner = await asyncpg.connect(with_database(postgres_server.url, name))
            for login in LOGINS:
                await give_settings(owner, name, login)
            await owner.close()
            return {
                "DATABASE_URL": runtime_url(server, name),
                "INGEST_LOG_URL": log_url(server, name),
            }

        log = {"INGEST_LOG": request.param, "AMQP_URL": ""}
        if request.param == "rabbitmq":
            log["AMQP_URL"] = rabbitmq_server.url
        name = f"pooled_{request.param}"
        async with started(postgres_server, name, log, before) as product:
            yield product


async def test_a_conversation(pooled: Product) -> None:
    bot = await pooled.bot(knowledge="When do you open?,At seven.\n")
    told = await say(pooled, bot, "Hello", "When do you open?")
    assert {answer["status"] for answer in told["answers"]} == {200}
    await pooled.replies(bot, 1)
    await until(
        lambda: pooled.rows(bot, "SELECT status FROM messages WHERE user_id = $1 ORDER BY id"),
        lambda rows: rows[-1]["status"] == "delivered",
    )
    await say(pooled, bot, "And on Sundays?")
    await pooled.replies(bot, 2)
    await say(pooled, bot, "Hello", wamids=told["wamids"][:1])
    await quiet()
    await pooled.replies(bot, 2)
    await pooled.settled(bot)
    assert await pooled.counters_equal_rows(bot) == (2, 3)


async def test_many_customers_at_once_on_few_connections(pooled: Product) -> None:
    bots = [await pooled.bot() for _ in range(3)]
    customers = [f"+1202555{n:04d}" for n in range(12)]
    for bot in bots:
        for n, customer in enumerate(customers):
            await say(pooled, bot, f"question {n}", sender=customer)
    for bot in bots:
        replies = await pooled.replies(bot, len(customers))
        assert sorted(replies) == sorted(f"Re: question {n}" for n in range(len(customers)))
        await pooled.settled(bot)
        assert await pooled.counters_equal_rows(bot) == (len(customers), len(customers))


async def test_a_worker_killed_in_mid_turn_is_replaced_by_another(pooled: Product) -> None:
    """Known dead by its beats: its session's lock is the pooler's, and is not believed."""
    bot = await pooled.bot()
    await pooled.simulator.config(model_latency_ms=2_000)
    await say(pooled, bot, "who answers?", sender=NOOR)
    await until(lambda: pooled.simulator.log("model"), lambda seen: "who answers?" in str(seen))
    victim = await worker_in_turn(pooled, bot.user_id)
    victim.kill()
    assert await pooled.replies(bot, 1) == ["Re: who answers?"]
    await pooled.simulator.config(model_latency_ms=0)
    await pooled.settled(bot)
    assert await pooled.counters_equal_rows(bot) == (1, 1)
    behind = [p for p in pooled.stack.processes if "worker.behind_pooler" in p.log.read_text()]
    assert behind, "its workers know that their sessions are lent"
