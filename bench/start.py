"""How long a process takes from its start to a /readyz of 200, and what it then holds; beside a
bare Python that imports the same third-party libraries."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence

from bench.harness import Figures, Result, in_turns, tested, usage
from bench.prepared import LOGIN, databases
from bench.turn import environment
from handlers.ingest_log.rabbitmq.topology import declare_topology
from local.servers.daemon import free_ports
from local.servers.rabbitmq import rabbitmq
from local.stack import COMMAND, until_ready

ROUNDS = 5
SETTLE_S = 1.0  # what start-up left behind is collected, connections are made


async def run(quick: bool) -> list[Result]:
    results: list[Result] = []
    async with databases("product") as made, rabbitmq() as broker:
        await declare_topology(broker.url)
        given = environment(made["product"], "http://127.0.0.1:1") | {
            "AMQP_URL": broker.url,
            "WHATSAPP_APP_SECRET": LOGIN * 8,
            "WHATSAPP_VERIFY_TOKEN": LOGIN,
            "HOST": "127.0.0.1",
        }
        for name in ("ingress", "worker"):
            result = Result(f"start_{name}", f"Start of the {name}")

            async def product(name: str = name) -> Figures:
                (port,) = free_ports(1)
                ports = {"PORT": str(port), "METRICS_PORT": str(port)}
                return await _started(name, [str(COMMAND), name], given | ports, port)

            async def floor(name: str = name) -> Figures:
                arguments = [sys.executable, "-m", "bench.floors.imports", name]
                return await _started(name, arguments, {}, None)

            await in_turns(result, {"floor": floor, "product": product}, 1 if quick else ROUNDS)
            result.compare("ready_s")
            result.compare("rss_mb")
            results.append(result)
    return results


async def _started(
    name: str, arguments: Sequence[str], given: Mapping[str, str], port: int | None
) -> Figures:
    began = time.perf_counter()
    async with tested(name, arguments, {**os.environ, **given}) as process:
        if port is None:
            await process.first_line(60)
        else:
            await until_ready(process, f"http://127.0.0.1:{port}/readyz")
        ready_s = time.perf_counter() - began
        cpu_s = usage(process.pid).cpu_s
        await asyncio.sleep(SETTLE_S)
        return {"ready_s": ready_s, "cpu_s": cpu_s, "rss_mb": usage(process.pid).rss_mb}
