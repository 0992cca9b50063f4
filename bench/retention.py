"""Messages that are too old go, while others are recorded: how many rows a second, how long one
transaction may keep somebody waiting, and what recording is slowed by. "Floor" is recording alone.

A transaction's locks are held for no longer than it lasts, so its time stands for them; the rest
between two is not counted in.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import count
from pathlib import Path

import asyncpg
import structlog

from bench.harness import Result, Spread, percentile
from bench.webhooks import logged, messages_webhook
from bench.world import Size, build
from db.conversations import Debounce
from db.ids import UserId
from db.migrate import migrate
from db.pool import Conn, Pool, create_pool
from handlers.ingest.recording import record_batch
from handlers.process import telemetry
from handlers.retention.pace import Pace
from handlers.retention.sweep import history_step
from local.servers.postgres import postgres

FULL = Size(tenants=50, customers=100_000, messages=10_000_000)
QUICK = Size(tenants=20, customers=20_000, messages=1_000_000)
DAYS = 10  # that are kept; a message came every 3 s
BATCH = 20  # messages recorded together
PACE_S = 0.1  # between the beginnings of two batches
ALONE_S = 30.0
BESIDE_S = 120.0  # at the longest
DEBOUNCE = Debounce(timedelta(days=1), timedelta(days=1))
LOCKED_MS, SLOWER = 50.0, 1.5
_numbers = count(1)


async def run(quick: bool) -> list[Result]:
    telemetry.configure("WARNING", "json", "bench")
    structlog.configure(cache_logger_on_first_use=False)
    size = QUICK if quick else FULL
    async with postgres() as server:
        await migrate(server.url, server.url, lambda _: None)
        owner = await asyncpg.connect(server.url)
        await build(owner, size)
        await owner.execute("INSERT INTO retention (user_id, days) SELECT id, $1 FROM users", DAYS)
        pool = await create_pool(server.url, size=4, name="bench")
        removing = await create_pool(server.url, size=1, name="bench removes")
        try:
            return [await _measured(owner, pool, removing, size)]
        finally:
            pool.terminate()
            removing.terminate()
            await owner.close()


async def _measured(owner: Conn, pool: Pool, removing: Pool, size: Size) -> Result:
    result = Result("retention", f"Retention beside recording, {size.messages:,} messages")
    alone = await _recording(pool, size, lambda: asyncio.sleep(ALONE_S))
    before = await _bytes(owner)
    backend = await removing.fetchval("SELECT pg_backend_pid()")
    cpu = _cpu_us(backend)
    steps: list[float] = []
    gone = 0
    started = time.monotonic()

    async def forget() -> None:
        nonlocal gone
        for user in range(1, size.tenants + 1):
            pace, more = Pace(), True
            while more and time.monotonic() - started < BESIDE_S:
                began = time.monotonic()
                more = await history_step(removing, UserId(user), pace.rows)
                took_s = time.monotonic() - began
                steps.append(took_s * 1_000)
                await asyncio.sleep(pace.after(took_s))

    rows = await owner.fetchval("SELECT count(*) FROM messages")
    beside = await _recording(pool, size, forget)
    took = time.monotonic() - started
    gone = rows + len(beside) * BATCH - await owner.fetchval("SELECT count(*) FROM messages")
    cpu = _cpu_us(backend) - cpu
    steps.sort()
    result.sides = {
        "floor": {"recording_p99_ms": _p99(alone), "recording_p50_ms": _p50(alone)},
        "product": {
            "recording_p99_ms": _p99(beside),
            "recording_p50_ms": _p50(beside),
            "rows_per_s": Spread.of([gone / took]),
            "cpu_us_per_row": Spread.of([cpu / max(1, gone)]),
            "transaction_p50_ms": _p50(steps),
            "transaction_p99_ms": _p99(steps),
        },
    }
    result.more = {
        "gone": gone,
        "seconds": took,
        "bytes_before": before,
        "bytes_after": await _bytes(owner),
    }
    ratio = result.compare("recording_p99_ms")
    result.goal("recording's p99 beside it / alone", ratio, SLOWER, at_least=False)
    longest = result.sides["product"]["transaction_p99_ms"].median
    result.goal("transactions' p99, ms", longest, LOCKED_MS, at_least=False)
    return result


async def _recording(
    pool: Pool, size: Size, meanwhile: Callable[[], Awaitable[object]]
) -> list[float]:
    """Milliseconds of each batch, sorted, until the other thing has ended."""
    other = asyncio.ensure_future(meanwhile())
    took = []
    while not other.done():
        began = time.monotonic()
        bodies = [
            entry.body
            for n in (next(_numbers) for _ in range(BATCH))
            for entry in logged(messages_webhook(size, 1 + n * 7_919 % size.customers, n))
        ]
        ready = time.monotonic()
        await record_batch(pool, bodies, DEBOUNCE)
        took.append((time.monotonic() - ready) * 1_000)
        await asyncio.sleep(max(0.0, PACE_S - (time.monotonic() - began)))
    await other
    return sorted(took)


def _p99(values: list[float]) -> Spread:
    return Spread.of([percentile(values, 0.99)])


def _p50(values: list[float]) -> Spread:
    return Spread.of([percentile(values, 0.5)])


def _cpu_us(pid: int) -> float:
    """Of the backend alone: whatever else the machine does is not in it."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1_000


async def _bytes(owner: Conn) -> int:
    size: int = await owner.fetchval("SELECT pg_total_relation_size('messages')")
    return size
