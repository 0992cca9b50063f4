"""Counters of one busy tenant next to the same spread over a hundred: 2,000 moves a second, half of
them reservations and half settlements, as turns make them, without the turns. Floor: spread.

A pool of connections for each side, as many as the workers of a busy installation have. Moves come
when they are due; what waits for a connection or for the counter's lock is late, and counted so.
PostgreSQL keeps its core, the clients take the other.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from bench.harness import SERVERS_CORE, TESTED_CORE, Figures, Result, in_turns, percentile
from bench.prepared import Prepared, databases
from bench.world import Size, build
from db.ids import ConversationId, UserId, WorkerId
from db.pool import Pool, create_pool, place, tenant
from db.usage import Reserving, reserve_for_turn, spend_messages

ROUNDS, SECONDS, MOVES_PER_S, CONNECTIONS = 3, 5, 2_000, 16
CONVERSATIONS = 400  # so many turns at once at most
ME = WorkerId(1)
SIDES = {"hot": Size(tenants=1, customers=CONVERSATIONS, messages=0)}
SIDES |= {"spread": Size(tenants=100, customers=CONVERSATIONS, messages=0)}
MAY_COST = 1.3


async def run(quick: bool) -> list[Result]:
    rounds, seconds = (1, 2) if quick else (ROUNDS, SECONDS)
    result = Result("counters", f"{MOVES_PER_S:,} counter moves a second, of one tenant and of 100")
    async with databases(*SIDES) as made:
        os.sched_setaffinity(0, {TESTED_CORE})
        try:
            for name, size in SIDES.items():
                await build(made[name].owner, size)
                await made[name].owner.execute(
                    "UPDATE conversations SET lease_owner = 1, epoch = 1"
                )
            sides = {name: partial(_side, made[name], SIDES[name], seconds) for name in SIDES}
            await in_turns(result, sides, rounds)
        finally:
            os.sched_setaffinity(0, {SERVERS_CORE})
    for figure in ("took_s", "p50_ms", "p99_ms", "postgresql_cpu_ms"):
        result.compare(figure, "hot", "spread")
    reached = result.sides["hot"]["moves_per_s"].median
    result.goal("moves/s, one tenant", reached, 0.98 * MOVES_PER_S)
    ratio = result.ratios["took_s, hot / spread"].median
    result.goal("time for the same moves, hot / spread", ratio, MAY_COST, at_least=False)
    cpu = result.ratios["postgresql_cpu_ms, hot / spread"].median
    result.goal("PostgreSQL's CPU of a move, hot / spread", cpu, MAY_COST, at_least=False)
    return [result]


@asynccontextmanager
async def _pool(url: str) -> AsyncIterator[Pool]:
    pool = await create_pool(url, size=CONNECTIONS, name="bench")
    try:
        yield pool
    finally:
        pool.terminate()


async def _side(prepared: Prepared, size: Size, seconds: int) -> Figures:
    await prepared.vacuum()
    async with _pool(prepared.url) as pool:
        turns = [
            Reserving(UserId(1 + c % size.tenants), ConversationId(c), ME, 1)
            for c in range(1, size.customers + 1)
        ]
        await asyncio.gather(*(_turn(pool, turn, []) for turn in turns[:CONNECTIONS]))
        late: list[float] = []
        pairs = MOVES_PER_S * seconds // 2
        cpu, began = prepared.server_cpu_s(), time.perf_counter()
        free = asyncio.Queue[Reserving]()
        for turn in turns:
            free.put_nowait(turn)

        async def one(due: float) -> None:
            turn = await free.get()
            try:
                await _turn(pool, turn, late, due)
            finally:
                free.put_nowait(turn)

        async with asyncio.TaskGroup() as group:
            for n in range(pairs):
                due = began + n * 2 / MOVES_PER_S
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                group.create_task(one(due))
        took, spent = time.perf_counter() - began, prepared.server_cpu_s() - cpu
    late.sort()
    return {
        "moves_per_s": len(late) / took,
        "took_s": took,
        "p50_ms": percentile(late, 0.50) * 1000,
        "p99_ms": percentile(late, 0.99) * 1000,
        "postgresql_cpu_ms": spent * 1000 / len(late),
    }


async def _turn(pool: Pool, turn: Reserving, late: list[float], due: float | None = None) -> None:
    """A unit is reserved and settled: two moves of the day's and the month's row."""
    due = time.perf_counter() if due is None else due
    async with place(pool, turn.user_id) as conn:
        reserved = await reserve_for_turn(conn, turn, 1)
    assert reserved is not None
    assert reserved.outcome == "granted"
    reserved_at = time.perf_counter()
    late.append(reserved_at - due)
    async with tenant(pool, turn.user_id) as conn:
        spend_messages(conn, turn.user_id, turn.conversation_id, 1)
    late.append(time.perf_counter() - reserved_at)
