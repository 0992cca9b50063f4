"""Where a turn's time goes: CPU of the worker and round trips, step by step, one turn at a time.

    python -m bench.steps

Works on what is due in DATABASE_URL until nothing is, says "ready", and measures what comes then.
The steps are the product's own functions with a stopwatch around each, in a process of their own.
Only one turn runs at a time, so what the process spends between a step's begin and end is that
step's, what it waits for is not.
"""

import asyncio
import functools
import gc
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import uvloop

os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")
os.environ["LANGSMITH_TRACING"] = "false"

import aiohttp

from db.conversations import claim_conversations
from db.ids import WorkerId
from db.pool import Pool, create_pool
from handlers.agent import graph, memory, model
from handlers.process import telemetry
from handlers.turns import decide, run, write
from handlers.whatsapp.cloud_api.graph_api import GraphApi

# What holds which: a step's own CPU is its whole less that of the steps inside.
STEPS: list[tuple[str, Any, str]] = [
    ("read: transaction", run, "_read"),
    ("read: read_turn", run, "read_turn"),
    ("read: read_messages", run, "read_messages"),
    ("read: read_events", run, "read_events"),
    ("read: load_checkpoint", run, "load_checkpoint"),
    ("read: reserve_for_turn", run, "reserve_for_turn"),
    ("think: graph", graph.Agent, "run"),
    ("think: unpack the checkpoint", memory.SlotSaver, "aget_tuple"),
    ("think: answer", model.Model, "answer"),
    ("think: prompt", model, "tell"),
    ("think: request", model.Completions, "body"),
    ("think: model client", model.Completions, "post"),
    ("write: transaction", write, "_write"),
    ("write: fence", write, "fence"),
    ("write: queue_text", write, "queue_text"),
    ("write: pack and store the checkpoint", memory.SlotSaver, "store"),
    ("write: settle_inputs", write, "settle_inputs"),
    ("write: formatting", decide, "whatsapp"),
]


class Stopwatch:
    def __init__(self) -> None:
        self.whole: dict[str, float] = defaultdict(float)
        self.inside: dict[str, float] = defaultdict(float)
        self.open: list[str] = []

    def begin(self, step: str) -> float:
        self.open.append(step)
        return time.process_time()

    def end(self, step: str, began: float) -> None:
        spent = time.process_time() - began
        self.open.remove(step)
        self.whole[step] += spent
        if self.open:
            self.inside[self.open[-1]] += spent

    def around(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        if asyncio.iscoroutinefunction(function):

            @functools.wraps(function)
            async def timed(*args: Any, **kwargs: Any) -> Any:
                began = self.begin(step)
                try:
                    return await function(*args, **kwargs)
                finally:
                    self.end(step, began)

            return timed

        @functools.wraps(function)
        def timed_too(*args: Any, **kwargs: Any) -> Any:
            began = self.begin(step)
            try:
                return function(*args, **kwargs)
            finally:
                self.end(step, began)

        return timed_too


async def main() -> None:
    telemetry.configure("warning", "json", "steps")
    watch = Stopwatch()
    for step, place, name in STEPS:
        setattr(place, name, watch.around(step, getattr(place, name)))
    pool = await create_pool(os.environ["DATABASE_URL"], size=4, name="swiftreplies steps")
    url = os.environ["WHATSAPP_API_URL"]
    async with (
        aiohttp.ClientSession() as session,
        aiohttp.ClientSession(auto_decompress=False) as session,
    ):
        showing = GraphApi(session, url, "v25.0")
        agent = graph.Agent(model.Model.create("bench", "k", f"{url}/v1", session))
        await all_due(pool, agent, watch)  # after these, every thread has its memory
        gc.freeze()  # as the worker does
        print("ready", flush=True)
        while not (seen := await all_due(pool, agent, watch)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        seen["typing indicator"] = await showing_typing(showing)
        print(json.dumps(seen), flush=True)
    pool.terminate()


async def showing_typing(graph_api: GraphApi, calls: int = 100) -> float:
    """By itself: in a turn it runs beside the rest, which one stopwatch cannot tell apart."""
    began = time.process_time()
    for _ in range(calls):
        await graph_api.show_typing("4099", "t", "wamid.x")
    return round((time.process_time() - began) * 1000 / calls, 3)


async def all_due(pool: Pool, agent: graph.Agent, watch: Stopwatch) -> dict[str, float]:
    """CPU milliseconds of a turn, by step; nothing when no conversation is due."""
    watch.whole.clear()
    watch.inside.clear()
    turns, claiming, whole = 0, 0.0, 0.0
    me = WorkerId(0)
    while True:
        began = time.process_time()
        async with pool.acquire() as conn:
            claims = await claim_conversations(conn, me, 1, 1_000)
        claiming += time.process_time() - began
        if not claims:
            break
        began = time.process_time()
        await run.run_turn(pool, agent, me, claims[0])
        whole += time.process_time() - began
        turns += 1
    if not turns:
        return {}
    own = {step: watch.whole[step] - watch.inside[step] for step, _, _ in STEPS}
    seconds = {"claim": claiming, **own, "log line, metrics, the loop": whole - sum(own.values())}
    return {step: round(spent * 1000 / turns, 3) for step, spent in seconds.items()}


if __name__ == "__main__":
    uvloop.run(main())
