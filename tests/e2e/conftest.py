"""The product as processes, driven through HTTP, broker and database only."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
import pytest

from cli.chatbots import NewChatbot, chatbot_create
from cli.knowledge import kb_import
from cli.tenant_plans import Terms
from cli.tenants import NewTenant, tenant_create
from db.pool import Conn
from handlers.process.configuration import Environment
from local.servers.postgres import Postgres
from local.servers.rabbitmq import RabbitMQ
from local.stack import Stack, running
from simulator.client import Simulator
from tests.conftest import TEMPLATE, log_url, runtime_url, with_database

T = TypeVar("T")
DEBOUNCE_MS = 300
SEND_UNKNOWN_MS = 1_500
PATIENCE_S = 60.0  # a loaded machine is slow, not broken


@dataclass(frozen=True, slots=True)
class Bot:
    user_id: int
    chatbot_id: int
    phone_number_id: str
    number: str
    token: str


@dataclass(slots=True)
class Product:
    stack: Stack
    simulator: Simulator
    owner: Conn
    owner_url: str
    _made: int = 0

    async def reconnect(self) -> None:
        """After the database was away."""
        self.owner = await asyncpg.connect(self.owner_url)

    def stamp(self) -> str:
        """Ten digits that nobody had before."""
        self._made += 1
        return f"{time.time_ns() % 10**9:09d}{self._made % 10}"

    async def bot(
        self,
        *,
        daily: int = 1_000,
        instructions: str = "",
        knowledge: str = "",
        limits: dict[str, Any] | None = None,
        stamp: str | None = None,
    ) -> Bot:
        """A tenant with one chatbot, made by the operator's commands; not as processes, which
        took more CPU than many of the tests."""
        stamp = stamp or self.stamp()
        environment = Environment(self.stack.environment)
        token = f"token-{stamp}-of-this-bot"
        terms = Terms({"limits": limits or {}}, {"daily_message_limit": daily})
        tenant = NewTenant(email=f"t{stamp}@example.com", terms=terms)
        user = await tenant_create(environment, tenant)
        wanted = NewChatbot(
            user_id=user["user_id"],
            name=f"Bot {stamp}",
            number=f"+1{stamp}",
            phone_number_id=f"40{stamp}",
            access_token=token,
            instructions=instructions or f"You are {stamp}.",
        )
        chatbot = await chatbot_create(environment, wanted)
        bot = Bot(user["user_id"], chatbot["chatbot_id"], f"40{stamp}", f"+1{stamp}", token)
        if knowledge:
            file = self.stack.log_directory / f"kb-{stamp}.csv"
            file.write_text("question,answer\n" + knowledge)
            await kb_import(environment, chatbot_id=bot.chatbot_id, file=file)
        await self.simulator.config(
            numbers=[
                {
                    "phone_number_id": bot.phone_number_id,
                    "display_phone_number": bot.number.lstrip("+"),
                    "token": token,
                }
            ]
        )
        return bot

    async def sends(self, bot: Bot, outcome: str | None = "accepted") -> list[dict[str, Any]]:
        entries = await self.simulator.log("send")
        return [
            e
            for e in entries
            if e["phone_number_id"] == bot.phone_number_id
            and (outcome is None or e["outcome"] == outcome)
        ]

    async def replies(self, bot: Bot, count: int) -> list[str]:
        """The texts sent by a bot, once there are as many, and no more of them."""
        sends = await until(lambda: self.sends(bot), lambda s: len(s) >= count)
        assert len(sends) == count
        return [send["text"] for send in sends]

    async def prompts(self, bot_marker: str) -> list[dict[str, Any]]:
        """Requests that the model got whose system prompt has the marker."""
        entries = await self.simulator.log("model")
        return [e["request"] for e in entries if bot_marker in str(e["request"]["messages"][0])]

    async def rows(self, bot: Bot, query: str) -> list[Any]:
        return await self.owner.fetch(query, bot.user_id)

    async def settled(self, bot: Bot) -> None:
        """Nothing is unanswered, leased or on its way out any more."""

        async def open_work() -> int:
            found: int = await self.owner.fetchval(
                "SELECT (SELECT count(*) FROM conversations WHERE user_id = $1 AND (lease_owner IS"
                " NOT NULL OR input_seq > answered_seq)) + (SELECT count(*) FROM messages WHERE"
                " user_id = $1 AND status IN ('queued', 'sending', 'unknown'))",
                bot.user_id,
            )
            return found

        await until(open_work, lambda n: n == 0)

    async def counters_equal_rows(self, bot: Bot) -> tuple[int, int]:
        """(sent, received), after comparing every counter with what the rows say."""
        row = await self.owner.fetchrow(
            "SELECT coalesce(sum(daily_messages_sent), 0)::int AS sent,"
            " coalesce(sum(daily_messages_received), 0)::int AS received,"
            " coalesce(sum(messages_reserved), 0)::int AS reserved,"
            " (SELECT coalesce(sum(total_messages_sent), 0)::int FROM monthly_usage_summary"
            "   WHERE user_id = $1) AS month,"
            " coalesce(sum(daily_overage_messages), 0)::int AS overage,"
            " (SELECT coalesce(sum(overage_messages), 0)::int FROM monthly_usage_summary"
            "   WHERE user_id = $1) AS month_overage,"
            " (SELECT count(*)::int FROM messages WHERE user_id = $1"
            "   AND usage_day IS NOT NULL AND NOT overage) AS counted,"
            " (SELECT count(*)::int FROM messages WHERE user_id = $1"
            "   AND usage_day IS NOT NULL AND overage) AS counted_overage,"
            " (SELECT count(*)::int FROM messages WHERE user_id = $1"
            "   AND direction = 'inbound') AS inbound"
            " FROM usage_tracking WHERE user_id = $1",
            bot.user_id,
        )
        assert row is not None
        assert row["sent"] == row["month"] == row["counted"]
        assert row["overage"] == row["month_overage"] == row["counted_overage"]
        assert row["received"] == row["inbound"]
        assert row["reserved"] == 0
        return row["sent"], row["received"]


async def until(
    look: Callable[[], Awaitable[T]], good: Callable[[T], bool], patience_s: float = PATIENCE_S
) -> T:
    """What `look` sees once it is good; the last look when it never is."""
    deadline = time.monotonic() + patience_s
    while True:
        seen = await look()
        if good(seen) or time.monotonic() > deadline:
            assert good(seen), f"still {seen!r} after {patience_s} s"
            return seen
        await asyncio.sleep(0.05)


@asynccontextmanager
async def started(
    server: Postgres,
    name: str,
    ingest_log: Mapping[str, str],
    before: Callable[[str], Awaitable[Mapping[str, str]]] | None = None,
) -> AsyncIterator[Product]:
    """The whole product, with a database of its own and two workers. `before` is told its name, and
    may change what is in the environment."""
    name = f"{name}_{os.urandom(3).hex()}"  # the package may be begun again in the same session
    admin = await asyncpg.connect(server.url)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    await admin.close()
    owner_url = with_database(server.url, name)
    overrides = {
        "DATABASE_URL": runtime_url(server.url, name),
        "MIGRATION_DATABASE_URL": owner_url,
        "INGEST_LOG_URL": log_url(server.url, name),
        **ingest_log,
        "OPENAI_API_KEY": "sk-simulated",
        "OPENAI_MODEL": "simulated-model",
        "TRANSCRIPTION_MODEL": "simulated-hearing",
        "DEBOUNCE_MS": str(DEBOUNCE_MS),
        "DEBOUNCE_MAX_MS": "1500",
        "SEND_UNKNOWN_MS": str(SEND_UNKNOWN_MS),
        "LOG_LEVEL": "info",
        "LOG_FORMAT": "json",
        **(await before(name) if before is not None else {}),
    }
    async with (
        running(lambda line: None, overrides, workers=2, simulated_model=True) as stack,
        Simulator(stack.simulator_url) as simulator,
    ):
        owner = await asyncpg.connect(owner_url)
        await simulator.config(
            webhook_url=f"{stack.ingress_url}/webhooks/whatsapp",
            app_secret=stack.environment["WHATSAPP_APP_SECRET"],
        )
        product = Product(stack, simulator, owner, owner_url)
        yield product
        await product.owner.close()


@pytest.fixture(scope="package")  # its workers would take what other packages' tests publish
async def package_product(
    postgres_server: Postgres, rabbitmq_server: RabbitMQ
) -> AsyncIterator[Product]:
    log = {"INGEST_LOG": "rabbitmq", "AMQP_URL": rabbitmq_server.url}
    async with started(postgres_server, "e2e", log) as product:
        yield product


@pytest.fixture
async def product(package_product: Product) -> AsyncIterator[Product]:
    await package_product.simulator.reset()
    await package_product.simulator.config(
        statuses=["sent", "delivered", "read"],
        model_latency_ms=0,
        webhook_retry=False,
        lies=None,
    )
    yield package_product
    for process in package_product.stack.processes:
        assert process.returncode is None or process.name == "worker", process.tail()


@pytest.fixture
async def workers(product: Product) -> AsyncIterator[None]:
    """For tests that kill workers: there are two again afterwards."""
    yield
    stack = product.stack
    stack.processes = [p for p in stack.processes if p.returncode is None]
    async with asyncio.TaskGroup() as group:
        for _ in range(2 - sum(p.name == "worker" for p in stack.processes)):
            group.create_task(stack.start_worker())
