"""Many conversations at once: 1,000 that wait for a model of 10 s, in one worker; then what the
worker adds to the model's time while it is half busy.

The second figure is of the whole way: from the moment at which a conversation is due (the debounce
is over) to the reply's arrival at the Graph API, less the model's time. Conversations become due
one by one, at half the rate at which the worker answered a heap of them in the same run.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.harness import Result, Spread, percentile, spent, tested, usage
from bench.outside import outside, told
from bench.prepared import Prepared, Variant, databases
from bench.turn import environment
from local.processes import Process
from local.servers.daemon import free_ports
from local.stack import COMMAND, until_ready

MODEL_S = 10.0
PACED_MODEL_S = 2.0
P50_MS, P99_MS = 30.0, 150.0
PATIENCE_S = 60.0  # for the last answer
CROWD = Variant("crowd", tenants=25)


@dataclass(frozen=True, slots=True)
class Pace:
    """Conversations that become due one by one."""

    variant: Variant
    per_s: float
    seconds: float
    model_s: float = PACED_MODEL_S


async def run(quick: bool) -> list[Result]:
    conversations, model_s, paced_s = (200, 2.0, 5.0) if quick else (1_000, MODEL_S, 30.0)
    async with (
        databases("product") as made,
        outside() as url,
        answering(made["product"], url) as it,
    ):
        prepared = made["product"]
        await prepared.add_tenants(CROWD)
        await _crowd(prepared, it, url, 100, 0.0)  # warms up
        result = Result("in_flight", f"{conversations} conversations at a model of {model_s:.0f} s")
        idle = usage(it.pid).rss_mb
        seen = await _crowd(prepared, it, url, conversations, model_s)
        figures = {"rss_mb_idle": idle, **seen}
        result.sides["product"] = {name: Spread.of([value]) for name, value in figures.items()}
        result.goal("conversations answered exactly once", seen["once"], conversations)
        result.goal("in flight at the same time", seen["most_in_flight"], conversations)

        capacity = (await _crowd(prepared, it, url, 400, 0.0))["answers_per_s"]
        latency = Result(
            "in_flight_latency", "What is added to the model's time at half the capacity"
        )
        before, server_before = usage(it.pid), prepared.server_cpu_s()
        answered, lag = await paced(prepared, url, Pace(CROWD, capacity / 2, paced_s))
        added = sorted(ms for _, ms in answered)
        used, server_used = spent(before, usage(it.pid), len(added)), prepared.server_cpu_s()
        latency.more = {
            "capacity_per_s": capacity,
            "rate_per_s": capacity / 2,
            "answers": len(added),
            "added_ms": {str(s): percentile(added, s) for s in (0.5, 0.9, 0.95, 0.99, 1.0)},
            "own_lag_ms_p99": lag,
            "cpu_ms": used["cpu_ms"],
            "core": used["core"],
            "postgresql_cpu_ms": (server_used - server_before) * 1000 / len(added),
        }
        latency.sides["product"] = {
            "added_ms_p50": Spread.of([percentile(added, 0.5)]),
            "added_ms_p99": Spread.of([percentile(added, 0.99)]),
        }
        latency.goal("added ms, p50", percentile(added, 0.5), P50_MS, at_least=False)
        latency.goal("added ms, p99", percentile(added, 0.99), P99_MS, at_least=False)
        return [result, latency]


@asynccontextmanager
async def answering(prepared: Prepared, url: str) -> AsyncIterator[Process]:
    """A worker that takes turns and sends."""
    (port,) = free_ports(1)
    async with tested(
        "worker",
        [str(COMMAND), "worker", "--only", "turns,sends"],
        environment(prepared, url) | {"METRICS_PORT": str(port), "LOG_LEVEL": "warning"},
    ) as worker:
        await until_ready(worker, f"http://127.0.0.1:{port}/readyz")
        yield worker


async def _crowd(
    prepared: Prepared, worker: Process, url: str, count: int, model_s: float
) -> dict[str, float]:
    """All at once; until every answer is at the Graph API."""
    conversations = await prepared.conversations(CROWD, count)
    await prepared.ask(CROWD, conversations)
    await prepared.vacuum()
    await told(url, f"latency/{model_s}")
    started = time.time()
    await prepared.due(conversations)
    sent: Counter[str] = Counter()
    most, in_flight, rss = 0, 0, 0.0
    last = started
    async with asyncio.timeout(60 + model_s * 3):
        while sent.total() < count:
            await asyncio.sleep(0.1)
            seen = await told(url)
            sent.update(to for to, _ in seen["sends"])
            last = max([last, *(at for _, at in seen["sends"])])
            in_flight = seen["thinking"]
            most = max(most, in_flight)
            rss = max(rss, usage(worker.pid).rss_mb)
    await asyncio.sleep(1.0)  # for what would be sent twice
    sent.update(to for to, _ in (await told(url))["sends"])
    once = await prepared.replies(conversations) if max(sent.values()) == 1 else 0
    return {
        "once": once if len(sent) == count else len(sent),
        "most_in_flight": most,
        "rss_mb_peak": rss,
        "took_s": last - started,
        "answers_per_s": count / (last - started),
    }


async def paced(
    prepared: Prepared, url: str, pace: Pace
) -> tuple[list[tuple[float, float]], float]:
    """Of each when it was due and the milliseconds beyond the model's time; and this process's own
    p99 of being late."""
    count, rate = int(pace.per_s * pace.seconds), pace.per_s
    conversations = await prepared.conversations(pace.variant, count)
    await prepared.ask(pace.variant, conversations)
    await prepared.vacuum()
    rows = await prepared.owner.fetch(
        "SELECT v.id, c.wa_id FROM conversations v JOIN contacts c ON c.id = v.contact_id"
        " WHERE v.id = ANY ($1::bigint[])",
        conversations,
    )
    who: dict[int, str] = {row["id"]: row["wa_id"] for row in rows}
    await told(url, f"latency/{pace.model_s}")
    # Due by the database's clock, which is this machine's.
    random.Random(1).shuffle(conversations)
    begin = time.time() + 0.5
    due = {who[c]: begin + n / rate for n, c in enumerate(conversations)}
    late: list[float] = []
    for n, conversation in enumerate(conversations):
        at = begin + n / rate
        if (wait := at - 0.2 - time.time()) > 0:
            await asyncio.sleep(wait)
        await prepared.owner.execute(
            "UPDATE conversations SET ready_at = to_timestamp($2) WHERE id = $1", conversation, at
        )
        late.append(max(0.0, time.time() - at) * 1000)
    sent: dict[str, float] = {}
    async with asyncio.timeout(PATIENCE_S):
        while len(sent) < count:
            await asyncio.sleep(0.2)
            sent |= dict((await told(url))["sends"])
    answered = [(due[to], (sent[to] - due[to] - pace.model_s) * 1000) for to in sent if to in due]
    return answered, percentile(sorted(late), 0.99)
