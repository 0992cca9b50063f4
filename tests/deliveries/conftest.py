"""Tenants with webhooks to the simulator's endpoints, and workers with the role `webhooks`."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from db.pool import Conn, Pool, tenant
from handlers.deliveries.catalogue import BotRecovered
from handlers.deliveries.event import TenantEvent
from handlers.deliveries.outbox import tell
from handlers.deliveries.signing import new_secret
from handlers.process.secrets import Vault, webhook_secret_of
from handlers.sends.sending import Sender
from handlers.sends.tokens import Tokens
from handlers.whatsapp.cloud_api.graph_api import GraphApi
from simulator.app import create_app
from simulator.client import Simulator
from tests.conftest import Database
from tests.factories import Tenant, make_tenant
from worker.clock import keep_house
from worker.intake import Intake
from worker.liveness import Liveness
from worker.process import Worker
from worker.settings import Settings, read
from worker.webhooks import webhooks

KEY = "a key of the tests: long enough"


def settings_for(url: str, allow: str) -> Settings:
    return read(
        {
            "DATABASE_URL": url,
            "INGEST_LOG": "postgres",
            "OPENAI_MODEL": "offline",
            "SECRETS_KEY": KEY,
            "OUTBOUND_ALLOW": allow,
        }
    )


class Delivering:
    """A worker with the role `webhooks` alone, as its own process would have it."""

    def __init__(self, settings: Settings, pool: Pool, http: aiohttp.ClientSession, name: str):
        tokens = Tokens(Vault(settings.secrets_keys), None)
        self.liveness = Liveness(settings.database_url, name)
        self.worker = Worker(
            name=name,
            settings=settings,
            pool=pool,
            intake_pool=pool,
            tokens=tokens,
            sender=Sender(pool, GraphApi(http, "http://127.0.0.1:1", "v25.0"), tokens),
            liveness=self.liveness,
            intake=Intake("postgres"),
            stop=asyncio.Event(),
        )
        self.liveness.start()
        house = keep_house(self.worker, asyncio.Event())
        self._tasks = {asyncio.create_task(webhooks(self.worker)), asyncio.create_task(house)}

    async def kill(self) -> None:
        """As kill -9 would: nothing is finished or written."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await asyncio.to_thread(self.liveness.stop)


@dataclass(slots=True)
class Hook:
    """A webhook of a tenant, to an endpoint of the simulator."""

    id: int
    name: str
    secret: str
    tenant: Tenant


@dataclass(slots=True)
class House:
    owner: Conn
    pool: Pool
    database: Database
    simulator: Simulator
    http: aiohttp.ClientSession
    workers: list[Delivering] = field(default_factory=list)
    made: int = 0

    async def worker(self) -> Delivering:
        allow = self.simulator.url.removeprefix("http://")
        settings = settings_for(self.database.runtime_url, allow)
        name = f"webhooks-{len(self.workers)}"
        self.workers.append(Delivering(settings, self.pool, self.http, name))
        return self.workers[-1]

    async def hook(
        self,
        tenant_: Tenant | None = None,
        *,
        events: tuple[str, ...] = ("*",),
        mode: dict[str, Any] | None = None,
        **columns: Any,
    ) -> Hook:
        self.made += 1
        made = tenant_ or await make_tenant(self.owner)
        name, secret = f"endpoint-{self.made}", new_secret()
        row_id: int = await self.owner.fetchval(
            "INSERT INTO webhooks (user_id, url, events) VALUES ($1, $2, $3::text::jsonb)"
            " RETURNING id",
            made.user_id,
            columns.pop("url", None) or self.simulator.endpoint_url(name),
            json.dumps(events),
        )
        columns["secret_token"] = Vault((KEY,)).encrypt(secret, webhook_secret_of(row_id))
        for column, value in columns.items():
            await self.owner.execute(
                f"UPDATE webhooks SET {column} = $2 WHERE id = $1", row_id, value
            )
        await self.simulator.endpoint(name, secrets=[secret], **(mode or {}))
        return Hook(row_id, name, secret, made)

    async def tell(self, to: Tenant, *events: TenantEvent) -> None:
        async with tenant(self.pool, to.user_id) as conn:
            for event in events or (BotRecovered(chatbot_id=to.chatbot_id),):
                await tell(conn, to.user_id, event)

    async def got(self, hook: Hook) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.simulator.deliveries(hook.name)
        return found

    async def rows(self, hook: Hook) -> list[dict[str, Any]]:
        rows = await self.owner.fetch(
            "SELECT d.*, (SELECT count(*) FROM webhook_attempts a WHERE a.delivery_id = d.id)"
            " AS attempts FROM webhook_deliveries d WHERE webhook_id = $1 ORDER BY event_id",
            hook.id,
        )
        return [dict(row) for row in rows]

    async def hurry(self, hook: Hook) -> None:
        """Time passes: what waits for its next attempt, or for the end of a pause, is due."""
        await self.owner.execute(
            "UPDATE webhook_deliveries SET due_at = now()"
            " WHERE webhook_id = $1 AND status = 'pending' AND due_at > now()",
            hook.id,
        )
        await self.owner.execute(
            "UPDATE webhook_states SET open_until = NULL WHERE webhook_id = $1", hook.id
        )


@asynccontextmanager
async def house_of(database: Database, pool: Pool, owner: Conn) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(create_app())
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        simulator = await stack.enter_async_context(Simulator(url))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        house = House(owner, pool, database, simulator, http)
        try:
            yield house
        finally:
            for worker in house.workers:
                await worker.kill()


@pytest.fixture
async def house(database: Database, pool: Pool, owner: Conn) -> AsyncIterator[House]:
    async with house_of(database, pool, owner) as house:
        yield house
