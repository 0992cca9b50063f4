"""python -m tests.chaos.outages [--away 5,30,120] [--log postgres] [--freeze]
[--only broker]: how long after a server is back the first reply leaves; a row an outage.

Two workers and an ingress, no load. `in hand`: to what was being answered when the server went;
`before`: to what was accepted then, or while it was away if anything was; `after`: to what was sent
from then on, again and again until it was accepted.

A server is killed and started again, or with `--freeze` stopped (SIGSTOP) and woken.
`left alone`: the processes live through it; `started in it`: all were killed with the server, and
started again while it was away; `started after it`: started at the moment it was back.
"""

import argparse
import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal

import asyncpg

from local.processes import Process
from local.servers.daemon import children, kill
from local.servers.postgres import Postgres, postgres
from local.servers.rabbitmq import RabbitMQ, rabbitmq
from local.stack import COMMAND, Stack, running
from simulator.client import Simulator
from tests.chaos.judge import REPLY_GOAL_S
from tests.chaos.plan import SMALL, draw
from tests.chaos.run import ENVIRONMENT, RUNTIME, make_bot, port_of

Case = Literal["left alone", "started in it", "started after it"]
CASES: tuple[Case, ...] = ("left alone", "started in it", "started after it")
WORKERS = 2
SETTLED_S = 6.0  # after the last case: everybody has been steady for a term
MODEL_MS = 500
REPLY_PATIENCE_S = 60.0


@dataclass(slots=True)
class World:
    stack: Stack
    simulator: Simulator
    servers: dict[str, Postgres | RabbitMQ]
    phone_number_id: str
    customers: int = 0

    def customer(self) -> str:
        self.customers += 1
        return f"1202555{self.customers:04d}"


async def main(aways: list[float], log: str, only: str | None, *, freeze: bool) -> int:
    late = 0
    async with AsyncExitStack() as ending:
        world = await _world(ending, log)
        print(
            f"{'server':>9} {'away':>5} {'processes':>17} {'in hand':>8} {'before':>7} {'after':>7}"
        )
        for what in [only] if only else world.servers:
            for away_s in aways:
                for case in CASES:
                    took = await _outage(world, what, away_s, case, freeze=freeze)
                    late += max(took) > REPLY_GOAL_S
                    shown = "".join(f"{one:7.1f}s" for one in took)
                    print(f"{what:>9} {away_s:4.0f}s {case:>17} {shown}", flush=True)
    return 1 if late else 0


async def _world(ending: AsyncExitStack, log: str) -> World:
    database = await ending.enter_async_context(postgres())
    servers: dict[str, Postgres | RabbitMQ] = {"database": database}
    admin = await asyncpg.connect(database.url)
    await admin.execute(f"CREATE ROLE {RUNTIME} LOGIN PASSWORD '{RUNTIME}'")
    await admin.close()
    overrides = {
        **ENVIRONMENT,
        "DATABASE_URL": f"postgresql://{RUNTIME}:{RUNTIME}@{database.url.rpartition('@')[2]}",
        "MIGRATION_DATABASE_URL": database.url,
        "INGEST_LOG": log,
    }
    if log == "rabbitmq":
        broker = await ending.enter_async_context(rabbitmq())
        servers["broker"] = broker
        overrides["AMQP_URL"] = broker.url
    stack = await ending.enter_async_context(
        running(print, overrides, workers=WORKERS, simulated_model=True)
    )
    simulator = await ending.enter_async_context(Simulator(stack.simulator_url))
    bot = await make_bot(stack, draw(1, SMALL), 0)
    await simulator.config(
        webhook_url=[f"{stack.ingress_url}/webhooks/whatsapp"],
        app_secret=stack.environment["WHATSAPP_APP_SECRET"],
        numbers=[
            {
                "phone_number_id": bot.phone_number_id,
                "display_phone_number": bot.number,
                "token": bot.token,
            }
        ],
    )
    await simulator.config(model_latency_ms=MODEL_MS)
    return World(stack, simulator, servers, bot.phone_number_id)


async def _outage(
    world: World, what: str, away_s: float, case: Case, *, freeze: bool
) -> tuple[float, ...]:
    await asyncio.sleep(SETTLED_S)
    server = world.servers[what]
    in_hand, early, late = (world.customer() for _ in range(3))
    asked = len(await world.simulator.log("model"))
    assert await _accepted(world, in_hand, 5)
    while len(await world.simulator.log("model")) == asked:
        await asyncio.sleep(0.02)
    takes_in_meanwhile = what == "database" and case == "left alone" and "broker" in world.servers
    if not takes_in_meanwhile:
        assert await _accepted(world, early, 5)
    frozen = [server.pid, *children(server.pid)]
    if freeze:
        kill(frozen, signal.SIGSTOP)
    else:
        await server.crash()
    if case != "left alone":
        for process in _ours(world.stack):
            process.kill()
    if case == "started in it":
        await _start_again(world.stack)
    began = time.monotonic()
    if takes_in_meanwhile:
        assert await _accepted(world, early, away_s)
    await asyncio.sleep(began + away_s - time.monotonic())
    if freeze:
        kill(frozen, signal.SIGCONT)
    else:
        await server.start()
    back = time.time()
    if case == "started after it":
        await _start_again(world.stack)
    assert await _accepted(world, late, REPLY_PATIENCE_S)
    return tuple([await _first_to(world, who, back) for who in (in_hand, early, late)])


def _ours(stack: Stack) -> list[Process]:
    return [p for p in stack.processes if p.name != "simulator" and p.returncode is None]


async def _start_again(stack: Stack) -> None:
    """Without waiting until they are ready."""
    port = str(port_of(stack.ingress_url))
    await stack.start("ingress", [str(COMMAND), "ingress"], {"HOST": "127.0.0.1", "PORT": port})
    for _ in range(WORKERS):
        await stack.start("worker", [str(COMMAND), "worker"])


async def _accepted(world: World, customer: str, patience_s: float) -> bool:
    """Sent until the ingress answers 200."""
    deadline = time.monotonic() + patience_s
    wamid = f"wamid.{customer}.{world.customers}"
    while time.monotonic() < deadline:
        told = await world.simulator.say(
            world.phone_number_id, customer, f"hello from {customer}", wamids=[wamid]
        )
        if all(answer["status"] == 200 for answer in told["answers"]):
            return True
        await asyncio.sleep(0.1)
    return False


async def _first_to(world: World, customer: str, since: float) -> float:
    async def replied() -> float | None:
        sends = [s for s in await world.simulator.sends() if s["to"] == f"+{customer}"]
        return min((s["at"] for s in sends), default=None)

    return max(0.0, await _until(replied) - since)


async def _until(look: Callable[[], Awaitable[float | None]]) -> float:
    deadline = time.monotonic() + REPLY_PATIENCE_S
    while time.monotonic() < deadline:
        if (found := await look()) is not None:
            return found
        await asyncio.sleep(0.1)
    return float("inf")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.outages", description=__doc__)
    parser.add_argument("--away", default="5,30,120", help="seconds, comma-separated")
    parser.add_argument("--log", default="rabbitmq", choices=("rabbitmq", "postgres"))
    parser.add_argument("--only", choices=("database", "broker"))
    parser.add_argument("--freeze", action="store_true")
    arguments = parser.parse_args()
    aways = [float(s) for s in arguments.away.split(",")]
    raise SystemExit(
        asyncio.run(main(aways, arguments.log, arguments.only, freeze=arguments.freeze))
    )
