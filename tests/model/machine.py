"""The rules: what customers, workers, Meta, people and time may do, in any order.

Interleaved are transactions and the statements inside them: any job may stop before any of its
statements, before its COMMIT and between two transactions, and any other may then start, go on or
end. Held open that way are ingest, the reading and the writing transaction of a turn, both
transactions of a send, statuses, the settling of unknown sends, claims, sweeps and beats. A COMMIT
may be lost, or happen and never be heard of. Not interleaved: what happens inside one SQL statement
or function (there PostgreSQL's locks alone decide; tests/db has what depends on it), and the
operator's own changes, which wait for rows to be free.

The same in every run but for one thing: of several that wait for the same lock, which gets it first
is PostgreSQL's affair.

A process that dies takes its jobs along without a word. One that is only taken for dead goes on
with all of them, long after others have taken over. Time passes by moving what lies ahead in the
rows into the past.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from db.conversations import Claim, Debounce
from db.ids import ConversationId, MessageId, UserId, WorkerId
from db.pool import Conn
from db.sends import SendClaim
from tests.factories import Tenant, make_tenant
from tests.model import product
from tests.model.judge import Judge, Limits
from tests.model.product import Connections, Request
from tests.model.stepping import (
    BEGIN,
    CALL,
    COMMIT,
    LOST,
    STATEMENT,
    THINK,
    UNHEARD,
    Job,
    Stepper,
)

T = TypeVar("T")


JOBS_MAX = 14
DRAIN_ROUNDS = 30
PEOPLE = 3  # customers: two of the first tenant, one of the second
WORKERS = 3

# How far a job goes when it is let on; it also stops where an outsider is asked, but for "end".
UNTIL: dict[str, tuple[str, ...]] = {
    "statement": (BEGIN, STATEMENT, COMMIT, THINK, CALL),
    "commit": (COMMIT, THINK, CALL),
    "between": (BEGIN, THINK, CALL),
    "end": (),
}
HOW_FAR = ("end", "end", "between", "between", "commit", "commit", "statement")
FAR = st.sampled_from(HOW_FAR)
WHICH = st.integers(0, 11)
WORKER = st.integers(0, WORKERS - 1)
# What outsiders mostly say.
VERDICTS: dict[str, tuple[str, ...]] = {
    THINK: (
        *(["reply"] * 24),
        *("no_answer", "no_answer", "no_answer", "refuses", "refuses", *(["breaks"] * 6)),
        *("hands over", "hands over", "remembers", "calls nonsense", "asks and hands over"),
        *(
            "hands over, then fails",
            "asks, then fails",
            "asks",
            "asks",
            "asks for 40",
            "asks for many",
            *(["asks for 5", "asks for 20"] * 3),
        ),
    ),
    CALL: (
        *(["accepted"] * 4),
        *(["accepted, answer lost", "never arrived"] * 2),
        *product.REFUSALS,
    ),
}
# A history is about one thing, so that more of it happens: anything, or, while no person comes in,
# what is decided, what a model that fails leaves, a limit.
ABOUT = ("decisions", "failures", "anything", "a limit", "failures", "decisions", "anything")
OPENING = 50  # things that happen first in such a one, before rules are drawn
THINKS: dict[str, tuple[str, ...]] = {
    "decisions": (
        *(["reply"] * 8),
        *("no_answer", "breaks", "hands over", "asks and hands over", "asks", "asks for many"),
        *("hands over, then fails", "asks, then fails", *(["asks for 5", "asks for 20"] * 5)),
    ),
    "failures": (
        *(["reply"] * 5),
        *("no_answer", "no_answer", "no_answer", "refuses", "refuses", "breaks", "breaks"),
        *("hands over, then fails", "asks, then fails", "hands over", "remembers"),
        *("calls nonsense", "calls nonsense"),
    ),
}
COMMITS_THAT_BREAK = 0.05
CLAIMS = st.sampled_from(["turns", "turns", "sends"])

# Whatever becomes due while the test runs would make it depend on the machine's speed: it becomes
# due when time passes.
NOT_YET = """
WITH held AS (
    SELECT id FROM conversations WHERE ready_at > now() AND ready_at < now() + interval '30 min'
       FOR NO KEY UPDATE SKIP LOCKED)
UPDATE conversations c SET ready_at = ready_at + interval '1 h' FROM held WHERE c.id = held.id;
WITH held AS (
    SELECT id FROM messages WHERE send_after > now() AND send_after < now() + interval '30 min'
       FOR NO KEY UPDATE SKIP LOCKED)
UPDATE messages m SET send_after = send_after + interval '1 h' FROM held WHERE m.id = held.id;
WITH held AS (
    SELECT user_id FROM send_limits
     WHERE held_until > now() AND held_until < now() + interval '30 min'
       FOR NO KEY UPDATE SKIP LOCKED)
UPDATE send_limits l SET held_until = held_until + interval '1 h'
  FROM held WHERE l.user_id = held.user_id;
"""
A_DAY_LATER = """
WITH held AS (SELECT id FROM conversations FOR NO KEY UPDATE SKIP LOCKED)
UPDATE conversations c
   SET ready_at = ready_at - interval '1 day', pending_since = pending_since - interval '1 day',
       taken_over_until = taken_over_until - interval '1 day',
       pair_full_at = pair_full_at - interval '1 day'
  FROM held WHERE c.id = held.id;
WITH held AS (SELECT id FROM messages WHERE direction = 'outbound' FOR NO KEY UPDATE SKIP LOCKED)
UPDATE messages m
   SET send_after = send_after - interval '1 day', unknown_at = unknown_at - interval '1 day'
  FROM held WHERE m.id = held.id;
WITH held AS (SELECT id FROM conversation_events FOR NO KEY UPDATE SKIP LOCKED)
UPDATE conversation_events e
   SET due_at = due_at - interval '1 day', created_at = created_at - interval '1 day'
  FROM held WHERE e.id = held.id;
WITH held AS (SELECT id FROM actions FOR NO KEY UPDATE SKIP LOCKED)
UPDATE actions a
   SET expires_at = expires_at - interval '1 day',
       auto_approve_until = auto_approve_until - interval '1 day'
  FROM held WHERE a.id = held.id;
WITH held AS (SELECT user_id FROM send_limits FOR NO KEY UPDATE SKIP LOCKED)
UPDATE send_limits l
   SET full_at = full_at - interval '1 day', held_until = held_until - interval '1 day',
       slowed_at = slowed_at - interval '1 day'
  FROM held WHERE l.user_id = held.user_id;
"""
# What replays wait for is as old as they are: the statuses that were there before them.
REPLAYS_A_DAY_LATER = """
WITH held AS (SELECT id FROM messages WHERE replayed_at IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED)
UPDATE messages m SET replayed_at = replayed_at - interval '1 day' FROM held WHERE m.id = held.id;
UPDATE status_fence SET merged_until = merged_until - interval '1 day';
"""
# Of living workers the beat is as young as ever; the dead have none.
DEAD_SINCE = """
WITH held AS (SELECT id FROM workers WHERE id <> ALL ($1::bigint[]) FOR NO KEY UPDATE SKIP LOCKED)
UPDATE workers w SET beat_at = beat_at - interval '2 h' FROM held WHERE w.id = held.id
"""
LATE_BEAT = """
WITH held AS (SELECT id FROM workers WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED)
UPDATE workers w SET beat_at = clock_timestamp() - $2 * interval '1 h'
  FROM held WHERE w.id = held.id
"""
ANOTHER_DAY = "UPDATE users SET timezone = $2 WHERE id = $1"
PLANS = (
    '{"limits": {"on_message_limit": "refuse"}}',
    '{"limits": {"on_message_limit": "refuse", "message_limit_notice": "Tomorrow again."}}',
    '{"limits": {"on_message_limit": "overage"}}',
)
PEOPLE_DO = ("take over", "take over for a while", "write", "echo", "hand back")
DECISIONS = ("approve", "approve similar", "approve similar", "approve anybody's", "deny")
# What a customer writes: nothing in particular, or what somebody has to act on.
WRITES = ("new", "new", "new", "new", "new", "wish", "stop")
KINDS = ("new", "new", "new", "late", "late", "again", "again", "wish", "stop")
# These two never have the same date.
ZONES = ("Pacific/Kiritimati", "Etc/GMT+12")


@dataclass(slots=True, eq=False)
class Process:
    worker_id: WorkerId
    asleep: bool = False  # taken for dead, and standing still for now
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # as that of worker/holdings.py


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a worker has claimed and not begun."""

    process: Process
    worker_id: WorkerId
    claim: Claim | SendClaim
    began: int  # the step at which the claim looked


@dataclass(slots=True, eq=False)
class Batch:
    """An entry of the ingest log. It comes again until somebody has acknowledged it."""

    name: str
    handle: Callable[[Job], Coroutine[Any, Any, None]]
    acknowledged: bool = False


@dataclass(slots=True)
class Person:
    tenant: Tenant
    phone: str
    wamids: list[str]


class Log(logging.Handler):
    """The product's log lines: they tell how its jobs ended."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.msg, dict):
            self.lines.append(record.msg)


class World:
    """What all runs share: connections, and what was seen in them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connections: Connections, log: Log) -> None:
        self.loop = loop
        self.log = log
        self.connections = connections
        self.tally: Counter[str] = Counter()
        self.owner: Conn
        self.idle: list[Conn] = []

    async def open(self) -> None:
        await self.connections.open()
        self.owner = await self.connections.owner()
        # Deadlocks are broken as ever, but at once.
        database = await self.owner.fetchval("SELECT current_database()")
        await self.owner.execute("SET statement_timeout = '5s'")  # it must never wait for a lock
        await self.owner.execute(f"ALTER DATABASE {database} SET deadlock_timeout = '20ms'")

    async def close(self) -> None:
        self.owner.terminate()
        self.connections.close()

    async def connect(self) -> Conn:
        return self.idle.pop() if self.idle else await self.connections.runtime()


def _id_of(claim: Claim | SendClaim) -> int:
    return claim.conversation_id if isinstance(claim, Claim) else claim.message_id


def _life(name: str) -> Any:
    """Under several names: Hypothesis leaves some rules out of each run, and without this one
    nothing would happen in it."""

    def life_goes_on(self: "Machine", things: int) -> None:
        for _ in range(things):
            self.one_thing()

    life_goes_on.__name__ = name
    return rule(things=st.integers(1, 24))(life_goes_on)


class Machine(RuleBasedStateMachine):
    world: ClassVar[World]
    number: ClassVar[int] = 0  # of the history

    def __init__(self) -> None:
        super().__init__()
        world = self.world
        self.stepper = Stepper(world.connect, world.owner)
        self.judge = Judge(self.stepper, world.tally)
        self.broken = True  # until it has begun, and again when something failed
        self.processes: list[Process] = []
        self.people: list[Person] = []
        self.tenants: list[Tenant] = []
        self.batches: list[Batch] = []
        self.holding: dict[Job, tuple[str, int]] = {}
        self.adrift: list[Request] = []  # calls whose caller died; Meta may take them all the same
        self.calling: set[Job] = set()
        self.written = 0
        self.debounce = product.AT_ONCE
        self.dice = random.Random()
        self.about = ABOUT[self.number % len(ABOUT)]
        self.draining = False
        self.outside = Process(WorkerId(0))  # people of the business, and the operator
        self.echoes = self.changes = 0
        self._claimed: list[Claimed] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self.world.loop.run_until_complete(work)
        except BaseException:
            self.broken = True
            raise

    def count(self, what: str, n: int = 1) -> None:
        self.world.tally[what] += n

    # ---- the beginning and the end --------------------------------------------------------------

    @initialize(
        daily=st.sampled_from([1, 3, 50]),
        monthly=st.sampled_from([2, 50]),
        debounce=st.sampled_from([product.AT_ONCE, product.AT_ONCE, product.LATER]),
        plan=st.sampled_from(PLANS),
        seed=st.integers(0, 2**32),
    )
    def begin(self, daily: int, monthly: int, debounce: Debounce, plan: str, seed: int) -> None:
        self.debounce, about = debounce, self.about
        if about != "anything":
            daily = monthly = 1 if about == "a limit" else 50
        self.dice = random.Random(seed * 1_000 + self.number)
        self.run(self._begin(daily, monthly, plan))
        self.broken = False
        for _ in range(OPENING):
            self.one_thing()

    async def _begin(self, daily: int, monthly: int, plan: str) -> None:
        owner = self.world.owner
        await owner.execute("DELETE FROM users; DELETE FROM workers; DELETE FROM parked_items;")
        await owner.execute("UPDATE status_fence SET merged_until = '-infinity'")
        self.world.log.lines.clear()
        limits = (Limits(daily, 50), Limits(50, monthly))
        for n, limit in enumerate(limits):
            tenant = await make_tenant(owner, daily=limit.daily, monthly=limit.monthly, config=plan)
            self.tenants.append(tenant)
            self.judge.limits[tenant.user_id] = limit
            self.people += [Person(tenant, f"1303555{n}{place:03d}", []) for place in range(2 - n)]
        conn = await self.stepper.connection()
        self.processes = [Process(await product.register(conn)) for _ in range(WORKERS)]
        self.stepper.idle.append(conn)

    def teardown(self) -> None:
        try:
            if not self.broken:
                self.run(self._drain())
        finally:
            self.world.loop.run_until_complete(self.stepper.kill(self.stepper.jobs))
            self.world.idle += self.stepper.idle
            self.count("steps", self.stepper.step)
            self.count("commits", self.stepper.commits)
            self.count("waited for a lock", self.stepper.lock_waits)
            self.count("runs")

    async def _drain(self) -> None:
        """Everybody is alive, Meta answers, time passes: all of it has to come to rest."""
        self.draining = True
        for round_ in range(DRAIN_ROUNDS):
            await self._finish()
            for batch in [b for b in self.batches if not b.acknowledged]:
                await self._deliver(self.processes[0], batch, "end")
            if round_ == 0:
                for process in self.processes:
                    await self._beat(process, "end")
            await self._day_passes()
            await self._sweep(self.processes[0], "end")
            for process in self.processes:
                await self._let_go(process, "end")
            await self._claim(self.processes[0], "turns", 10, "end")
            await self._finish()
            await self._claim(self.processes[0], "sends", 10, "end")
            await self._finish()
            await self._settle_unknown(self.processes[0], "end")
            await self._raise_passed(self.processes[0], "end")
            await self._start("expire", self.processes[0], product.expire, "end")
            await self._start("end handovers", self.processes[0], product.end_handovers, "end")
            await self._finish()
            await self.judge.look()
            if not self.judge.at_rest() and all(b.acknowledged for b in self.batches):
                break
        assert not self.judge.at_rest(), "it never comes to rest"
        assert all(b.acknowledged for b in self.batches)
        assert not self.stepper.deadlocks
        self.judge.nothing_lost([(p.tenant, w) for p in self.people for w in p.wamids])

    async def _finish(self) -> None:
        while self.stepper.jobs:
            standing = [j for j in self.stepper.jobs if j.gate is not None]
            assert standing, f"all wait for each other: {self.stepper.jobs}"
            # Who holds locks first, so that nobody waits longer than needed.
            standing.sort(key=lambda j: j.gate not in (COMMIT, STATEMENT))
            await self._advance(standing[0], "end")

    # ---- jobs -----------------------------------------------------------------------------------

    async def _start(
        self,
        name: str,
        process: Process,
        work: Callable[[Job], Coroutine[Any, Any, Any]],
        until: str,
    ) -> None:
        """Unless so much is under way that nobody would know any more what hides what."""
        if len(self.stepper.jobs) < JOBS_MAX:
            await self._advance(await self.stepper.start(name, process, work), until)

    async def _advance(self, job: Job, until: str) -> None:
        job.passes = frozenset((BEGIN, STATEMENT)) - set(UNTIL[until])
        while not job.done and job.gate is not None:
            await self._let_on(job)
            if job.gate in UNTIL[until]:
                break

    async def _let_on(self, job: Job, verdict: str | None = None) -> None:
        if verdict is None and job.gate in VERDICTS:
            said = VERDICTS[job.gate]
            if job.gate == THINK:
                said = THINKS.get(self.about, said)
            verdict = said[0] if self.draining else self.dice.choice(said)
        elif job.gate == COMMIT and not self.draining and self.dice.random() < COMMITS_THAT_BREAK:
            verdict = verdict or self.dice.choice((LOST, UNHEARD))
        answer: Any = verdict
        if job.gate == CALL:
            assert verdict is not None
            answer = self._meta_answers(job.asked, verdict)
        elif job.gate == THINK:
            self.count(f"model: {verdict}")
        elif job.gate == COMMIT and verdict is not None:
            self.count(f"commit {verdict}")
        commits = self.stepper.commits
        await self.stepper.let_on(job, answer)
        await self._after(commits)

    async def _after(self, commits: int) -> None:
        if self.stepper.commits != commits:
            await self.world.owner.execute(NOT_YET)
            await self.judge.look()
        for job in self.stepper.jobs:
            if job.gate == CALL and job not in self.calling:
                self.calling.add(job)
                self.judge.called(job)
            if job.gate == THINK:
                assert job.asked, "the model is asked about nothing"
        for job in [j for j in self.stepper.jobs if j.done]:
            self.stepper.jobs.remove(job)
            self.holding.pop(job, None)
            self.calling.discard(job)
            error = None if job.task.cancelled() else job.task.exception()
            if error is not None and not (job.faulty and type(error).__name__ in product.INJECTED):
                raise AssertionError(f"{job} failed") from error
        self._read_logs()
        await self._begin_claimed()

    def _read_logs(self) -> None:
        for line in self.world.log.lines:
            event, outcome = line["event"], line.get("outcome")
            if event in ("turn.finished", "send.finished"):
                self.count(f"{event.partition('.')[0]} {outcome}")
                if outcome == "nothing_to_do":
                    assert line["conversation_id"] in self.judge.idle, "a turn without a question"
                    self.judge.idle.remove(line["conversation_id"])
                if line["reason"] == "send_outcome_unknown":
                    self.count(f"unknown {outcome}")
            elif event in ("turn.failed", "turn.not_put_back"):
                assert line["error"]["type"] in product.INJECTED, line
            else:
                assert event not in ("batch.split", "item.poisonous"), line
        self.world.log.lines.clear()

    def _meta_answers(self, request: Request, verdict: str) -> Any:
        self.count(f"Meta: {verdict}")
        match verdict:
            case "accepted":
                return product.accepted(self.judge.accepts(request).wamid)
            case "accepted, answer lost":
                self.judge.accepts(request)
                return product.no_answer()
            case "never arrived":
                return product.no_answer()
            case refusal:
                self.judge.refused.add((request.message_id, request.attempt))
                return product.REFUSALS[refusal]

    def _job(self, which: int, *gates: str) -> Job | None:
        standing = [j for j in self.stepper.jobs if j.gate and (not gates or j.gate in gates)]
        return standing[which % len(standing)] if standing else None

    # ---- what mostly happens --------------------------------------------------------------------

    @rule()
    def nothing_happens(self) -> None:
        """Hypothesis begins with the simplest history: this one, fifty times, is a quick one."""

    def one_thing(self) -> None:
        """Something that there is to do, so that a run gets somewhere. Of these Hypothesis draws
        only the dice's seed."""
        dice = self.dice
        process = dice.choice([p for p in self.processes if not p.asleep] or self.processes)
        other, until = dice.randrange(60), dice.choice(HOW_FAR)
        match dice.choice(self._to_do()):
            case "write":
                kind = dice.choice(WRITES if self.about != "failures" else (*WRITES, "wish"))
                self.run(self._write(self.people[other % PEOPLE], [kind], process, until))
            case "change":
                self.run(self._change(other, ("edit", "revoke")[other % 2], process, until))
            case "decide":
                self.run(self._decide(other, dice.choice(DECISIONS), "end"))
            case "withdraw":
                self.run(self._decide(other, "withdraw", until))
            case "expire":
                self.run(self._start("expire", process, product.expire, until))
            case "end handovers":
                self.run(self._start("end handovers", process, product.end_handovers, until))
            case "wait":
                self.run(self._day_passes())
            case "settle":
                self.run(self._settle_unknown(process, until))
            case "let go":
                self.run(self._let_go(process, until))
            case "sweep":
                self.run(self._sweep(process, until))
            case "replay":
                self.run(self._replay(other, 1 + other % 2, until))
            case "person":
                self.run(self._people(other, dice.choice(PEOPLE_DO), until))
            case "raise":
                self.run(self._raise_passed(process, until))
            case "doze":
                self._fall_asleep(dice.choice(self._in_mid_call()).process, hours=2)
            case "wake":
                process = dice.choice([p for p in self.processes if p.asleep])
                process.asleep = False
                self.run(self._claim(process, "turns", 3, "end"))  # beside what it still works on
            case "tell":
                kind = ("sent", "delivered", "failed")[other % 3]
                self.run(self._tell(other // 3, [kind], process, until))
            case "go on":
                self.run(self._advance(dice.choice(self._awake()), until))
            case claims:
                self.run(self._claim(process, claims, 3, until))

    def _to_do(self) -> list[str]:
        now = self.judge.now
        talks, outbox = now.talks.values(), [m for m in now.messages.values() if m["send_attempts"]]
        todo = ["wait", *(["write"] * 3 if len(self.stepper.jobs) < JOBS_MAX // 2 else [])]
        if any(t["ready_at"] and t["lease_owner"] is None for t in talks):
            todo += ["turns"] * 3
        if any(m["status"] == "queued" and not m["send_owner"] for m in now.messages.values()):
            todo += ["sends"] * 4
        if any(m["status"] == "unknown" for m in outbox):
            todo += ["wait", "settle", "settle"]
        if self.judge.acceptances:
            todo += ["tell"]
        if self.judge.now.dead:
            todo += ["replay"] * 6
        if any(m["replayed_at"] for m in outbox):
            todo += ["wait", "settle", "settle"]
        if talks:
            todo += ["person", "change"]
        actions = now.actions.values()
        if any(a["status"] == "pending" for a in actions):
            todo += ["decide", "decide", "decide", "wait", "expire"]
        if any(a["approves"] for a in actions):
            todo += ["withdraw", "write", "write", "turns", "turns"]
        if any(t["by"] == "bot" for t in talks):
            todo += ["wait", "end handovers", "end handovers"]
        if any(e["settled_at"] is None for e in self.judge.now.events.values()):
            todo += ["wait", "raise", "turns"]
        if any(t["lease_owner"] and ("turn", t["id"]) not in self.holding.values() for t in talks):
            todo += ["let go"] * 2
        if any(p.asleep for p in self.processes):
            todo += ["sweep", "wake"]
        elif self._in_mid_call():
            todo += ["doze"] * 2
        if self._awake():
            todo += ["go on"] * 6
        return todo

    def _in_mid_call(self) -> list[Job]:
        return [j for j in self.stepper.jobs if j.gate in VERDICTS]

    def _fall_asleep(self, process: Process, hours: int) -> None:
        process.asleep = True
        self.run(self.world.owner.execute(LATE_BEAT, process.worker_id, hours))

    def _awake(self) -> list[Job]:
        asleep = [p for p in self.processes if p.asleep]
        return [j for j in self.stepper.jobs if j.gate and j.process not in asleep]

    life_goes_on = _life("life_goes_on")
    so_it_goes = _life("so_it_goes")
    and_so_on = _life("and_so_on")
    as_ever = _life("as_ever")

    # ---- customers ------------------------------------------------------------------------------

    @rule(
        who=st.integers(0, PEOPLE - 1),
        kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
        worker=WORKER,
        until=FAR,
    )
    def customer_writes(self, who: int, kinds: list[str], worker: int, until: str) -> None:
        self.run(self._write(self.people[who], kinds, self.processes[worker], until))

    async def _write(self, person: Person, kinds: list[str], process: Process, until: str) -> None:
        items = []
        for kind in kinds:
            if kind == "again" and person.wamids:
                wamid = person.wamids[self.written % len(person.wamids)]
                self.count("written again")
            else:
                self.written += 1
                wamid = f"wamid.{self.written}"
                person.wamids.append(wamid)
            at = self.written - (50 if kind == "late" else 0)
            text = {"wish": product.WISH, "stop": product.STOP}.get(kind, f"text of {wamid}")
            self.count(f"written: {kind}")
            items.append((wamid, at, text))
        body = product.wrote(person.tenant, person.phone, items)
        handle = partial(product.record, batch=body, debounce=self.debounce)
        await self._deliver(process, Batch("ingest", handle), until)

    @rule(which=WHICH, worker=WORKER, until=FAR)
    def a_batch_comes_again(self, which: int, worker: int, until: str) -> None:
        if not self.batches:
            return
        batch = self.batches[-1 - which % len(self.batches)]
        self.count("batch again")
        self.run(self._deliver(self.processes[worker], batch, until))

    async def _deliver(self, process: Process, batch: Batch, until: str) -> None:
        if batch not in self.batches:
            self.batches.append(batch)

        async def work(job: Job) -> None:
            await batch.handle(job)
            batch.acknowledged = True

        await self._start(batch.name, process, work, until)

    # ---- workers --------------------------------------------------------------------------------

    @rule(worker=WORKER, what=CLAIMS, limit=st.integers(1, 3), until=FAR)
    def a_worker_claims(self, worker: int, what: str, limit: int, until: str) -> None:
        self.run(self._claim(self.processes[worker], what, limit, until))

    async def _claim(self, process: Process, what: str, limit: int, until: str) -> None:
        worker_id = process.worker_id
        claim = product.claim_turns if what == "turns" else product.claim_sends

        async def work(job: Job) -> None:
            async with process.lock:
                claims = await claim(job, worker_id, limit)
                self._claimed += [
                    Claimed(process, worker_id, c, job.began) for c in sorted(claims, key=_id_of)
                ]

        if not process.lock.locked():
            await self._start(f"claim {what}", process, work, until)

    async def _begin_claimed(self) -> None:
        while self._claimed:
            one = self._claimed.pop(0)
            process, worker_id, claim = one.process, one.worker_id, one.claim
            if isinstance(claim, Claim):
                self.judge.claimed(claim.conversation_id, claim.epoch)
                work = partial(product.turn, worker_id=worker_id, claim=claim)
                holds = ("turn", int(claim.conversation_id))
            else:
                work = partial(product.send, worker_id=worker_id, claim=claim)
                holds = ("send", int(claim.message_id))
            job = await self.stepper.start(holds[0], process, work)
            job.claimed = one.began
            self.holding[job] = holds

    @rule(which=WHICH, fault=st.sampled_from([LOST, UNHEARD]))
    def a_commit_is_not_answered(self, which: int, fault: str) -> None:
        job = self._job(which, COMMIT)
        if job is not None:
            self.run(self._let_on(job, fault))

    @rule(
        which=WHICH,
        verdict=st.sampled_from(["no_answer", "refuses", "breaks", "breaks", "cut short"]),
    )
    def the_model_does_not_just_answer(self, which: int, verdict: str) -> None:
        job = self._job(which, THINK)
        if job is None:
            return
        if verdict == "cut short":  # the drain's time is over: it is put back, and did not fail
            self.count("model: cut short")
            self.run(self.stepper.cancel(job))
        else:
            self.run(self._let_on(job, verdict))

    @rule(
        which=WHICH,
        verdict=st.sampled_from(
            [
                "accepted, answer lost",
                "accepted, answer lost",
                "never arrived",
                "later",
                "too fast",
                "no token",
                "never",
            ]
        ),
        until=FAR,
    )
    def meta_does_not_just_accept(self, which: int, verdict: str, until: str) -> None:
        job = self._job(which, CALL)
        if job is not None:
            self.run(self._let_on(job, verdict))
            self.run(self._advance(job, until))

    @rule(
        worker=WORKER,
        what=st.sampled_from(["late", "late", "killed", "killed, called", "struck off", "beats"]),
        then=st.booleans(),
        until=FAR,
    )
    def a_beat_is_late_or_more(self, worker: int, what: str, then: bool, until: str) -> None:
        process = self.processes[worker]
        match what:
            case "late" | "struck off":
                self._fall_asleep(process, hours=2 if what == "late" else 11)
            case "beats":
                process.asleep = False
                self.run(self._beat(process, until))
            case _:
                self.run(self._kill(worker, arrives=what == "killed, called"))
                self.run(self.world.owner.execute(LATE_BEAT, process.worker_id, 2))
        if then:
            self.run(self._sweep(self.processes[worker - 1], until))

    async def _kill(self, worker: int, arrives: bool) -> None:
        process = self.processes[worker]
        jobs = [j for j in self.stepper.jobs if j.process is process]
        self.count("killed with work in hand", bool(jobs))
        self.adrift += [j.asked for j in jobs if j.gate == CALL and arrives]
        commits = self.stepper.commits
        await self.stepper.kill(jobs)
        conn = await self.stepper.connection()
        self.processes[worker] = Process(await product.register(conn))
        self.stepper.idle.append(conn)
        await self._after(commits)

    @rule(which=WHICH)
    def meta_takes_what_a_dead_worker_sent(self, which: int) -> None:
        if self.adrift:
            self.judge.accepts(self.adrift.pop(which % len(self.adrift)))
            self.count("Meta: accepted, caller dead")

    async def _beat(self, process: Process, until: str) -> None:
        async def work(job: Job) -> None:
            was = process.worker_id
            process.worker_id = await product.beat(job, was)
            self.count("struck off and registered anew", process.worker_id != was)

        await self._start("beat", process, work, until)

    @rule(
        worker=WORKER,
        what=st.sampled_from(["sweep", "let go", "settle unknown", "settle unknown"]),
        until=FAR,
    )
    def somebody_keeps_house(self, worker: int, what: str, until: str) -> None:
        process = self.processes[worker]
        match what:
            case "sweep":
                self.run(self._sweep(process, until))
            case "let go":
                self.run(self._let_go(process, until))
            case _:
                self.run(self._settle_unknown(process, until))

    async def _sweep(self, process: Process, until: str) -> None:
        async def work(job: Job) -> None:
            for freed in await product.sweep_dead(job):
                self.count(f"swept {freed.what}")

        await self._start("sweep", process, work, until)

    async def _let_go(self, process: Process, until: str) -> None:
        async def work(job: Job) -> None:
            async with process.lock:
                mine = [self.holding[j] for j in self.stepper.jobs if self._is_work_of(j, process)]
                freed = await product.sweep_unheld(
                    job,
                    process.worker_id,
                    [ConversationId(id) for kind, id in mine if kind == "turn"],
                    [MessageId(id) for kind, id in mine if kind == "send"],
                )
                self.count("let go", len(freed))

        if not process.lock.locked():
            await self._start("let go", process, work, until)

    def _is_work_of(self, job: Job, process: Process) -> bool:
        return job.process is process and job in self.holding

    # ---- statuses, and sends that nobody knows about --------------------------------------------

    @rule(
        which=WHICH,
        kinds=st.lists(
            st.sampled_from(["sent", "delivered", "read", "failed"]), min_size=1, max_size=2
        ),
        worker=WORKER,
        until=FAR,
    )
    def meta_tells(self, which: int, kinds: list[str], worker: int, until: str) -> None:
        if self.judge.acceptances:
            self.run(self._tell(which, kinds, self.processes[worker], until))

    async def _tell(self, which: int, kinds: list[str], process: Process, until: str) -> None:
        taken = self.judge.acceptances[-1 - which % len(self.judge.acceptances)]
        row = self.judge.now.messages[taken.request.message_id]
        self.count("status before the answer", row["wamid"] is None)
        tenant = next(t for t in self.tenants if t.user_id == row["user_id"])
        callback = taken.request.callback
        for kind in kinds:
            taken.told.setdefault(kind, self.stepper.step)
        body = product.told(tenant, [(taken.wamid, kind, callback) for kind in kinds])
        handle = partial(product.merge, batch=body)
        await self._deliver(process, Batch("statuses", handle), until)

    async def _settle_unknown(self, process: Process, until: str) -> None:
        async def work(job: Job) -> None:
            at = await product.mark_wanted(job)
            # The mark stands behind them in their lane.
            statuses = [b for b in self.batches if b.name == "statuses"]
            if at is not None and all(b.acknowledged for b in statuses):
                await product.mark_handled(job, at)
            overdue = await product.overdue_sends(job)
            self.count("replay released", await product.release_replayed(job))
            for claim in overdue:
                await product.settle_unknown(job, claim)

        await self._start("settle unknown", process, work, until)

    async def _raise_passed(self, process: Process, until: str) -> None:
        await self._start("raise passed", process, product.raise_passed, until)

    # ---- people and time ------------------------------------------------------------------------

    @rule(which=WHICH, what=st.sampled_from([*PEOPLE_DO, "hand back"]), until=FAR)
    def people_do_something(self, which: int, what: str, until: str) -> None:
        self.run(self._people(which, what, until))

    @rule(which=WHICH, kind=st.sampled_from(["edit", "edit", "revoke"]), worker=WORKER, until=FAR)
    def customer_thinks_again(self, which: int, kind: str, worker: int, until: str) -> None:
        self.run(self._change(which, kind, self.processes[worker], until))

    @rule(which=WHICH, verdict=st.sampled_from([*DECISIONS, "withdraw"]), until=FAR)
    def people_decide(self, which: int, verdict: str, until: str) -> None:
        self.run(self._decide(which, verdict, until))

    @rule(which=WHICH, times=st.integers(1, 3), until=FAR)
    def the_operator_replays(self, which: int, times: int, until: str) -> None:
        self.run(self._replay(which, times, until))

    @rule(which=WHICH, zone=st.sampled_from(ZONES))
    def a_tenant_moves(self, which: int, zone: str) -> None:
        user_id = self.tenants[which % len(self.tenants)].user_id
        self.run(self._operator(ANOTHER_DAY, user_id, zone))

    async def _people(self, which: int, what: str, until: str) -> None:
        talks = sorted(self.judge.now.talks)
        if not talks:
            return
        talk = talks[which % len(talks)]
        if self.about != "anything":
            what = "hand back"
        user_id = self.judge.now.talks[talk]["user_id"]
        of = next(t for t in self.tenants if t.user_id == user_id)
        self.count(f"person: {what}")
        match what:
            case "echo":
                await self._echo(of, talk, which, until)
            case "write":
                writes = partial(product.person_writes, of=of, talk=talk)
                await self._start(what, self.outside, writes, until)
            case "hand back":
                gives = partial(product.hand_back, of=of, talk=talk)
                await self._start(what, self.outside, gives, until)
            case _:
                hours = 3 if what == "take over for a while" else None
                takes = partial(product.take_over, of=of, talk=talk, hours=hours)
                await self._start(what, self.outside, takes, until)

    async def _change(self, which: int, kind: str, process: Process, until: str) -> None:
        """Of what is recorded; that of others is as well a matter of the log's order."""
        there = [m for m in self.judge.now.messages.values() if m["direction"] == "inbound"]
        if not there:
            return
        target = there[-1 - which % len(there)]
        talk = self.judge.now.talks[target["conversation_id"]]
        of = next(t for t in self.tenants if t.user_id == target["user_id"])
        self.changes += 1
        done = "after" if target["input_seq"] <= talk["answered_seq"] else "before"
        self.count(f"{kind} {done} its turn")
        wamid, at = f"wamid.CHANGE{self.changes}", self.written + self.changes
        body = product.changed(of, talk["phone"], wamid, at, target["wamid"], kind)
        handle = partial(product.record, batch=body, debounce=self.debounce)
        await self._deliver(process, Batch("ingest", handle), until)

    async def _decide(self, which: int, verdict: str, until: str) -> None:
        """Mostly what waits; now and then what is decided already."""
        actions = list(self.judge.now.actions.values())
        if verdict == "withdraw":
            found = [a for a in actions if a["approves"]]
        else:
            found = [a for a in actions if a["status"] == "pending"] or actions
        if not found:
            return
        action = found[which % len(found)]
        of = next(t for t in self.tenants if t.user_id == action["user_id"])

        async def work(job: Job) -> None:
            self.count(f"decision: {await product.decide(job, of, action, verdict)}")

        await self._start(verdict, self.outside, work, until)

    async def _echo(self, of: Tenant, talk: int, which: int, until: str) -> None:
        """Written after some of what the customer wrote, and heard of whenever the log has it."""
        self.echoes += 1
        phone = self.judge.now.talks[talk]["phone"]
        wamid, at = f"wamid.ECHO{self.echoes}", self.written - which % 3
        body = product.echoed(of, phone, wamid, at)
        handle = partial(product.record, batch=body, debounce=self.debounce)
        await self._deliver(self.processes[which % WORKERS], Batch("ingest", handle), until)

    async def _replay(self, which: int, times: int, until: str) -> None:
        """Several at once, of one dead send or of neighbours."""
        dead = sorted(self.judge.now.dead.items())
        for n in range(times if dead else 0):
            message_id, user_id = dead[(which + n // 2) % len(dead)]
            await self._start("replay", self.outside, self._replays(user_id, message_id), until)

    def _replays(self, user_id: int, message_id: int) -> Callable[[Job], Coroutine[Any, Any, None]]:
        async def work(job: Job) -> None:
            why = await product.replay(job, UserId(user_id), MessageId(message_id))
            done = {None: "replayed", "": "not dead", product.BUSY: "busy"}
            self.count(f"replay: {done.get(why, why)}")

        return work

    async def _day_passes(self) -> None:
        alive = [p.worker_id for p in self.processes]
        await self._operator(A_DAY_LATER)
        # A mark that is under way has its time, and holds the fence.
        if not any(job.name == "settle unknown" for job in self.stepper.jobs):
            await self._operator(REPLAYS_A_DAY_LATER)
        await self._operator(DEAD_SINCE, alive)

    async def _operator(self, statement: str, *args: Any) -> None:
        await self.world.owner.execute(statement, *args)
        await self.judge.look()
