"""The API's door. What a call costs the ingress's processor beside a bare aiohttp and asyncpg that
run the same statements (`bench/floors/calls.py`), and how long lists, searches and details take
beside much (a million contacts, ten million messages, half of them the tenant's that asks) and
beside little. There requests go to one and to the other in turns, one at a time, so that whoever
else uses the machine is met by both."""

import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from io import FileIO
from itertools import count
from pathlib import Path

import asyncpg

from bench import calls_world as worlds
from bench.calls_paths import Asked, questions
from bench.client import Client, Connection, request
from bench.harness import Figures, Result, Spread, in_turns, percentile, tested
from bench.prepared import LOGIN, url_of
from bench.world import Size
from db.api_keys import NewApiKey, create_api_key
from db.ids import UserId
from db.migrate import migrate
from db.pool import Conn, connect_owner
from handlers.api_keys import PERMISSIONS, hash_of, new_key
from local.processes import Process
from local.servers.daemon import free_ports
from local.servers.postgres import Postgres, postgres
from local.stack import COMMAND, until_ready

CONNECTIONS, TENANTS = 8, 8
COST_ROUNDS, CALLS = 15, 160  # of each kind; many and short ones meet the same weather
COST_GOAL = 2.0
ROUNDS, SAMPLES, WARM = 3, 120, 20  # of each question in a round; all of them take some 20 min
SLOWER_GOAL = 1.2
LITTLE, MUCH = "little", "much"
# What is big stays on the disk from run to run, some 20 GB: it takes minutes to make.
KEPT = Path("/var/tmp/swiftreplies-bench-calls")  # noqa: S108 - a server's own directory
# For what is made, as well: no more in the write-ahead log than what a crash of a process needs.
SETTINGS = {
    "shared_buffers": "3GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
}
KINDS = ("read", "list", "create", "change")
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Caller:
    tenant: int
    key: str
    contact: int  # one of theirs

    @property
    def headers(self) -> dict[str, str]:
        """For the product, and for the floor, which believes."""
        return {"Authorization": f"Bearer {self.key}", "X-Tenant": str(self.tenant)}


@dataclass(frozen=True, slots=True)
class World:
    url: str  # of the runtime login
    owner_url: str
    size: Size
    callers: Sequence[Caller]


async def run(quick: bool) -> list[Result]:
    async with postgres(kept=KEPT) as server:
        await _roomy(server)
        much = await _kept_world(server, worlds.QUICK if quick else worlds.FULL)
        await _drop(server, LITTLE)  # of the run before, in which contacts were made
        little = await _new_world(server, LITTLE, worlds.SMALL)
        made = {LITTLE: little, MUCH: much}
        cost = await costs(little, quick)
        cost.save()  # half an hour before the other
        return [cost, await flatness(made, quick)]


async def _roomy(server: Postgres) -> None:
    """All of it in its memory, and nothing of its own in between."""
    admin = await asyncpg.connect(server.url)
    for name, value in SETTINGS.items():
        await admin.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    if not await admin.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", LOGIN):
        await admin.execute(f"CREATE ROLE {LOGIN} LOGIN PASSWORD '{LOGIN}'")
    await admin.close()
    await server.stop()
    await server.start()


async def _kept_world(server: Postgres, size: Size) -> World:
    """The one that a run before made in the same way, with what was migrated since; or a new one
    in the place of those that were made in another way."""
    of_size = f"{MUCH}_{size.customers}_"
    name = of_size + worlds.digest(size)
    admin = await asyncpg.connect(server.url)
    found = await admin.fetch("SELECT datname FROM pg_database WHERE datname ^@ $1", of_size)
    databases = [row["datname"] for row in found]
    if name not in databases:
        for old in databases:
            await _drop(server, old)
        await _new_world(server, f"{of_size}unfinished", size)
        await admin.execute(f"ALTER DATABASE {of_size}unfinished RENAME TO {name}")
    await admin.close()
    return await _opened(server, name, size)


async def _drop(server: Postgres, name: str) -> None:
    admin = await asyncpg.connect(server.url)
    await admin.execute(f"DROP DATABASE IF EXISTS {name}")
    await admin.close()


async def _new_world(server: Postgres, name: str, size: Size) -> World:
    admin = await asyncpg.connect(server.url)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    owner_url, url = url_of(server.url, name), url_of(server.url, name, f"{LOGIN}:{LOGIN}")
    await migrate(owner_url, url, lambda _: None)
    owner = await asyncpg.connect(owner_url)
    began = time.monotonic()
    await worlds.fill(owner, size)
    await owner.execute("CHECKPOINT", timeout=600)  # or the next start would do all of it again
    megabytes = await owner.fetchval("SELECT pg_database_size(current_database()) / 1024 / 1024")
    await owner.close()
    took = time.monotonic() - began
    print(f"  calls: {name}, {megabytes:,} MB, made in {took:.0f} s", flush=True)
    return await _opened(server, name, size)


async def _opened(server: Postgres, name: str, size: Size) -> World:
    """With a key of each of the first tenants who have customers."""
    owner_url, url = url_of(server.url, name), url_of(server.url, name, f"{LOGIN}:{LOGIN}")
    await migrate(owner_url, url, lambda _: None)
    owner = await connect_owner(owner_url)
    await owner.execute("DELETE FROM api_keys WHERE key_name = 'bench'")
    first = "SELECT user_id, min(id) AS id FROM contacts GROUP BY 1 ORDER BY 1 LIMIT $1"
    callers = []
    for row in await owner.fetch(first, TENANTS):
        key = new_key()
        hashed = hash_of(key)
        assert hashed is not None
        new = NewApiKey("bench", hashed, key[:10], dict.fromkeys(PERMISSIONS, True))
        await create_api_key(owner, UserId(row["user_id"]), new)
        callers.append(Caller(row["user_id"], key, row["id"]))
    await owner.close()
    return World(url, owner_url, size, callers)


@asynccontextmanager
async def _door(
    world: World, floor: Sequence[str] | None = None
) -> AsyncIterator[tuple[Process, str]]:
    """The ingress, or a floor with these arguments; and where it listens."""
    (port,) = free_ports(1)
    environment = {
        "DATABASE_URL": world.url,
        "INGEST_LOG": "postgres",
        "INGEST_LOG_URL": world.owner_url,
        "WHATSAPP_APP_SECRET": LOGIN * 8,
        "WHATSAPP_VERIFY_TOKEN": LOGIN,
        "SECRETS_KEY": LOGIN * 8,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "API_CALLS_PER_MINUTE": "1000000",
    }
    command = [str(COMMAND), "ingress"]
    if floor is not None:
        command = [sys.executable, "-m", "bench.floors.calls", str(port), *floor]
    url = f"http://127.0.0.1:{port}"
    async with tested("door", command, environment) as one:
        await until_ready(one, f"{url}/readyz")
        yield one, url


# ---- what a call costs ---------------------------------------------------------------------------


async def costs(world: World, quick: bool) -> Result:
    rounds = 3 if quick else COST_ROUNDS
    result = Result("calls_cost", f"The process's CPU of a call, {CONNECTIONS} at a time")
    async with AsyncExitStack() as ending:
        sides = {}
        for name, floor in (("floor", ()), ("trimmed floor", ("trimmed",)), ("product", None)):
            process, url = await ending.enter_async_context(_door(world, floor))
            sides[name] = partial(_costs, world, process, url)
        await in_turns(result, sides, rounds)
    for kind in KINDS:
        ratio = result.compare(f"{kind}_cpu_ms")
        result.compare(f"{kind}_cpu_ms", "product", "trimmed floor")
        result.goal(f"{kind}: CPU, product / floor", ratio, COST_GOAL, at_least=False)
    return result


async def _costs(world: World, process: Process, url: str) -> Figures:
    client = Client(url, CONNECTIONS)
    figures = {}
    for kind in KINDS:
        requests = [_call(kind, world.callers[n % len(world.callers)]) for n in range(CALLS)]
        before = _cpu_ms(process.pid)
        await client.as_fast_as_it_goes(requests)
        figures[f"{kind}_cpu_ms"] = (_cpu_ms(process.pid) - before) / CALLS
    return figures


def _cpu_ms(pid: int) -> float:
    """Of all its threads. Source: sched-stats.rst of the kernel."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e6


def _call(kind: str, caller: Caller) -> bytes:
    number = next(_numbers)
    of_one = f"/v1/contacts/{caller.contact}"
    match kind:
        case "read":
            return request("GET", of_one, caller.headers)
        case "list":
            return request("GET", "/v1/contacts?limit=20", caller.headers)
        case "create":
            given = {"phone_number": f"+1202{number:07d}", "name": f"Ana Costa {number}"}
            return request("POST", "/v1/contacts", caller.headers, json.dumps(given).encode())
        case _:
            fields = {"custom_fields": {"visits": number}}
            return request("PATCH", of_one, caller.headers, json.dumps(fields).encode())


# ---- beside much and beside little ---------------------------------------------------------------


async def flatness(made: Mapping[str, World], quick: bool) -> Result:
    rounds = 2 if quick else ROUNDS
    result = Result("calls_flat", "Answers of the API beside much and beside little, ms")
    async with AsyncExitStack() as ending:
        doors = [await ending.enter_async_context(_door(made[name])) for name in (LITTLE, MUCH)]
        # Only now: a connection on which nothing is asked for ten seconds is closed.
        sides = [
            await _asking(ending, made[name], *door)
            for name, door in zip((LITTLE, MUCH), doors, strict=True)
        ]
        kept = await _rounds(sides, rounds)
    for column, share, kind in (("p50", 0.5, 0), ("p99", 0.99, 0), ("CPU p50", 0.5, 1)):
        for place, name in enumerate((LITTLE, MUCH)):
            result.sides[f"{name} {column}"] = {
                said: Spread.of([percentile(sorted(each[place][kind]), share) for each in all_])
                for said, all_ in kept.items()
            }
    for column in ("p99", "CPU p50"):
        sides_ = f"{MUCH} {column}", f"{LITTLE} {column}"
        flat = sum(result.compare(said, *sides_) <= SLOWER_GOAL for said in kept)
        what = f"of {len(kept)} lists, searches, details: {column} beside much ≤ {SLOWER_GOAL}x"
        result.goal(what, flat, len(kept))
    return result


Taken = tuple[list[float], list[float]]  # ms, that passed and that processors worked


@dataclass(slots=True)
class Asking:
    connection: Connection
    caller: Caller
    asked: list[Asked]
    door: int
    owner: Conn
    worked: list[int]  # ns, by each of them
    workers: list[FileIO]  # what the system counts of the ingress and of its connections' processes

    async def look(self) -> None:
        """Which processes work for it. It takes another connection where one is busy, with what it
        counts every second, so this is looked at with each question."""
        pids = await self.owner.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'swiftreplies api %'"
        )
        for told in self.workers:
            told.close()
        self.workers = _counts([self.door, *(row["pid"] for row in pids)])
        self.worked = [0] * len(self.workers)

    async def ask(self, question: int, number: int, taken: Taken) -> None:
        paths = self.asked[question].paths
        wanted = request("GET", paths[number % len(paths)], self.caller.headers)
        worked = self._worked_ms()
        began = time.perf_counter()
        await self.connection.ask(wanted)
        taken[0].append((time.perf_counter() - began) * 1000)
        taken[1].append(self._worked_ms() - worked)

    def _worked_ms(self) -> float:
        """Read as it is between two calls: looking for files took as long as a call."""
        for place, told in enumerate(self.workers):
            with suppress(ProcessLookupError):  # a connection that was idle for long was closed
                self.worked[place] = int(os.pread(told.fileno(), 64, 0).split()[0])
        return sum(self.worked) / 1e6


def _counts(pids: Sequence[int]) -> list[FileIO]:
    """Of all their threads: see _cpu_ms."""
    return [
        (thread / "schedstat").open("rb", buffering=0)
        for pid in pids
        for thread in Path(f"/proc/{pid}/task").iterdir()
    ]


async def _asking(ending: AsyncExitStack, world: World, process: Process, url: str) -> Asking:
    owner = await connect_owner(world.owner_url)
    ending.push_async_callback(owner.close)
    asked = await questions(owner, world.size)
    (connection,) = await ending.enter_async_context(Client(url, 1).connected())
    asking = Asking(connection, world.callers[0], asked, process.pid, owner, [], [])
    await asking.ask(0, 0, ([], []))  # its connection to the database is made
    return asking


async def _rounds(sides: Sequence[Asking], rounds: int) -> dict[str, list[tuple[Taken, Taken]]]:
    """By question, of each round: what each side took. The round before the first warms up."""
    names = [asked.name for asked in sides[0].asked]
    kept: dict[str, list[tuple[Taken, Taken]]] = {name: [] for name in names}
    for round_ in range(-1, rounds):
        for question, name in enumerate(names):
            taken: tuple[Taken, Taken] = (([], []), ([], []))
            for side in sides:
                await side.look()
            for number in range(WARM if round_ < 0 else SAMPLES):
                for place in (0, 1) if number % 2 else (1, 0):
                    await sides[place].ask(question, number, taken[place])
            if round_ >= 0:
                kept[name].append(taken)
        told = f"round {round_ + 1} of {rounds}" if round_ >= 0 else "warm"
        print(f"  calls_flat: {told}, load {os.getloadavg()[0]:.1f}", flush=True)
    return kept
