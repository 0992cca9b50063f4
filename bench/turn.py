"""What a turn costs: turns a second, CPU and round trips, beside the least that these libraries
allow (bench/floors/turn.py), without a tool's call and with one.

The model answers at once: what is measured is what the product adds. Both sides also mark the
message as read and show typing. The product's side is the worker as it is deployed, with the role
`turns` alone. Also: whether a long history or a long prompt costs the product more than the floor.
"""

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from bench.harness import Figures, Result, Spread, in_turns, spent, tested, usage
from bench.outside import LOOK_UP, outside, told
from bench.prepared import ASKED, Prepared, Variant, databases
from local.processes import Process
from local.servers.daemon import free_ports
from local.stack import COMMAND, until_ready

PLAIN = Variant("plain")
TOOL = Variant("one tool call", knowledge_chars=24_000, ask=f"{ASKED} Please {LOOK_UP}.")
SHORT = Variant("history 2", history=2)
LONG = Variant("history 40", history=40)
KNOWING = Variant("knowledge 12,000", knowledge_chars=11_500)

TURNS = 400
QUICK_TURNS = 50
# As many at once as the product runs, which is up to all of a round.
SLOTS = TURNS
GOAL = 0.6
NOISE_MS = 0.5  # of CPU a turn: rounds of the same thing differ by more

Sides = Mapping[str, tuple[Prepared, Process]]


def environment(prepared: Prepared, outside: str) -> dict[str, str]:
    return {
        "DATABASE_URL": prepared.url,
        "AMQP_URL": "amqp://nobody@127.0.0.1:1/",  # of no use to the roles that run here
        "WHATSAPP_API_URL": outside,
        "WHATSAPP_ACCESS_TOKEN": "bench",
        "OPENAI_API_KEY": "sk-bench",
        "OPENAI_BASE_URL": f"{outside}/v1",
        "OPENAI_MODEL": "bench",
        "SECRETS_KEY": "bench" * 8,
        "LOG_LEVEL": "info",
        "LOG_FORMAT": "json",
        "SLOTS": str(SLOTS),
    }


async def run(quick: bool) -> list[Result]:
    turns, rounds = (QUICK_TURNS, 1) if quick else (TURNS, 5)
    async with AsyncExitStack() as ending:
        made = await ending.enter_async_context(databases("floor", "product", "steps"))
        url = await ending.enter_async_context(outside())
        (port,) = free_ports(1)
        worker = await ending.enter_async_context(
            tested(
                "worker",
                [str(COMMAND), "worker", "--only", "turns"],
                environment(made["product"], url) | {"METRICS_PORT": str(port)},
            )
        )
        floor = await ending.enter_async_context(
            tested(
                "floor",
                [sys.executable, "-m", "bench.floors.turn"],
                environment(made["floor"], url) | {"DATABASE_URL": made["floor"].owner_url},
            )
        )
        await until_ready(worker, f"http://127.0.0.1:{port}/readyz")
        await floor.first_line(60)
        sides = {"floor": (made["floor"], floor), "product": (made["product"], worker)}
        results = []
        for variant in (PLAIN, TOOL):
            result = Result(
                "turn" if variant is PLAIN else "turn_tool",
                f"A turn, {variant.name if variant is TOOL else 'no tool call'}",
            )
            await _measure(result, sides, variant, turns, rounds)
            result.goal("turns a second, product / floor", result.compare("turns_per_s"), GOAL)
            result.compare("cpu_ms")
            result.more["round_trips"] = await _round_trips(sides["product"], variant, turns, url)
            results.append(result)
        results[0].more["idle"] = await _idle(worker)
        results[0].more["steps_cpu_ms"] = await _steps(made["steps"], turns // 2, url)
        results.append(await _growth(sides, turns, rounds))
        return results


async def _measure(result: Result, sides: Sides, variant: Variant, turns: int, rounds: int) -> None:
    for prepared, _ in sides.values():
        await prepared.add_tenants(variant)

    def side(name: str) -> Any:
        prepared, process = sides[name]
        return lambda: _round(prepared, process, variant, turns, name == "product")

    await in_turns(result, {name: side(name) for name in sides}, rounds)


async def _round(
    prepared: Prepared, process: Process, variant: Variant, turns: int, has_threads: bool
) -> Figures:
    """All customers at once, in conversations that have been going on: what the product's thread
    remembers is there, from a turn that does not count."""
    conversations = await prepared.conversations(variant, turns)
    if has_threads:
        await prepared.ask(variant, conversations)
        await prepared.due(conversations)
        await prepared.answered(conversations)
    await prepared.ask(variant, conversations)
    await prepared.vacuum()
    before, server_before = usage(process.pid), prepared.server_cpu_s()
    await prepared.due(conversations)
    await prepared.answered(conversations)
    after, server_after = usage(process.pid), prepared.server_cpu_s()
    replied = await prepared.replies(conversations)
    if replied != turns:
        raise RuntimeError(f"{replied} replies to {turns} messages")
    return {
        "turns_per_s": turns / (after.at_s - before.at_s),
        **spent(before, after, turns),
        "postgresql_cpu_ms": (server_after - server_before) * 1000 / turns,
    }


async def _growth(sides: Sides, turns: int, rounds: int) -> Result:
    """CPU of a turn, against the same side's CPU with a short history and little knowledge."""
    result = Result("turn_growth", "A turn with a long history, and with much knowledge")
    by_variant: dict[str, Result] = {}
    for variant in (SHORT, LONG, KNOWING):
        one = by_variant[variant.name] = Result(f"turn, {variant.name}", "")
        await _measure(one, sides, variant, turns, rounds)
        for name in sides:
            result.sides[f"{name}, {variant.name}"] = one.sides[name]
    for variant in (LONG, KNOWING):
        grown: dict[str, float] = {}
        for name in sides:
            short = by_variant[SHORT.name].sides[name]["cpu_ms"]
            long = by_variant[variant.name].sides[name]["cpu_ms"]
            added = [b - a for a, b in zip(short.rounds, long.rounds, strict=True)]
            result.more[f"cpu_ms added by {variant.name}, {name}"] = added
            grown[name] = Spread.of(added).median
        result.goal(
            f"CPU ms that {variant.name} adds, product - floor",
            grown["product"] - grown["floor"],
            NOISE_MS,
            at_least=False,
        )
    return result


async def _round_trips(
    side: tuple[Prepared, Process], variant: Variant, turns: int, url: str
) -> dict[str, Any]:
    """From PostgreSQL's own log of statements, and what the servers outside were asked."""
    prepared, _ = side
    conversations = await prepared.conversations(variant, turns)
    lines: list[str] = []
    calls: dict[str, int] = {}
    for _ in range(2):  # the second time counts
        await prepared.ask(variant, conversations)
        await told(url)
        seen = len(await prepared.statements(log=True))
        await prepared.due(conversations)
        await prepared.answered(conversations)
        await asyncio.sleep(0.2)
        lines = (await prepared.statements(log=False))[seen:]
        calls = await told(url)
    counted = Counter(what for line in lines if (what := _statement(line)) is not None)
    return {
        "statements": sum(counted.values()) / turns,
        "transactions": counted["COMMIT"] / turns,
        "model_calls": calls["model"] / turns,
        "graph_api_calls": calls["graph"] / turns,
        "each": {what: n / turns for what, n in counted.most_common() if n / turns > 0.02},
    }


def _statement(line: str) -> str | None:
    found = re.search(r"(?:statement|execute [^:]*): (.*)", line)
    if found is None:
        return None
    text = re.sub(r"--.*$", "", found[1]).strip()
    if text.endswith("COMMIT"):  # in one message with what is counted
        return "COMMIT"
    return " ".join(text.split())[:70] or "(begins with a comment)"


async def _steps(prepared: Prepared, turns: int, url: str) -> Figures:
    await prepared.add_tenants(PLAIN)
    conversations = await prepared.conversations(PLAIN, turns)
    await prepared.ask(PLAIN, conversations)
    await prepared.due(conversations)
    arguments = [sys.executable, "-m", "bench.steps"]
    async with tested("steps", arguments, environment(prepared, url)) as process:
        await process.first_line(120)
        await prepared.ask(PLAIN, conversations)
        await prepared.due(conversations)
        await process.ended()
        figures: Figures = json.loads(process.log.read_text().splitlines()[-1])
        return figures


async def _idle(process: Process, seconds: float = 3.0) -> Figures:
    before = usage(process.pid)
    await asyncio.sleep(seconds)
    return {"core": spent(before, usage(process.pid), 1)["core"]}
