"""python -m tests.deliveries.storm [--deliveries 10000]: deliveries to good, slow, failing, hanging
and dead endpoints of several tenants, while workers are killed and the database crashes; or
`--figure [--seconds 20] [--rounds 3]`: how long good endpoints wait, with the bad ones beside them
and without.
"""

import argparse
import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg

from db.ids import ConversationId, MessageId, UserId
from db.pool import Pool, create_pool, tenant
from db.telling import tell_messages
from handlers.deliveries.signing import new_secret
from handlers.process.secrets import Vault, webhook_secret_of
from local.processes import Process
from local.servers.daemon import free_ports
from local.servers.postgres import Postgres, postgres
from local.stack import Stack
from simulator.client import Simulator
from tests.chaos.run import AWAY, Records
from tests.deliveries.storm_judge import Arrived, Endpoint, Row, Verdict, judge
from tests.factories import Tenant, make_conversations, make_tenant

KEY = "a key of the storm: long enough"
RUNTIME, LOG = "runtime", "ingest"  # logins
TYPE = "message.received"
TENANTS = 5
WORKERS = 2
HURRY_S = 0.3  # retries of endpoints that take are due after as much at most
HURRY_BAD_S = 3.0
AWAY_S = 1.0  # of the database
PATIENCE_S = 240.0
TELLERS = 2  # at once, of a conversation: their events are in the order of their commits
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    mode: dict[str, Any] | None  # None: nobody listens
    takes: bool = True
    ordered: bool = False
    mends: bool = False  # when everything is told


GOOD = Kind("good", {"mode": "ok"})
EVERY_TENANTS = (
    GOOD,
    Kind("ordered", {"mode": "ok"}, ordered=True),
    Kind("slow", {"mode": "slow", "delay_ms": 300}),
    Kind("flaky", {"mode": "flaky", "times": 1}, ordered=True),
)
ONE_TENANTS = (  # one of these besides, in turn
    Kind("failing", {"mode": "fail"}, takes=False),
    Kind("hanging", {"mode": "hang"}, takes=False),
    Kind("dead", {"mode": "dead"}, takes=False),
    Kind("nowhere", None, takes=False),
    Kind("mends", {"mode": "hang"}, mends=True),
)
EACH = len(EVERY_TENANTS) + 1  # webhooks of a tenant


@dataclass(frozen=True, slots=True)
class Hook:
    id: int
    name: str
    kind: Kind
    user_id: UserId


@dataclass(slots=True)
class World:
    say: Say
    server: Postgres
    stack: Stack
    simulator: Simulator
    records: Records
    pool: Pool
    owner_url: str
    nowhere: int  # a port
    hooks: list[Hook] = field(default_factory=list)
    tenants: list[Tenant] = field(default_factory=list)
    messages: dict[UserId, dict[ConversationId, list[MessageId]]] = field(default_factory=dict)
    told: dict[int, float] = field(default_factory=dict)  # messages, and when it was committed
    workers: list[Process] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    kills: int = 0

    def tell(self, what: str) -> None:
        self.say(f"{time.monotonic() - self.started:6.1f} s  {what}")


# ---- the world ----------------------------------------------------------------------------------


@asynccontextmanager
async def world_of(say: Say) -> AsyncIterator[World]:
    """PostgreSQL, the simulator, and no worker yet."""
    async with AsyncExitStack() as ending:
        server = await ending.enter_async_context(postgres(in_memory=True))
        admin = await asyncpg.connect(server.url)
        for login in (RUNTIME, LOG):
            await admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{login}'")
        await admin.close()
        address = server.url.rpartition("@")[2]
        runtime = f"postgresql://{RUNTIME}:{RUNTIME}@{address}"
        logs = Path(ending.enter_context(TemporaryDirectory(prefix="swiftreplies-storm-")))
        stack = Stack(
            environment={
                "PATH": "/usr/bin:/bin",
                "PYTHONUNBUFFERED": "1",
                "DATABASE_URL": runtime,
                "MIGRATION_DATABASE_URL": server.url,
                "INGEST_LOG": "postgres",
                "INGEST_LOG_URL": f"postgresql://{LOG}:{LOG}@{address}",
                "OPENAI_MODEL": "offline",
                "SECRETS_KEY": KEY,
            },
            log_directory=logs,
        )
        ending.push_async_callback(stack.end)
        await asyncio.gather(stack.start_simulator(), stack.command("migrate"))
        (nowhere,) = free_ports(1)
        allowed = stack.simulator_url.removeprefix("http://")
        stack.environment["OUTBOUND_ALLOW"] = f"{allowed},127.0.0.1:{nowhere}"
        simulator = await ending.enter_async_context(Simulator(stack.simulator_url))
        pool = await create_pool(runtime, size=16, name="storm")
        ending.callback(pool.terminate)
        records = Records(server.url)
        ending.callback(records.close)
        yield World(say, server, stack, simulator, records, pool, server.url, nowhere)


async def furnish(world: World, kinds: Sequence[Sequence[Kind]], events: int) -> None:
    """A tenant for each of `kinds`, with these webhooks and as many messages to tell of."""
    owner = await asyncpg.connect(world.owner_url)
    for wanted in kinds:
        made = await make_tenant(owner)
        world.tenants.append(made)
        for kind in wanted:
            world.hooks.append(await _hook(world, owner, made, kind))
        conversations = await make_conversations(owner, made, max(4, events // 20))
        rows = await owner.fetch(
            "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction,"
            " status, content_text) SELECT v.user_id, v.chatbot_id, v.contact_id, v.id, 'inbound',"
            " 'received', 'A table for two, at about eight?' FROM generate_series(0, $2 - 1) n"
            " JOIN conversations v ON v.id = ($1::bigint[])[1 + n % cardinality($1::bigint[])]"
            " ORDER BY n RETURNING id, conversation_id",
            conversations,
            events,
        )
        of: dict[ConversationId, list[MessageId]] = {one: [] for one in conversations}
        for row in rows:
            of[row["conversation_id"]].append(row["id"])
        world.messages[made.user_id] = of
    await owner.execute("ANALYZE")
    await owner.close()


async def _hook(world: World, owner: Any, of: Tenant, kind: Kind) -> Hook:
    name, secret = f"{kind.name}-{of.user_id}-{len(world.hooks)}", new_secret()
    url = (
        world.simulator.endpoint_url(name)
        if kind.mode is not None
        else f"http://127.0.0.1:{world.nowhere}/{name}"
    )
    hook_id = await owner.fetchval(
        "INSERT INTO webhooks (user_id, url, events, ordered)"
        " VALUES ($1, $2, $3::text::jsonb, $4) RETURNING id",
        of.user_id,
        url,
        json.dumps([TYPE]),
        kind.ordered,
    )
    await owner.execute(
        "UPDATE webhooks SET secret_token = $2 WHERE id = $1",
        hook_id,
        Vault((KEY,)).encrypt(secret, webhook_secret_of(hook_id)),
    )
    if kind.mode is not None:
        await world.simulator.endpoint(name, secrets=[secret], journal=False, **kind.mode)
    return Hook(hook_id, name, kind, of.user_id)


async def start_worker(world: World) -> None:
    worker = await world.stack.start_worker("--only", "webhooks", patience_s=PATIENCE_S)
    world.workers.append(worker)


# ---- the storm ----------------------------------------------------------------------------------


async def play(deliveries: int, seed: int, say: Say) -> Verdict:
    dice = random.Random(seed)
    async with world_of(say) as world:
        kinds = [[*EVERY_TENANTS, ONE_TENANTS[n % len(ONE_TENANTS)]] for n in range(TENANTS)]
        await furnish(world, kinds, deliveries // (TENANTS * EACH))
        await asyncio.gather(*(start_worker(world) for _ in range(WORKERS)))
        world.tell(f"seed {seed}: {deliveries} deliveries by {WORKERS} workers")
        hurrying = asyncio.create_task(_hurry(world))
        async with asyncio.TaskGroup() as group:
            group.create_task(_tell_all(world))
            group.create_task(_crash(world, 3 + 3 * dice.random()))
            for _ in range(3 + deliveries // 2_500):
                group.create_task(_kill(world, 12 * dice.random(), dice))
        world.tell("everything is told, and the last worker was killed")
        for hook in world.hooks:
            if hook.kind.mends:
                await world.simulator.endpoint(hook.name, mode="ok")
        await _settled(world)
        world.tell("settled")
        hurrying.cancel()
        for worker in world.workers:
            worker.kill()
            await worker.ended()
        endpoints = [await _seen(world, hook) for hook in world.hooks]
        verdict = judge(endpoints, dict.fromkeys(world.told, EACH))
        world.tell(
            f"{verdict.delivered} of {verdict.deliveries} delivered, {verdict.again} once more than"
            f" once, {world.kills} workers killed; good ones' p99 {await p99_s(world):.2f} s"
        )
        return verdict


async def _tell_all(world: World) -> None:
    """Some of each conversation's messages at once: only the lock keeps their events in order."""
    async with asyncio.TaskGroup() as group:
        for user_id, conversations in world.messages.items():
            for messages in conversations.values():
                for teller in range(TELLERS):
                    group.create_task(_tell(world, user_id, messages[teller::TELLERS]))


async def _tell(world: World, user_id: UserId, messages: Sequence[MessageId]) -> None:
    for message_id in messages:
        while not await _told(world, user_id, message_id):
            await asyncio.sleep(0.2)
        await asyncio.sleep(0.2)


async def _told(world: World, user_id: UserId, message_id: MessageId) -> bool:
    """Once, and known to be: where nobody can say whether it was committed, the row is looked
    for."""
    try:
        async with tenant(world.pool, user_id) as conn:
            found = await conn.fetchval(
                "SELECT EXISTS (SELECT FROM webhook_events WHERE user_id = $1"
                " AND body::jsonb #>> '{data,message_id}' = $2::text)"
                if message_id in world.told
                else "SELECT false AND $1::bigint = 0 AND $2::text = ''",
                user_id,
                str(message_id),
            )
            world.told.setdefault(message_id, 0.0)
            if not found:
                await tell_messages(conn, user_id, [TYPE], [message_id])
    except AWAY:
        return False
    world.told[message_id] = time.time()
    return True


async def _crash(world: World, at: float) -> None:
    await asyncio.sleep(at)
    await world.server.crash()
    await asyncio.sleep(AWAY_S)
    await world.server.start()
    world.tell("the database crashed, and is back")


async def _kill(world: World, at: float, dice: random.Random) -> None:
    await asyncio.sleep(at)
    while not world.workers:
        await asyncio.sleep(0.1)
    victim = world.workers.pop(dice.randrange(len(world.workers)))
    victim.kill()
    world.kills += 1
    world.tell(f"worker {victim.pid} killed -9")
    await start_worker(world)


async def _hurry(world: World) -> None:
    """Time passes: what waits for its next attempt, or for the end of a pause, is due."""
    bad_at = 0.0
    while True:
        await asyncio.sleep(HURRY_S)
        some = [hook.id for hook in world.hooks if hook.kind.takes]
        if time.monotonic() - bad_at > HURRY_BAD_S:
            some, bad_at = [hook.id for hook in world.hooks], time.monotonic()
        with contextlib.suppress(*AWAY):
            await world.records.rows(
                "UPDATE webhook_deliveries SET due_at = now() WHERE webhook_id = ANY ($1::bigint[])"
                " AND status = 'pending' AND due_at > now()",
                some,
            )
            await world.records.rows(
                "UPDATE webhook_states SET open_until = NULL"
                " WHERE webhook_id = ANY ($1::bigint[]) AND open_until > now()",
                some,
            )


async def _settled(world: World) -> None:
    """Whoever takes has taken all; or the patience is over, and the judge says what is missing."""
    taking = [hook.id for hook in world.hooks if hook.kind.takes]
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(*AWAY):
            (row,) = await world.records.rows(
                "SELECT count(*)::int AS waits FROM webhook_deliveries"
                " WHERE webhook_id = ANY ($1::bigint[]) AND status = 'pending'",
                taking,
            )
            if not row["waits"]:
                return
        await asyncio.sleep(0.2)


# ---- what was seen ------------------------------------------------------------------------------


async def _seen(world: World, hook: Hook) -> Endpoint:
    rows = await world.records.rows(
        "SELECT d.event_id, (e.body::jsonb #>> '{data,message_id}')::bigint AS message_id,"
        " e.conversation_id, e.body, d.status, d.tries,"
        " ARRAY (SELECT a.status_code FROM webhook_attempts a WHERE a.user_id = d.user_id"
        "         AND a.delivery_id = d.id ORDER BY a.at) AS attempts"
        " FROM webhook_deliveries d JOIN webhook_events e ON e.user_id = d.user_id"
        " AND e.id = d.event_id WHERE d.webhook_id = $1",
        hook.id,
    )
    stored = [Row(**{**dict(row), "attempts": tuple(row["attempts"])}) for row in rows]
    arrived: list[Arrived] = []
    answers: dict[int, int] = {}
    if hook.kind.mode is not None:
        bodies = {
            one["webhook_id"]: one["body"] for one in await world.simulator.deliveries(hook.name)
        }
        arrived = [_arrived(one, bodies) for one in await world.simulator.events(hook.name)]
        said = (await world.simulator.endpoint(hook.name))["answers"]
        answers = {int(code): count for code, count in said.items()}
    return Endpoint(hook.name, hook.kind.takes, hook.kind.ordered, stored, arrived, answers)


def _arrived(event: dict[str, Any], bodies: dict[str, str]) -> Arrived:
    return Arrived(
        name=event["webhook_id"],
        arrivals=event["arrivals"],
        verified=event["unverified"] == 0,
        same_body=event["same_body"],
        body=bodies.get(event["webhook_id"]),
        taken=event["taken"],
        taken_place=event["taken_seq"],
    )


async def p99_s(world: World, since: float = 0.0) -> float:
    """Of good endpoints: from when the event was committed to when it first arrived."""
    waits: list[float] = []
    for hook in world.hooks:
        if hook.kind is not GOOD:
            continue
        first = {
            one["webhook_id"]: one["first_at"] for one in await world.simulator.events(hook.name)
        }
        rows = await world.records.rows(
            "SELECT d.event_id, (e.body::jsonb #>> '{data,message_id}')::bigint AS message_id"
            " FROM webhook_deliveries d JOIN webhook_events e ON e.user_id = d.user_id"
            " AND e.id = d.event_id WHERE d.webhook_id = $1",
            hook.id,
        )
        for row in rows:
            at, came = world.told.get(row["message_id"], 0.0), first.get(f"evt_{row['event_id']}")
            if at > since and came is not None:
                waits.append(max(0.0, came - at))
    waits.sort()
    return waits[int(len(waits) * 0.99)] if waits else float("nan")


# ---- the figure ---------------------------------------------------------------------------------


async def figure(seconds: float, bad: bool, say: Say) -> float:
    """The p99 of good endpoints, in seconds; `bad`: beside others and their backlog."""
    every_s, backlog = 0.1, 2_000
    async with world_of(say) as world:
        some = [[GOOD, GOOD] for _ in range(TENANTS)]
        await furnish(world, some, int(seconds / every_s) + 40)
        if bad:
            others = [
                [ONE_TENANTS[n], ONE_TENANTS[(n + 1) % 4], EVERY_TENANTS[2]] for n in range(4)
            ]
            await furnish(world, others, backlog // 3 + 1)
            for user_id in list(world.messages)[TENANTS:]:
                for messages in world.messages.pop(user_id).values():
                    async with tenant(world.pool, user_id) as conn:
                        await tell_messages(conn, user_id, [TYPE] * len(messages), messages)
        await asyncio.gather(*(start_worker(world) for _ in range(WORKERS)))
        await asyncio.sleep(3)  # what is slow is held, and what fails has failed
        hurrying = asyncio.create_task(_hurry(world)) if bad else None
        began = time.time()

        async def steadily(user_id: UserId, place: int) -> None:
            queue = [m for ms in world.messages[user_id].values() for m in ms]
            await asyncio.sleep(every_s * place / TENANTS)
            for message_id in queue[: int(seconds / every_s)]:
                await _told(world, user_id, message_id)
                await asyncio.sleep(every_s)

        await asyncio.gather(*(steadily(u, place) for place, u in enumerate(list(world.messages))))
        await asyncio.sleep(1)
        if hurrying:
            hurrying.cancel()
        waits = await p99_s(world, began)
        for worker in world.workers:
            worker.kill()
            await worker.ended()
        return waits


async def figures(seconds: float, rounds: int) -> None:
    for number in range(rounds):
        found: dict[bool, float] = {}
        for bad in (False, True) if number % 2 == 0 else (True, False):
            found[bad] = await figure(seconds, bad, lambda _: None)
        print(
            f"round {number + 1}: p99 {found[False] * 1000:.0f} ms without the bad ones,"
            f" {found[True] * 1000:.0f} ms with them: {found[True] / found[False]:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.deliveries.storm", description=__doc__)
    parser.add_argument("--deliveries", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--figure", action="store_true")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    if chosen.figure:
        asyncio.run(figures(chosen.seconds, chosen.rounds))
    else:
        found = asyncio.run(
            play(chosen.deliveries, chosen.seed, lambda line: print(line, flush=True))
        )
        print("\n".join(found.violations[:50]) or "nothing is broken")
