"""What each step costs the database beside much and beside little: the same work for the same 1,000
customers, once among 1,100 customers of 50 tenants, once among a million of 1,000, with ten
messages each. "Floor" is the small one.

A step's cost is the CPU time of the one backend that does it: neither the client counts nor whoever
else uses the machine. Both databases are in one server, and in its memory.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from statistics import median
from uuid import uuid4

import asyncpg
import structlog

from bench.harness import ROUNDS, Figures, Result, in_turns
from bench.webhooks import logged, messages_webhook, statuses_webhook
from bench.world import Size, build
from db.actions import WantedActions, list_actions, overdue_actions
from db.chatbots import list_chatbots
from db.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from db.conversation_events import passed_events, read_events
from db.conversations import Claim, Debounce, claim_conversations, fence, read_turn, since_inbound
from db.dead import list_dead
from db.ids import ConversationId, MessageId, UserId, WorkerId
from db.messages import (
    NewText,
    TurnMessage,
    list_messages,
    queue_text,
    read_messages,
    settle_inputs,
)
from db.migrate import migrate
from db.orphans import forget_orphans, found_orphans
from db.pool import Conn, Pool, create_pool, tenant
from db.sends import Pace, claim_sends, lock_send, mark_accepted, mark_sending, read_send
from db.status_fence import fence_wanted, overdue_sends
from db.talks import Wanted, list_conversations
from db.usage import Reserving, read_usage, reserve_for_turn, spend_messages
from db.workers import sweep_dead_workers, sweep_unheld
from handlers.ingest.recording import record_batch
from handlers.ingest.statuses import merge_batch
from handlers.process import telemetry
from local.servers.postgres import Postgres, postgres

TAKEN_OVER, PENDING = Wanted(status="taken_over"), WantedActions(status="pending")
TENANTS, EACH = 50, 20  # of whom the customers are with whom something happens
SMALL = Size(tenants=TENANTS, customers=TENANTS * (EACH + 2), messages=TENANTS * (EACH + 2) * 10)
FULL = Size(tenants=1_000, customers=1_000_000, messages=10_000_000)
QUICK = Size(tenants=200, customers=10_000, messages=100_000)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
BATCH = 50
MANY = 240  # ready at the same time
FEW = 4
CLAIM, TENANT_MAX = 32, 256  # as the worker asks
PACE = Pace(every=timedelta(0), burst=1_000_000)
REPEATS = 20
ME = WorkerId(1)
GOAL = 1.2
ROWS_GOAL = 200  # that a look over everything reads more beside much; a list's page is among them
_wamids = count(1)

# Steps of a message's way, for which the goal is a ratio; the others have nothing to do, or a page
# to show, and must not look at what is not theirs.
STEPS = ("ingest", "claim_few", "claim_many", "read", "write", "claim_sends", "send", "statuses")
SETTINGS = {"shared_buffers": "3GB", "max_wal_size": "16GB", "autovacuum": "off"}


async def run(quick: bool) -> list[Result]:
    telemetry.configure("WARNING", "json", "bench")
    structlog.configure(cache_logger_on_first_use=False)
    size = QUICK if quick else FULL
    async with postgres() as server:
        admin = await asyncpg.connect(server.url)
        for name, value in SETTINGS.items():
            await admin.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        await admin.close()
        await server.stop()
        await server.start()
        result = Result("growth", f"DB time a step beside {size.messages:,} messages")
        async with _side(server, "small", SMALL) as small, _side(server, "full", size) as full:
            rounds = 1 if quick else ROUNDS
            await in_turns(result, {"full": full.round, "small": small.round}, rounds)
            result.more = {
                "rows": full.rows,
                "rows_small": small.rows,
                "pages": full.pages,
                "pages_small": small.pages,
                "megabytes": full.megabytes,
                "made_in_s": full.made_in_s,
            }
        for step in STEPS:
            ratio = result.compare(f"{step}_us", "full", "small")
            result.goal(f"{step}, beside much / beside little", ratio, GOAL, at_least=False)
        for name in full.rows:
            if name not in STEPS:
                more = full.rows[name] - small.rows[name]
                result.goal(f"{name}, rows read more", more, ROWS_GOAL, at_least=False)
        return [result]


@asynccontextmanager
async def _side(server: Postgres, name: str, size: Size) -> AsyncIterator["Side"]:
    admin = await asyncpg.connect(server.url)
    await admin.execute(f"CREATE DATABASE growth_{name}")
    await admin.close()
    url = server.database_url(f"growth_{name}")
    await migrate(url, url, lambda _: None)
    owner = await asyncpg.connect(url)
    started = time.monotonic()
    await build(owner, size)
    made_in_s = time.monotonic() - started
    megabytes = await owner.fetchval("SELECT pg_database_size(current_database()) / 1024 / 1024")
    pool = await create_pool(url, size=1, name="bench")
    print(f"  growth: {name}, {megabytes:,} MB, made in {made_in_s:.0f} s", flush=True)
    try:
        yield Side(size, owner, pool, megabytes, made_in_s)
    finally:
        await pool.close()
        await owner.close()


@dataclass
class Side:
    size: Size
    owner: Conn
    pool: Pool
    megabytes: int
    made_in_s: float
    rows: dict[str, float] = field(default_factory=dict)  # read in the last round, a thing
    pages: dict[str, float] = field(default_factory=dict)
    figures: Figures = field(default_factory=dict)

    @property
    def customers(self) -> list[int]:
        """The same number of each of the same tenants on both sides, and far apart."""
        each = self.size.customers // self.size.tenants
        step = (each - 1) // EACH
        return [t + self.size.tenants * (1 + n * step) for n in range(EACH) for t in range(TENANTS)]

    async def round(self) -> Figures:
        self.figures = {}
        await self.pool.expire_connections()  # else it would be replaced somewhere in the middle
        await self._ingest()
        claims = await self._claims()
        await self._turns(claims)
        await self._sends()
        await self._looks()
        await self._tidy()
        return self.figures

    async def cost(self, name: str, things: int, work: Callable[[], Awaitable[object]]) -> None:
        """Of the work, a thing: CPU time of the backend, pages touched, rows read."""
        before = await self._touched()
        pid = await self.pool.fetchval("SELECT pg_backend_pid()")
        cpu = _cpu_us(pid)
        await work()
        cpu = _cpu_us(pid) - cpu
        after = await self._touched()
        self.figures[f"{name}_us"] = cpu / things
        self.pages[name] = (after[0] - before[0]) / things
        self.rows[name] = (after[1] - before[1]) / things

    async def _touched(self) -> tuple[int, int]:
        async with self.pool.acquire() as conn:
            await conn.execute("SELECT pg_stat_force_next_flush()")
        row = await self.owner.fetchrow(_TOUCHED)
        assert row is not None
        return row["pages"], row["rows"]

    async def _ingest(self) -> None:
        customers = self.customers
        debounce = Debounce(DAY, DAY)
        # A batch is of few tenants, as it is when there is a backlog.
        few = sorted(customers, key=lambda c: c % self.size.tenants)
        batches = [
            [
                entry.body
                for customer in few[start : start + BATCH]
                for entry in logged(messages_webhook(self.size, customer, next(_wamids)))
            ]
            for start in range(0, len(few), BATCH)
        ]

        async def work() -> None:
            for bodies in batches:
                await record_batch(self.pool, bodies, debounce)

        await self.cost("ingest", len(customers), work)

    async def _claims(self) -> list[Claim]:
        customers = self.customers
        await self.owner.execute("UPDATE conversations SET ready_at = NULL WHERE ready_at > now()")
        claims: list[Claim] = []

        async def claim(times: int) -> None:
            for _ in range(times):
                async with self.pool.acquire() as conn:
                    claims.extend(await claim_conversations(conn, ME, CLAIM, TENANT_MAX))

        few = []
        for start in range(0, REPEATS * FEW, FEW):
            await self._ready(customers[start : start + FEW])
            await self.cost("claim_few", 1, lambda: claim(1))
            few.append(self.figures["claim_few_us"])
        self.figures["claim_few_us"] = median(few)
        await self._ready(customers[REPEATS * FEW : REPEATS * FEW + MANY])
        await self.cost("claim_many", MANY // CLAIM, lambda: claim(MANY // CLAIM))
        return claims

    async def _ready(self, customers: Sequence[int]) -> None:
        await self.owner.execute(
            "UPDATE conversations SET ready_at = now() WHERE id = ANY ($1::bigint[])", customers
        )

    async def _turns(self, claims: Sequence[Claim]) -> None:
        async def read(claim: Claim) -> list[TurnMessage]:
            async with tenant(self.pool, claim.user_id) as conn:
                ids = claim.user_id, claim.conversation_id
                context = await read_turn(conn, *ids, ME, claim.epoch)
                assert context is not None
                assert context.mine
                rows = await read_messages(conn, *ids, context.answered_seq, 40, 30)
                await read_events(conn, *ids, 30)
                await load_checkpoint(conn, context.thread_id)
                read = [row for row in rows if (row.input_seq or 0) > context.answered_seq]
            async with self.pool.acquire() as conn:
                reserving = Reserving(claim.user_id, claim.conversation_id, ME, claim.epoch)
                assert await reserve_for_turn(conn, reserving, 1) is not None
            return read

        async def write(claim: Claim, inputs: Sequence[TurnMessage]) -> None:
            async with tenant(self.pool, claim.user_id) as conn:
                ids = claim.user_id, claim.conversation_id
                last = max(row.input_seq or 0 for row in inputs)
                assert await fence(conn, claim, ME, last) is not None
                day = datetime.now(UTC).date()
                reply = NewText(content_text="Yes, of course.", metadata={}, usage_day=day)
                await queue_text(conn, *ids, reply)
                checkpoint = Checkpoint(
                    checkpoint_id=uuid4().hex,
                    checkpoint={"v": 1},
                    metadata={},
                    channels=["messages"],
                    versions=[uuid4().hex],
                    types=["msgpack"],
                    blobs=[b"x" * 4_000],
                )
                await save_checkpoint(conn, f"{claim.conversation_id}:thread", checkpoint)
                await settle_inputs(conn, claim.user_id, inputs, True, None, Decimal("1.5"))
                spend_messages(conn, *ids, 1)
                await since_inbound(conn, *ids)

        inputs: list[list[TurnMessage]] = []

        async def read_all() -> None:
            inputs.extend([await read(claim) for claim in claims])

        async def write_all() -> None:
            for claim, rows in zip(claims, inputs, strict=True):
                await write(claim, rows)

        await self.cost("read", len(claims), read_all)
        await self.cost("write", len(claims), write_all)

    async def _sends(self) -> None:
        claimed: list[tuple[UserId, MessageId]] = []

        async def claim() -> int:
            async with self.pool.acquire() as conn:
                found = await claim_sends(conn, ME, CLAIM, TENANT_MAX, PACE, DAY)
            claimed.extend((one.user_id, one.message_id) for one in found)
            return len(found)

        times = 10
        wamids = [f"wamid.HBgLMTIwMjU1NTAxMTEVAgAS{uuid4().hex}" for _ in range(times * CLAIM)]

        async def claim_all() -> None:
            for _ in range(times):
                assert await claim()

        async def send_all() -> None:
            for (user_id, message_id), wamid in zip(claimed, wamids, strict=False):
                async with tenant(self.pool, user_id) as conn:
                    assert await lock_send(conn, user_id, message_id, ME)
                    assert await read_send(conn, user_id, message_id, DAY)
                    await mark_sending(conn, user_id, message_id, timedelta(0))
                async with tenant(self.pool, user_id) as conn:
                    await mark_accepted(conn, user_id, message_id, wamid)

        await self.cost("claim_sends", times, claim_all)
        await self.cost("send", len(claimed), send_all)
        sent = sorted(zip(claimed, wamids, strict=False))  # a batch is of few tenants
        batches = [
            [
                entry.body
                for (user_id, _), wamid in sent[start : start + BATCH]
                for entry in logged(statuses_webhook(user_id, wamid, kind))
            ]
            for start in range(0, len(sent), BATCH)
            for kind in ("sent", "delivered", "read")
        ]

        async def merge_all() -> None:
            for bodies in batches:
                await merge_batch(self.pool, bodies)

        await self.cost("statuses", 3 * len(sent), merge_all)

    async def _looks(self) -> None:
        """What is looked at again and again with nothing to do, and what people look at."""
        user = UserId(1 + self.customers[1] % self.size.tenants)
        conversation = ConversationId(self.customers[1])
        middle = ConversationId(self.size.customers // 2)

        looks: dict[str, Callable[[Conn], Awaitable[object]]] = {
            "idle_claim": lambda c: claim_conversations(c, ME, CLAIM, TENANT_MAX),
            "sweep_dead_workers": lambda c: sweep_dead_workers(c, MINUTE),
            "sweep_unheld": lambda c: sweep_unheld(c, ME, [], []),
            "overdue_actions": lambda c: overdue_actions(c, 100),
            "passed_events": lambda c: passed_events(c, 100),
            "found_orphans": lambda c: found_orphans(c, 10 * MINUTE, 500),
            "forget_orphans": lambda c: forget_orphans(c, DAY, 500),
            "overdue_sends": lambda c: overdue_sends(c, MINUTE, 100),
            "fence_wanted": lambda c: fence_wanted(c, MINUTE),
        }
        pages: dict[str, Callable[[Conn], Awaitable[object]]] = {
            "list_conversations": lambda c: list_conversations(c, user, Wanted(), None, 50),
            "list_conversations_deep": lambda c: list_conversations(c, user, Wanted(), middle, 50),
            "list_taken_over": lambda c: list_conversations(c, user, TAKEN_OVER, None, 50),
            "list_paused": lambda c: list_conversations(c, user, Wanted(status="paused"), None, 50),
            "list_messages": lambda c: list_messages(c, user, None, conversation, 50),
            "list_chatbots": lambda c: list_chatbots(c, user, None, 50),
            "list_actions": lambda c: list_actions(c, user, PENDING, None, 50),
            "list_dead": lambda c: list_dead(c, user),
            "read_usage": lambda c: read_usage(c, user),
        }

        async def across(look: Callable[[Conn], Awaitable[object]]) -> None:
            for _ in range(REPEATS):
                async with self.pool.acquire() as conn:
                    await look(conn)

        async def within(look: Callable[[Conn], Awaitable[object]]) -> None:
            for _ in range(REPEATS):
                async with tenant(self.pool, user) as conn:
                    await look(conn)

        await self._tidy()
        for name, look in looks.items():
            await self.cost(name, REPEATS, lambda look=look: across(look))  # type: ignore[misc]
        for name, look in pages.items():
            await self.cost(name, REPEATS, lambda look=look: within(look))  # type: ignore[misc]

    async def _tidy(self) -> None:
        """As it was before the round, but for what was said; and statistics, which autovacuum would
        otherwise bring at some moment."""
        await self.owner.execute(_PUT_RIGHT)
        await self.owner.execute(
            "UPDATE conversations SET answered_seq = input_seq WHERE id = ANY ($1::bigint[])",
            self.customers,
        )
        await self.owner.execute("ANALYZE messages, conversations, contacts")


def _cpu_us(pid: int) -> float:
    """Source: sched-stats.rst of the kernel; in nanoseconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1_000


_PUT_RIGHT = """
DELETE FROM usage_reservations;
UPDATE conversations SET lease_owner = NULL, ready_at = NULL, pending_since = NULL
 WHERE lease_owner IS NOT NULL OR ready_at IS NOT NULL;
UPDATE messages SET status = 'read', send_owner = NULL
 WHERE direction = 'outbound' AND status IN ('queued', 'sending', 'unknown');
"""

# What the catalogue is read for is not counted: it is once a connection.
_TOUCHED = """
SELECT pg_stat_get_db_blocks_fetched(d.oid)::bigint AS pages,
       (SELECT sum(t.seq_tup_read + coalesce(t.idx_tup_fetch, 0))
          FROM pg_stat_user_tables t)::bigint AS rows
  FROM pg_database d WHERE d.datname = current_database()
"""
