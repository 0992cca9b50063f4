"""What it costs that tenants' webhooks hear of messages: recording and sending where none wants
them, beside the same where each tenant has one on ["*"]; and beside an earlier state of the
repository, where BENCH_BEFORE names a work tree of it (with the same libraries).

Delivering is not in it: the role `webhooks` does not run.
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg

from bench.harness import ROUNDS, TICKS_PER_S, Figures, Result, in_turns, spent, tested
from bench.ingest import SIZE, _entries, _fill, _watch
from bench.outside import outside
from bench.world import build
from handlers.ingest_log.port import Entry
from handlers.ingest_log.rabbitmq.topology import declare_topology
from local.servers.postgres import Postgres, postgres
from local.servers.rabbitmq import RabbitMQ, rabbitmq

HERE = Path(__file__).parent.parent
NOBODY, ONE, BEFORE = "nobody listens", "one webhook each", "before"
GOAL_NOBODY, GOAL_ONE = 0.97, 0.8
_databases = count(1)

_LISTENS = """
INSERT INTO webhooks (user_id, url, events)
SELECT id, 'https://example.com/' || id, '["*"]' FROM users
"""
_QUEUED = """
INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction, message_type,
                      content_text, status, sent_at, metadata, usage_day)
SELECT user_id, chatbot_id, contact_id, id, 'outbound', 'text', 'Yes, of course.', 'queued', now(),
       '{"kind": "reply"}', CURRENT_DATE
  FROM conversations WHERE id <= $1
"""


async def run(quick: bool) -> list[Result]:
    messages, rounds = (3_000, 2) if quick else (12_000, ROUNDS)
    async with postgres(fsync=True) as server, rabbitmq() as broker, outside() as url:
        await declare_topology(broker.url)
        sides = Sides(server, broker, url, messages)
        await sides.prepare()
        names = sides.names()
        recorded = Result("told_recording", "Messages recorded, and webhooks that hear of them")
        await in_turns(recorded, {n: sides.side(sides.record, n) for n in names}, rounds)
        sent = Result("told_sending", "Messages sent, and webhooks that hear of them")
        await in_turns(sent, {n: sides.side(sides.send, n) for n in names}, rounds)
        for result in (recorded, sent):
            for figure in ("messages_per_s", "together_cpu_ms"):
                for product, floor in _pairs(names):
                    result.compare(figure, product, floor)
            for product, floor in _pairs(names):
                ratio = result.ratios[f"messages_per_s, {product} / {floor}"].median
                wanted = GOAL_NOBODY if product == NOBODY else GOAL_ONE
                result.goal(f"messages a second, {product} / {floor}", ratio, wanted)
        return [recorded, sent]


def _pairs(names: list[str]) -> list[tuple[str, str]]:
    if BEFORE in names:
        return [(NOBODY, BEFORE), (ONE, BEFORE)]
    return [(ONE, NOBODY)]


@dataclass
class Sides:
    server: Postgres
    broker: RabbitMQ
    url: str  # of who plays Meta
    messages: int
    before: str | None = field(default_factory=lambda: os.environ.get("BENCH_BEFORE"))
    entries: list[Entry] = field(default_factory=list)

    def names(self) -> list[str]:
        return [*([BEFORE] if self.before else []), NOBODY, ONE]

    def side(self, what: Any, name: str) -> Any:
        return lambda: what(name)

    async def prepare(self) -> None:
        self.entries = _entries(self.messages)
        admin = await asyncpg.connect(self.server.url)
        for place, name in enumerate(self.names()):
            await admin.execute(f"CREATE DATABASE told_{place}")
            url = self.server.database_url(f"told_{place}")
            environment = {
                "DATABASE_URL": url,
                "MIGRATION_DATABASE_URL": url,
                "INGEST_LOG": "postgres",
            }
            async with tested("migrate", self._command(name, "migrate"), environment) as process:
                if await process.ended() != 0:
                    raise RuntimeError(process.tail())
            owner = await asyncpg.connect(url)
            await build(owner, SIZE)
            await owner.execute("UPDATE conversations SET last_inbound_at = now()")
            if name == ONE:
                await owner.execute(_LISTENS)
            await owner.execute("VACUUM (FREEZE, ANALYZE) users, conversations")
            await owner.close()
        await admin.close()

    def _command(self, name: str, *arguments: str) -> list[str]:
        """-P: or the code of where this runs would be taken."""
        tree = self.before if name == BEFORE and self.before else str(HERE)
        program = f"import sys; sys.path.insert(0, {tree!r}); from cli.main import main; main()"
        return [sys.executable, "-P", "-c", program, *arguments]

    @asynccontextmanager
    async def _database(self, name: str) -> AsyncIterator[str]:
        made = f"told_round_{next(_databases)}"
        admin = await asyncpg.connect(self.server.url)
        await admin.execute(f"CREATE DATABASE {made} TEMPLATE told_{self.names().index(name)}")
        await admin.execute("CHECKPOINT")
        try:
            yield self.server.database_url(made)
        finally:
            await admin.execute(f"DROP DATABASE {made} WITH (FORCE)")
            await admin.close()

    async def record(self, name: str) -> Figures:
        await _fill(self.broker, self.entries)
        how_many = "SELECT coalesce(sum(daily_messages_received), 0)::int FROM usage_tracking"
        return await self._round(name, "ingest", how_many, self.messages)

    async def send(self, name: str) -> Figures:
        how_many = "SELECT count(*)::int FROM messages WHERE status = 'accepted'"
        return await self._round(name, "sends", how_many, self.messages // 3)

    async def _round(self, name: str, role: str, how_many: str, total: int) -> Figures:
        async with self._database(name) as url:
            if role == "sends":
                owner = await asyncpg.connect(url)
                await owner.execute(_QUEUED, total)
                await owner.close()
            environment = {
                "DATABASE_URL": url,
                "AMQP_URL": self.broker.url,
                "OPENAI_MODEL": "offline",
                "SECRETS_KEY": uuid4().hex,
                "WHATSAPP_API_URL": self.url,
                "WHATSAPP_ACCESS_TOKEN": "token-of-the-bench",
            }
            command = self._command(name, "worker", "--only", role)
            before = self._server_cpu_s()
            async with tested("worker", command, environment) as process:
                first, last, taken = await _watch(url, how_many, total, process.pid)
                server = self._server_cpu_s() - before
                figures = spent(first, last, taken)
                return {
                    "messages_per_s": taken / (last.at_s - first.at_s),
                    "cpu_ms": figures["cpu_ms"],
                    "postgresql_cpu_ms": server * 1000 / total,
                    "together_cpu_ms": figures["cpu_ms"] + server * 1000 / total,
                }

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
