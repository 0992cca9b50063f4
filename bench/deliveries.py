"""Events delivered to tenants' webhooks by one worker. Floor (bench/floors/deliveries.py): a bare
aiohttp loop that signs and posts the same bodies to the same endpoints, as many at a time."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg

from bench.harness import ROUNDS, TICKS_PER_S, Figures, Result, in_turns, spent, tested, usage
from bench.ingest import COMMAND
from bench.outside import outside
from db.migrate import migrate
from handlers.deliveries.signing import event_name, new_secret
from handlers.process.secrets import Vault, webhook_secret_of
from local.servers.daemon import free_ports
from local.servers.postgres import Postgres, postgres
from local.stack import until_ready

KEY = "a key of the bench: long enough"
ENDPOINTS = (1, 16, 200)
A_TENANT = 4  # webhooks
POLL_S = 0.05
STALLED_S = 300.0
GOAL = 0.5
TEXT = "Do you have a table for two, this Saturday at about eight? We would like to sit outside."
_databases = count(1)


async def run(quick: bool) -> list[Result]:
    deliveries, rounds = (3_000, 1) if quick else (12_000, ROUNDS)
    results = []
    async with postgres(fsync=True) as server, outside() as url:
        for endpoints in ENDPOINTS:
            name = "deliveries" if endpoints == 1 else f"deliveries_{endpoints}"
            plural = "" if endpoints == 1 else "s"
            result = Result(
                name, f"Deliveries to {endpoints} endpoint{plural}; floor: bare aiohttp"
            )
            with TemporaryDirectory(prefix="swiftreplies-bench-") as directory:
                sides = Sides(server, url, endpoints, deliveries, Path(directory) / "bodies")
                await sides.prepare()
                await in_turns(result, {"floor": sides.floor, "product": sides.product}, rounds)
            reached = result.compare("deliveries_per_s")
            result.compare("cpu_ms")
            result.goal(f"deliveries/s to {endpoints}, product / floor", reached, GOAL)
            results.append(result)
    return results


@dataclass
class Sides:
    server: Postgres
    url: str
    endpoints: int
    deliveries: int
    bodies: Path
    template: str = ""

    async def prepare(self) -> None:
        """All is due, of webhooks that are not tried before they are let go."""
        self.template = f"template_deliveries_{self.endpoints}"
        admin = await asyncpg.connect(self.server.url)
        await admin.execute(f"CREATE DATABASE {self.template}")
        await admin.close()
        database = self.server.database_url(self.template)
        await migrate(database, database, lambda _: None)
        owner = await asyncpg.connect(database)
        secrets: dict[str, str] = {}
        for n in range(self.endpoints):
            url = f"{self.url}/hook/{n}"
            secrets[url] = await _webhook(owner, 1 + n // A_TENANT, url)
        await owner.execute(_DUE, TEXT, self.deliveries, self.endpoints)
        await owner.execute("UPDATE webhook_states SET open_until = now() + interval '1 day'")
        rows = await owner.fetch(
            "SELECT w.url, e.id, e.body FROM webhook_deliveries d"
            " JOIN webhooks w ON w.id = d.webhook_id JOIN webhook_events e ON e.id = d.event_id"
            " ORDER BY e.id"
        )
        lines = [(r["url"], secrets[r["url"]], event_name(r["id"]), r["body"]) for r in rows]
        self.bodies.write_text("".join(json.dumps(line) + "\n" for line in lines))
        await owner.execute("VACUUM (FREEZE, ANALYZE) webhook_deliveries, webhook_events, webhooks")
        await owner.close()

    async def floor(self) -> Figures:
        arguments = [sys.executable, "-m", "bench.floors.deliveries", str(self.bodies)]
        async with tested("floor", arguments, {}) as process:
            if await process.ended() != 0:
                raise RuntimeError(process.tail())
            said = json.loads(process.log.read_text().splitlines()[-1])
        return {
            "deliveries_per_s": self.deliveries / said["seconds"],
            "cpu_ms": said["cpu_s"] * 1000 / self.deliveries,
            "core": said["cpu_s"] / said["seconds"],
            "postgresql_cpu_ms": 0.0,
        }

    async def product(self) -> Figures:
        (port,) = free_ports(1)
        async with self._database() as url, self._worker(url, port) as process:
            await until_ready(process, f"http://127.0.0.1:{port}/readyz")
            owner = await asyncpg.connect(url)
            await owner.execute("SET enable_seqscan = off")
            before, server = usage(process.pid), self._server_cpu_s()
            await owner.execute("UPDATE webhook_states SET open_until = NULL")
            deadline = time.monotonic() + STALLED_S
            pending = "SELECT EXISTS (SELECT FROM webhook_deliveries WHERE status = 'pending'"
            while await owner.fetchval(f"{pending} AND due_at IS NOT NULL)"):
                if time.monotonic() > deadline:
                    raise RuntimeError("not everything was delivered")
                await asyncio.sleep(POLL_S)
            after, server = usage(process.pid), self._server_cpu_s() - server
            made: int = await owner.fetchval("SELECT count(*) FROM webhook_attempts")
            await owner.close()
            if made != self.deliveries:
                raise RuntimeError(f"{made} attempts for {self.deliveries} deliveries")
            figures = spent(before, after, self.deliveries)
            return {
                "deliveries_per_s": self.deliveries / (after.at_s - before.at_s),
                "cpu_ms": figures["cpu_ms"],
                "core": figures["core"],
                "postgresql_cpu_ms": server * 1000 / self.deliveries,
            }

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[str]:
        name = f"deliveries{next(_databases)}"
        admin = await asyncpg.connect(self.server.url)
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {self.template}")
        await admin.execute("CHECKPOINT")
        try:
            yield self.server.database_url(name)
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
            await admin.close()

    def _worker(self, url: str, port: int) -> Any:
        environment = {
            "DATABASE_URL": url,
            "INGEST_LOG": "postgres",
            "INGEST_LOG_URL": url,
            "OPENAI_MODEL": "offline",
            "SECRETS_KEY": KEY,
            "OUTBOUND_ALLOW": self.url.removeprefix("http://"),
            "HOST": "127.0.0.1",
            "METRICS_PORT": str(port),
        }
        return tested("worker", [COMMAND, "worker", "--only", "webhooks"], environment)

    def _server_cpu_s(self) -> float:
        """Of the server and its backends that live."""
        ticks = 0
        for place in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = place.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == self.server.pid:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS_PER_S


async def _webhook(owner: Any, user_id: int, url: str) -> str:
    await owner.execute(
        "INSERT INTO users (id, email, password_hash) OVERRIDING SYSTEM VALUE"
        " VALUES ($1, 'tenant' || $1::bigint || '@example.com', '!') ON CONFLICT DO NOTHING",
        user_id,
    )
    secret = new_secret()
    webhook_id: int = await owner.fetchval(
        "INSERT INTO webhooks (user_id, url, events) VALUES ($1, $2, '[\"*\"]') RETURNING id",
        user_id,
        url,
    )
    encrypted = Vault((KEY,)).encrypt(secret, webhook_secret_of(webhook_id))
    await owner.execute(
        "UPDATE webhooks SET secret_token = $2 WHERE id = $1", webhook_id, encrypted
    )
    return secret


# As tell_messages() would have it, of a message that nobody keeps here.
_DUE = """
WITH e AS (
    INSERT INTO webhook_events (id, user_id, type, body)
    SELECT n, w.user_id, 'message.received',
           event_body(w.user_id, 'message.received', clock_timestamp(), 1, 1, jsonb_build_object(
               'message_id', n, 'wamid', 'wamid.HBgLMTIwMjU1NTAxMTEVAgAS' || md5(n::text),
               'conversation_id', 1, 'direction', 'inbound', 'message_type', 'text',
               'content_text', $1::text, 'content_url', NULL, 'status', 'received',
               'sent_at', now(), 'is_from_human', false, 'ai_processed', false, 'metadata',
               jsonb_build_object('trace_id', md5(n::text)), 'created_at', now()))
      FROM generate_series(1, $2::int) n
      JOIN webhooks w ON w.id = 1 + n % $3::int
    RETURNING id, user_id
)
INSERT INTO webhook_deliveries (user_id, webhook_id, event_id, order_key)
SELECT e.user_id, 1 + e.id % $3::int, e.id, -e.id FROM e ORDER BY e.id
"""
