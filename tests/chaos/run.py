"""Plays a plan against the whole product, and collects what was seen."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from db.reconcile import recount
from local.processes import Process
from local.servers.postgres import Postgres, postgres
from local.servers.rabbitmq import RabbitMQ, rabbitmq
from local.stack import Stack, running
from simulator.client import Simulator
from tests.chaos.judge import Asked, Attempt, Claimed, Evidence, Inbound, Outage, Outbound, Send
from tests.chaos.plan import (
    LIMITED_TENANT,
    TENANTS,
    WORKERS,
    Customer,
    GraphFault,
    Json,
    Plan,
    Post,
    Strike,
)

SEND_UNKNOWN_MS = 3_000
RUNTIME = "runtime"
ENVIRONMENT = {
    "OPENAI_API_KEY": "sk-simulated",
    "OPENAI_MODEL": "simulated-model",
    "DEBOUNCE_MS": "200",
    "DEBOUNCE_MAX_MS": "1000",
    "SEND_UNKNOWN_MS": str(SEND_UNKNOWN_MS),
    "LOG_LEVEL": "info",
    "LOG_FORMAT": "json",
}
PLENTY = 1_000_000
REGISTRATION_S = 3.0  # an old RabbitMQ loses queues that it is killed within a second of declaring
PATIENCE_S = 120.0  # to settle, after the last message and the last blow; to be ready
QUIET_S = 1.5  # so long nothing may happen any more
LOOK_S = 0.1
CLAIM_PATIENCE_S = 30.0
STEADY_S = 4.0  # so long after it was ready a worker may tell who is dead
STANDSTILL_S = 0.5  # of a worker that is about to be killed
AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.exceptions.InternalClientError,
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Bot:
    user_id: int
    phone_number_id: str
    number: str
    token: str


@dataclass(slots=True)
class Records:
    """Reads rows, whatever became of the database meanwhile."""

    url: str
    _conn: "asyncpg.Connection[asyncpg.Record] | None" = None
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def rows(self, query: str, *values: object) -> list[Any]:
        """Raises one of AWAY."""
        async with self._one_at_a_time:
            if self._conn is None or self._conn.is_closed():
                self._conn = await asyncpg.connect(self.url, timeout=2, command_timeout=10)
            try:
                return list(await self._conn.fetch(query, *values))
            except AWAY:
                self._conn.terminate()
                raise

    async def recounted(self) -> dict[str, tuple[str, str]]:
        """What `usage reconcile` finds: counters that are not what their rows say."""
        users = await self.rows("SELECT id FROM users ORDER BY id")
        assert self._conn is not None
        found = [one for user in users for one in await recount(self._conn, user["id"])]
        return {
            f"{one.table}.{one.what.counter} of {one.user_id} in {one.what.period}": (
                one.what.counted,
                one.what.recounted,
            )
            for one in found
            if one.what.why is None
        }

    def close(self) -> None:
        if self._conn is not None:
            self._conn.terminate()


@dataclass(slots=True)
class Ingress:
    port: int
    process: Process


@dataclass(slots=True)
class World:
    plan: Plan
    say: Say
    stack: Stack
    simulator: Simulator
    records: Records
    database: Postgres
    broker: RabbitMQ
    bots: list[Bot]
    ingresses: list[Ingress]
    workers: list[Process]
    started: float = 0.0
    story: list[str] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    outage_of: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    claimed: list[Claimed] = field(default_factory=list)
    helpless: list[float] = field(default_factory=list)  # looks at which no worker was ready,
    unsteady: list[float] = field(default_factory=list)  # or none had been for a term
    ready_since: dict[int, float] = field(default_factory=dict)  # workers, by process id
    ended: set[int] = field(default_factory=set)  # processes that were meant to end
    ended_badly: list[str] = field(default_factory=list)

    def tell(self, what: str) -> None:
        line = f"{time.time() - self.started:6.1f} s  {what}"
        self.story.append(line)
        self.say(line)

    async def until(self, at: float) -> None:
        await asyncio.sleep(self.started + at - time.time())


async def play(plan: Plan, say: Say) -> Evidence:
    began = time.monotonic()
    async with _world(plan, say) as world:
        world.started = time.time()
        say(f"seed {plan.seed}: {plan.size.messages} messages, {len(plan.strikes)} blows")
        looking = asyncio.create_task(_look_for_workers(world))
        async with asyncio.TaskGroup() as group:
            for customer in plan.customers:
                group.create_task(_write(world, customer))
            for fault in plan.graph_faults:
                group.create_task(_spoil(world, fault))
            for strike in plan.strikes:
                group.create_task(_strike(world, strike))
        world.tell("everything is written")
        unsettled = await _settle(world)
        world.tell("settled" if not unsettled else f"NOT settled: {'; '.join(unsettled)}")
        looking.cancel()
        seen = await _collect(world, unsettled, began)
        if keep := os.environ.get("CHAOS_KEEP"):
            await _keep(world, Path(keep) / f"seed-{plan.seed}")
    return seen


# Before


@asynccontextmanager
async def _world(plan: Plan, say: Say) -> AsyncIterator[World]:
    async with postgres() as database, rabbitmq() as broker:
        admin = await asyncpg.connect(database.url)
        await admin.execute(f"CREATE ROLE {RUNTIME} LOGIN PASSWORD '{RUNTIME}'")
        await admin.close()
        address = database.url.rpartition("@")[2]
        overrides = {
            **ENVIRONMENT,
            "DATABASE_URL": f"postgresql://{RUNTIME}:{RUNTIME}@{address}",
            "MIGRATION_DATABASE_URL": database.url,
            "INGEST_LOG": "rabbitmq",
            "AMQP_URL": broker.url,
        }
        async with (
            running(lambda _: None, overrides, workers=WORKERS, simulated_model=True) as stack,
            Simulator(stack.simulator_url) as simulator,
        ):
            declared = time.monotonic()
            first = port_of(stack.ingress_url)
            other = await stack.start_ingress()
            ingresses = [
                Ingress(first, next(p for p in stack.processes if p.name == "ingress")),
                Ingress(port_of(stack.ingress_url), other),
            ]
            bots = list(await asyncio.gather(*(make_bot(stack, plan, n) for n in range(TENANTS))))
            await simulator.config(
                webhook_url=[f"http://127.0.0.1:{i.port}/webhooks/whatsapp" for i in ingresses],
                app_secret=stack.environment["WHATSAPP_APP_SECRET"],
                webhook_retry=True,
                numbers=[
                    {
                        "phone_number_id": bot.phone_number_id,
                        "display_phone_number": bot.number,
                        "token": bot.token,
                    }
                    for bot in bots
                ],
            )
            await simulator.rules(*plan.model_rules)
            await asyncio.sleep(declared + REGISTRATION_S - time.monotonic())
            records = Records(database.url)
            world = World(
                plan=plan,
                say=say,
                stack=stack,
                simulator=simulator,
                records=records,
                database=database,
                broker=broker,
                bots=bots,
                ingresses=ingresses,
                workers=[p for p in stack.processes if p.name == "worker"],
            )
            try:
                yield world
            finally:
                records.close()


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def make_bot(stack: Stack, plan: Plan, tenant: int) -> Bot:
    daily = plan.size.daily_limit if tenant == LIMITED_TENANT else PLENTY
    user = await stack.command(
        *("tenant", "create", "--email", f"tenant{tenant}@example.com", "--json"),
        *("--daily-messages", str(daily), "--monthly-messages", str(PLENTY)),
    )
    bot = Bot(
        user_id=user["user_id"],
        phone_number_id=f"40100{tenant}",
        number=f"+1303555010{tenant}",
        token=f"token-of-{tenant}",
    )
    await stack.command(
        *("chatbot", "create", "--user", str(bot.user_id), "--name", f"Bot {tenant}", "--json"),
        *("--number", bot.number, "--phone-number-id", bot.phone_number_id),
        *("--access-token", bot.token, "--instructions", f"You are bot {tenant}."),
    )
    return bot


# Those who write


async def _write(world: World, customer: Customer) -> None:
    """One post after the other's answer, as a phone does; a post that got no 200 is repeated by the
    simulator while the customer goes on."""
    before: Post | None = None
    async with asyncio.TaskGroup() as copies:
        for post in customer.posts:
            await world.until(post.at)
            stamp = str(int(time.time()))
            if post.twin:
                copies.create_task(_post(world, customer, post, stamp))
            await _post(world, customer, post, stamp)
            if post.again_after is not None:
                copies.create_task(_again(world, customer, before, post))
            before = post


async def _again(world: World, customer: Customer, before: Post | None, post: Post) -> None:
    """In another envelope: together with the post before it, or each message alone."""
    assert post.again_after is not None
    await asyncio.sleep(post.again_after)
    stamp = str(int(time.time()))
    if before is not None and len(post.messages) == 1:
        await _post(world, customer, Post(0, (*before.messages, *post.messages)), stamp)
    else:
        for message in post.messages:
            await _post(world, customer, Post(0, (message,)), stamp)


async def _post(world: World, customer: Customer, post: Post, stamp: str) -> None:
    await world.simulator.say(
        world.bots[customer.tenant].phone_number_id,
        customer.digits,
        *(message.text for message in post.messages),
        wamids=[message.wamid for message in post.messages],
        timestamp=stamp,
    )


async def _spoil(world: World, fault: GraphFault) -> None:
    await world.until(fault.at)
    customer = world.plan.customers[fault.customer]
    where: Json = {
        "to": customer.digits,
        "phone_number_id": world.bots[customer.tenant].phone_number_id,
    }
    await world.simulator.faults({**fault.fault, **where})


# Those who kill


async def _strike(world: World, strike: Strike) -> None:
    await world.until(strike.at)
    while strike.blow in ("kill worker", "stop worker") and not world.workers:
        await asyncio.sleep(LOOK_S)  # all of them are just being replaced
    match strike.blow:
        case "kill worker":
            await _kill_worker(world)
        case "stop worker":
            await _stop_worker(world, strike)
        case "kill ingress" | "stop ingress":
            await _end_ingress(world, strike)
        case "crash broker":
            await _outage(world, "broker", world.broker.crash, world.broker.start, strike.away_s)
        case "crash database":
            await _outage(
                world, "database", world.database.crash, world.database.start, strike.away_s
            )


async def _outage(
    world: World,
    what: str,
    crash: Callable[[], Awaitable[None]],
    start: Callable[[], Awaitable[None]],
    away_s: float,
) -> None:
    async with world.outage_of[what]:  # the one before may still be starting
        world.tell(f"{what} crashes")
        crashed = time.time()
        await crash()
        await asyncio.sleep(away_s)
        await start()
        world.outages.append(Outage(what, crashed, time.time()))
        world.tell(f"{what} is back after {time.time() - crashed:.1f} s")


async def _look_for_workers(world: World) -> None:
    while True:
        now = time.time()
        if not world.workers:
            world.helpless.append(now)
        since = [world.ready_since.get(worker.pid, 0.0) for worker in world.workers]
        if min(since, default=now) > now - STEADY_S:
            world.unsteady.append(now)
        await asyncio.sleep(LOOK_S)


async def _replace(world: World) -> None:
    worker = await world.stack.start_worker(patience_s=PATIENCE_S)
    world.ready_since[worker.pid] = time.time()
    world.workers.append(worker)


async def _kill_worker(world: World) -> None:
    """The one that has most in hand."""
    in_hand: dict[int, int] = {}
    with contextlib.suppress(*AWAY):
        in_hand = {
            _pid(row["name"]): row["held"]
            for row in await world.records.rows(
                "SELECT w.name, count(*)::int AS held FROM workers w JOIN conversations c"
                " ON c.lease_owner = w.id GROUP BY w.name"
            )
        }
    await _until_there_is(world.workers)
    victim = max(world.workers, key=lambda p: in_hand.get(p.pid, 0))
    world.ended.add(victim.pid)
    world.workers.remove(victim)
    held = await _stopped(world, victim)
    victim.kill()
    killed = time.time()
    world.tell(f"worker {victim.pid} killed -9 with {len(held)} conversations in hand")
    watching = asyncio.create_task(_watch(world, held, killed))
    await _replace(world)
    await watching


async def _stopped(world: World, victim: Process) -> dict[int, int]:
    """What it holds, with the epochs. It stands still meanwhile: once it is dead, others may have
    taken that up before anybody has looked."""
    with contextlib.suppress(ProcessLookupError, *AWAY):
        os.kill(victim.pid, signal.SIGSTOP)
        async with asyncio.timeout(STANDSTILL_S):
            rows = await world.records.rows(
                "SELECT c.id, c.epoch FROM conversations c JOIN workers w"
                " ON w.id = c.lease_owner WHERE w.name LIKE '%:' || $1::text",
                str(victim.pid),
            )
        return {row["id"]: row["epoch"] for row in rows}
    return {}


async def _watch(world: World, held: dict[int, int], killed: float) -> None:
    """Until every conversation that the dead worker held is claimed by another."""
    while held and time.time() < killed + CLAIM_PATIENCE_S:
        with contextlib.suppress(*AWAY):
            rows = await world.records.rows(
                "SELECT c.id FROM conversations c JOIN unnest($1::bigint[], $2::bigint[])"
                " AS was (id, epoch) ON was.id = c.id WHERE c.epoch > was.epoch",
                list(held),
                list(held.values()),
            )
            for row in rows:
                del held[row["id"]]
                world.claimed.append(Claimed(killed, time.time() - killed))
        await asyncio.sleep(LOOK_S)
    world.claimed += [Claimed(killed, time.time() - killed) for _ in held]


async def _until_there_is(processes: list[Process]) -> None:
    """Those that were ended before are still being replaced, which takes long on a busy machine."""
    while not processes:
        await asyncio.sleep(LOOK_S)


async def _stop_worker(world: World, strike: Strike) -> None:
    await _until_there_is(world.workers)
    victim = world.workers.pop(int(strike.dice * len(world.workers)))
    world.tell(f"worker {victim.pid} gets SIGTERM")
    world.ended.add(victim.pid)
    victim.terminate()
    replacing = asyncio.create_task(_replace(world))
    told = time.time()
    code = await victim.ended()
    world.tell(f"worker {victim.pid} ended with {code} after {time.time() - told:.1f} s")
    if code != 0:
        world.ended_badly.append(f"worker {victim.pid} ended with {code}:\n{victim.tail()}")
    await replacing


async def _end_ingress(world: World, strike: Strike) -> None:
    """It comes back on its port."""
    ingress = world.ingresses[int(strike.dice * len(world.ingresses))]
    victim = ingress.process
    if victim.pid in world.ended:
        world.tell(f"ingress {victim.pid} is just being replaced")
        return
    world.ended.add(victim.pid)
    killing = strike.blow == "kill ingress"
    world.tell(f"ingress {victim.pid} {'killed -9' if killing else 'gets SIGTERM'}")
    if killing:
        victim.kill()
    else:
        victim.terminate()
    code = await victim.ended()
    if not killing and code != 0:
        world.ended_badly.append(f"ingress {victim.pid} ended with {code}:\n{victim.tail()}")
    ingress.process = await world.stack.start_ingress(ingress.port, patience_s=PATIENCE_S)


def _pid(worker_name: str) -> int:
    return int(worker_name.rpartition(":")[2])


# Afterwards


async def _settle(world: World) -> tuple[str, ...]:
    """Waits until nothing is open any more and nothing happens; what is still open when patience
    ends."""
    deadline = time.monotonic() + PATIENCE_S
    wanted = {
        message.wamid
        for customer in world.plan.customers
        for post in customer.posts
        for message in post.messages
    }
    read = 0
    quiet_since = None
    while True:
        found: list[str] = []
        for entry in await world.simulator.log("webhook", since=read):
            read = entry["seq"]
            if entry["status"] == 200:
                wanted.difference_update(_wamids(entry["body"])[0])
            quiet_since = None
        if wanted:
            found.append(f"{len(wanted)} messages without a 200")
        try:
            rows = await world.records.rows(OPEN_WORK)
        except AWAY as error:
            rows = [{"what": f"database: {type(error).__name__}", "n": 1}]
        found += [f"{row['n']} {row['what']}" for row in rows if row["n"]]
        quiet_since = None if found else quiet_since or time.monotonic()
        if quiet_since and time.monotonic() - quiet_since > QUIET_S:
            return ()
        if time.monotonic() > deadline:
            return tuple(found) or ("it does not get quiet",)
        await asyncio.sleep(2 * LOOK_S)


OPEN_WORK = """
    SELECT 'conversations with unanswered inputs' AS what, count(*)::int AS n
      FROM conversations WHERE input_seq > answered_seq
    UNION ALL
    SELECT 'conversations leased', count(*)::int FROM conversations WHERE lease_owner IS NOT NULL
    UNION ALL
    SELECT 'replies ' || status, count(*)::int FROM messages
     WHERE direction = 'outbound' AND status IN ('queued', 'sending', 'unknown') GROUP BY status
"""

COUNTERS = """
    WITH sent AS (
        SELECT user_id, usage_day AS day, count(*)::int AS n FROM messages
         WHERE usage_day IS NOT NULL GROUP BY 1, 2
    ), counted AS (
        SELECT user_id, tracking_date AS day, daily_messages_sent AS n FROM usage_tracking
    )
    SELECT format('daily_messages_sent of %s on %s', user_id, day) AS name,
           coalesce(c.n, 0) AS says, coalesce(s.n, 0) AS rows
      FROM counted c FULL JOIN sent s USING (user_id, day)
    UNION ALL
    SELECT format('total_messages_sent of %s in %s-%s', user_id, year, month),
           coalesce(m.total_messages_sent, 0), coalesce(s.n, 0)
      FROM monthly_usage_summary m
      FULL JOIN (SELECT user_id, extract(year FROM day)::int AS year,
                        extract(month FROM day)::int AS month, sum(n)::int AS n
                   FROM sent GROUP BY 1, 2, 3) s USING (user_id, year, month)
    UNION ALL
    SELECT format('daily_messages_received of %s', u.id),
           (SELECT coalesce(sum(t.daily_messages_received), 0)::int FROM usage_tracking t
             WHERE t.user_id = u.id),
           (SELECT count(*)::int FROM messages m
             WHERE m.user_id = u.id AND m.direction = 'inbound')
      FROM users u
    UNION ALL
    SELECT format('messages_reserved of %s on %s', user_id, tracking_date), messages_reserved, 0
      FROM usage_tracking
    UNION ALL
    SELECT format('messages_reserved of %s in %s-%s', user_id, year, month), messages_reserved, 0
      FROM monthly_usage_summary
    UNION ALL
    SELECT 'usage_reservations', count(*)::int, 0 FROM usage_reservations
"""

INBOUND = """
    SELECT id, conversation_id, message_id, content_text, extract(epoch FROM sent_at)::float8 AS at,
           input_seq, metadata ->> 'reason' AS reason
      FROM messages WHERE direction = 'inbound' ORDER BY id
"""

OUTBOUND = """
    SELECT id, conversation_id, content_text, extract(epoch FROM created_at)::float8 AS at, status,
           metadata ->> 'reason' AS reason, (metadata ? 'resent_after_unknown') AS resent
      FROM messages WHERE direction = 'outbound' ORDER BY id
"""

LIMITS = """
    SELECT format('%s of at most %s messages on %s', t.daily_messages_sent,
                  s.daily_message_limit, t.tracking_date) AS what
      FROM usage_tracking t JOIN user_subscriptions s ON s.user_id = t.user_id AND s.is_active
     WHERE t.daily_messages_sent > s.daily_message_limit
"""


async def _collect(world: World, unsettled: tuple[str, ...], began: float) -> Evidence:
    rows = world.records.rows
    died = [
        f"{p.name} {p.pid} ended by itself with {p.returncode}:\n{p.tail()}"
        for p in world.stack.processes
        if p.returncode is not None and p.pid not in world.ended
    ]
    counters: dict[str, tuple[int | str, int | str]] = {
        row["name"]: (row["says"], row["rows"]) for row in await rows(COUNTERS)
    }
    parked = await rows("SELECT reason, count(*)::int AS n FROM parked_items GROUP BY reason")
    return Evidence(
        plan=world.plan,
        wall_s=time.monotonic() - began,
        unsettled=unsettled,
        attempts=[_attempt(e) for e in await world.simulator.log("webhook")],
        sends=[_send(e) for e in await world.simulator.sends()],
        asked=[
            Asked(e["at"], e["answer"]["content"])
            for e in await world.simulator.log("model")
            if e["status"] == 200
        ],
        inbound=[
            Inbound(
                id=r["id"],
                conversation=r["conversation_id"],
                wamid=r["message_id"],
                text=r["content_text"],
                sent_at=r["at"],
                input_seq=r["input_seq"],
                reason=r["reason"],
            )
            for r in await rows(INBOUND)
        ],
        outbound=[
            Outbound(
                id=r["id"],
                conversation=r["conversation_id"],
                text=r["content_text"],
                created_at=r["at"],
                status=r["status"],
                reason=r["reason"],
                resent=r["resent"],
            )
            for r in await rows(OUTBOUND)
        ],
        phone_number_ids=[bot.phone_number_id for bot in world.bots],
        counters=counters | await world.records.recounted(),
        over_limit=tuple(row["what"] for row in await rows(LIMITS)),
        parked={row["reason"]: row["n"] for row in parked},
        outages=world.outages,
        claimed=world.claimed,
        helpless=world.helpless,
        unsteady=world.unsteady,
        ended_badly=(*world.ended_badly, *died),
        story=world.story,
    )


def _attempt(entry: Mapping[str, Any]) -> Attempt:
    messages, statuses = _wamids(entry["body"])
    return Attempt(
        start=entry["at"] - entry["took_ms"] / 1000,
        end=entry["at"],
        ok=entry["status"] == 200,
        messages=messages,
        statuses=statuses,
    )


def _send(entry: Mapping[str, Any]) -> Send:
    return Send(
        at=entry["at"],
        row=int(entry["biz_opaque_callback_data"].split(":")[1]),
        phone_number_id=entry["phone_number_id"],
        to=entry["to"],
        text=entry["text"],
        wamid=entry["wamid"],
        fault=entry["fault"],
    )


def _wamids(body: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of a webhook's messages and of its statuses."""
    payload = json.loads(body)
    values = [change["value"] for entry in payload["entry"] for change in entry["changes"]]

    def ids(kind: str) -> tuple[str, ...]:
        return tuple(item["id"] for value in values for item in value.get(kind, ()))

    return ids("messages"), ids("statuses")


async def _keep(world: World, place: Path) -> None:
    """For whoever wants to know what happened: CHAOS_KEEP=directory."""
    shutil.copytree(world.stack.log_directory, place, dirs_exist_ok=True)
    journal = await world.simulator.log()
    (place / "simulator.jsonl").write_text("".join(json.dumps(e) + "\n" for e in journal))
    for table in ("messages", "conversations", "parked_items", "workers", "usage_tracking"):
        rows = await world.records.rows(f"SELECT to_jsonb(t)::text AS row FROM {table} t")
        (place / f"{table}.jsonl").write_text("".join(row["row"] + "\n" for row in rows))
    (place / "story").write_text("\n".join(world.story) + "\n")
