"""A shop's turns while 50,000 rows of another tenant's knowledge are indexed again and again, by
the same worker; beside the same turns without.

Conversations become due one by one. What is measured is from then to the reply's arrival at the
Graph API, less the model's time. The process that indexes shares the worker's core.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

from bench.harness import Figures, Result, in_turns, percentile
from bench.in_flight import Pace, answering, paced
from bench.outside import outside
from bench.prepared import Prepared, Variant, databases
from db.pool import Conn

ROWS, ROUNDS = 50_000, 5
SHOP = Variant("shop", tenants=1)
BIG = Variant("big", tenants=1, knowledge_chars=120)  # of one row; the others are put in here
PER_S, SECONDS, MODEL_S = 4.0, 40.0, 0.2
GOAL = 1.5
LOOK_S, PATIENCE_S = 0.05, 600.0


async def run(quick: bool) -> list[Result]:
    rows, rounds, seconds = (5_000, 1, 10.0) if quick else (ROWS, ROUNDS, SECONDS)
    pace = Pace(SHOP, PER_S, seconds, MODEL_S)
    result = Result("neighbour", f"A shop's turns while {rows:,} rows of another are indexed")
    async with databases("product") as made, outside() as url, answering(made["product"], url):
        prepared = made["product"]
        for variant in (SHOP, BIG):
            await prepared.add_tenants(variant)
        await _fill(prepared, rows)
        await _indexed(prepared.owner)

        async def alone() -> Figures:
            return await _turns(prepared, url, pace)

        async def beside() -> Figures:
            async with _indexing(prepared) as took:
                figures = await _turns(prepared, url, pace)
            return figures | {"index_s": median(took)}

        await in_turns(result, {"alone": alone, "beside": beside}, rounds)
    ratio = result.compare("p99_ms", "beside", "alone")
    result.compare("p50_ms", "beside", "alone")
    result.goal("p99, while others' rows are indexed / without", ratio, GOAL, at_least=False)
    return [result]


async def _turns(prepared: Prepared, url: str, pace: Pace) -> Figures:
    answered, _ = await paced(prepared, url, pace)
    added = sorted(ms for _, ms in answered)
    return {
        "p50_ms": percentile(added, 0.5),
        "p99_ms": percentile(added, 0.99),
    }


async def _fill(prepared: Prepared, rows: int) -> None:
    ((user_id, chatbot_id),) = prepared.chatbots[BIG.name]
    await prepared.owner.execute(
        "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
        " SELECT $1, $2, 'Where is order ' || md5(n::text) || ' of customer ' || n || '?',"
        " 'Order ' || md5(n::text) || ' left shelf ' || n % 977 || ' and is with the carrier '"
        " || md5((n % 613)::text) || '.' FROM generate_series(1, $3::int) n",
        user_id,
        chatbot_id,
        rows,
    )


async def _indexed(conn: Conn) -> None:
    due = "SELECT EXISTS (SELECT FROM knowledge_bases WHERE due)"
    async with asyncio.timeout(PATIENCE_S):
        while await conn.fetchval(due):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def _indexing(prepared: Prepared) -> AsyncIterator[list[float]]:
    """As soon as it is built it is due again; how long each took. Ends with the last one."""
    took: list[float] = []
    ends = asyncio.Event()

    async def again() -> None:
        conn = await prepared.another()
        try:
            while not ends.is_set():
                began = time.monotonic()
                await conn.execute("UPDATE knowledge_bases SET built_version = NULL WHERE big")
                await _indexed(conn)
                took.append(time.monotonic() - began)
        finally:
            conn.terminate()

    building = asyncio.create_task(again())
    try:
        yield took
    finally:
        ends.set()
        await building
