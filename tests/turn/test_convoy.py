"""A tenant's counters are locked for no round trip, and its crowd leaves others connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import asyncpg

from cli.dead_items import send_again
from db.conversations import claim_conversations
from db.ids import WorkerId
from db.messages import NewText, queue_text
from db.pool import Conn, Pool, connect_owner, create_pool, place, tenant, waiting
from db.usage import spend_on_message
from handlers.agent.graph import Agent
from handlers.agent.offline import Offline
from handlers.ingest.recording import record_batch
from handlers.sends.ending import end_message
from handlers.sends.rules import OUTSIDE_WINDOW
from handlers.takeover import queue_message_of_person, take_over_conversation
from handlers.turns.run import run_turn
from tests.conftest import Database
from tests.factories import Tenant, make_conversation, make_tenant
from tests.recording import DEBOUNCE, to, wrote
from tests.turn.test_actions import shop, write

ME = WorkerId(1)


@dataclass(slots=True)
class Watched:
    """A pool; after each statement somebody else wants the counters, and may not have to wait."""

    pool: Pool
    owner: Conn
    held_after: list[str] = field(default_factory=list)
    looks: int = 0

    def get_max_size(self) -> int:
        return self.pool.get_max_size()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["Line"]:
        async with self.pool.acquire() as conn:
            yield Line(self, conn)

    async def look(self, statement: str) -> None:
        self.looks += 1
        for counters in ("usage_tracking", "monthly_usage_summary"):
            try:
                await self.owner.execute(f"SELECT FROM {counters} FOR NO KEY UPDATE NOWAIT")
            except asyncpg.LockNotAvailableError:
                self.held_after.append(statement)


@dataclass(slots=True)
class Line:
    watched: Watched
    conn: Conn

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.conn, name)
        if name not in ("execute", "fetch", "fetchrow", "fetchval"):
            return real

        async def run(query: str, *values: Any) -> Any:
            found = await real(query, *values)
            await self.watched.look(query)
            return found

        return run


async def counted(owner: Conn) -> dict[str, int]:
    row = await owner.fetchrow(
        "SELECT daily_messages_sent AS sent, daily_messages_received AS received,"
        " actions_created AS actions, live_takeovers_used AS takeovers, messages_reserved AS held"
        " FROM usage_tracking"
    )
    assert row is not None
    return dict(row)


async def test_no_counter_is_locked_over_a_round_trip(
    pool: Pool, owner: Conn, database: Database
) -> None:
    watched = Watched(pool, owner)
    line = cast("Pool", watched)
    user = await shop(owner)
    await record_batch(line, [to(user, wrote("w.1"))], DEBOUNCE)
    # A turn with a request, one without, a person who takes over and writes, and a send that ends.
    who = await make_conversation(owner, user)
    other = await make_conversation(owner, user)
    await write(owner, user, who, "money back?")
    await write(owner, user, other, "When do you open?")
    async with pool.acquire() as conn:
        claims = await claim_conversations(conn, ME, 10, 10)
    for claim in claims:
        await run_turn(line, Agent(Offline()), ME, claim)
    await owner.execute("UPDATE conversations SET last_inbound_at = now()")
    async with tenant(line, user.user_id) as conn:
        message_id = await queue_message_of_person(conn, user.user_id, who[1], "I", {})
    async with tenant(line, user.user_id) as conn:
        await take_over_conversation(conn, user.user_id, other[1], None, "by_hand")
    assert await counted(owner) == {
        "sent": 3,
        "received": 1,
        "actions": 1,
        "takeovers": 2,
        "held": 0,
    }
    async with tenant(line, user.user_id) as conn:
        await end_message(conn, user.user_id, message_id, OUTSIDE_WINDOW)
    assert (await counted(owner))["sent"] == 2
    await owner.execute(
        "UPDATE conversations"
        " SET taken_over_at = NULL, taken_over_until = NULL, taken_over_by = NULL"
    )
    operator = await connect_owner(database.owner_url)
    watching = cast("Conn", Line(watched, operator))
    assert await send_again(watching, message_id) is None
    await operator.close()
    assert (await counted(owner))["sent"] == 3
    assert watched.looks > 40
    assert watched.held_after == []


async def test_who_comes_for_a_unit_too_late_finds_the_limit(pool: Pool, owner: Conn) -> None:
    """Both saw the last unit; one has it when the other commits."""
    user = await make_tenant(owner, daily=1)
    conversations = [(await make_conversation(owner, user))[1] for _ in range(2)]
    await owner.execute("UPDATE conversations SET last_inbound_at = now()")
    both = asyncio.Barrier(2)

    async def writes(conversation_id: Any) -> None:
        async with tenant(pool, user.user_id) as conn:
            await queue_message_of_person(conn, user.user_id, conversation_id, "I", {})
            await both.wait()

    ended = await asyncio.gather(*(writes(c) for c in conversations), return_exceptions=True)
    assert [type(end) for end in sorted(ended, key=repr)] == [
        type(None),
        asyncpg.SerializationError,
    ]
    assert await owner.fetchval("SELECT count(*) FROM messages") == 1
    assert (await counted(owner))["sent"] == 1


async def test_a_tenant_has_half_of_a_pool(database: Database, owner: Conn) -> None:
    crowded, other = await make_tenant(owner), await make_tenant(owner)
    small = await create_pool(database.runtime_url, size=4, name="small")
    ended = asyncio.Event()

    async def holds(user: Tenant) -> None:
        async with place(small, user.user_id):
            await ended.wait()

    crowd = [asyncio.create_task(holds(crowded)) for _ in range(20)]
    while small.get_size() - small.get_idle_size() < 2:
        await asyncio.sleep(0.01)
    async with asyncio.timeout(2), tenant(small, other.user_id) as conn:
        assert await conn.fetchval("SELECT 1") == 1
    assert waiting(small) == 18
    ended.set()
    await asyncio.gather(*crowd)
    assert waiting(small) == 0
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(small.close(), 2)


async def test_what_the_commit_refuses_leaves_nothing_and_no_open_transaction(
    pool: Pool, owner: Conn
) -> None:
    user = await make_tenant(owner, daily=0)
    _, conversation_id = await make_conversation(owner, user)
    try:
        async with tenant(pool, user.user_id) as conn:
            text = NewText(content_text="Never.", metadata={})
            message_id = await queue_text(conn, user.user_id, conversation_id, text)
            assert message_id is not None
            spend_on_message(conn, user.user_id, conversation_id, message_id)
    except asyncpg.SerializationError:
        pass
    else:
        raise AssertionError("there was no unit")
    assert await owner.fetchval("SELECT count(*) FROM messages") == 0
    async with tenant(pool, user.user_id) as conn:
        assert await conn.fetchval("SELECT current_setting('app.user_id')") == str(user.user_id)
