"""Taking in: a worker that empties the lanes into the record. Floor: pgbench, which sends the very
statements that the product sent for the same entries, with the same parameters, to a fresh copy of
the same database. It has no log, no JSON and no rules: it is what PostgreSQL can take."""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from uuid import uuid4

import asyncpg
import structlog

from bench.harness import ROUNDS, Figures, Result, Usage, in_turns, spent, tested, usage
from bench.webhooks import logged, messages_webhook, statuses_webhook
from bench.world import Size, build, tenant_of
from db.conversations import Debounce
from db.migrate import migrate
from db.pool import create_pool
from handlers.ingest.batch import TENANTS_AT_ONCE
from handlers.ingest.recording import record_batch
from handlers.ingest_log.port import BATCH_MAX, Entry
from handlers.ingest_log.rabbitmq.publisher import Publisher
from handlers.ingest_log.rabbitmq.topology import declare_topology
from handlers.process import telemetry
from local.servers.postgres import Postgres, available_postgres, postgres
from local.servers.rabbitmq import RabbitMQ, rabbitmq

COMMAND = str(Path(sys.executable).with_name("swiftreplies"))
DAY = timedelta(days=1)
TEMPLATE = "template_ingest"
SIZE = Size(tenants=16, customers=4_000, messages=0)
BURSTS = (1, 1, 1, 2, 3)  # messages that a customer writes one after the other
WINDOW = 500  # entries published at once while filling
POLL_S = 0.02
STALLED_S = 30.0
GOAL = 0.6
_databases = count(1)


async def run(quick: bool) -> list[Result]:
    telemetry.configure("WARNING", "json", "bench")
    structlog.configure(cache_logger_on_first_use=False)
    messages, rounds = (3_000, 2) if quick else (24_000, ROUNDS)
    async with postgres(fsync=True) as server, rabbitmq() as broker:
        await declare_topology(broker.url)
        await _template(server)
        sides = Sides(server, broker, messages)
        await sides.prepare()
        recorded = Result("ingest", "Messages recorded by one worker; floor: pgbench")
        await in_turns(recorded, {"product": sides.product, "floor": sides.floor}, rounds)
        reached = recorded.compare("messages_per_s")
        recorded.goal("product / pgbench, messages a second", reached, GOAL)
        recorded.more = {
            "messages": messages,
            "statements_per_message": sides.statements / messages,
            "transactions_per_message": sides.transactions / messages,
            "connections": TENANTS_AT_ONCE,
            "postgresql": server.version,
            "rabbitmq": broker.version,
        }
        merged = Result("ingest_statuses", "Statuses merged by one worker")
        await in_turns(merged, {"product": sides.statuses}, 1 if quick else rounds)
        return [recorded, merged]


async def _template(server: Postgres) -> None:
    admin = await asyncpg.connect(server.url)
    await admin.execute(f"CREATE DATABASE {TEMPLATE}")
    url = server.database_url(TEMPLATE)
    await migrate(url, url, lambda _: None)
    owner = await asyncpg.connect(url)
    await build(owner, SIZE)
    await owner.close()
    await admin.close()


@asynccontextmanager
async def _database(server: Postgres) -> AsyncIterator[str]:
    """A fresh copy, and what was written before is on the disk."""
    name = f"ingest{next(_databases)}"
    admin = await asyncpg.connect(server.url)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    await admin.execute("CHECKPOINT")
    try:
        yield server.database_url(name)
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@dataclass
class Sides:
    server: Postgres
    broker: RabbitMQ
    messages: int
    entries: list[Entry] = field(default_factory=list)
    script: str = ""
    statements: int = 0
    transactions: int = 0

    async def prepare(self) -> None:
        self.entries = _entries(self.messages)
        heard: list[Heard] = []
        async with _database(self.server) as url:
            await _overhear(url, [entry.body for entry in self.entries], heard)
        self.statements = len(heard)
        transactions = _transactions(heard)
        self.transactions = len(transactions)
        self.script = _script(transactions)

    async def product(self) -> Figures:
        await _fill(self.broker, self.entries)
        async with _database(self.server) as url, _worker(url, self.broker) as process:
            first, last, taken = await _watch(
                url,
                "SELECT coalesce(sum(daily_messages_received), 0)::int FROM usage_tracking",
                self.messages,
                process.pid,
            )
        return {
            "messages_per_s": taken / (last.at_s - first.at_s),
            **spent(first, last, taken),
        }

    async def floor(self) -> Figures:
        async with _database(self.server) as url:
            with TemporaryDirectory(prefix="swiftreplies-bench-") as directory:
                script = Path(directory) / "script.sql"
                script.write_text(self.script)
                seconds = await _pgbench(url, script)
        return {"messages_per_s": self.messages / seconds}

    async def statuses(self) -> Figures:
        """Three for each of our messages."""
        ours = self.messages // 3
        async with _database(self.server) as url:
            owner = await asyncpg.connect(url)
            await owner.execute(_OURS, ours, SIZE.customers)
            await owner.close()
            await _fill(self.broker, _status_entries(ours))
            async with _worker(url, self.broker) as process:
                first, last, taken = await _watch(
                    url,
                    "SELECT count(*)::int FROM messages WHERE status = 'read'",
                    ours,
                    process.pid,
                )
        return {
            "statuses_per_s": 3 * taken / (last.at_s - first.at_s),
            **spent(first, last, 3 * taken),
        }


# ---- the entries, as the ingress writes them ----------------------------------------------------


def _entries(messages: int) -> list[Entry]:
    """A webhook a message, tenants and customers mixed."""
    entries: list[Entry] = []
    for number in count(1):
        customer = 1 + number * 7919 % SIZE.customers  # a prime: everybody in turn, in no order
        for _ in range(BURSTS[number % len(BURSTS)]):
            if len(entries) == messages:
                return entries
            entries += logged(messages_webhook(SIZE, customer, len(entries)))
    raise AssertionError("unreachable: the numbers do not end")


_OURS = """
INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, message_id, direction,
                      content_text, status)
SELECT v.user_id, v.chatbot_id, v.contact_id, v.id, 'wamid.OURS' || n, 'outbound',
       'Yes, of course.', 'accepted'
  FROM generate_series(1, $1::int) n JOIN conversations v ON v.id = 1 + n % $2::int
"""


def _status_entries(ours: int) -> list[Entry]:
    return [
        entry
        for kind in ("sent", "delivered", "read")
        for n in range(1, ours + 1)
        for entry in logged(
            statuses_webhook(tenant_of(1 + n % SIZE.customers, SIZE), f"wamid.OURS{n}", kind)
        )
    ]


async def _fill(broker: RabbitMQ, entries: Sequence[Entry]) -> None:
    publisher = Publisher(broker.url, "bench")
    running = asyncio.create_task(publisher.run())
    try:
        while publisher.problem is not None:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(POLL_S)
        for start in range(0, len(entries), WINDOW):
            await publisher.publish(entries[start : start + WINDOW])
    finally:
        running.cancel()
        await asyncio.wait({running})


# ---- the product --------------------------------------------------------------------------------


def _worker(url: str, broker: RabbitMQ) -> Any:
    environment = {
        "DATABASE_URL": url,
        "AMQP_URL": broker.url,
        "OPENAI_MODEL": "offline",
        "SECRETS_KEY": uuid4().hex,
    }
    return tested("worker", [COMMAND, "worker", "--only", "ingest"], environment)


async def _watch(url: str, how_many: str, total: int, pid: int) -> tuple[Usage, Usage, int]:
    """From when something is there until all is; how many that were. Without the process's
    start."""
    owner = await asyncpg.connect(url)
    seen = begun = 0
    first, moved = usage(pid), perf_counter()
    while seen < total:
        await asyncio.sleep(POLL_S)
        found = await owner.fetchval(how_many)
        if found > seen:
            seen, moved = found, perf_counter()
        if found and not begun:
            begun, first = found, usage(pid)
        if perf_counter() - moved > STALLED_S:
            raise RuntimeError(f"{seen} of {total}, and no more for {STALLED_S:.0f} s")
    last = usage(pid)
    await owner.close()
    return first, last, total - begun


# ---- the floor ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    statement: str
    parameters: tuple[Any, ...]


async def _overhear(url: str, bodies: Sequence[bytes], heard: list[Heard]) -> None:
    """What the product's own code sends to record these, batch by batch."""

    def hear(record: Any) -> None:
        heard.append(Heard(record.query, record.args or ()))

    pool = await create_pool(url, size=1, name="bench")
    async with pool.acquire() as conn:
        conn.add_query_logger(hear)
    for start in range(0, len(bodies), BATCH_MAX):
        await record_batch(pool, bodies[start : start + BATCH_MAX], Debounce(DAY, DAY))
    await pool.close()


def _transactions(heard: Sequence[Heard]) -> list[list[Heard]]:
    """What stands outside of any is one by itself."""
    transactions: list[list[Heard]] = []
    inside = False
    for one in heard:
        if not inside:
            transactions.append([])
        transactions[-1].append(one)
        inside = not one.statement.endswith("COMMIT") and (
            inside or one.statement.startswith("BEGIN")
        )
    return transactions


def _script(transactions: Sequence[Sequence[Heard]]) -> str:
    """Prepared once, as the product's driver does, then executed; as many connections as the
    product has, a tenant's transactions on one of them."""
    names: dict[str, str] = {}
    lines: list[list[str]] = [[] for _ in range(TENANTS_AT_ONCE)]
    for transaction in transactions:
        begin = transaction[0].statement
        tenant = int(re.sub(r"\D", "", begin)) if begin.startswith("BEGIN") else 0
        for one in transaction:
            if not one.parameters:
                text = one.statement.replace(";", "\\;")
            else:
                name = names.setdefault(one.statement, f"s{len(names)}")
                text = f"EXECUTE {name}({', '.join(_literal(value) for value in one.parameters)})"
            lines[tenant % TENANTS_AT_ONCE].append(f"{text};")
    prepared = [f"PREPARE {name} AS {text.rstrip(';')};" for text, name in names.items()]
    clients = [
        "\n".join((f"\\if :client_id = {client}", *sent, "\\endif"))
        for client, sent in enumerate(lines)
    ]
    return "\n".join((*prepared, *clients)) + "\n"


def _literal(value: Any) -> str:
    if value is None or isinstance(value, bool | int):
        return "NULL" if value is None else str(value)
    return "'" + _plain(value).replace("'", "''") + "'"


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return (
            "{" + ",".join("NULL" if one is None else _quoted(_plain(one)) for one in value) + "}"
        )
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return f"{value.total_seconds()} s" if isinstance(value, timedelta) else str(value)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


async def _pgbench(url: str, script: Path) -> float:
    """Seconds for the script once, without connecting."""
    async with tested(
        "pgbench",
        [
            _pgbench_program(),
            "--no-vacuum",
            f"--client={TENANTS_AT_ONCE}",
            "--transactions=1",
            f"--file={script}",
            url,
        ],
        {"PGOPTIONS": "-c role=swiftreplies_app -c search_path=public"},
    ) as process:
        if await process.ended() != 0:
            raise RuntimeError(f"pgbench failed:\n{process.tail()}")
        said = process.log.read_text()
        told = re.search(r"^latency average = ([0-9.]+) ms", said, re.MULTILINE)
    if told is None:
        raise RuntimeError("pgbench did not say how long it took")
    return float(told[1]) / 1000


def _pgbench_program() -> str:
    """Comes with the machine's PostgreSQL; the wheel's has none."""
    for binaries in available_postgres():
        if os.access(binaries.bin / "pgbench", os.X_OK):
            return str(binaries.bin / "pgbench")
    found = shutil.which("pgbench")
    if found is None:
        raise RuntimeError("no pgbench here, which is the floor: install the package postgresql")
    return found
